//! What a conversion says beside its result.

use std::collections::BTreeSet;
use std::fmt;

use crate::Input;
use crate::place::Place;

/// Something that could not be carried over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The name of the file.
    pub file: String,
    /// The line, from 1; `None` if it concerns the whole file.
    pub line: Option<usize>,
    /// What it is, and what became of it.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// A mistake that leaves no sense in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertError {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)
    }
}

impl std::error::Error for ConvertError {}

/// The notes of a conversion so far.
pub(crate) struct Report {
    files: Vec<String>,
    notes: BTreeSet<(usize, usize, usize, String)>,
}

impl Report {
    /// Starts with no notes on these files.
    pub(crate) fn new(inputs: &[Input]) -> Self {
        let files = inputs.iter().map(|input| input.name.clone()).collect();
        Self { files, notes: BTreeSet::new() }
    }

    /// Adds a note; one that was already made at the same place is not made twice.
    pub(crate) fn note(&mut self, place: Place, what: impl Into<String>) {
        self.notes.insert((place.file, place.line, place.column, what.into()));
    }

    /// Makes an error.
    pub(crate) fn error(&self, place: Place, what: impl Into<String>) -> ConvertError {
        let file = self.files.get(place.file).cloned().unwrap_or_default();
        ConvertError { file, line: place.line, column: place.column, what: what.into() }
    }

    /// Returns the notes in the order of the files and their lines.
    pub(crate) fn into_notes(self) -> Vec<Note> {
        let mut notes: Vec<Note> = Vec::new();
        for (file, line, _, what) in self.notes {
            let file = self.files.get(file).cloned().unwrap_or_default();
            let note = Note { file, line: Some(line), what };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }
}
