//! Sources of ADD that are not local: files behind a URL and git repositories.
//!
//! Spec: Dockerfile reference, "Adding files from a Git repository"; the fine points follow BuildKit's program.

mod query;

use std::borrow::Cow;

use query::{Plus, Query, decode, pairs};

/// A source that is not a local path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A file behind `http://` or `https://`: its URL.
    Http(String),
    /// A git repository.
    Git(GitSource),
}

/// What is taken from which repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What git clones: query and fragment are off.
    pub remote: String,
    /// A branch, a tag, a commit or a full reference; the remote's HEAD if `None`.
    pub reference: Option<String>,
    /// The directory in it.
    pub subdir: Option<String>,
    /// The commit that the reference must be; a prefix may do.
    pub checksum: Option<String>,
    /// Whether `.git` stays, if the source says so.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, if the source says so; they are by default.
    pub submodules: Option<bool>,
    /// Whether files have the commit's time, not the check-out's (`mtime=commit`).
    pub commit_mtime: bool,
    /// Whether the checksum is what is fetched, not the reference, if the source says so.
    pub fetch_by_commit: Option<bool>,
}

impl RemoteSource {
    /// Tells what an ADD source is, after expansion; `None` for a local path.
    ///
    /// `github.com/...` without a scheme is a local path, as in BuildKit's ADD.
    ///
    /// # Errors
    /// The inner result: a message for a git source whose query or reference is wrong.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        match Address::url(text).or_else(|| Address::scp(text)) {
            Some(address) => Some(address.source().map(Self::Git)),
            None if text.starts_with("http://") || text.starts_with("https://") => {
                Some(Ok(Self::Http(text.to_owned())))
            }
            None => None,
        }
    }
}

/// A git address in its parts.
struct Address<'a> {
    remote: String,
    query: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    fragment: Cow<'a, str>,
}

impl<'a> Address<'a> {
    /// Reads a URL; over HTTP only a path that ends with `.git` is a repository.
    fn url(text: &'a str) -> Option<Self> {
        let (scheme, _) = text.split_once("://")?;
        let lower = scheme.to_ascii_lowercase();
        if !matches!(&*lower, "http" | "https" | "git" | "ssh") {
            return None;
        }
        let (before, query, fragment) = split(text);
        let rest = &before[scheme.len() + "://".len()..];
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        let path = decode(path, Plus::Stays)?;
        if lower.starts_with("http") && !path.ends_with(".git") {
            return None;
        }
        let fragment = decode(fragment, Plus::Stays)?;
        // As in Go, pairs that cannot be read do not count in a URL.
        let query = pairs(query).flatten().collect();
        Some(Self { remote: lower + &before[scheme.len()..], query, fragment })
    }

    /// Reads `user@host:path`.
    fn scp(text: &'a str) -> Option<Self> {
        let (before, query, fragment) = split(text);
        let (user, rest) = before.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let named = |name: &str, extra: [char; 2]| {
            !name.is_empty() && name.chars().all(|ch| ch.is_ascii_alphanumeric() || extra.contains(&ch))
        };
        if !named(user, ['-', '_']) || !named(host, ['-', '.']) || text.contains('\n') {
            return None;
        }
        let query = pairs(query).collect::<Option<_>>()?;
        Some(Self { remote: before.to_owned(), query, fragment: Cow::Borrowed(fragment) })
    }

    fn source(self) -> Result<GitSource, String> {
        let (reference, subdir) = self.fragment.split_once(':').unwrap_or((&self.fragment, ""));
        let mut source = GitSource {
            remote: self.remote,
            reference: some(reference),
            subdir: some(subdir),
            ..GitSource::default()
        };
        let mut query = Query::default();
        for (at, (key, value)) in self.query.iter().enumerate() {
            if self.query[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(format!("query `{key}` of a git source is given twice"));
            }
            query.add(&mut source, key, value)?;
        }
        query.finish(&mut source)?;
        Ok(source)
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Cuts a text into what stands before query and fragment, and these.
fn split(text: &str) -> (&str, &str, &str) {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    (before, query, fragment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(remote: &str) -> GitSource {
        GitSource { remote: remote.to_owned(), ..GitSource::default() }
    }

    fn with(remote: &str, reference: &str) -> GitSource {
        GitSource { reference: Some(reference.to_owned()), ..git(remote) }
    }

    #[test]
    fn tells_remote_sources() {
        const X: &str = "https://x.example/a.git";
        for (text, expected) in [
            (X, git(X)),
            ("HTTPS://x.example/a.git", git(X)),
            ("https://x.example/a.git#", git(X)),
            ("https://x.example/a.git#v1", with(X, "v1")),
            ("https://x.example/a.git#v%31:s/t", GitSource { subdir: some("s/t"), ..with(X, "v1") }),
            ("https://x.example/a.git#:s", GitSource { subdir: some("s"), ..git(X) }),
            ("https://x.example/a.git?ref=v1", with(X, "v1")),
            ("https://x.example/a.git?ref=v1#v1", with(X, "v1")),
            ("https://x.example/a.git?tag=v1", with(X, "refs/tags/v1")),
            ("https://x.example/a.git?tag=refs/tags/v1", with(X, "refs/tags/v1")),
            ("https://x.example/a.git?branch=a+b", with(X, "refs/heads/a b")),
            ("https://x.example/a.git?commit=abc", GitSource { checksum: some("abc"), ..with(X, "abc") }),
            (
                "https://x.example/a.git?checksum=abc&ref=m&subdir=d",
                GitSource { checksum: some("abc"), subdir: some("d"), ..with(X, "m") },
            ),
            (
                "https://x.example/a.git?keep-git-dir&submodules=0&fetch-by-commit=true&mtime=commit",
                GitSource {
                    keep_git_dir: Some(true),
                    submodules: Some(false),
                    fetch_by_commit: Some(true),
                    commit_mtime: true,
                    ..git(X)
                },
            ),
            ("https://x.example/a.git?mtime=checkout&ref=%zz", git(X)),
            ("git@x.example:a/b.git", git("git@x.example:a/b.git")),
            ("me-2@x.example:a?ref=b#b:c", GitSource { subdir: some("c"), ..with("me-2@x.example:a", "b") }),
            ("ssh://git@x.example:22/a#v", with("ssh://git@x.example:22/a", "v")),
            ("git://x.example/a", git("git://x.example/a")),
        ] {
            assert_eq!(RemoteSource::parse(text), Some(Ok(RemoteSource::Git(expected))), "{text}");
        }
        for text in [
            "https://x.example/a.tar.gz",
            "http://x.example/a?x=.git",
            "https://x.example/a.git/",
            "https://x.example/%zz.git",
        ] {
            assert_eq!(RemoteSource::parse(text), Some(Ok(RemoteSource::Http(text.to_owned()))), "{text}");
        }
        for text in [
            "github.com/a/b.git",
            "./git@x:y",
            "../git@x:y",
            "dir/a@b:c",
            "httpd.conf",
            "HTTPS://x.example/a",
            "ftp://x.example/a.git",
            "@x:y",
            "git@x",
            "git@x:a?%zz",
            "",
        ] {
            assert_eq!(RemoteSource::parse(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_wrong_queries() {
        for (query, message) in [
            ("?depth=1", "unknown query `depth` of a git source"),
            ("?ref=", "query `ref` of a git source has no value"),
            ("?ref=a&ref=a", "query `ref` of a git source is given twice"),
            ("?ref=a#b", "a git source has two values of `ref`: `b` and `a`"),
            ("?tag=a&ref=b", "a git source has two values of `ref`: `b` and `refs/tags/a`"),
            ("?tag=a&branch=b", "a git source has a tag or a branch, not both"),
            ("?subdir=a#b:c", "a git source has two values of `subdir`: `c` and `a`"),
            ("?submodules=x", "query `submodules` must be true or false"),
            ("?mtime=now", "query `mtime` must be `checkout` or `commit`, not `now`"),
            ("?commit=a&checksum=b", "a git source has two values of `checksum`: `a` and `b`"),
        ] {
            let found = RemoteSource::parse(&format!("https://x.example/a.git{query}"));
            assert_eq!(found, Some(Err(message.to_owned())), "{query}");
        }
    }
}
