//! Which step is next: of those that are ready the one with the longest way to the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kairn_compiler::{Graph, StepId};

/// How long steps are thought to take, in milliseconds; one that is not there takes no time.
pub type Estimates = BTreeMap<StepId, u64>;

/// A step's place among others: the longest way to the end of the graph first, then the order of the graph.
pub type Turn = (Reverse<u64>, usize, StepId);

/// A queue of steps that are ready. It holds no threads and does no work.
#[derive(Debug)]
pub struct ReadyQueue {
    ready: BTreeSet<Turn>,
    waiting: BTreeMap<StepId, usize>,
    dependents: BTreeMap<StepId, Vec<StepId>>,
    turns: BTreeMap<StepId, Turn>,
}

impl ReadyQueue {
    /// Fills the queue with a graph's steps.
    pub fn new(graph: &Graph, estimates: &Estimates) -> Self {
        let order = graph.topological();
        let mut queue = Self {
            ready: BTreeSet::new(),
            waiting: BTreeMap::new(),
            dependents: BTreeMap::new(),
            turns: BTreeMap::new(),
        };
        for &step in &order {
            let inputs: BTreeSet<StepId> = graph.inputs(step).into_iter().map(|(_, input)| input).collect();
            if !inputs.is_empty() {
                queue.waiting.insert(step, inputs.len());
            }
            for input in inputs {
                queue.dependents.entry(input).or_default().push(step);
            }
        }
        for (rank, &step) in order.iter().enumerate().rev() {
            let after = queue.dependents.get(&step).into_iter().flatten();
            let longest = after.map(|dependent| queue.turns[dependent].0.0).max().unwrap_or_default();
            let own = estimates.get(&step).copied().unwrap_or_default();
            queue.turns.insert(step, (Reverse(longest.saturating_add(own)), rank, step));
        }
        let free = order.iter().filter(|step| !queue.waiting.contains_key(step));
        queue.ready = free.map(|step| queue.turns[step]).collect();
        queue
    }

    /// A step's place among others.
    pub fn turn(&self, step: StepId) -> Turn {
        self.turns[&step]
    }

    /// Takes the next step that is ready.
    pub fn pop(&mut self) -> Option<StepId> {
        self.ready.pop_first().map(|(.., step)| step)
    }

    /// Says that a step is done, which may make others ready.
    pub fn done(&mut self, step: StepId) {
        for dependent in self.dependents.remove(&step).unwrap_or_default() {
            // One that another step's failure has taken away waits no more.
            let Some(left) = self.waiting.get_mut(&dependent) else { continue };
            *left -= 1;
            if *left == 0 {
                self.waiting.remove(&dependent);
                self.ready.insert(self.turns[&dependent]);
            }
        }
    }

    /// Says that a step failed, and gives all that can no more be reached, which it takes away.
    pub fn failed(&mut self, step: StepId) -> Vec<StepId> {
        let mut gone = Vec::new();
        let mut pending = vec![step];
        while let Some(step) = pending.pop() {
            for dependent in self.dependents.remove(&step).unwrap_or_default() {
                if self.waiting.remove(&dependent).is_some() {
                    gone.push(dependent);
                    pending.push(dependent);
                }
            }
        }
        gone.sort_unstable();
        gone
    }
}

#[cfg(test)]
mod tests {
    use kairn_compiler::Op;
    use kairn_compiler::graph::{GraphBuilder, Input, WorkdirOp};

    use super::*;

    fn step(builder: &mut GraphBuilder, name: &str, inputs: &[StepId]) -> StepId {
        let op = Op::Workdir(WorkdirOp { path: name.to_owned(), user: String::new() });
        let numbered = inputs
            .iter()
            .zip(0..)
            .map(|(&input, at)| (if at == 0 { Input::Root } else { Input::Source(at) }, input));
        builder.step(op, &numbered.collect::<Vec<_>>())
    }

    #[test]
    fn the_longest_way_comes_first() {
        let mut builder = GraphBuilder::default();
        let source = builder.step(Op::Scratch, &[]);
        let short = step(&mut builder, "/short", &[source]);
        let long = step(&mut builder, "/long", &[source]);
        let tail = step(&mut builder, "/tail", &[long]);
        let end = step(&mut builder, "/end", &[short, tail]);
        let graph = builder.finish();
        let mut queue = ReadyQueue::new(&graph, &Estimates::from([(short, 50), (long, 10), (tail, 60)]));
        let mut order = Vec::new();
        while let Some(step) = queue.pop() {
            order.push(step);
            queue.done(step);
        }
        assert_eq!(order, [source, long, tail, short, end]);
    }

    #[test]
    fn a_failure_takes_away_what_needs_it_and_nothing_else() {
        let mut builder = GraphBuilder::default();
        let source = builder.step(Op::Scratch, &[]);
        let bad = step(&mut builder, "/bad", &[source]);
        let good = step(&mut builder, "/good", &[source]);
        let after = step(&mut builder, "/after", &[bad, good]);
        let last = step(&mut builder, "/last", &[after]);
        let other = step(&mut builder, "/other", &[good]);
        let graph = builder.finish();
        let mut queue = ReadyQueue::new(&graph, &Estimates::new());
        assert_eq!(queue.pop(), Some(source));
        queue.done(source);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(bad), Some(good), None));
        assert_eq!(queue.failed(bad), [after, last]);
        queue.done(good);
        assert_eq!((queue.pop(), queue.pop()), (Some(other), None));
    }
}
