//! `.dockerignore` files.
//!
//! Spec: Dockerfile reference, ".dockerignore file"; the fine points follow moby's patternmatcher as BuildKit walks a
//! context with it.

use std::fmt::Write;

use regex::Regex;

use crate::glob::{Class, Glob};
use crate::{Diagnostic, Span};

/// The patterns of a `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
    diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Whether the pattern had a `!`.
    reincludes: bool,
    pattern: String,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Exact,
    /// `x**`: whatever begins so.
    Prefix(String),
    /// `**x`: whatever ends so.
    Suffix(String),
    Regex(Regex),
}

impl IgnoreFile {
    /// Reads the patterns, one a line.
    ///
    /// Comments have their `#` in the first column. Patterns are trimmed and cleaned as paths are, and a leading `/` is
    /// dropped. Malformed ones are left out and reported by [`IgnoreFile::diagnostics`].
    ///
    /// Differs: characters that mean something in a Go regular expression only (`^` outside a class, `\d`) stand for
    /// themselves.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut start = text.len() - body.len();
        for line in body.split('\n') {
            let written = line.trim();
            if !line.starts_with('#') && !written.is_empty() {
                let begin = start + (line.len() - line.trim_start().len());
                let span = Span::new(begin, begin + written.len());
                match Rule::parse(written) {
                    Ok(rule) => file.rules.push(rule),
                    Err(reason) => file.diagnostics.push(Diagnostic::error(
                        "invalid-pattern",
                        span,
                        format!("invalid pattern `{written}`: {reason}"),
                    )),
                }
            }
            start += line.len() + 1;
        }
        file
    }

    /// Takes patterns one by one: of `--exclude`, or of `COPY --parents`. A `#` is a letter like any other.
    ///
    /// # Errors
    /// Says what is wrong with the first malformed pattern.
    pub fn of_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let written = patterns.into_iter().map(str::trim).filter(|written| !written.is_empty());
        let rule = |written: &str| {
            Rule::parse(written).map_err(|reason| format!("invalid pattern `{written}`: {reason}"))
        };
        Ok(Self { rules: written.map(rule).collect::<Result<_, _>>()?, diagnostics: Vec::new() })
    }

    /// Returns what is wrong in the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Tells whether the file has no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the patterns in order, clean, one a line; files with the same ones leave out the same names.
    pub fn rules(&self) -> String {
        let rule = |rule: &Rule| format!("{}{}\n", if rule.reincludes { "!" } else { "" }, rule.pattern);
        self.rules.iter().map(rule).collect()
    }

    /// Tells whether some pattern lets files in again (`!`).
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.reincludes)
    }

    /// Tells whether one pattern leaves everything out.
    pub fn ignores_everything(&self) -> bool {
        self.rules.iter().any(|rule| !rule.reincludes && matches!(&*rule.pattern, "*" | "**" | "**/*"))
    }

    /// Tells whether a path is ignored: a slash-separated path relative to the context, without `.` or `..`.
    ///
    /// The last pattern that matches it or a directory above it decides. As in BuildKit's walk, a pattern is tried on a
    /// path only where it could change the outcome so far, and what it matched holds for everything below.
    pub fn matches(&self, path: &str) -> bool {
        let mut matched_above = vec![false; self.rules.len()];
        let mut ignored = false;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            ignored = false;
            for (rule, matched) in self.rules.iter().zip(&mut matched_above) {
                *matched = *matched || (rule.reincludes == ignored && rule.matches(&path[..end]));
                if *matched {
                    ignored = !rule.reincludes;
                }
            }
        }
        ignored
    }

    /// Tells whether a `!` pattern may match a path below a directory, so that an ignored directory must still be walked.
    ///
    /// May be true without need, but is never false where such a path can exist.
    pub fn could_reinclude_below(&self, directory: &str) -> bool {
        self.rules.iter().any(|rule| rule.reincludes && rule.could_match_below(directory))
    }
}

impl Rule {
    fn parse(written: &str) -> Result<Self, String> {
        let (reincludes, body) = match written.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, written),
        };
        let mut pattern = if body.is_empty() { String::new() } else { clean(body) };
        if pattern.len() > 1 && pattern.starts_with('/') {
            pattern.remove(0);
        }
        if reincludes && (pattern.is_empty() || pattern == "/") {
            return Err("`!` without a path".to_owned());
        }
        Glob::parse(&pattern).map_err(|error| error.to_string())?;
        let matcher = Matcher::compile(&pattern)?;
        Ok(Self { reincludes, pattern, matcher })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.pattern,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            // `**/x` also matches `x` itself.
            Matcher::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    fn could_match_below(&self, directory: &str) -> bool {
        let mut parts = self.pattern.split('/');
        for name in directory.split('/') {
            // A pattern that has ended matches no deeper path, but `**` and classes may reach over slashes.
            let Some(part) = parts.next() else { return false };
            if part.contains("**") || part.contains('[') {
                return true;
            }
            if Glob::parse(part).is_ok_and(|glob| !glob.matches(name)) {
                return false;
            }
        }
        parts.next().is_some()
    }
}

impl Matcher {
    /// Decides how a pattern is matched.
    fn compile(pattern: &str) -> Result<Self, String> {
        let mut regex = "^".to_owned();
        let mut matcher = Self::Exact;
        // Stands in until the whole expression is known.
        let is_regex = || Self::Regex(Regex::new("").expect("the empty expression is valid"));
        let mut chars = pattern.char_indices().peekable();
        while let Some((at, ch)) = chars.next() {
            match ch {
                '*' if chars.next_if(|&(_, next)| next == '*').is_some() => {
                    chars.next_if(|&(_, next)| next == '/');
                    let ends = chars.peek().is_none();
                    regex.push_str(if ends { ".*" } else { "(?:.*/)?" });
                    matcher = match matcher {
                        _ if at == 0 => Self::Suffix(pattern[2..].to_owned()),
                        Self::Exact if ends => Self::Prefix(pattern[..at].to_owned()),
                        _ => is_regex(),
                    };
                    continue;
                }
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                '[' => {
                    let class = Class::parse(&mut chars, at).map_err(|error| error.to_string())?;
                    push_class(&mut regex, &class)?;
                }
                // An escaped wildcard is compared literally, but by the expression.
                '\\' => {
                    let escaped = chars.next().map_or('\\', |(_, escaped)| escaped);
                    regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
                }
                _ => {
                    regex.push_str(&regex::escape(ch.encode_utf8(&mut [0; 4])));
                    if ch != ']' {
                        continue;
                    }
                }
            }
            matcher = is_regex();
        }
        if let Self::Regex(_) = matcher {
            regex.push('$');
            matcher = Self::Regex(Regex::new(&regex).map_err(|_| "it is too large".to_owned())?);
        }
        Ok(matcher)
    }
}

fn push_class(regex: &mut String, class: &Class) -> Result<(), String> {
    regex.push_str(if class.negated { "[^" } else { "[" });
    for range in &class.ranges {
        let (low, high) = (u32::from(*range.start()), u32::from(*range.end()));
        if low > high {
            return Err("range in `[]` runs backwards".to_owned());
        }
        write!(regex, "\\x{{{low:x}}}-\\x{{{high:x}}}").expect("a string can be written to");
    }
    regex.push(']');
    Ok(())
}

/// Shortens a path by its text alone.
///
/// Spec: Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (path, expected) in [
            ("a//b/./c/", "a/b/c"),
            ("./a", "a"),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/", "/"),
            (".", "."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn decides_by_the_last_match() {
        for (file, ignored, kept) in [
            ("", &[][..], &["a"][..]),
            ("# x\n  \na", &["a", "a/b"], &["b", "x"]),
            (" # x", &["# x"], &[]),
            ("/a/\r\n ./b ", &["a", "b", "b/c"], &["c/a"]),
            ("a\n!a/b", &["a", "a/c"], &["a/b", "a/b/c"]),
            ("!a/b\na", &["a/b"], &[]),
            ("*\n!src\nsrc/*.log", &["x", "src/a.log"], &["src", "src/a", "src/d/a.log"]),
            ("*.log", &["a.log"], &["d/a.log", "a.logs"]),
            ("**/*.log", &["a.log", "d/a.log", "d/e/a.log"], &["a.logs"]),
            ("**/a", &["a", "x/a", "x/y/a", "x/a/b"], &["ba", "x/ba"]),
            ("**a", &["a", "ba", "x/ba", "x/a"], &["ab"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab"]),
            ("a**", &["a", "ab", "ab/c"], &["b"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "a/x", "ab"]),
            ("**", &["a", "a/b"], &[]),
            ("**\n!a", &["b"], &["a", "a/b"]),
            ("a?c", &["abc"], &["a/c", "ac"]),
            ("a[b-d]\n[^x]y", &["ab", "ad", "ay"], &["ae", "xy"]),
            ("a.b", &["a.b"], &["axb"]),
            ("a+(b)|{c}$?", &["a+(b)|{c}$x"], &["a"]),
            (r"a\*", &["a*"], &["ab"]),
            (r"\a?", &["ab"], &[]),
            ("^a?", &["^ab"], &["ab"]),
            ("../a\n.\n/", &["../a"], &["a"]),
            ("\u{feff}a", &["a"], &[]),
            ("! b\nb", &["b"], &[]),
            // What `**/k` would match is ignored already where it is tried, so `!k/x` has the last word.
            ("k\n!k/x\n**/k", &["k", "k/y"], &["k/x"]),
        ] {
            let parsed = IgnoreFile::parse(file);
            assert_eq!(parsed.diagnostics(), [], "{file:?}");
            for path in ignored {
                assert!(parsed.matches(path), "{file:?} ignores {path}");
            }
            for path in kept {
                assert!(!parsed.matches(path), "{file:?} keeps {path}");
            }
        }
    }

    #[test]
    fn reports_malformed_patterns() {
        for (file, expected) in [
            ("a\n [b \nc", &[(3, 5)][..]),
            ("!", &[(0, 1)]),
            ("!/", &[(0, 2)]),
            ("a\\", &[(0, 2)]),
            ("[z-a]", &[(0, 5)]),
        ] {
            let parsed = IgnoreFile::parse(file);
            let found: Vec<_> =
                parsed.diagnostics().iter().map(|found| (found.span.start, found.span.end)).collect();
            assert_eq!(found, expected, "{file:?}");
        }
    }

    #[test]
    fn knows_where_to_walk() {
        for (file, directory, expected) in [
            ("*", "a", false),
            ("*\n!a/b", "a", true),
            ("*\n!a/b", "c", false),
            ("*\n!a/b", "a/b", false),
            ("*\n!a/b", "a/c", false),
            ("*\n!a/*/c", "a/b", true),
            ("*\n!a*/c", "ab", true),
            ("*\n!a*/c", "b", false),
            ("*\n!**/c", "b", true),
            ("*\n!b", "b", false),
            ("*\n!x[^y]z", "x", true),
        ] {
            let parsed = IgnoreFile::parse(file);
            assert_eq!(parsed.could_reinclude_below(directory), expected, "{file:?} below {directory}");
        }
    }
}
