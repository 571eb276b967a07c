//! Text put together from pieces of the source, with the way back to the source bytes.

use std::ops::Range;

use crate::dockerfile::Word;
use crate::{Span, Spanned};

/// The blanks that separate an instruction's words (other Unicode spaces do not).
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A string whose every byte knows the source offset it was read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    value: String,
    /// Places where text and source cease to run in step: offset in `value`, offset in the source.
    runs: Vec<(usize, usize)>,
    /// Where the text would stand if it is empty.
    at: usize,
}

impl Text {
    /// Makes the empty text that stands at a source offset.
    pub(crate) fn new(at: usize) -> Self {
        Self { at, ..Self::default() }
    }

    /// Appends a piece of the source.
    pub(crate) fn push_str(&mut self, piece: &str, source: usize) {
        if piece.is_empty() {
            return;
        }
        let end = self.value.len();
        if self.runs.last().is_none_or(|&(at, from)| from + (end - at) != source) {
            self.runs.push((end, source));
        }
        self.value.push_str(piece);
    }

    /// Appends one character that was read at, or stands for, a source offset.
    pub(crate) fn push(&mut self, ch: char, source: usize) {
        self.push_str(ch.encode_utf8(&mut [0; 4]), source);
    }

    /// Returns the whole text.
    pub(crate) fn all(&self) -> Slice<'_> {
        Slice { text: self, start: 0, end: self.value.len() }
    }

    fn source_of(&self, offset: usize) -> usize {
        let run = self.runs.partition_point(|&(at, _)| at <= offset);
        run.checked_sub(1).map_or(self.at, |run| self.runs[run].1 + (offset - self.runs[run].0))
    }

    fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            let at = match range.start {
                0 if self.value.is_empty() => self.at,
                start if start < self.value.len() => self.source_of(start),
                start => self.source_of(start - 1) + 1,
            };
            return Span::new(at, at);
        }
        Span::new(self.source_of(range.start), self.source_of(range.end - 1) + 1)
    }
}

/// A part of a [`Text`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice<'a> {
    text: &'a Text,
    start: usize,
    end: usize,
}

impl<'a> Slice<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        &self.text.value[self.start..self.end]
    }

    pub(crate) fn span(self) -> Span {
        self.text.span(self.start..self.end)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Returns a part, by offsets from this slice's start.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        Self { text: self.text, start: self.start + range.start, end: self.start + range.end }
    }

    /// Returns what follows an offset.
    pub(crate) fn from(self, offset: usize) -> Self {
        self.part(offset..self.as_str().len())
    }

    pub(crate) fn trim(self) -> Self {
        let trimmed = self.as_str().trim_end().len();
        self.part(0..trimmed).trim_start()
    }

    pub(crate) fn trim_start(self) -> Self {
        self.from(self.as_str().len() - self.as_str().trim_start().len())
    }

    /// Splits at the first run of blanks; the second part is `None` if there is none.
    pub(crate) fn split_first_blank(self) -> (Self, Option<Self>) {
        let string = self.as_str();
        match string.find(BLANKS) {
            None => (self, None),
            Some(at) => {
                let rest = string[at..].trim_start_matches(BLANKS).len();
                (self.part(0..at), Some(self.from(string.len() - rest)))
            }
        }
    }

    /// Splits at every run of blanks.
    pub(crate) fn split_blanks(self) -> Vec<Self> {
        let mut words = Vec::new();
        let mut rest = Some(self.trim());
        while let Some(slice) = rest.filter(|slice| !slice.is_empty()) {
            let (word, next) = slice.split_first_blank();
            words.push(word);
            rest = next;
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// Copies the part into a text of its own.
    pub(crate) fn to_text(self) -> Text {
        let mut text = Text::new(self.part(0..0).span().start);
        for (at, ch) in self.as_str().char_indices() {
            text.push(ch, self.text.source_of(self.start + at));
        }
        text
    }

    pub(crate) fn spanned(self) -> Spanned<String> {
        Spanned::new(self.as_str().to_owned(), self.span())
    }

    pub(crate) fn word(self) -> Word {
        let runs = &self.text.runs;
        let first = runs.partition_point(|&(at, _)| at <= self.start).saturating_sub(1);
        let mut origin: Vec<_> = runs[first.min(runs.len())..]
            .iter()
            .take_while(|&&(at, _)| at < self.end)
            .map(|&(at, source)| (at.saturating_sub(self.start), source + self.start.saturating_sub(at)))
            .collect();
        if origin.len() == 1 {
            origin.clear();
        }
        Word::with_origin(self.as_str().to_owned(), self.span(), origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_back_across_gaps() {
        let mut text = Text::new(0);
        text.push_str("ab ", 0);
        text.push_str("cd", 10);
        text.push('e', 12);
        let all = text.all();
        assert_eq!(all.span(), Span::new(0, 13));
        assert_eq!(all.part(1..4).span(), Span::new(1, 11));
        assert_eq!(all.from(3).span(), Span::new(10, 13));
        assert_eq!(all.from(6).span(), Span::new(13, 13));
        let word = all.part(1..5).word();
        assert_eq!((word.span_of(0..1), word.span_of(2..4)), (Span::new(1, 2), Span::new(10, 12)));
    }

    #[test]
    fn splits_at_ascii_blanks_only() {
        let mut text = Text::new(0);
        text.push_str(" a\u{a0}b \t c ", 0);
        let words: Vec<_> = text.all().split_blanks().into_iter().map(Slice::as_str).collect();
        assert_eq!(words, ["a\u{a0}b", "c"]);
    }
}
