//! The user's files, and diagnostics that point into them.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use kairn_spec::diagnostic::{Color, render};
use kairn_spec::{Diagnostic, FileId};

/// A file's text and where it came from.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user names it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// Shows diagnostics with the lines they point at.
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let color = if std::io::stderr().is_terminal() { Color::Ansi } else { Color::Plain };
        render(diagnostics, &self.path.display().to_string(), &self.text, color)
    }
}

/// The files of a build, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Files(pub Vec<SourceFile>);

impl Files {
    /// Adds a file and returns its number.
    pub fn add(&mut self, file: SourceFile) -> FileId {
        self.0.push(file);
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// Returns a file.
    pub fn get(&self, file: FileId) -> &SourceFile {
        &self.0[file.0 as usize]
    }

    /// Shows diagnostics with the lines they point at.
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let rendered =
            diagnostics.iter().map(|found| self.get(found.file).render(std::slice::from_ref(found)));
        rendered.collect::<Vec<_>>().join("\n")
    }
}
