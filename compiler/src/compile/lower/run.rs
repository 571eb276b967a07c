//! RUN and WORKDIR.

use kairn_spec::dockerfile::{Command, Word};

use super::{Line, StageLowering, Wrong};
use crate::compile::{arguments, paths};
use crate::graph::{Input, Op, RunOp, WorkdirOp};

impl StageLowering<'_, '_, '_> {
    pub(super) fn run(&mut self, command: &Command, line: &Line) {
        let state = &self.state;
        let args = self.command_line(command);
        let created_by = format!("RUN {} # buildkit", self.with_arguments(&args));
        let op = Op::Run(RunOp {
            args,
            env: state.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            proxy_env: arguments::proxies(self.build.options, &state.env),
            cwd: state.workdir(),
            user: state.config.config.user.clone(),
            platform: state.platform.clone(),
        });
        let step = self.build.builder.step(op, &[(Input::Root, self.state.step)]);
        self.advance(step, line, created_by);
    }

    pub(super) fn workdir(&mut self, word: &Word, line: &Line) -> Result<(), Wrong> {
        let path = self.expand(word)?;
        let path = paths::workdir(&self.state.config.config.working_dir, &path);
        let created_by = format!("WORKDIR {path}");
        self.state.config.config.working_dir = path;
        let clean = self.state.workdir();
        if clean == "/" {
            self.note(created_by);
            return Ok(());
        }
        let op = Op::Workdir(WorkdirOp { path: clean, user: self.state.config.config.user.clone() });
        let step = self.build.builder.step(op, &[(Input::Root, self.state.step)]);
        self.advance(step, line, created_by);
        Ok(())
    }

    /// Returns program and arguments of a command in either form.
    pub(super) fn command_line(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(text) => self.state.with_shell(&text.value),
            Command::Exec(args) => args.iter().map(|arg| arg.value.clone()).collect(),
        }
    }

    /// Writes a command as the history has it: after the ARGs in effect and their number.
    fn with_arguments(&self, args: &[String]) -> String {
        let state = &self.state;
        let declared: Vec<String> = (state.args.iter())
            .map(|(name, value)| format!("{name}={} ", state.env.get(name).unwrap_or(value)))
            .collect();
        let count = if declared.is_empty() { String::new() } else { format!("|{} ", declared.len()) };
        count + &declared.concat() + &args.join(" ")
    }
}
