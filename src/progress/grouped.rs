//! Lines of parallel steps, step by step: what a CI's log can show.
//!
//! One step at a time is shown as it works; what others say waits until it is their turn, those that are done first. So
//! every step's lines stand together, and a long step is not silent. What waits is kept in memory up to a limit, then in
//! a file.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use kairn_compiler::StepId;

/// Bytes of a step's lines that are kept in memory.
const LIMIT: usize = 256 * 1024;

/// How a log is told that lines belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folds {
    /// Not at all.
    None,
    /// GitLab's sections.
    GitLab,
    /// GitHub's groups.
    GitHub,
}

impl Folds {
    /// What the place that this runs in can show; nothing if it is no CI.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let is_set =
            |name: &str| variable(name).is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
        if is_set("GITLAB_CI") {
            return Some(Self::GitLab);
        }
        if is_set("GITHUB_ACTIONS") {
            return Some(Self::GitHub);
        }
        is_set("CI").then_some(Self::None)
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its work begins.
    Begins,
    /// It works.
    Works,
    /// It is over.
    Ends,
}

/// Puts lines of steps together.
pub struct Groups<W: Write> {
    out: W,
    folds: Folds,
    now: Box<dyn Fn() -> u64>,
    /// The step whose lines are shown as they come.
    shown: Option<StepId>,
    /// Lines of the others, in the order in which the steps began.
    waiting: VecDeque<(StepId, Held)>,
    /// Titles of steps that are not shown yet.
    titles: BTreeMap<StepId, String>,
    /// Number of the next fold.
    next: usize,
}

impl<W: Write> Groups<W> {
    /// Writes to `out`.
    pub fn new(out: W, folds: Folds) -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            out,
            folds,
            now: Box::new(now),
            shown: None,
            waiting: VecDeque::new(),
            titles: BTreeMap::new(),
            next: 0,
        }
    }

    /// Takes a line that is no step's, or that of a step that does not work.
    pub fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Takes a line of a step that works.
    pub fn step(&mut self, step: StepId, moment: Moment, line: &str) {
        let is_known = self.shown == Some(step) || self.waiting.iter().any(|(known, _)| *known == step);
        if !is_known {
            if moment != Moment::Begins {
                return self.line(line);
            }
            self.titles.insert(step, line.to_owned());
            if self.shown.is_none() {
                return self.show(step);
            }
            self.waiting.push_back((step, Held::default()));
            return;
        }
        if self.shown == Some(step) {
            self.line(line);
            if moment == Moment::Ends {
                self.close();
                self.go_on();
            }
            return;
        }
        if let Some((_, held)) = self.waiting.iter_mut().find(|(known, _)| *known == step) {
            held.push(line);
            held.is_over |= moment == Moment::Ends;
        }
    }

    /// Shows all that still waits.
    pub fn finish(&mut self) {
        if self.shown.take().is_some() {
            self.close_fold();
        }
        while let Some((step, held)) = self.waiting.pop_front() {
            self.open(step);
            held.write(&mut self.out);
            self.close_fold();
        }
        let _ = self.out.flush();
    }

    fn show(&mut self, step: StepId) {
        self.open(step);
        self.shown = Some(step);
    }

    fn close(&mut self) {
        self.shown = None;
        self.close_fold();
    }

    /// Shows what is over; then the oldest that works.
    fn go_on(&mut self) {
        while let Some(at) = self.waiting.iter().position(|(_, held)| held.is_over) {
            if let Some((step, held)) = self.waiting.remove(at) {
                self.open(step);
                held.write(&mut self.out);
                self.close_fold();
            }
        }
        if let Some((step, held)) = self.waiting.pop_front() {
            self.show(step);
            held.write(&mut self.out);
        }
    }

    fn open(&mut self, step: StepId) {
        let title = self.titles.remove(&step).unwrap_or_default();
        self.next += 1;
        let number = self.next;
        let _ = match self.folds {
            Folds::None => writeln!(self.out, "{title}"),
            Folds::GitHub => writeln!(self.out, "::group::{title}"),
            Folds::GitLab => {
                let now = (self.now)();
                writeln!(
                    self.out,
                    "\x1b[0Ksection_start:{now}:kairn_{number}[collapsed=true]\r\x1b[0K{title}"
                )
            }
        };
    }

    fn close_fold(&mut self) {
        let number = self.next;
        let _ = match self.folds {
            Folds::None => Ok(()),
            Folds::GitHub => writeln!(self.out, "::endgroup::"),
            Folds::GitLab => {
                let now = (self.now)();
                writeln!(self.out, "\x1b[0Ksection_end:{now}:kairn_{number}\r\x1b[0K")
            }
        };
    }
}

/// Lines that wait.
#[derive(Default)]
struct Held {
    lines: String,
    file: Option<std::fs::File>,
    is_over: bool,
}

impl Held {
    fn push(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
        if self.lines.len() < LIMIT {
            return;
        }
        if self.file.is_none() {
            self.file = tempfile::tempfile().ok();
        }
        // Without a file the lines stay where they are: better a large log than one with holes.
        if let Some(file) = &mut self.file
            && file.write_all(self.lines.as_bytes()).is_ok()
        {
            self.lines.clear();
        }
    }

    fn write(mut self, out: &mut impl Write) {
        if let Some(file) = &mut self.file
            && file.seek(SeekFrom::Start(0)).is_ok()
        {
            let mut reader = BufReader::new(file);
            while let Ok(part) = reader.fill_buf() {
                if part.is_empty() {
                    break;
                }
                let _ = out.write_all(part);
                let length = part.len();
                reader.consume(length);
            }
        }
        let _ = out.write_all(self.lines.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folds: Folds, events: &[(u32, Moment, &str)]) -> String {
        let mut groups = Groups::new(Vec::new(), folds);
        groups.now = Box::new(|| 7);
        for (step, moment, line) in events {
            groups.step(StepId::from(*step), *moment, line);
        }
        groups.finish();
        String::from_utf8(groups.out).expect("text")
    }

    #[test]
    fn lines_of_a_step_stand_together() {
        use Moment::{Begins, Ends, Works};
        let events = [
            (1, Begins, "one"),
            (2, Begins, "two"),
            (1, Works, "1a"),
            (3, Begins, "three"),
            (3, Works, "3a"),
            (2, Works, "2a"),
            (3, Ends, "3 done"),
            (1, Works, "1b"),
            (1, Ends, "1 done"),
            (2, Works, "2b"),
            (2, Ends, "2 done"),
            (4, Works, "alone"),
        ];
        let expected = "one\n1a\n1b\n1 done\nthree\n3a\n3 done\ntwo\n2a\n2b\n2 done\nalone\n";
        assert_eq!(log(Folds::None, &events), expected);
        let github = log(Folds::GitHub, &events[..3]);
        assert_eq!(github, "::group::one\n1a\n::endgroup::\n::group::two\n::endgroup::\n");
        let gitlab = log(Folds::GitLab, &events[..1]);
        assert_eq!(
            gitlab,
            "\x1b[0Ksection_start:7:kairn_1[collapsed=true]\r\x1b[0Kone\n\x1b[0Ksection_end:7:kairn_1\r\x1b[0K\n"
        );
    }

    #[test]
    fn much_that_waits_is_not_lost() {
        let mut groups = Groups::new(Vec::new(), Folds::None);
        groups.step(StepId::from(1), Moment::Begins, "first");
        groups.step(StepId::from(2), Moment::Begins, "second");
        let line = "x".repeat(1000);
        for _ in 0..2000 {
            groups.step(StepId::from(2), Moment::Works, &line);
        }
        groups.step(StepId::from(1), Moment::Ends, "over");
        groups.step(StepId::from(2), Moment::Ends, "over");
        assert_eq!(String::from_utf8_lossy(&groups.out).lines().count(), 2004);
    }

    #[test]
    fn the_place_says_which_folds_it_has() {
        let of = |set: &'static str| Folds::of(&move |name: &str| (name == set).then(|| "true".to_owned()));
        assert_eq!(of("GITLAB_CI"), Some(Folds::GitLab));
        assert_eq!(of("GITHUB_ACTIONS"), Some(Folds::GitHub));
        assert_eq!(of("CI"), Some(Folds::None));
        assert_eq!(of("OTHER"), None);
    }
}
