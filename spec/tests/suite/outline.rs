//! A tree as text, with the source of each piece where it reads differently.

use std::fmt::Write as _;

use kairn_spec::Span;
use kairn_spec::Spanned;
use kairn_spec::dockerfile::{
    CheckDirective, Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, InstructionKind, KeyValue,
    Mount, Run, Word,
};

pub(crate) fn outline(dockerfile: &Dockerfile, source: &str) -> String {
    let outline = Outline { source };
    let mut out = String::new();
    if let Some(syntax) = &dockerfile.syntax {
        let _ = writeln!(out, "syntax {}", outline.spanned(syntax));
    }
    if let Some(check) = &dockerfile.check {
        let _ = writeln!(out, "{}", outline.check(check));
    }
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
        if let Some(check) = &stage.check {
            let _ = write!(out, "\n    {}", outline.check(check));
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
        let check = instruction.check.as_ref().map(|check| format!("\n    {}", self.check(check)));
        format!("{line:>3} {}{}", self.kind(&instruction.kind), check.unwrap_or_default())
    }

    fn check(&self, check: &CheckDirective) -> String {
        let source = &self.source[check.span.start..check.span.end];
        let CheckDirective { skip, error, experimental, .. } = check;
        format!("check {source:?} skip {skip:?} error {error} experimental {experimental:?}")
    }

    fn heredocs(&self, heredocs: &[Heredoc]) -> String {
        heredocs.iter().fold(String::new(), |mut out, heredoc| {
            let word = &self.source[heredoc.span.start..heredoc.span.end];
            let content = heredoc.chomped();
            let rule = if heredoc.expands { "expanded" } else { "as it is" };
            let _ = write!(out, "\n    {word} is {:?} {rule}: {}", heredoc.name, self.word(&content));
            out
        })
    }

    fn mount(&self, mount: &Mount) -> String {
        let mut out = String::new();
        for field in &mount.fields {
            let _ = write!(out, "\n    mount {}", self.spanned(&field.key));
            if let Some(value) = &field.value {
                let _ = write!(out, "={}", self.word(value));
            }
        }
        let spec = mount.resolve(&mut |word| word.expand('\\', &|_| None).map(|expansion| expansion.value));
        match spec {
            Ok(spec) => out + &format!("\n    = {spec:?}"),
            Err(diagnostics) => panic!("{diagnostics:?}"),
        }
    }

    fn run(&self, run: &Run) -> String {
        let mut out = format!("RUN {}", self.command(&run.command));
        if let Some(network) = &run.network {
            let _ = write!(out, "\n    network {:?}", network.value);
        }
        if let Some(security) = &run.security {
            let _ = write!(out, "\n    security {:?}", security.value);
        }
        let mounts: String = run.mounts.iter().map(|mount| self.mount(mount)).collect();
        out + &mounts + &self.heredocs(&run.heredocs)
    }

    fn kind(&self, kind: &InstructionKind) -> String {
        match kind {
            InstructionKind::Add(copy) => format!("ADD {}", self.copy(copy)),
            InstructionKind::Arg(declarations) => {
                let mut out = "ARG".to_owned();
                for declaration in declarations {
                    let _ = write!(out, " {}", self.word(&declaration.name));
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
            InstructionKind::Run(run) => self.run(run),
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
        let words = [
            ("from", &copy.from),
            ("chown", &copy.chown),
            ("chmod", &copy.chmod),
            ("checksum", &copy.checksum),
        ];
        for (name, word) in words {
            if let Some(word) = word {
                let _ = write!(out, "{name} {} ", self.word(word));
            }
        }
        for (name, given) in [("link", copy.link), ("parents", copy.parents)] {
            if given {
                let _ = write!(out, "{name} ");
            }
        }
        for (name, given) in [("keep-git-dir", copy.keep_git_dir), ("unpack", copy.unpack)] {
            if let Some(given) = given {
                let _ = write!(out, "{name} {given} ");
            }
        }
        for pattern in &copy.excludes {
            let _ = write!(out, "except {} ", self.spanned(pattern));
        }
        let heredocs = self.heredocs(&copy.heredocs);
        out + &format!("{} to {}{heredocs}", self.words(&copy.sources), self.word(&copy.dest))
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
