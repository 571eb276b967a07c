//! Wildcards of COPY sources: Go's `filepath.Match`, one path component at a time.

/// A pattern cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid pattern: a `[` needs its `]`, and a `\\` something after it")]
pub struct BadPattern(pub String);

/// Whether a component holds a wildcard or an escape.
pub fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?', '[', '\\'])
}

/// Whether a name matches one component of a pattern: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
///
/// Spec: Go's path/filepath, `Match`, on a single component.
///
/// # Errors
/// Fails where the pattern is malformed, also where the malformed part is not reached.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let tokens = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Positions in the pattern that are alive after the characters read so far.
    let mut alive = vec![false; tokens.len() + 1];
    alive[0] = true;
    close(&tokens, &mut alive);
    for c in name {
        let mut next = vec![false; tokens.len() + 1];
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| alive[*at]) {
            match token {
                Token::Star => next[at] = true,
                Token::Any => next[at + 1] = true,
                Token::Literal(literal) if *literal == c => next[at + 1] = true,
                Token::Class { negated, ranges }
                    if ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated =>
                {
                    next[at + 1] = true;
                }
                Token::Literal(_) | Token::Class { .. } => {}
            }
        }
        close(&tokens, &mut next);
        alive = next;
    }
    Ok(alive[tokens.len()])
}

enum Token {
    Star,
    Any,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn close(tokens: &[Token], alive: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if alive[at] && matches!(token, Token::Star) {
            alive[at + 1] = true;
        }
    }
}

fn parse(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let bad = || BadPattern(pattern.to_owned());
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Literal(chars.next().ok_or_else(bad)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    match chars.next().ok_or_else(bad)? {
                        ']' if !ranges.is_empty() => break,
                        ']' | '-' => return Err(bad()),
                        first => {
                            let low = if first == '\\' { chars.next().ok_or_else(bad)? } else { first };
                            let high = if chars.next_if_eq(&'-').is_some() {
                                match chars.next().ok_or_else(bad)? {
                                    ']' | '-' => return Err(bad()),
                                    '\\' => chars.next().ok_or_else(bad)?,
                                    high => high,
                                }
                            } else {
                                low
                            };
                            ranges.push((low, high));
                        }
                    }
                }
                Token::Class { negated, ranges }
            }
            literal => Token::Literal(literal),
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_rules() {
        let table = [
            ("abc", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*b*c*d", "axbxcxd", true),
            ("a*b*c*d", "axbxcx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a]", "é", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\-x]", "-", true),
            ("*.rs", ".rs", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), Ok(expected), "{pattern} on {name}");
        }
        for pattern in ["[", "[]", "[a", "[-]", "a\\", "[a-]", "x[^"] {
            assert!(matches(pattern, "a").is_err(), "{pattern}");
        }
    }
}
