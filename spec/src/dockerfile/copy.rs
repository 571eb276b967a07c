//! COPY and ADD.

use super::flags::Flags;
use super::instruction::Reader;
use super::keyword::Keyword;
use super::{Copy, Word, json};
use crate::Diagnostic;
use crate::text::Slice;

/// A source that is not a local path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A file behind `http://` or `https://`.
    Http,
    /// A git repository.
    Git,
}

impl RemoteSource {
    /// Tells what an ADD source is, after expansion; `None` for a local path.
    pub fn detect(source: &str) -> Option<Self> {
        if let Some(rest) = source.strip_prefix("http://").or_else(|| source.strip_prefix("https://")) {
            let path = rest.split(['#', '?']).next().unwrap_or(rest);
            return Some(if path.strip_suffix(".git").is_some() { Self::Git } else { Self::Http });
        }
        let is_git = source.starts_with("git://") || source.starts_with("ssh://") || is_scp_like(source);
        is_git.then_some(Self::Git)
    }
}

/// Whether a source looks like `user@host:path`.
fn is_scp_like(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let named = |name: &str, extra: [char; 2]| {
        !name.is_empty() && name.chars().all(|ch| ch.is_ascii_alphanumeric() || extra.contains(&ch))
    };
    named(user, ['-', '_']) && named(host, ['-', '.'])
}

/// Reads the arguments of COPY or ADD.
pub(super) fn read(
    reader: &mut Reader<'_>,
    keyword: Keyword,
    mut flags: Flags,
    arguments: Slice<'_>,
) -> Option<Copy> {
    let mut words = words(reader, arguments)?;
    let at = reader.span;
    let dest = words.pop();
    let Some(dest) = dest.filter(|_| !words.is_empty()) else {
        reader.error(
            Diagnostic::error(
                "missing-argument",
                at,
                format!("`{keyword}` needs at least one source and a destination"),
            )
            .with_help(format!("write `{keyword} <source>... <destination>`")),
        );
        return None;
    };
    let before = reader.diagnostics.len();
    for source in &words {
        if let Some(diagnostic) = refuse_remote(reader, keyword, source) {
            reader.error(diagnostic);
        }
    }
    (reader.diagnostics.len() == before).then_some(Copy {
        from: flags.spanned("from"),
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        sources: words,
        dest,
    })
}

/// Returns the arguments as words, from the JSON form or split at blanks.
pub(super) fn words(reader: &mut Reader<'_>, arguments: Slice<'_>) -> Option<Vec<Word>> {
    match json::array(arguments) {
        Some(Ok(elements)) => Some(elements.iter().map(|element| element.value.all().word()).collect()),
        Some(Err(diagnostic)) => {
            reader.error(*diagnostic);
            None
        }
        None => Some(arguments.split_blanks().into_iter().map(Slice::word).collect()),
    }
}

/// Says what is wrong with a source that is, as far as it can be known unexpanded, remote.
fn refuse_remote(reader: &Reader<'_>, keyword: Keyword, source: &Word) -> Option<Diagnostic> {
    let text = source.expand(reader.escape, &|_| None).ok()?.value;
    let kind = RemoteSource::detect(&text)?;
    match (keyword, kind) {
        (Keyword::Add, RemoteSource::Http) => Some(
            Diagnostic::error("unsupported", source.span, "ADD of a URL is not supported")
                .with_help("download the file beforehand, or with RUN in a stage that has the tools"),
        ),
        (Keyword::Add, RemoteSource::Git) => Some(
            Diagnostic::error("unsupported", source.span, "ADD of a git repository is not supported")
                .with_help("clone it beforehand and copy it from the build context"),
        ),
        _ if text.starts_with("http://") || text.starts_with("https://") => Some(
            Diagnostic::error("remote-source", source.span, "a source of COPY cannot be a URL")
                .with_help("COPY takes files of the build context, a stage or an image"),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_remote_sources() {
        for (source, expected) in [
            ("https://x.example/a.tar.gz", Some(RemoteSource::Http)),
            ("http://x.example/a", Some(RemoteSource::Http)),
            ("https://x.example/a.git#v1:sub", Some(RemoteSource::Git)),
            ("https://x.example/a.git?ref=v1", Some(RemoteSource::Git)),
            ("git@x.example:a/b.git", Some(RemoteSource::Git)),
            ("me-2@x.example:a", Some(RemoteSource::Git)),
            ("ssh://git@x.example/a", Some(RemoteSource::Git)),
            ("git://x.example/a", Some(RemoteSource::Git)),
            ("github.com/a/b", None),
            ("./git@x", None),
            ("dir/a@b:c", None),
            ("httpd.conf", None),
            ("HTTPS://x.example/a", None),
        ] {
            assert_eq!(RemoteSource::detect(source), expected, "{source}");
        }
    }
}
