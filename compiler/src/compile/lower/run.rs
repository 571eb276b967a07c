//! RUN and WORKDIR.

use kairn_spec::dockerfile::{self, Command, Heredoc, Run, Word};

use super::{Line, StageLowering, Wrong};
use crate::compile::stages::Read;
use crate::compile::{arguments, lint, paths};
use crate::graph::{
    InlineFile, InlineOp, Input, Mount, MountKind, Network, Op, RunOp, Security, StepId, WorkdirOp,
};

/// Where a heredoc that is a program of its own stands while it runs.
const SCRIPTS: &str = "/dev/pipes";

impl StageLowering<'_, '_, '_> {
    pub(super) fn run(&mut self, run: &Run, reads: &[Read], line: &Line) -> Result<(), Wrong> {
        let (args, script) = self.run_command(run);
        let (mut mounts, mut inputs) = self.mounts(&run.mounts, reads, line)?;
        if let Some(script) = script {
            let source = self.build.builder.step(Op::Inline(InlineOp { files: vec![script] }), &[]);
            add_scripts(source, &mut mounts, &mut inputs);
        }
        let state = &self.state;
        let created_by = format!("RUN {} # buildkit", self.with_arguments(&args));
        let op = Op::Run(RunOp {
            args,
            env: state.environment.clone(),
            proxy_env: arguments::proxies(self.build.options, &state.env),
            arg_names: (state.args.iter())
                .map(|(name, _)| name.to_owned())
                .filter(|name| state.config_env.get(name) != state.env.get(name))
                .collect(),
            cwd: state.workdir(),
            user: state.config.config.user.clone(),
            platform: state.platform.clone(),
            mounts,
            network: match run.network.as_ref().map(|network| network.value) {
                None => self.build.options.network,
                Some(dockerfile::Network::Default) => Network::Default,
                Some(dockerfile::Network::None) => Network::None,
                Some(dockerfile::Network::Host) => Network::Host,
            },
            security: match run.security.as_ref().map(|security| security.value) {
                None | Some(dockerfile::Security::Sandbox) => Security::Sandbox,
                Some(dockerfile::Security::Insecure) => Security::Insecure,
            },
        });
        inputs.push((Input::Root, self.state.step));
        let step = self.build.builder.step(op, &inputs);
        self.advance(step, line, created_by);
        Ok(())
    }

    pub(super) fn workdir(&mut self, word: &Word, line: &Line) -> Result<(), Wrong> {
        let path = self.expand(word)?;
        if !self.state.has_workdir && !path.starts_with('/') {
            self.build.diagnostics.push(lint::relative_workdir(&path, line.span));
        }
        self.state.has_workdir = true;
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

    /// Returns program and arguments of a RUN, and its script if that is a file of its own.
    ///
    /// A command that is nothing but a heredoc is what the heredoc holds: a script for the stage's shell, or, with `#!`,
    /// a program. Any other shell gets the text with its heredocs and has to know them.
    fn run_command(&self, run: &Run) -> (Vec<String>, Option<InlineFile>) {
        let (Command::Shell(text), [first, ..]) = (&run.command, &run.heredocs[..]) else {
            return (self.command_line(&run.command), None);
        };
        if !is_only_heredoc(&text.value, first) {
            let mut whole = text.value.clone();
            for heredoc in &run.heredocs {
                whole.push('\n');
                whole.push_str(&heredoc.content.raw);
                whole.push_str(&heredoc.name);
            }
            return (self.state.with_shell(&whole), None);
        }
        let content = first.chomped().raw;
        if !content.starts_with("#!") {
            return (self.state.with_shell(&content), None);
        }
        let script = InlineFile { path: first.name.clone(), mode: 0o755, content };
        (self.state.with_shell(&format!("{SCRIPTS}/{}", first.name)), Some(script))
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

/// Says whether a command is one heredoc and nothing else.
fn is_only_heredoc(text: &str, heredoc: &Heredoc) -> bool {
    text.len() == heredoc.span.end - heredoc.span.start
}

fn add_scripts(source: StepId, mounts: &mut Vec<Mount>, inputs: &mut Vec<(Input, StepId)>) {
    let place = u16::try_from(mounts.len()).unwrap_or(u16::MAX);
    inputs.push((Input::Mount(place), source));
    mounts.push(Mount {
        target: Some(SCRIPTS.to_owned()),
        kind: MountKind::Bind { source: ".".to_owned(), read_write: false },
    });
}
