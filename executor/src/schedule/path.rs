//! Which steps a run's wall time was made of.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kairn_compiler::{Graph, StepId};

use super::Worked;

/// A step of the critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// The step.
    pub step: StepId,
    /// How long it waited for room after the one before it.
    pub waited: Duration,
    /// How long it worked.
    pub worked: Duration,
}

/// Follows the steps back from the one that ended last: always to the input that came last.
pub fn critical_path(graph: &Graph, times: &BTreeMap<StepId, Worked>, start: Instant) -> Vec<PathStep> {
    let ended = |step: &StepId| times.get(step).map(|worked| worked.until);
    let mut path = Vec::new();
    let mut next = times.iter().max_by_key(|(_, worked)| worked.until).map(|(step, _)| *step);
    while let Some(step) = next {
        let worked = times[&step];
        let inputs = graph.inputs(step).into_iter().map(|(_, input)| input);
        next = inputs.filter(|input| times.contains_key(input)).max_by_key(ended);
        let ready = next.as_ref().and_then(ended).unwrap_or(start);
        path.push(PathStep {
            step,
            waited: worked.from.saturating_duration_since(ready),
            worked: worked.until.saturating_duration_since(worked.from),
        });
    }
    path.reverse();
    path
}
