//! Runs graphs of steps that only sleep, and says how near the wall time comes to what no order can beat: the longest
//! way through the graph, or all the work shared by the jobs. `benches/run.sh` runs it; it fails over 5 %.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kairn_compiler::graph::{GraphBuilder, Input, WorkdirOp};
use kairn_compiler::{Graph, Op, StepId};
use kairn_executor::Error;
use kairn_executor::schedule::permits::Room;
use kairn_executor::schedule::queue::ReadyQueue;
use kairn_executor::schedule::{Hands, Looked, OnFailure, Rules, run};

/// Most that the wall time may be over the bound.
const SLACK: f64 = 1.05;

fn main() -> ExitCode {
    let mut verdict = ExitCode::SUCCESS;
    for (stages, length) in [(12, 6), (40, 3), (120, 1)] {
        let (graph, durations) = graph(stages, length);
        for jobs in [2, 16] {
            let total: u64 = durations.values().sum();
            let mut queue = ReadyQueue::new(&graph, &durations);
            let longest = queue.pop().map_or(0, |first| queue.turn(first).0.0);
            let bound = longest.max(total / u64::try_from(jobs).unwrap_or(1));
            let wall = wall(&graph, &durations, jobs).as_secs_f64() * 1000.0;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            let ratio = wall / bound as f64;
            println!(
                "{stages} stages of {length} steps, {jobs} jobs: {wall:.0} ms, bound {bound} ms, {ratio:.3}"
            );
            if ratio > SLACK {
                verdict = ExitCode::FAILURE;
            }
        }
    }
    verdict
}

/// Stages of sleeping steps, each a chain that goes on from the source; the last step waits for all.
fn graph(stages: usize, length: usize) -> (Graph, BTreeMap<StepId, u64>) {
    let mut builder = GraphBuilder::default();
    let mut durations = BTreeMap::new();
    let mut random = 1_u64;
    let source = builder.step(Op::Scratch, &[]);
    let mut ends = Vec::new();
    for stage in 0..stages {
        let mut above = source;
        for at in 0..length {
            let op = Op::Workdir(WorkdirOp { path: format!("/{stage}/{at}"), user: String::new() });
            above = builder.step(op, &[(Input::Root, above)]);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            durations.insert(above, 40 + (random >> 33) % 200);
        }
        ends.push(above);
    }
    let inputs: Vec<_> = ends.iter().zip(0..).map(|(&end, at)| (Input::Source(at), end)).collect();
    builder.step(Op::Workdir(WorkdirOp { path: "/".to_owned(), user: String::new() }), &inputs);
    (builder.finish(), durations)
}

fn wall(graph: &Graph, durations: &BTreeMap<StepId, u64>, jobs: usize) -> Duration {
    let room = Room { slots: jobs, memory_bytes: u64::MAX };
    let rules = Rules { room, on_failure: OnFailure::Stop, estimates: durations.clone() };
    let look = |step: StepId| -> Result<Looked<'_, ()>, Error> {
        let duration_ms = durations.get(&step).copied().unwrap_or_default();
        Ok(Looked::Work(Box::new(move || {
            std::thread::sleep(Duration::from_millis(duration_ms));
            Ok(())
        })))
    };
    let hands = Hands { look: &look, stop: &|_| (), skip: &|_, _| () };
    let start = Instant::now();
    run(graph, &rules, &|_| Room { slots: 1, memory_bytes: 0 }, &hands);
    start.elapsed()
}
