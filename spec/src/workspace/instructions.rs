//! The instructions of a stage that is written in TOML, as those of a Dockerfile.

use super::de::{At, Pairs};
use super::node::Place;
use super::steps::{AddStep, CopyStep, RunStep, Step, WriteStep};
use super::types::{Network, Security, Stage};
use super::values::{ArgNames, Check, Command, Healthcheck, Scalar};
use super::words::{ESCAPE, inner, word};
use crate::dockerfile::keyword::Keyword;
use crate::dockerfile::{
    self, ArgDeclaration, Copy, Heredoc, Instruction, InstructionKind, KeyValue, Mount, MountField, Run,
    Word, copy, healthcheck, onbuild, parse_trigger,
};
use crate::{Diagnostic, Span, Spanned};

/// The heredoc that stands for a program written in a RUN.
const SCRIPT: &str = "<<EOF";

/// Writes the instructions of a stage.
pub(super) struct Writer<'d> {
    pub(super) instructions: Vec<Instruction>,
    pub(super) diagnostics: &'d mut Vec<Diagnostic>,
}

impl Writer<'_> {
    pub(super) fn stage(&mut self, stage: &Stage) {
        if let Some(shell) = &stage.shell {
            self.shell(shell);
        }
        if let Some(args) = &stage.args {
            self.arg(&args.value, args.place);
        }
        if let Some(env) = &stage.env {
            self.pairs(Keyword::Env, &env.value, env.place);
        }
        if let Some(workdir) = &stage.workdir {
            self.word(Keyword::Workdir, workdir, InstructionKind::Workdir);
        }
        for At { value, place } in &stage.steps {
            self.step(value, *place);
        }
        if let Some(labels) = &stage.labels {
            self.pairs(Keyword::Label, &labels.value, labels.place);
        }
        if let Some(ports) = &stage.expose {
            self.expose(ports);
        }
        if let Some(volumes) = &stage.volumes {
            self.volume(volumes);
        }
        if let Some(user) = &stage.user {
            self.word(Keyword::User, user, InstructionKind::User);
        }
        if let Some(signal) = &stage.stopsignal {
            self.word(Keyword::Stopsignal, &plain(signal), InstructionKind::Stopsignal);
        }
        if let Some(check) = &stage.healthcheck {
            self.healthcheck(&check.value, check.place);
        }
        if let Some(command) = &stage.entrypoint {
            self.command(Keyword::Entrypoint, &command.value, command.place);
        }
        if let Some(command) = &stage.cmd {
            self.command(Keyword::Cmd, &command.value, command.place);
        }
        for trigger in stage.onbuild.iter().flatten() {
            self.onbuild(trigger);
        }
    }

    fn step(&mut self, step: &Step, place: Place) {
        match step {
            Step::Run(run) => self.run(run, place),
            Step::Copy(copy) => self.copy(copy, place),
            Step::Write(write) => self.write(write, place),
            Step::Add(add) => self.add(add, place),
            Step::Workdir(step) => self.word(Keyword::Workdir, &step.workdir, InstructionKind::Workdir),
            Step::Env(step) => self.pairs(Keyword::Env, &step.env, place),
            Step::Arg(step) => self.arg(&step.arg, place),
            Step::Label(step) => self.pairs(Keyword::Label, &step.label, place),
            Step::User(step) => self.word(Keyword::User, &plain(&step.user), InstructionKind::User),
            Step::Expose(step) => self.expose(&step.expose),
            Step::Volume(step) => self.volume(&step.volume.0),
            Step::Shell(step) => self.shell(&step.shell),
            Step::Stopsignal(step) => {
                self.word(Keyword::Stopsignal, &plain(&step.stopsignal), InstructionKind::Stopsignal);
            }
            Step::Healthcheck(step) => self.healthcheck(&step.healthcheck, place),
            Step::Entrypoint(step) => self.command(Keyword::Entrypoint, &step.entrypoint, place),
            Step::Cmd(step) => self.command(Keyword::Cmd, &step.cmd, place),
            Step::Onbuild(step) => self.onbuild(&step.onbuild),
            Step::Maintainer(step) => {
                let author = spanned(&step.maintainer);
                let text = author.value.clone();
                self.push(Keyword::Maintainer, place, &text, InstructionKind::Maintainer(author));
            }
        }
    }

    fn push(&mut self, keyword: Keyword, place: Place, text: &str, kind: InstructionKind) {
        self.instructions.push(instruction(keyword, place, text, kind));
    }

    fn missing(&mut self, keyword: Keyword, place: Place) {
        let text = format!("`{keyword}` needs at least one value", keyword = keyword.name());
        self.diagnostics.push(place.error("missing-argument", text));
    }

    fn word(&mut self, keyword: Keyword, value: &At<String>, kind: fn(Word) -> InstructionKind) {
        if value.value.is_empty() {
            return self.missing(keyword, value.place);
        }
        self.push(keyword, value.place, &value.value, kind(word(value)));
    }

    fn run(&mut self, step: &RunStep, place: Place) {
        let mut heredocs = Vec::new();
        let command = match &step.run {
            Command::Exec(args) => dockerfile::Command::Exec(args.iter().map(spanned).collect()),
            // A program of its own is what a heredoc is that is the whole command.
            Command::Shell(script) if script.value.starts_with("#!") => {
                let start = script.place.span.start;
                heredocs.push(Heredoc {
                    name: "EOF".to_owned(),
                    span: Span::new(start, start + SCRIPT.len()),
                    content: Word::new(script.value.as_str(), inner(script)),
                    expands: false,
                    strips_tabs: false,
                });
                dockerfile::Command::Shell(Spanned::new(SCRIPT.to_owned(), script.place.span))
            }
            Command::Shell(text) => dockerfile::Command::Shell(spanned(text)),
        };
        let mut mounts = Vec::new();
        for At { value, place } in &step.mounts {
            let fields = value.0.iter().map(|(key, value)| MountField {
                key: Spanned::new(key.value.to_lowercase(), key.place.span),
                value: Some(word(&plain(value))),
            });
            let mount = Mount { span: place.span, fields: fields.collect() };
            self.diagnostics.extend(mount.check(ESCAPE));
            mounts.push(mount);
        }
        let network = step.network.as_ref().map(|network| {
            let value = match network.value {
                Network::Default => dockerfile::Network::Default,
                Network::None => dockerfile::Network::None,
                Network::Host => dockerfile::Network::Host,
            };
            Spanned::new(value, network.place.span)
        });
        let security = step.security.as_ref().map(|security| {
            let value = match security.value {
                Security::Sandbox => dockerfile::Security::Sandbox,
                Security::Insecure => dockerfile::Security::Insecure,
            };
            Spanned::new(value, security.place.span)
        });
        let text = shown(&step.run);
        let run = Run { mounts, network, security, command, heredocs };
        self.push(Keyword::Run, place, &text, InstructionKind::Run(run));
    }

    fn copy(&mut self, step: &CopyStep, place: Place) {
        let sources: Vec<Word> = step.copy.0.iter().map(word).collect();
        if sources.is_empty() {
            return self.missing(Keyword::Copy, place);
        }
        let from = step.from.as_ref().map_or_else(String::new, |from| format!("--from={} ", from.value));
        let names: Vec<&str> = step.copy.0.iter().map(|source| source.value.as_str()).collect();
        let text = format!("{from}{} {}", names.join(" "), step.to.value);
        let kind = Copy {
            from: step.from.as_ref().map(word),
            chown: step.chown.as_ref().map(|value| word(&plain(value))),
            chmod: step.chmod.as_ref().map(|value| word(&plain(value))),
            link: step.link,
            parents: step.parents,
            excludes: step.exclude.iter().filter(|pattern| !pattern.value.is_empty()).map(spanned).collect(),
            ..blank(sources, word(&step.to))
        };
        self.sources(Keyword::Copy, &kind.sources);
        self.push(Keyword::Copy, place, &text, InstructionKind::Copy(kind));
    }

    fn sources(&mut self, keyword: Keyword, sources: &[Word]) {
        let wrong = sources.iter().filter_map(|source| copy::wrong_remote(ESCAPE, keyword, source));
        self.diagnostics.extend(wrong);
    }

    fn write(&mut self, step: &WriteStep, place: Place) {
        let heredocs: Vec<Heredoc> = (step.write.0.iter())
            .map(|(name, content)| Heredoc {
                name: name.value.clone(),
                span: name.place.span,
                content: Word::new(content.value.as_str(), inner(content)),
                expands: step.expand,
                strips_tabs: false,
            })
            .collect();
        for (name, _) in
            step.write.0.iter().filter(|(name, _)| name.value.is_empty() || name.value.contains('/'))
        {
            let text = format!("`{}` is no name of a file", name.value);
            self.diagnostics.push(name.place.error("invalid-file-name", text));
        }
        if heredocs.is_empty() {
            return self.missing(Keyword::Copy, place);
        }
        let names: Vec<String> = step.write.0.iter().map(|(name, _)| format!("<<{}", name.value)).collect();
        let text = format!("{} {}", names.join(" "), step.to.value);
        let kind = Copy {
            chown: step.chown.as_ref().map(|value| word(&plain(value))),
            chmod: step.chmod.as_ref().map(|value| word(&plain(value))),
            link: step.link,
            heredocs,
            ..blank(Vec::new(), word(&step.to))
        };
        self.push(Keyword::Copy, place, &text, InstructionKind::Copy(kind));
    }

    fn add(&mut self, step: &AddStep, place: Place) {
        let sources: Vec<Word> = step.add.0.iter().map(word).collect();
        if sources.is_empty() {
            return self.missing(Keyword::Add, place);
        }
        let names: Vec<&str> = step.add.0.iter().map(|source| source.value.as_str()).collect();
        let text = format!("{} {}", names.join(" "), step.to.value);
        let kind = Copy {
            chown: step.chown.as_ref().map(|value| word(&plain(value))),
            chmod: step.chmod.as_ref().map(|value| word(&plain(value))),
            link: step.link,
            excludes: step.exclude.iter().filter(|pattern| !pattern.value.is_empty()).map(spanned).collect(),
            checksum: step.checksum.as_ref().map(word),
            keep_git_dir: step.keep_git_dir,
            unpack: step.unpack,
            ..blank(sources, word(&step.to))
        };
        self.sources(Keyword::Add, &kind.sources);
        self.push(Keyword::Add, place, &text, InstructionKind::Add(kind));
    }

    fn arg(&mut self, names: &ArgNames, place: Place) {
        let mut declarations = Vec::new();
        let mut texts = Vec::new();
        for (name, default) in &names.0 {
            if name.value.is_empty() || name.value.contains('=') {
                let text = format!("`{}` is no name of an ARG", name.value);
                let error = name.place.error("blank-name", text);
                self.diagnostics.push(error.with_help("write `{ arg = { NAME = \"default\" } }`"));
                continue;
            }
            texts.push(name.value.clone());
            declarations.push(ArgDeclaration {
                name: word(name),
                default: default.as_ref().map(|value| word(&plain(value))),
            });
        }
        if declarations.is_empty() {
            return self.missing(Keyword::Arg, place);
        }
        self.push(Keyword::Arg, place, &texts.join(" "), InstructionKind::Arg(declarations));
    }

    fn pairs(&mut self, keyword: Keyword, pairs: &Pairs<At<Scalar>>, place: Place) {
        let mut list = Vec::new();
        let mut texts = Vec::new();
        for (key, value) in &pairs.0 {
            if key.value.is_empty() {
                let text = format!("name in `{}` is empty", keyword.name());
                self.diagnostics.push(key.place.error("blank-name", text));
            }
            texts.push(format!("{}={}", key.value, value.value.0));
            list.push(KeyValue { key: word(key), value: word(&plain(value)) });
        }
        if list.is_empty() {
            return self.missing(keyword, place);
        }
        let kind =
            if keyword == Keyword::Env { InstructionKind::Env(list) } else { InstructionKind::Label(list) };
        self.push(keyword, place, &texts.join(" "), kind);
    }

    fn expose(&mut self, ports: &[At<Scalar>]) {
        let Some(first) = ports.first() else { return };
        // Not quoted: what comes out of a variable may be several ports.
        let words: Vec<Word> =
            ports.iter().map(|port| Word::new(port.value.0.as_str(), inner(&plain(port)))).collect();
        let texts: Vec<&str> = ports.iter().map(|port| port.value.0.as_str()).collect();
        self.push(Keyword::Expose, first.place, &texts.join(" "), InstructionKind::Expose(words));
    }

    fn volume(&mut self, paths: &[At<String>]) {
        let Some(first) = paths.first() else { return };
        let words = paths.iter().map(word).collect();
        let texts: Vec<&str> = paths.iter().map(|path| path.value.as_str()).collect();
        self.push(Keyword::Volume, first.place, &texts.join(" "), InstructionKind::Volume(words));
    }

    fn shell(&mut self, shell: &[At<String>]) {
        let Some(first) = shell.first() else {
            return;
        };
        let texts: Vec<&str> = shell.iter().map(|word| word.value.as_str()).collect();
        let kind = InstructionKind::Shell(shell.iter().map(spanned).collect());
        self.push(Keyword::Shell, first.place, &format!("{texts:?}"), kind);
    }

    fn command(&mut self, keyword: Keyword, command: &Command, place: Place) {
        let text = shown(command);
        let command = command_of(command);
        let kind = match keyword {
            Keyword::Cmd => InstructionKind::Cmd(command),
            _ => InstructionKind::Entrypoint(command),
        };
        self.push(keyword, place, &text, kind);
    }

    fn healthcheck(&mut self, check: &Healthcheck, place: Place) {
        let Healthcheck::Check(check) = check else {
            let kind = InstructionKind::Healthcheck(dockerfile::Healthcheck::Disable);
            return self.push(Keyword::Healthcheck, place, "NONE", kind);
        };
        let Check { cmd, interval, timeout, start_period, start_interval, retries } = &**check;
        let mut time = |value: &Option<At<String>>| {
            let parsed = value.as_ref().map(|value| healthcheck::parse_time(&spanned(value)));
            parsed.unwrap_or(Ok(0)).unwrap_or_else(|error| {
                self.diagnostics.push(error);
                0
            })
        };
        let (interval_ns, timeout_ns) = (time(interval), time(timeout));
        let (start_period_ns, start_interval_ns) = (time(start_period), time(start_interval));
        let retries = retries.as_ref().map(|value| healthcheck::parse_retries(&spanned(&plain(value))));
        let retries = retries.unwrap_or(Ok(0)).unwrap_or_else(|error| {
            self.diagnostics.push(error);
            0
        });
        let kind = InstructionKind::Healthcheck(dockerfile::Healthcheck::Check {
            command: command_of(cmd),
            interval_ns,
            timeout_ns,
            start_period_ns,
            start_interval_ns,
            retries,
        });
        self.push(Keyword::Healthcheck, place, &format!("CMD {}", shown(cmd)), kind);
    }

    fn onbuild(&mut self, trigger: &At<String>) {
        // As in a Dockerfile: what will fail only when the trigger is run is a warning.
        for found in parse_trigger(&trigger.value).err().into_iter().flatten() {
            let found = Diagnostic { span: trigger.place.span, related: Vec::new(), ..found };
            self.diagnostics.push(onbuild::soften(found));
        }
        let kind = InstructionKind::Onbuild(spanned(trigger));
        self.push(Keyword::Onbuild, trigger.place, &trigger.value, kind);
    }
}

fn command_of(command: &Command) -> dockerfile::Command {
    match command {
        Command::Shell(text) => dockerfile::Command::Shell(spanned(text)),
        Command::Exec(args) => dockerfile::Command::Exec(args.iter().map(spanned).collect()),
    }
}

fn blank(sources: Vec<Word>, dest: Word) -> Copy {
    Copy {
        from: None,
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        excludes: Vec::new(),
        checksum: None,
        keep_git_dir: None,
        unpack: None,
        sources,
        heredocs: Vec::new(),
        dest,
    }
}

/// Makes an instruction.
pub(super) fn instruction(keyword: Keyword, place: Place, text: &str, kind: InstructionKind) -> Instruction {
    // On one line, as instructions are shown.
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let name = keyword.name().to_owned();
    Instruction {
        span: place.span,
        text: format!("{name} {}", lines.join("; ")),
        keyword: Spanned::new(name, place.span),
        check: None,
        kind,
    }
}

fn shown(command: &Command) -> String {
    match command {
        Command::Shell(text) => text.value.clone(),
        Command::Exec(args) => {
            let args: Vec<&str> = args.iter().map(|arg| arg.value.as_str()).collect();
            format!("{args:?}")
        }
    }
}

fn plain(value: &At<Scalar>) -> At<String> {
    At::new(value.value.0.clone(), value.place)
}

fn spanned(value: &At<String>) -> Spanned<String> {
    Spanned::new(value.value.clone(), value.place.span)
}
