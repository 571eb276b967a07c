//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`.

use regex::Regex;

/// How much a `*` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// Removes what the pattern matches at the start of the value.
pub(super) fn trim_prefix(pattern: &str, value: &str, reach: Reach) -> Result<String, String> {
    let regex = compile(&format!("^(?:{})", translate(pattern, reach)?))?;
    Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// Removes what the pattern matches at the end of the value.
pub(super) fn trim_suffix(pattern: &str, value: &str, reach: Reach) -> Result<String, String> {
    let regex = compile(&format!("^(?:{})$", translate(pattern, reach)?))?;
    let mut ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let matches = |&at: &usize| regex.is_match(&value[at..]);
    let cut = match reach {
        Reach::Longest => ends.find(matches),
        Reach::Shortest => ends.collect::<Vec<_>>().into_iter().rev().find(matches),
    };
    Ok(value[..cut.unwrap_or(value.len())].to_owned())
}

/// Replaces the first match.
pub(super) fn replace_first(pattern: &str, value: &str, replacement: &str) -> Result<String, String> {
    let regex = compile(&translate(pattern, Reach::Longest)?)?;
    Ok(regex.replace(value, regex::NoExpand(replacement)).into_owned())
}

/// Replaces every match.
pub(super) fn replace_all(pattern: &str, value: &str, replacement: &str) -> Result<String, String> {
    let regex = compile(&translate(pattern, Reach::Longest)?)?;
    Ok(regex.replace_all(value, regex::NoExpand(replacement)).into_owned())
}

fn compile(source: &str) -> Result<Regex, String> {
    Regex::new(source).map_err(|_| "pattern is too large".to_owned())
}

/// Writes a shell pattern as a regular expression: only `*` and `?` are special, `\` takes their meaning away.
fn translate(pattern: &str, reach: Reach) -> Result<String, String> {
    let mut regex = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars().peekable();
    while let Some(ch) = rest.next() {
        match ch {
            '*' if reach == Reach::Longest => regex.push_str(".*"),
            '*' => regex.push_str(".*?"),
            '?' => regex.push('.'),
            // The escape only kept the brace or slash from ending the pattern.
            '\\' if matches!(rest.peek(), Some('}' | '/')) => {}
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '?' | '\\')) => regex.extend(['\\', escaped]),
                Some(other) => return Err(format!("invalid escape `\\{other}` in pattern")),
                None => return Err("pattern ends with an escape".to_owned()),
            },
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    Ok(regex)
}
