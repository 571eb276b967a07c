//! The query of a git address.

use std::borrow::Cow;

use super::GitSource;
use crate::dockerfile::parse_bool;

/// What of a query waits for the rest of it.
#[derive(Default)]
pub(super) struct Query {
    tag: Option<String>,
    branch: Option<String>,
}

impl Query {
    /// Takes a key and its value.
    pub(super) fn add(&mut self, source: &mut GitSource, key: &str, value: &str) -> Result<(), String> {
        let is_switch = matches!(key, "keep-git-dir" | "submodules" | "fetch-by-commit");
        let known =
            is_switch || matches!(key, "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime");
        if !known {
            return Err(format!("unknown query `{key}` of a git source"));
        }
        if value.is_empty() && !is_switch {
            return Err(format!("query `{key}` of a git source has no value"));
        }
        match key {
            "ref" => agree("ref", &mut source.reference, value),
            "subdir" => agree("subdir", &mut source.subdir, value),
            "checksum" | "commit" => agree("checksum", &mut source.checksum, value),
            "tag" => agree("tag", &mut self.tag, value),
            "branch" => agree("branch", &mut self.branch, value),
            "mtime" => {
                source.commit_mtime = match value {
                    "commit" => true,
                    "checkout" => false,
                    _ => return Err(format!("query `mtime` must be `checkout` or `commit`, not `{value}`")),
                };
                Ok(())
            }
            _ => {
                let value = if value.is_empty() { Some(true) } else { parse_bool(value) };
                let value = value.ok_or_else(|| format!("query `{key}` must be true or false"))?;
                match key {
                    "keep-git-dir" => source.keep_git_dir = Some(value),
                    "submodules" => source.submodules = Some(value),
                    _ => source.fetch_by_commit = Some(value),
                }
                Ok(())
            }
        }
    }

    /// Settles which reference is meant.
    pub(super) fn finish(self, source: &mut GitSource) -> Result<(), String> {
        if self.tag.is_some() && self.branch.is_some() {
            return Err("a git source has a tag or a branch, not both".to_owned());
        }
        for (name, prefix) in [(self.tag, "refs/tags/"), (self.branch, "refs/heads/")] {
            let Some(name) = name else { continue };
            let full = if name.starts_with(prefix) { name } else { format!("{prefix}{name}") };
            agree("ref", &mut source.reference, &full)?;
        }
        if source.reference.is_none() {
            source.reference.clone_from(&source.checksum);
        }
        Ok(())
    }
}

/// Sets what is not set, or is the same.
fn agree(what: &str, place: &mut Option<String>, value: &str) -> Result<(), String> {
    match place {
        Some(other) if other != value => {
            Err(format!("a git source has two values of `{what}`: `{other}` and `{value}`"))
        }
        _ => {
            *place = Some(value.to_owned());
            Ok(())
        }
    }
}

/// Reads a query; `None` stands for a pair that is malformed.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = Option<(Cow<'_, str>, Cow<'_, str>)>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if pair.contains(';') {
            return None;
        }
        Some((decode(key, Plus::IsBlank)?, decode(value, Plus::IsBlank)?))
    })
}

/// What a `+` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Stays,
    IsBlank,
}

/// Replaces `%xx`; `None` if one is malformed.
pub(super) fn decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(digits[0])? * 16 + digit(digits[1])?;
                bytes.push(u8::try_from(value).ok()?);
                rest = tail;
            }
            b'+' if plus == Plus::IsBlank => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}
