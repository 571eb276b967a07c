//! COPY and ADD.

use std::sync::Arc;

use kairn_spec::dockerfile::{Copy, Word};
use kairn_spec::{Diagnostic, Span, Spanned};

use super::{Line, StageLowering, Wrong};
use crate::compile::paths;
use crate::compile::stages::Named;
use crate::graph::{Archives, ContextOp, CopyOp, Input, Op, Ownership, StepId};

/// Largest mode: permissions, setuid, setgid, sticky.
const LAST_MODE: u32 = 0o7777;

impl StageLowering<'_, '_, '_> {
    pub(super) fn add(&mut self, copy: &Copy, line: &Line) -> Result<(), Wrong> {
        self.copy_files("ADD", copy, Archives::Unpack, line)
    }

    pub(super) fn copy(&mut self, copy: &Copy, line: &Line) -> Result<(), Wrong> {
        self.copy_files("COPY", copy, Archives::Copy, line)
    }

    fn copy_files(
        &mut self,
        keyword: &str,
        copy: &Copy,
        archives: Archives,
        line: &Line,
    ) -> Result<(), Wrong> {
        let Copy { from, chown, chmod, sources, dest } = copy;
        let mut text = keyword.to_owned();
        let chown = self.flag(chown.as_ref(), "--chown", &mut text);
        let mode_text = self.flag(chmod.as_ref(), "--chmod", &mut text);
        let expanded = self.expand_all(sources.iter().chain([dest]));
        let mode = match (mode_text?, chmod) {
            (Some(mode), Some(word)) => Some(self.mode(&mode, word.span)?),
            _ => None,
        };
        let (chown, expanded) = (chown?, expanded?);
        let (dest, files) = expanded.split_last().expect("a COPY has a destination");
        for (file, word) in files.iter().zip(sources) {
            self.refuse_remote(file, word.span, archives)?;
        }
        for word in &expanded {
            text.push(' ');
            text.push_str(word);
        }
        let (source, ownership) = self.files(from.as_ref(), line)?;
        let op = Op::Copy(CopyOp {
            sources: files.iter().map(|file| paths::source(file)).collect(),
            dest: paths::destination(&self.state.workdir(), dest),
            chown,
            mode,
            ownership,
            archives,
        });
        let inputs = [(Input::Root, self.state.step), (Input::Source, source)];
        let step = self.build.builder.step(op, &inputs);
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

    fn mode(&mut self, text: &str, span: Span) -> Result<u32, Wrong> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("the symbolic mode `{text}` is not supported");
            let error = Diagnostic::error("unsupported", span, message);
            return self.wrong(error.with_help("write the mode as an octal number, as `0755`"));
        }
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= LAST_MODE => Ok(mode),
            _ => {
                let message = format!("`{text}` is not an octal mode from 0 to 07777");
                self.wrong(Diagnostic::error("invalid-chmod", span, message))
            }
        }
    }

    fn refuse_remote(&mut self, source: &str, span: Span, archives: Archives) -> Result<(), Wrong> {
        if !is_remote(source) {
            return Ok(());
        }
        let error = match archives {
            Archives::Unpack => {
                let message = format!("ADD of the remote source `{source}` is not supported");
                Diagnostic::error("unsupported", span, message).with_help("fetch it in a RUN")
            }
            Archives::Copy => {
                let message = format!("COPY cannot read the remote source `{source}`");
                Diagnostic::error("remote-source", span, message)
            }
        };
        self.wrong(error)
    }

    /// Returns the step that the files come from, and whether they keep their owners.
    fn files(&mut self, from: Option<&Spanned<String>>, line: &Line) -> Result<(StepId, Ownership), Wrong> {
        let Some(from) = from else {
            let context = Op::Context(ContextOp { name: "context".to_owned() });
            return Ok((self.build.builder.step(context, &[]), Ownership::Root));
        };
        let step = match self.build.stages.named(from) {
            Ok(Named::Stage(stage)) => self.build.done(stage).step,
            Ok(Named::Scratch) => self.build.builder.step(Op::Scratch, &[]),
            Ok(Named::Image(wish)) => {
                let image = Arc::clone(self.build.reach.image(&wish));
                self.build.check_platform(&wish, &image, from.span);
                let step = self.build.image_step(&image);
                // The image belongs to the COPY, and has no position of its own.
                self.note_origin(step, self.position + 1, line);
                step
            }
            Err(error) => return self.wrong(error),
        };
        Ok((step, Ownership::Keep))
    }
}

/// Says whether BuildKit would take a source for a URL or a Git repository.
fn is_remote(source: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://"];
    let is_scp_form = || {
        source.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?.0))).is_some_and(
            |(user, host)| {
                let is_word = |text: &str, extra: &[char]| {
                    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
                };
                is_word(user, &['-', '_']) && is_word(host, &['-', '.'])
            },
        )
    };
    schemes.iter().any(|scheme| source.starts_with(scheme)) || is_scp_form()
}

#[cfg(test)]
mod tests {
    use super::is_remote;

    #[test]
    fn remote_sources() {
        for source in ["https://x/y", "git@github.com:a/b.git", "git://x/y", "ssh://git@x/y"] {
            assert!(is_remote(source), "{source}");
        }
        for source in ["a", "http", "github.com/a/b", "a@b", "./x@y:z", "@types:x"] {
            assert!(!is_remote(source), "{source}");
        }
    }
}
