//! A tree as text, with the source of each piece where it reads differently.

use std::fmt::Write as _;

use kairn_spec::Span;
use kairn_spec::Spanned;
use kairn_spec::dockerfile::{
    Command, Copy, Dockerfile, Healthcheck, Instruction, InstructionKind, KeyValue, Word,
};

pub(crate) fn outline(dockerfile: &Dockerfile, source: &str) -> String {
    let outline = Outline { source };
    let mut out = String::new();
    for instruction in &dockerfile.global_args {
        let _ = writeln!(out, "{}", outline.instruction(instruction));
    }
    for stage in &dockerfile.stages {
        let _ = write!(out, "\nstage {}: {}", stage.index, outline.word(&stage.base));
        if let Some(name) = &stage.name {
            let _ = write!(out, " as {}", outline.spanned(name));
        }
        if let Some(platform) = &stage.platform {
            let _ = write!(out, " for {}", outline.word(platform));
        }
        out.push('\n');
        for instruction in &stage.instructions {
            let _ = writeln!(out, "{}", outline.instruction(instruction));
        }
    }
    out
}

struct Outline<'a> {
    source: &'a str,
}

impl Outline<'_> {
    fn piece(&self, text: &str, span: Span) -> String {
        let source = &self.source[span.start..span.end];
        if source == text { format!("{text:?}") } else { format!("{text:?}@{source:?}") }
    }

    fn word(&self, word: &Word) -> String {
        self.piece(&word.raw, word.span)
    }

    fn spanned(&self, text: &Spanned<String>) -> String {
        self.piece(&text.value, text.span)
    }

    fn words(&self, words: &[Word]) -> String {
        words.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" ")
    }

    fn instruction(&self, instruction: &Instruction) -> String {
        let line = self.source[..instruction.span.start].matches('\n').count() + 1;
        format!("{line:>3} {}", self.kind(&instruction.kind))
    }

    fn kind(&self, kind: &InstructionKind) -> String {
        match kind {
            InstructionKind::Add(copy) => format!("ADD {}", self.copy(copy)),
            InstructionKind::Arg(declarations) => {
                let mut out = "ARG".to_owned();
                for declaration in declarations {
                    let _ = write!(out, " {}", self.spanned(&declaration.name));
                    if let Some(default) = &declaration.default {
                        let _ = write!(out, "={}", self.word(default));
                    }
                }
                out
            }
            InstructionKind::Cmd(command) => format!("CMD {}", self.command(command)),
            InstructionKind::Copy(copy) => format!("COPY {}", self.copy(copy)),
            InstructionKind::Entrypoint(command) => format!("ENTRYPOINT {}", self.command(command)),
            InstructionKind::Env(pairs) => format!("ENV{}", self.pairs(pairs)),
            InstructionKind::Expose(ports) => format!("EXPOSE {}", self.words(ports)),
            InstructionKind::Healthcheck(check) => self.healthcheck(check),
            InstructionKind::Label(pairs) => format!("LABEL{}", self.pairs(pairs)),
            InstructionKind::Maintainer(name) => format!("MAINTAINER {}", self.spanned(name)),
            InstructionKind::Onbuild(trigger) => format!("ONBUILD {}", self.spanned(trigger)),
            InstructionKind::Run(command) => format!("RUN {}", self.command(command)),
            InstructionKind::Shell(words) => format!("SHELL {}", self.strings(words)),
            InstructionKind::Stopsignal(word) => format!("STOPSIGNAL {}", self.word(word)),
            InstructionKind::User(word) => format!("USER {}", self.word(word)),
            InstructionKind::Volume(words) => format!("VOLUME {}", self.words(words)),
            InstructionKind::Workdir(word) => format!("WORKDIR {}", self.word(word)),
        }
    }

    fn strings(&self, strings: &[Spanned<String>]) -> String {
        let strings: Vec<_> = strings
            .iter()
            .map(|string| {
                let source = &self.source[string.span.start..string.span.end];
                let plain = source == format!("{:?}", string.value);
                if plain { source.to_owned() } else { self.spanned(string) }
            })
            .collect();
        format!("[{}]", strings.join(", "))
    }

    fn command(&self, command: &Command) -> String {
        match command {
            Command::Shell(text) => format!("shell {}", self.spanned(text)),
            Command::Exec(words) => format!("exec {}", self.strings(words)),
        }
    }

    fn pairs(&self, pairs: &[KeyValue]) -> String {
        pairs.iter().fold(String::new(), |mut out, pair| {
            let _ = write!(out, " {}={}", self.word(&pair.key), self.word(&pair.value));
            out
        })
    }

    fn copy(&self, copy: &Copy) -> String {
        let mut out = String::new();
        if let Some(from) = &copy.from {
            let _ = write!(out, "from {} ", self.spanned(from));
        }
        for (name, word) in [("chown", &copy.chown), ("chmod", &copy.chmod)] {
            if let Some(word) = word {
                let _ = write!(out, "{name} {} ", self.word(word));
            }
        }
        out + &format!("{} to {}", self.words(&copy.sources), self.word(&copy.dest))
    }

    fn healthcheck(&self, check: &Healthcheck) -> String {
        match check {
            Healthcheck::Disable => "HEALTHCHECK none".to_owned(),
            Healthcheck::Check {
                command,
                interval_ns,
                timeout_ns,
                start_period_ns,
                start_interval_ns,
                retries,
            } => format!(
                "HEALTHCHECK interval {interval_ns} timeout {timeout_ns} start period {start_period_ns} \
                 start interval {start_interval_ns} retries {retries} {}",
                self.command(command)
            ),
        }
    }
}
