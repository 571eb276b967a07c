//! Wildcards of COPY and ADD sources.
//!
//! Spec: Go's `filepath.Match`.

use std::fmt;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::CharIndices;

/// A pattern for slash-separated paths.
///
/// `*` stands for any characters but `/`, `?` for one character but `/`, `[a-z]` for one of a class and `[^a]` for
/// one of none of it; `\` takes the meaning away from what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyChar,
    AnyChars,
    Class(Class),
}

/// One `[...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) negated: bool,
    pub(crate) ranges: Vec<RangeInclusive<char>>,
}

/// A malformed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError {
    /// Offset of the byte where the malformed part begins.
    pub at: usize,
    reason: &'static str,
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for GlobError {}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// An open or empty class, a class with a misplaced `-`, an escape at the end.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let mut tokens = Vec::new();
        let mut chars = pattern.char_indices().peekable();
        while let Some((at, ch)) = chars.next() {
            tokens.push(match ch {
                '*' => Token::AnyChars,
                '?' => Token::AnyChar,
                '[' => Token::Class(Class::parse(&mut chars, at)?),
                '\\' => match chars.next() {
                    Some((_, escaped)) => Token::Literal(escaped),
                    None => return Err(GlobError { at, reason: "pattern ends with an escape" }),
                },
                _ => Token::Literal(ch),
            });
        }
        Ok(Self { tokens })
    }

    /// Tells whether the pattern matches the whole path.
    ///
    /// A class can match a slash, as it can in Go.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        let (mut token, mut at) = (0, 0);
        // The last `*` met: the token behind it, and where the text behind its match begins.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let matched = match (self.tokens.get(token), path.get(at)) {
                (None, None) => return true,
                (Some(Token::AnyChars), _) => {
                    star = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(pattern), Some(&ch)) => pattern.matches(ch),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if matched {
                (token, at) = (token + 1, at + 1);
                continue;
            }
            match star {
                Some((behind, start)) if path.get(start).is_some_and(|&ch| ch != '/') => {
                    star = Some((behind, start + 1));
                    (token, at) = (behind, start + 1);
                }
                _ => return false,
            }
        }
    }

    /// Tells whether the pattern has no wildcard.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Literal(_)))
    }

    /// Returns the only text that the pattern matches, escapes resolved; `None` if it has a wildcard.
    pub fn literal(&self) -> Option<String> {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Literal(ch) => Some(*ch),
                Token::AnyChar | Token::AnyChars | Token::Class(_) => None,
            })
            .collect()
    }

    /// Splits the pattern at its slashes, so that each part can be matched against one component of a path.
    ///
    /// Empty parts are left out. Differs from matching whole paths only for a class that matches a slash.
    pub fn components(&self) -> Vec<Self> {
        self.tokens
            .split(|token| *token == Token::Literal('/'))
            .filter(|tokens| !tokens.is_empty())
            .map(|tokens| Self { tokens: tokens.to_vec() })
            .collect()
    }
}

impl Token {
    fn matches(&self, ch: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == ch,
            Self::AnyChar => ch != '/',
            Self::AnyChars => false,
            Self::Class(class) => class.ranges.iter().any(|range| range.contains(&ch)) != class.negated,
        }
    }
}

impl Class {
    /// Reads a class from behind its `[`.
    pub(crate) fn parse(chars: &mut Peekable<CharIndices<'_>>, start: usize) -> Result<Self, GlobError> {
        let open = GlobError { at: start, reason: "`[` is never closed" };
        let negated = chars.next_if(|&(_, ch)| ch == '^').is_some();
        let mut ranges = Vec::new();
        loop {
            if !ranges.is_empty() && chars.next_if(|&(_, ch)| ch == ']').is_some() {
                return Ok(Self { negated, ranges });
            }
            let low = Self::bound(chars, &open)?;
            let high = match chars.next_if(|&(_, ch)| ch == '-') {
                Some(_) => Self::bound(chars, &open)?,
                None => low,
            };
            ranges.push(low..=high);
        }
    }

    fn bound(chars: &mut Peekable<CharIndices<'_>>, open: &GlobError) -> Result<char, GlobError> {
        match chars.next() {
            None => Err(open.clone()),
            Some((_, '\\')) => chars.next().map(|(_, ch)| ch).ok_or_else(|| open.clone()),
            Some((at, ']')) => Err(GlobError { at, reason: "class in `[]` is empty or ends with `-`" }),
            Some((at, '-')) => Err(GlobError { at, reason: "`-` in `[]` is not between two characters" }),
            Some((_, ch)) => Ok(ch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_like_go() {
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b*c/f", "axbxbxc/f", true),
            ("a*b*c/f", "axb/xc/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("*.go", "main.go", true),
            ("?", "\u{e9}", true),
            ("a?b", "a/b", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a[^b]c", "a/c", true),
            ("[a-\u{3b6}]*", "\u{3b1}", true),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[z-a]", "m", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[*?]", "?", true),
            ("", "", true),
            ("", "a", false),
            ("**", "ab", true),
            ("**", "a/b", false),
        ] {
            let glob = Glob::parse(pattern).expect(pattern);
            assert_eq!(glob.matches(path), expected, "{pattern} against {path}");
        }
    }

    #[test]
    fn refuses_malformed_patterns() {
        for (pattern, at) in [
            ("[", 0),
            ("a[", 1),
            ("[]", 1),
            ("[]a]", 1),
            ("[a", 0),
            ("[^]", 2),
            ("[-x]", 1),
            ("[x-]", 3),
            ("a\\", 1),
            ("[\\", 0),
        ] {
            assert_eq!(Glob::parse(pattern).expect_err(pattern).at, at, "{pattern}");
        }
    }

    #[test]
    fn tells_literals_and_components() {
        let glob = Glob::parse("/a\\[b\\]//c\\*").expect("a pattern");
        assert_eq!((glob.is_literal(), glob.literal().as_deref()), (true, Some("/a[b]//c*")));
        let glob = Glob::parse("src/*.[ch]/x").expect("a pattern");
        assert_eq!((glob.is_literal(), glob.literal()), (false, None));
        let parts: Vec<_> = glob.components().iter().map(Glob::literal).collect();
        assert_eq!(parts, [Some("src".to_owned()), None, Some("x".to_owned())]);
    }
}
