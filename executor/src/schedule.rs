//! The order of the steps: each as soon as its inputs are there, a bounded number at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use kairn_compiler::{Graph, StepId};

use crate::error::Error;

/// A queue of steps that are ready. It holds no threads and does no work.
#[derive(Debug)]
pub struct ReadyQueue {
    ready: BTreeSet<(usize, StepId)>,
    waiting: BTreeMap<StepId, usize>,
    dependents: BTreeMap<StepId, Vec<StepId>>,
    rank: BTreeMap<StepId, usize>,
}

impl ReadyQueue {
    /// Fills the queue with a graph's steps.
    pub fn new(graph: &Graph) -> Self {
        let order = graph.topological();
        let rank: BTreeMap<StepId, usize> =
            order.iter().enumerate().map(|(rank, step)| (*step, rank)).collect();
        let mut queue =
            Self { ready: BTreeSet::new(), waiting: BTreeMap::new(), dependents: BTreeMap::new(), rank };
        for step in order {
            let inputs: BTreeSet<StepId> = graph.inputs(step).into_iter().map(|(_, input)| input).collect();
            if inputs.is_empty() {
                queue.ready.insert((queue.rank[&step], step));
            } else {
                queue.waiting.insert(step, inputs.len());
            }
            for input in inputs {
                queue.dependents.entry(input).or_default().push(step);
            }
        }
        queue
    }

    /// Takes the next step that is ready.
    pub fn pop(&mut self) -> Option<StepId> {
        self.ready.pop_first().map(|(_, step)| step)
    }

    /// Says that a step is done, which may make others ready.
    pub fn done(&mut self, step: StepId) {
        for dependent in self.dependents.remove(&step).unwrap_or_default() {
            let left = self.waiting.get_mut(&dependent).expect("a step with an unfinished input waits");
            *left -= 1;
            if *left == 0 {
                self.waiting.remove(&dependent);
                self.ready.insert((self.rank[&dependent], dependent));
            }
        }
    }
}

/// Does `work` for every step of a graph, up to `jobs` at a time, each on a thread of its own.
///
/// A failure calls `stop` with it, starts nothing more, and waits for what runs.
///
/// # Errors
/// The first failure that is not a mere consequence of another.
pub fn run(
    graph: &Graph,
    jobs: usize,
    work: &(dyn Fn(StepId) -> Result<(), Error> + Sync),
    stop: &(dyn Fn(Option<&Error>) + Sync),
) -> Result<(), Error> {
    let mut queue = ReadyQueue::new(graph);
    let (sender, finished) = mpsc::channel();
    let mut failure = None;
    let mut running = 0_usize;
    std::thread::scope(|scope| {
        loop {
            while failure.is_none() && running < jobs.max(1) {
                let Some(step) = queue.pop() else { break };
                let sender = sender.clone();
                scope.spawn(move || {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(step)));
                    let _ = sender.send((step, result));
                });
                running += 1;
            }
            if running == 0 {
                break;
            }
            let Ok((step, result)) = finished.recv() else { break };
            running -= 1;
            match result {
                Ok(Ok(())) => queue.done(step),
                Ok(Err(error)) => {
                    stop(Some(&error));
                    failure = Some(match failure.take() {
                        None => error,
                        Some(known) => first_of(known, error),
                    });
                }
                Err(panic) => {
                    stop(None);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Of two failures the one that counts: a cause before its consequences, a failure of the build before a lost layer.
fn first_of(known: Error, other: Error) -> Error {
    match (known, other) {
        (Error::Lost { mut blobs, reason }, Error::Lost { blobs: more, .. }) => {
            blobs.extend(more);
            Error::Lost { blobs, reason }
        }
        (known @ Error::Lost { .. }, Error::Cancelled) => known,
        (Error::Cancelled | Error::Lost { .. }, other) => other,
        (known, _) => known,
    }
}
