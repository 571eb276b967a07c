//! What happens during a build, as the only channel from the steps to whoever shows it.

use std::sync::mpsc::Sender;
use std::time::Instant;

use kairn_compiler::StepId;

use crate::artifact::WrittenArtifact;

/// Something happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, on the monotonic clock.
    pub time: Instant,
    /// In which step, where it was in one.
    pub step: Option<StepId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The step's inputs are there and the store does not have its result: its work begins.
    Started,
    /// A line that the step's command printed, without the line feed.
    Output(String),
    /// The step ended well.
    Finished(Completion),
    /// The step failed.
    Failed,
    /// The step was stopped, because something else failed.
    Stopped,
    /// The step is not begun, because another one failed that it needs.
    Skipped {
        /// The one that failed.
        because: StepId,
    },
    /// Files of the step's stage were copied to the machine.
    Artifact(WrittenArtifact),
    /// Something is worth knowing, and the build goes on.
    Notice(String),
    /// Something is not as it should be, and the build goes on.
    Warning(String),
    /// Why the step works: what changed since it was done before.
    Cause(String),
    /// Nothing more happens.
    Ended,
    /// A part of the work outside the steps went forward (a pull, a push).
    Transfer(String),
}

/// How a step ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Its work was done.
    Done,
    /// The result was known.
    Cached {
        /// The shared cache that knew it; the store if none.
        from: Option<String>,
    },
}

/// A handle to send events with.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Event>,
}

impl Events {
    /// Sends to `sender`; a receiver that is gone is no error.
    pub fn new(sender: Sender<Event>) -> Self {
        Self { sender }
    }

    /// Reports what happened in a step.
    pub fn step(&self, step: StepId, kind: EventKind) {
        let _ = self.sender.send(Event { time: Instant::now(), step: Some(step), kind });
    }

    /// Reports what happened outside the steps.
    pub fn build(&self, kind: EventKind) {
        let _ = self.sender.send(Event { time: Instant::now(), step: None, kind });
    }
}
