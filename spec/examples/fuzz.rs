//! Runs the fuzz targets without libFuzzer: mutates a corpus with a seeded generator, blind to coverage.
//!
//! `cargo run --release -p kairn-spec --example fuzz -- <target> [seconds] [seed]`; inputs that panic are kept in
//! `fuzz/artifacts/<target>`, and the exit code is 1.

use std::io::Write as _;
use std::panic::{catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../fuzz/targets.rs"]
mod targets;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("dockerfile", targets::dockerfile::run),
    ("expander", targets::expander::run),
    ("ignore", targets::ignore::run),
    ("heredoc", targets::heredoc::run),
];

/// Longest input that is made, in bytes.
const MAX_BYTES: usize = 4096;

/// Pieces that are put in.
const PIECES: [&str; 40] = [
    "\n",
    "\\\n",
    " ",
    "\t",
    "#",
    "$",
    "${",
    "}",
    ":-",
    "%",
    "/",
    "'",
    "\"",
    "\\",
    "`",
    "<<EOF",
    "<<-'E'",
    "EOF\n",
    "[\"",
    "\"]",
    ",",
    "=",
    "--mount=type=cache,target=",
    "--link",
    "--from=",
    "FROM a AS b\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ARG ",
    "ENV ",
    "ONBUILD ",
    "# check=skip=all\n",
    "# escape=`\n",
    "!",
    "**",
    "*",
    "?",
    "\u{e9}",
    "https://x/a.git?ref=",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, seed) = (number(10), number(1));
    let mut out = std::io::stdout().lock();
    let Some(&(name, run)) = TARGETS.iter().find(|(target, _)| *target == name) else {
        let names = TARGETS.map(|(target, _)| target).join(", ");
        let _ = writeln!(out, "name a target: {names}");
        return ExitCode::from(2);
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let corpus = corpus(&folder.join("corpus").join(name));
    set_hook(Box::new(|_| {}));
    let mut random = Random(seed);
    let (mut executions, mut crashes) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    let given = corpus.iter().cloned().map(Some);
    for input in given.chain(std::iter::repeat(None)) {
        if Instant::now() >= end {
            break;
        }
        let input = input.unwrap_or_else(|| mutate(&corpus, &mut random));
        executions += 1;
        if catch_unwind(|| run(&input)).is_err() {
            crashes += 1;
            let place = keep(&folder.join("artifacts").join(name), crashes, &input);
            let _ = writeln!(out, "panic: {}", place.display());
        }
    }
    let _ = writeln!(out, "{name}: {executions} executions, {crashes} panics, seed {seed}");
    ExitCode::from(u8::from(crashes > 0))
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.sort();
    let mut inputs: Vec<_> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    inputs.push(Vec::new());
    inputs
}

fn keep(folder: &Path, number: u64, input: &[u8]) -> PathBuf {
    let place = folder.join(format!("panic-{number}"));
    let kept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&place, input));
    kept.expect("the folder of artifacts is writable");
    place
}

fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        match random.below(6) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            2 => drop(input.splice(at..end, PIECES[random.below(PIECES.len())].bytes())),
            3 => {
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let cut = random.below(other.len() + 1);
                input.splice(at.., other[cut..].iter().copied());
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = u8::try_from(random.below(128)).unwrap_or_default();
                }
            }
        }
    }
    input.truncate(MAX_BYTES);
    input
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or_default()
    }
}
