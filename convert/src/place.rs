//! Where in which file something is.

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Which of the files, from 0.
    pub(crate) file: usize,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
}

impl Place {
    /// Returns the first place of a file.
    pub(crate) const fn start(file: usize) -> Self {
        Self { file, line: 1, column: 1 }
    }
}

/// A file's text, to find places in.
pub(crate) struct Lines<'a> {
    file: usize,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Counts the lines of a text.
    pub(crate) fn new(file: usize, text: &'a str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { file, text, starts }
    }

    /// Returns the place of a byte; one past the end is the end.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { file: self.file, line, column: before.chars().count() + 1 }
    }
}
