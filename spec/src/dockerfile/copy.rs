//! COPY and ADD.

use super::flags::Flags;
use super::instruction::Reader;
use super::keyword::Keyword;
use super::{Copy, Word, heredoc, json};
use crate::remote::RemoteSource;
use crate::text::Slice;
use crate::{Diagnostic, Spanned};

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
    if heredoc::source(&dest, &[]).is_some() {
        reader.error(
            Diagnostic::error(
                "heredoc-destination",
                dest.span,
                format!("the destination of `{keyword}` cannot be a heredoc"),
            )
            .with_help("write the path of the file or directory last"),
        );
        return None;
    }
    let before = reader.diagnostics.len();
    let (mut sources, mut heredocs) = (Vec::new(), Vec::new());
    for word in words {
        if let Some(heredoc) = heredoc::source(&word, reader.heredocs) {
            heredocs.push(heredoc);
        } else {
            reader.diagnostics.extend(wrong_remote(reader.escape, keyword, &word));
            sources.push(word);
        }
    }
    let excludes =
        flags.list("exclude").map(|(value, span)| Spanned::new(value.all().as_str().to_owned(), span));
    let excludes = excludes.filter(|pattern| !pattern.value.is_empty()).collect();
    (reader.diagnostics.len() == before).then_some(Copy {
        from: flags.word("from"),
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.truth("link") == Some(true),
        parents: flags.truth("parents") == Some(true),
        excludes,
        checksum: flags.word("checksum"),
        keep_git_dir: flags.truth("keep-git-dir"),
        unpack: flags.truth("unpack"),
        sources,
        heredocs,
        dest,
    })
}

/// Returns the arguments as words, from the JSON form or split at blanks.
fn words(reader: &mut Reader<'_>, arguments: Slice<'_>) -> Option<Vec<Word>> {
    match json::array(arguments) {
        Some(Ok(elements)) => Some(elements.iter().map(|element| element.value.all().word()).collect()),
        Some(Err(diagnostic)) => {
            reader.error(*diagnostic);
            None
        }
        None => Some(arguments.split_blanks().into_iter().map(Slice::word).collect()),
    }
}

/// Says what is wrong with a remote source, if no variable decides whether it is one.
pub(crate) fn wrong_remote(escape: char, keyword: Keyword, source: &Word) -> Option<Diagnostic> {
    if source.raw.contains('$') && !source.raw.contains("://") {
        return None;
    }
    let expansion = source.expand(escape, &|_| None).ok()?;
    let is_remote = RemoteSource::parse(&expansion.value)?;
    match (keyword, is_remote) {
        (Keyword::Add, Err(_)) if !expansion.undefined.is_empty() => None,
        (Keyword::Add, Err(message)) => Some(Diagnostic::error("invalid-git-source", source.span, message)),
        (Keyword::Add, Ok(_)) => None,
        (_, _) if source.raw.starts_with('$') => None,
        (_, Ok(RemoteSource::Http(_))) => Some(
            Diagnostic::error("remote-source", source.span, "a source of COPY cannot be a URL")
                .with_help("use ADD, or copy files of the build context, a stage or an image"),
        ),
        (_, Ok(RemoteSource::Git(_)) | Err(_)) => Some(
            Diagnostic::error("remote-source", source.span, "a source of COPY cannot be a git repository")
                .with_help("use ADD; a local path of this form begins with `./`"),
        ),
    }
}
