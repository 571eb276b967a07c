//! The order of the steps: each as soon as its inputs are there, those with the longest way to the end first.
//!
//! A step is *looked at* first, on one of few threads: most are known, or quickly made. One that has to run a command
//! says so, and waits without a thread until there is room for it ([`permits`]). So nothing that is known waits for a
//! compiler, and there are never more threads than twice the jobs.

pub mod path;
pub mod permits;
pub mod queue;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Scope;
use std::time::Instant;

use kairn_compiler::{Graph, StepId};
use kairn_image::Digest;

use self::permits::{Permits, Room};
use self::queue::{Estimates, ReadyQueue, Turn};
use crate::error::Error;

/// What looking at a step came to.
pub enum Looked<'w, T> {
    /// It is done.
    Done(T),
    /// This is still to be done, when there is room for it.
    Work(Box<dyn FnOnce() -> Result<T, Error> + Send + 'w>),
}

/// What happens to other steps when one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are stopped.
    #[default]
    Stop,
    /// Those that do not need it go on.
    GoOn,
}

/// How steps are run.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What all that works at a time may take together; as many steps are looked at besides as there are slots.
    pub room: Room,
    /// What a failure means to others.
    pub on_failure: OnFailure,
    /// How long steps are thought to take.
    pub estimates: Estimates,
}

/// What is done with steps.
pub struct Hands<'w> {
    /// Looks at a step.
    pub look: &'w (dyn Fn(StepId) -> Result<Looked<'w, ()>, Error> + Sync),
    /// Called with a failure that is not gone on after, before what runs has ended; with nothing for a panic.
    pub stop: &'w dyn Fn(Option<&Error>),
    /// Told of each step that is not reached, and of the failed step that it is for.
    pub skip: &'w dyn Fn(StepId, StepId),
}

/// What became of a graph's steps.
#[derive(Debug, Default)]
pub struct Ran {
    /// The failures, in the order in which they came, without those that others caused.
    pub failures: Vec<(StepId, Error)>,
    /// Layers whose steps have to be done again.
    pub lost: Option<Lost>,
    /// Steps that were not reached, with the failed step that they needed.
    pub skipped: BTreeMap<StepId, StepId>,
    /// When steps worked, of those that ended.
    pub times: BTreeMap<StepId, Worked>,
}

/// Layers that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Digests of their blobs.
    pub blobs: Vec<Digest>,
    /// Why.
    pub reason: String,
}

/// When a step worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worked {
    /// From when; a wait for room is before it.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
}

/// Runs every step of a graph: a look at it on one of a few threads, its work on a thread of its own.
pub fn run<'w>(graph: &Graph, rules: &Rules, need: &dyn Fn(StepId) -> Room, hands: &'w Hands<'w>) -> Ran {
    let (sender, finished) = mpsc::channel();
    let (to_look_at, looks) = mpsc::channel();
    let looks = Mutex::new(looks);
    let mut run = Run {
        queue: ReadyQueue::new(graph, &rules.estimates),
        permits: Permits::new(rules.room),
        on_failure: rules.on_failure,
        works: BTreeMap::new(),
        to_look_at,
        lookers: 0,
        looking: 0,
        working: 0,
        is_stopped: false,
        ran: Ran::default(),
    };
    std::thread::scope(|scope| {
        loop {
            if !run.is_stopped {
                run.start(scope, rules.room.slots.max(1), hands, &looks, &sender);
            }
            if run.looking + run.working == 0 {
                break;
            }
            let Ok(ended) = finished.recv() else { break };
            run.take(ended, need, hands);
        }
        let Run { to_look_at, ran, .. } = run;
        // Those who look have nothing more to wait for.
        drop(to_look_at);
        ran
    })
}

type Work<'w> = Box<dyn FnOnce() -> Result<(), Error> + Send + 'w>;

/// A thread's last word.
struct Ended<'w> {
    step: StepId,
    from: Instant,
    until: Instant,
    had_room: bool,
    result: Result<Result<Looked<'w, ()>, Error>, Box<dyn Any + Send>>,
}

struct Run<'w> {
    queue: ReadyQueue,
    permits: Permits<Turn>,
    on_failure: OnFailure,
    /// What waits for room.
    works: BTreeMap<StepId, Work<'w>>,
    /// Where steps go that are to be looked at.
    to_look_at: Sender<StepId>,
    /// How many threads take them from there.
    lookers: usize,
    looking: usize,
    working: usize,
    is_stopped: bool,
    ran: Ran,
}

impl<'w> Run<'w> {
    /// Starts what can be started.
    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        most: usize,
        hands: &'w Hands<'w>,
        looks: &'scope Mutex<Receiver<StepId>>,
        sender: &Sender<Ended<'w>>,
    ) where
        'w: 'scope,
    {
        while let Some((.., step)) = self.permits.grant() {
            let work = self.works.remove(&step).expect("what asks for room has work");
            let sender = sender.clone();
            scope.spawn(move || report(step, true, &sender, || work().map(Looked::Done)));
            self.working += 1;
        }
        while self.looking < most
            && let Some(step) = self.queue.pop()
        {
            if self.looking == self.lookers {
                let (sender, at) = (sender.clone(), hands.look);
                scope.spawn(move || look(looks, at, &sender));
                self.lookers += 1;
            }
            self.looking += 1;
            let _ = self.to_look_at.send(step);
        }
    }

    /// Takes what came of a step.
    fn take(&mut self, ended: Ended<'w>, need: &dyn Fn(StepId) -> Room, hands: &Hands<'_>) {
        let Ended { step, from, until, had_room, result } = ended;
        if had_room {
            self.working -= 1;
            self.permits.give_back(self.queue.turn(step));
        } else {
            self.looking -= 1;
        }
        if !matches!(result, Ok(Ok(Looked::Work(_)))) {
            self.ran.times.insert(step, Worked { from, until });
        }
        match result {
            Ok(Ok(Looked::Done(()))) => self.queue.done(step),
            Ok(Ok(Looked::Work(work))) => {
                self.works.insert(step, work);
                self.permits.ask(self.queue.turn(step), need(step));
            }
            Ok(Err(error)) => self.fail(step, error, hands),
            Err(panic) => {
                (hands.stop)(None);
                resume_unwind(panic);
            }
        }
    }

    fn fail(&mut self, step: StepId, error: Error, hands: &Hands<'_>) {
        let is_lost = matches!(error, Error::Lost { .. });
        for gone in self.queue.failed(step).into_iter().filter(|_| !is_lost) {
            self.ran.skipped.insert(gone, step);
            (hands.skip)(gone, step);
        }
        // After a lost layer all begins again, with what was done until then.
        if is_lost || self.on_failure == OnFailure::Stop {
            self.is_stopped = true;
            (hands.stop)(Some(&error));
        }
        match error {
            Error::Lost { blobs, reason } => match &mut self.ran.lost {
                Some(lost) => lost.blobs.extend(blobs),
                None => self.ran.lost = Some(Lost { blobs, reason }),
            },
            Error::Cancelled => {}
            other => self.ran.failures.push((step, other)),
        }
    }
}

/// Looks at one step after another, until there are no more.
fn look<'w>(
    looks: &Mutex<Receiver<StepId>>,
    look: &'w (dyn Fn(StepId) -> Result<Looked<'w, ()>, Error> + Sync),
    sender: &Sender<Ended<'w>>,
) {
    loop {
        let next = looks.lock().expect("no holder of this lock panics").recv();
        let Ok(step) = next else { break };
        report(step, false, sender, || look(step));
    }
}

/// Does something for a step, and tells what came of it.
fn report<'w>(
    step: StepId,
    had_room: bool,
    sender: &Sender<Ended<'w>>,
    work: impl FnOnce() -> Result<Looked<'w, ()>, Error>,
) {
    let from = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(work));
    let _ = sender.send(Ended { step, from, until: Instant::now(), had_room, result });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kairn_compiler::Op;
    use kairn_compiler::graph::{GraphBuilder, Input, WorkdirOp};
    use proptest::prelude::*;

    use super::*;

    /// A graph of as many steps, each with some inputs before it.
    fn graph(inputs: &[Vec<usize>]) -> Graph {
        let mut builder = GraphBuilder::default();
        let mut steps: Vec<StepId> = Vec::new();
        for (at, wanted) in inputs.iter().enumerate() {
            let op = Op::Workdir(WorkdirOp { path: format!("/{at}"), user: String::new() });
            let wanted: BTreeSet<usize> = wanted.iter().filter(|_| at > 0).map(|n| n % at.max(1)).collect();
            let numbered = wanted.into_iter().zip(0..).map(|(n, place)| (Input::Source(place), steps[n]));
            steps.push(builder.step(op, &numbered.collect::<Vec<_>>()));
        }
        builder.finish()
    }

    fn rules(slots: usize, on_failure: OnFailure) -> Rules {
        Rules { room: Room { slots, memory_bytes: 100 }, on_failure, estimates: Estimates::new() }
    }

    fn broken() -> Error {
        Error::user("broken")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_step_runs_once_after_its_inputs_or_is_skipped_for_a_failure(
            inputs in prop::collection::vec(prop::collection::vec(0_usize..50, 0..4), 1..40),
            bad in prop::collection::btree_set(0_usize..40, 0..4),
            slots in 1_usize..5,
        ) {
            let graph = graph(&inputs);
            let done = Mutex::new(Vec::new());
            let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let finish = |step: StepId| {
                if bad.contains(&step.index()) {
                    return Err(broken());
                }
                done.lock().expect("no holder panics").push(step);
                Ok(())
            };
            let look = |step: StepId| {
                if step.index().is_multiple_of(3) {
                    return finish(step).map(Looked::Done);
                }
                let work = || {
                    let now = working.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                };
                Ok(Looked::Work(Box::new(move || { work(); finish(step) })))
            };
            let hands = Hands { look: &look, stop: &|_| (), skip: &|_, _| () };
            let need = |_| Room { slots: 1, memory_bytes: 30 };
            let ran = run(&graph, &rules(slots, OnFailure::GoOn), &need, &hands);
            prop_assert!(most.load(Ordering::SeqCst) <= slots.min(3));
            let done = done.into_inner().expect("no holder panics");
            for (at, step) in done.iter().enumerate() {
                for (_, input) in graph.inputs(*step) {
                    prop_assert!(done[..at].contains(&input));
                }
            }
            let failed: BTreeSet<StepId> = ran.failures.iter().map(|(step, _)| *step).collect();
            let mut all: Vec<StepId> = done.iter().chain(ran.skipped.keys()).chain(&failed).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, graph.steps.node_indices().collect::<Vec<_>>());
            for (step, because) in &ran.skipped {
                prop_assert!(failed.contains(because));
                prop_assert!(graph.inputs(*step).iter().any(|(_, input)| !done.contains(input)));
            }
        }
    }

    #[test]
    fn what_waits_for_room_holds_nothing_up() {
        // One command holds the only slot until all that is only looked at is done.
        let graph = graph(&vec![vec![]; 60]);
        let looked = AtomicUsize::new(0);
        let look = |step: StepId| {
            if step.index() < 10 {
                return Ok(Looked::Work(Box::new(|| {
                    while looked.load(Ordering::SeqCst) < 50 {
                        std::thread::yield_now();
                    }
                    Ok(())
                }) as Box<dyn FnOnce() -> _ + Send>));
            }
            looked.fetch_add(1, Ordering::SeqCst);
            Ok(Looked::Done(()))
        };
        let hands = Hands { look: &look, stop: &|_| (), skip: &|_, _| () };
        let need = |_| Room { slots: 1, memory_bytes: 0 };
        let ran = run(&graph, &rules(1, OnFailure::Stop), &need, &hands);
        assert_eq!(ran.times.len(), 60);
    }

    #[test]
    fn a_failure_stops_what_has_not_begun() {
        let graph = graph(&[vec![], vec![0], vec![1]]);
        let stopped = AtomicUsize::new(0);
        let look = |step: StepId| if step.index() == 1 { Err(broken()) } else { Ok(Looked::Done(())) };
        let stop = |_: Option<&Error>| {
            stopped.fetch_add(1, Ordering::SeqCst);
        };
        let hands = Hands { look: &look, stop: &stop, skip: &|_, _| () };
        let need = |_| Room { slots: 1, memory_bytes: 0 };
        let ran = run(&graph, &rules(1, OnFailure::Stop), &need, &hands);
        assert_eq!((ran.failures.len(), ran.skipped.len(), stopped.load(Ordering::SeqCst)), (1, 1, 1));
    }
}
