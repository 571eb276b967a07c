//! The `kairn` command: arguments to resolved settings, events to lines, errors to exit codes.
//!
//! In: arguments, the environment, the user's files. Out: results on standard output, everything else on standard
//! error. Only this package prints or reads the environment.
//!
//! Reading order: [`args`], [`commands`], [`inputs`], [`deliveries`], [`caches`], [`budget`], [`progress`], [`report`],
//! [`failure`].

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this package talks to the user")]
#![allow(unreachable_pub, reason = "nothing reaches into a program")]

#[macro_use]
mod output;

mod affected;
mod args;
mod budget;
mod caches;
mod commands;
mod deliveries;
mod failure;
mod inputs;
mod ladder;
mod lock;
mod machine;
mod memory;
mod progress;
mod report;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use kairn_executor::sandbox::probe::{self, PROBE_ARGUMENT};
use kairn_executor::sandbox::userns::{self, Ids, NAMESPACE_ARGUMENT};
use kairn_executor::sandbox::{HELPER_ARGUMENT, child};

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).map(OsString::as_os_str);
    if first == Some(HELPER_ARGUMENT.as_ref()) {
        return exit_code(child::main());
    }
    let mut inside = None;
    if first == Some(NAMESPACE_ARGUMENT.as_ref()) && arguments.len() > 4 {
        if userns::enter(&arguments[2], &arguments[3]).is_err() {
            return exit_code(failure::ENVIRONMENT);
        }
        let reason = arguments.drain(1..5).next_back().and_then(|reason| reason.into_string().ok());
        let reason = reason.filter(|reason| !reason.is_empty());
        inside = Some(reason.map_or(Ids::Range, Ids::One));
    }
    if arguments.get(1).is_some_and(|first| first == PROBE_ARGUMENT) && arguments.len() > 3 {
        return exit_code(probe::main(&arguments[2], &arguments[3]));
    }
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return exit_code(if error.use_stderr() { failure::USER } else { 0 });
        }
    };
    let result = match args.command {
        Command::Build(build) => {
            let namespace = match inside {
                Some(ids) => Ok(ids),
                None => match ladder::enter(build.isolation, &arguments[1..]) {
                    Ok(status) => return exit_code(code_of(status)),
                    Err(refused) => Err(refused),
                },
            };
            commands::build::run(&build, namespace)
        }
        Command::Explain(explain) => commands::explain::run(&explain),
        Command::Cache(cache) => {
            // Other ids' files can be removed only where those ids are.
            if inside.is_none()
                && let Ok(status) = ladder::enter(args::Isolation::Auto, &arguments[1..])
            {
                return exit_code(code_of(status));
            }
            commands::cache::run(&cache)
        }
        Command::Graph(graph) => commands::graph::run(&graph),
        Command::Check(check) => commands::check::run(&check),
        Command::Affected(affected) => commands::affected::run(&affected),
        Command::Convert(convert) => commands::convert::run(&convert),
        Command::Lock(lock) => commands::lock::run(&lock),
        Command::Schema(schema) => {
            commands::schema::run(&schema);
            Ok(())
        }
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            exit_code(failure.code)
        }
    }
}

/// The exit code of a process; one that a signal killed gives 128 and the signal's number, as a shell says it.
fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
