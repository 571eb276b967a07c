//! The header by which a registry says how it wants to be spoken to.

use std::collections::BTreeMap;

/// One way in, of a `WWW-Authenticate` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of the server at `realm`. The scope is the request's own, which the client knows.
    Bearer { realm: String, service: Option<String> },
    /// Name and password.
    Basic,
}

/// Reads all headers of an answer and picks the best way: tokens before passwords.
///
/// Spec: RFC 9110, 11.6.1; distribution-spec's token authentication.
pub(super) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut best = None;
    for (scheme, mut parameters) in headers.into_iter().flat_map(parse) {
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => {
                if let Some(realm) = parameters.remove("realm") {
                    return Some(Challenge::Bearer { realm, service: parameters.remove("service") });
                }
            }
            "basic" => best = Some(Challenge::Basic),
            _ => {}
        }
    }
    best
}

fn parse(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == ',').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.insert(word.to_ascii_lowercase(), value);
            }
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push((word.to_owned(), BTreeMap::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    challenges
}

/// Reads a quoted text or a plain word.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn headers_are_read() {
        for (headers, expected) in [
            (
                &[r#"Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push""#][..],
                Some(bearer("https://a/token", Some("s"))),
            ),
            (
                &["bearer REALM=https://a/t , service = \"a \\\"b\\\"\""],
                Some(bearer("https://a/t", Some("a \"b\""))),
            ),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&[r#"Basic realm="x", Bearer realm="https://a""#], Some(bearer("https://a", None))),
            (&["Negotiate", r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Negotiate abc==", "Basic"], Some(Challenge::Basic)),
            (&["Bearer service=\"no realm\""], None),
            (&["", ",,,", "=", "\"", "Bearer realm=\"unended"], Some(bearer("unended", None))),
            (&[], None),
        ] {
            assert_eq!(choose(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
