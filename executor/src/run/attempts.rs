//! Steps that are tried again, where somebody asked for that.

use std::time::Duration;

use kairn_compiler::StepId;

use super::Runner;
use crate::error::{Error, chain};
use crate::events::EventKind;

/// How long the world is given to come to itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether there will be another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// There will, if this one fails.
    OneOfSeveral,
    /// There will not.
    Last,
}

impl Runner<'_> {
    /// Does something for a step as often as its demand says, until it succeeds or fails in a way that stays.
    pub(super) fn tried<T>(
        &self,
        step: StepId,
        mut once: impl FnMut(Try) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let demand = self.graph.demands.get(&step).copied().unwrap_or_default();
        let tries = 1 + u32::from(demand.retries.unwrap_or_default());
        for attempt in 2..=tries {
            match once(Try::OneOfSeveral) {
                Err(error) if error.may_pass() && !self.cancel.is_cancelled() => {
                    let text = format!("attempt {attempt} of {tries}: {}", chain(&error));
                    self.events.step(step, EventKind::Notice(text));
                    if !matches!(error, Error::Command { .. }) {
                        std::thread::sleep(PAUSE);
                    }
                }
                other => return other,
            }
        }
        once(Try::Last)
    }
}
