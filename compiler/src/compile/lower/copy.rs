//! COPY and ADD.

use kairn_image::Digest;
use kairn_spec::dockerfile::{Copy, Heredoc, Word};
use kairn_spec::remote::{GitSource, RemoteSource};
use kairn_spec::{Diagnostic, Span};

use super::{Line, StageLowering, Wrong};
use crate::compile::stages::Read;
use crate::compile::{lint, paths};
use crate::graph::{
    Archives, CopyOp, CopySource, GitOp, HttpOp, InlineFile, InlineOp, Input, Op, Ownership, Parents, StepId,
};
use crate::mode::ModeChange;

/// Name of a web server's file whose URL has none.
const UNNAMED: &str = "__unnamed__";

impl StageLowering<'_, '_, '_> {
    pub(super) fn add(&mut self, copy: &Copy, line: &Line) -> Result<(), Wrong> {
        let context = (self.context(), Ownership::Root);
        self.copy_files(copy, context, Keyword::Add, line)
    }

    pub(super) fn copy(&mut self, copy: &Copy, reads: &[Read], line: &Line) -> Result<(), Wrong> {
        let source = match reads.first() {
            Some(read) => self.source(&read.named, read.span, line),
            None => (self.context(), Ownership::Root),
        };
        self.copy_files(copy, source, Keyword::Copy, line)
    }

    fn copy_files(
        &mut self,
        copy: &Copy,
        source: (StepId, Ownership),
        keyword: Keyword,
        line: &Line,
    ) -> Result<(), Wrong> {
        let mut text = keyword.name().to_owned();
        if copy.parents {
            text.push_str(" --parents");
        }
        let chown = self.flag(copy.chown.as_ref(), "--chown", &mut text);
        let mode = self.mode(copy, &mut text);
        let checksum = copy.checksum.as_ref().map(|word| self.expand(word)).transpose();
        let dest = self.expand(&copy.dest);
        let paths = self.expand_all(&copy.sources);
        let documents: Vec<_> = copy.heredocs.iter().map(|heredoc| self.document(heredoc)).collect();
        let documents: Result<Vec<_>, Wrong> = documents.into_iter().collect();
        let (chown, mode, checksum) = (chown?, mode?, checksum?.filter(|checksum| !checksum.is_empty()));
        let (dest, paths, documents) = (dest?, paths?, documents?);

        let mut sources = Sources { list: Vec::new(), inputs: Vec::new() };
        for (path, word) in paths.iter().zip(&copy.sources) {
            text.push(' ');
            text.push_str(path);
            match self.remote(path, word.span, keyword)? {
                Some(RemoteSource::Git(git)) => {
                    let git = self.git(&git, copy, checksum.as_deref(), word.span)?;
                    let step = self.build.builder.step(Op::Git(git), &[]);
                    self.note_origin(step, self.position + 1, line);
                    sources.add(step, ".".to_owned(), Ownership::Root, Archives::Copy, None);
                }
                Some(RemoteSource::Http(url)) => {
                    let archives = if copy.unpack == Some(true) { Archives::Unpack } else { Archives::Copy };
                    let checksum = checksum.as_deref().map(|text| self.digest(text, copy)).transpose()?;
                    let name = file_name(&url);
                    let op = HttpOp { url, name: name.clone(), checksum };
                    let step = self.build.builder.step(Op::Http(op), &[]);
                    self.note_origin(step, self.position + 1, line);
                    sources.add(step, name, Ownership::Root, archives, None);
                }
                None => {
                    self.check_ignored(path, copy, source.1, keyword, line);
                    let unpacks = copy.unpack.unwrap_or(keyword == Keyword::Add);
                    let archives = if unpacks { Archives::Unpack } else { Archives::Copy };
                    let (path, parents) =
                        if copy.parents { parents(path) } else { (paths::source(path), None) };
                    sources.add(source.0, path, source.1, archives, parents);
                }
            }
        }
        self.check_checksum(checksum.as_deref(), &paths, copy)?;
        for document in documents {
            text.push_str(" <<");
            text.push_str(&document.path);
            let path = document.path.clone();
            let step = self.build.builder.step(Op::Inline(InlineOp { files: vec![document] }), &[]);
            sources.add(step, path, Ownership::Root, Archives::Copy, None);
        }
        text.push(' ');
        text.push_str(&dest);

        let excludes = copy.excludes.iter().map(|exclude| exclude.value.clone()).collect();
        let dest = paths::destination(&self.state.workdir(), &dest);
        // As in BuildKit, a mode makes the copy depend on what it is copied onto after all.
        let is_linked = copy.link && mode.is_none();
        let op = Op::Copy(CopyOp { sources: sources.list, dest, chown, mode, excludes });
        let builder = &mut *self.build.builder;
        let root = if is_linked { builder.step(Op::Scratch, &[]) } else { self.state.step };
        sources.inputs.push((Input::Root, root));
        let mut step = builder.step(op, &sources.inputs);
        if is_linked {
            self.note_origin(step, self.position + 1, line);
            let inputs = [(Input::Root, self.state.step), (Input::Source(0), step)];
            step = self.build.builder.step(Op::Link, &inputs);
        }
        self.advance(step, line, format!("{text} # buildkit"));
        Ok(())
    }

    /// Expands a flag's value and appends the flag to the history text; a value that expands to nothing is none.
    fn flag(&mut self, word: Option<&Word>, flag: &str, text: &mut String) -> Result<Option<String>, Wrong> {
        let Some(word) = word else { return Ok(None) };
        let value = self.expand(word)?;
        if value.is_empty() {
            return Ok(None);
        }
        *text = format!("{text} {flag}={value}");
        Ok(Some(value))
    }

    fn mode(&mut self, copy: &Copy, text: &mut String) -> Result<Option<ModeChange>, Wrong> {
        let Some(value) = self.flag(copy.chmod.as_ref(), "--chmod", text)? else { return Ok(None) };
        let span = copy.chmod.as_ref().map_or(copy.dest.span, |word| word.span);
        match ModeChange::parse(&value) {
            Ok(mode) => Ok(Some(mode)),
            Err(error) => {
                self.wrong(Diagnostic::error("invalid-chmod", span, format!("`{value}` is {error}")))
            }
        }
    }

    /// Returns the file that a heredoc is.
    fn document(&mut self, heredoc: &Heredoc) -> Result<InlineFile, Wrong> {
        let env = &self.state.env;
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        match heredoc.expand(&lookup) {
            Ok(expansion) => {
                self.note_undefined(expansion.undefined);
                Ok(InlineFile { path: heredoc.name.clone(), mode: 0o644, content: expansion.value })
            }
            Err(error) => self.wrong(error),
        }
    }

    fn remote(&mut self, path: &str, span: Span, keyword: Keyword) -> Result<Option<RemoteSource>, Wrong> {
        let what = match RemoteSource::parse(path) {
            None => return Ok(None),
            Some(Err(error)) => {
                let text = format!("`{path}` is no repository: {error}");
                return self.wrong(Diagnostic::error("invalid-git-source", span, text));
            }
            Some(Ok(remote)) if keyword == Keyword::Add => return Ok(Some(remote)),
            Some(Ok(RemoteSource::Http(_))) => "a URL",
            Some(Ok(RemoteSource::Git(_))) => "a Git repository",
        };
        let error = Diagnostic::error("remote-source", span, format!("a source of COPY cannot be {what}"));
        self.wrong(
            error.with_help("ADD takes it; COPY takes files of the build context, a stage or an image"),
        )
    }

    fn git(
        &mut self,
        source: &GitSource,
        copy: &Copy,
        checksum: Option<&str>,
        span: Span,
    ) -> Result<GitOp, Wrong> {
        if let (Some(flag), Some(query)) = (copy.keep_git_dir, source.keep_git_dir)
            && flag != query
        {
            let text = "`--keep-git-dir` and the repository's `keep-git-dir` contradict each other";
            return self.wrong(Diagnostic::error("contradiction", span, text));
        }
        if let (Some(flag), Some(query)) = (checksum, &source.checksum)
            && flag != query
        {
            let text =
                format!("`--checksum={flag}` and the repository's checksum `{query}` contradict each other");
            return self.wrong(Diagnostic::error("contradiction", span, text));
        }
        let mut op = git_op(source, copy.keep_git_dir);
        op.checksum = op.checksum.or_else(|| checksum.map(str::to_owned));
        Ok(op)
    }

    fn digest(&mut self, text: &str, copy: &Copy) -> Result<Digest, Wrong> {
        let span = copy.checksum.as_ref().map_or(copy.dest.span, |word| word.span);
        text.parse().or_else(|error| {
            let error =
                Diagnostic::error("invalid-checksum", span, format!("`{text}` is no checksum: {error}"));
            self.wrong(error.with_help("write `sha256:` and 64 hexadecimal digits"))
        })
    }

    fn check_checksum(&mut self, checksum: Option<&str>, paths: &[String], copy: &Copy) -> Result<(), Wrong> {
        let Some(word) = copy.checksum.as_ref().filter(|_| checksum.is_some()) else { return Ok(()) };
        let message = match paths {
            [path] if RemoteSource::parse(path).is_some() => return Ok(()),
            [_] => "`--checksum` is for URLs and Git repositories only",
            _ => "`--checksum` is for one source",
        };
        self.wrong(Diagnostic::error("invalid-checksum", word.span, message))
    }

    /// Warns of a source that the ignore file leaves out.
    fn check_ignored(
        &mut self,
        path: &str,
        copy: &Copy,
        ownership: Ownership,
        keyword: Keyword,
        line: &Line,
    ) {
        let is_of_context = copy.from.is_none() && ownership == Ownership::Root;
        let Some(ignore) = self.build.options.ignore.as_ref().filter(|_| is_of_context) else { return };
        self.build.diagnostics.extend(lint::ignored_source(ignore, path, keyword.name(), line.span));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyword {
    Add,
    Copy,
}

impl Keyword {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Copy => "COPY",
        }
    }
}

/// Sources of a copy, with the steps that have them.
struct Sources {
    list: Vec<CopySource>,
    inputs: Vec<(Input, StepId)>,
}

impl Sources {
    fn add(
        &mut self,
        step: StepId,
        path: String,
        ownership: Ownership,
        archives: Archives,
        parents: Option<Parents>,
    ) {
        let known = self.inputs.iter().position(|&(_, known)| known == step);
        let place = known.unwrap_or(self.inputs.len());
        let input = u16::try_from(place).unwrap_or(u16::MAX);
        if known.is_none() {
            self.inputs.push((Input::Source(input), step));
        }
        self.list.push(CopySource { input, path, parents, ownership, archives });
    }
}

/// Makes the op that fetches a repository.
pub(super) fn git_op(source: &GitSource, keep_git_dir: Option<bool>) -> GitOp {
    let op = GitOp::from(source);
    GitOp { keep_git_dir: source.keep_git_dir.or(keep_git_dir).unwrap_or(false), ..op }
}

impl From<&GitSource> for GitOp {
    fn from(source: &GitSource) -> Self {
        Self {
            remote: source.remote.clone(),
            reference: source.reference.clone(),
            subdir: source.subdir.as_deref().map(paths::source).filter(|subdir| subdir != "."),
            checksum: source.checksum.clone(),
            keep_git_dir: source.keep_git_dir.unwrap_or(false),
            submodules: source.submodules.unwrap_or(true),
            commit_mtime: source.commit_mtime,
            fetch_by_commit: source.fetch_by_commit.unwrap_or(false),
        }
    }
}

/// Splits a source of `COPY --parents` at its pivot.
fn parents(path: &str) -> (String, Option<Parents>) {
    let (pivot, pattern) = path.split_once("/./").unwrap_or(("", path));
    let required = !has_wildcards(pivot) && !has_wildcards(pattern);
    (paths::source(pivot), Some(Parents { pattern: paths::source(pattern), required }))
}

fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// Returns the name of a URL's file.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = decoded(name);
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return UNNAMED.to_owned();
    }
    name
}

/// Decodes `%20` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_of_urls() {
        for (url, expected) in [
            ("https://x.example/a/b.tar.gz?x=/y#z", "b.tar.gz"),
            ("https://x.example/a%20b", "a b"),
            ("https://x.example/", UNNAMED),
            ("https://x.example", UNNAMED),
            ("https://x.example?a/b", UNNAMED),
            ("https://x.example/a/", "a"),
            ("https://x.example/..", UNNAMED),
            ("https://x.example/%2e%2e%2fa", UNNAMED),
        ] {
            assert_eq!(file_name(url), expected, "{url}");
        }
    }

    #[test]
    fn finds_pivots() {
        for (path, pivot, pattern, required) in [
            ("a/b/c", ".", "a/b/c", true),
            ("./a/./b/c", "a", "b/c", true),
            ("/a/./*/c", "a", "*/c", false),
            ("a*/./b", "a*", "b", false),
            (r"a\*", ".", r"a\*", true),
            ("**/x", ".", "**/x", false),
        ] {
            let expected = Some(Parents { pattern: pattern.to_owned(), required });
            assert_eq!(parents(path), (pivot.to_owned(), expected), "{path}");
        }
    }
}
