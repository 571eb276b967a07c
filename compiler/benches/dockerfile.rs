//! Time from text to graph for a Dockerfile of 10,000 lines, beside what two other parsers take for the text alone:
//! `cargo bench -p kairn-compiler --bench dockerfile`. Must stay under 100 ms.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kairn_compiler::{CompileOptions, ImageSource, ResolvedImage, compile};
use kairn_image::Platform;
use kairn_spec::dockerfile;

/// Lines of the file.
const LINES: usize = 10_000;
/// Longest time from text to graph.
const LIMIT: Duration = Duration::from_millis(100);

struct NoImages;

impl ImageSource for NoImages {
    fn resolve(&self, reference: &str, _: &Platform) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        Err(reference.into())
    }
}

fn main() {
    let one_stage = text(1);
    let stages = text(500);
    let mut too_slow = false;
    for (name, text) in [("one stage", &one_stage), ("500 stages, each on the last", &stages)] {
        assert_eq!(text.lines().count(), LINES);
        let parse = best(|| assert!(dockerfile::parse(text).diagnostics.is_empty()));
        let options = CompileOptions::new("linux/amd64".parse().unwrap());
        let mut steps = 0;
        let all = best(|| {
            let parsed = dockerfile::parse(text);
            steps = compile(&parsed.dockerfile, &options, &NoImages).unwrap().graph.steps.node_count();
        });
        let first = best(|| drop(dockerfile_parser::Dockerfile::parse(text).unwrap()));
        let second = best(|| drop(parse_dockerfile::parse(text).unwrap()));
        println!("{LINES} lines, {name}: {steps} steps");
        println!("  kairn, text to graph     {:7.1} ms   (limit {} ms)", ms(all), LIMIT.as_millis());
        println!("  kairn, parsing alone     {:7.1} ms", ms(parse));
        println!(
            "  dockerfile-parser        {:7.1} ms   {:.2}x of kairn's parsing",
            ms(first),
            ratio(first, parse)
        );
        println!(
            "  parse-dockerfile         {:7.1} ms   {:.2}x of kairn's parsing",
            ms(second),
            ratio(second, parse)
        );
        too_slow |= all > LIMIT;
    }
    assert!(!too_slow, "over the limit");
}

fn text(stages: usize) -> String {
    let mut text = String::new();
    let lines_each = LINES / stages;
    for stage in 0..stages {
        let base = if stage == 0 { "scratch".to_owned() } else { format!("s{}", stage - 1) };
        let _ = writeln!(text, "FROM {base} AS s{stage}");
        for line in 1..lines_each {
            let _ = match line % 5 {
                0 => writeln!(text, "ENV V{line}=\"value $PATH\""),
                1 => writeln!(text, "COPY --chown=1:2 file{line} dir/$V0/file{line}"),
                2 => writeln!(text, "RUN echo {stage} {line} && make -j2 target{line}"),
                3 => writeln!(text, "LABEL l{line}=a m{line}='b c'"),
                _ => writeln!(text, "WORKDIR /w/{line}"),
            };
        }
    }
    text
}

fn best(mut run: impl FnMut()) -> Duration {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn ratio(other: Duration, ours: Duration) -> f64 {
    other.as_secs_f64() / ours.as_secs_f64()
}
