//! Instructions that change only the config and the environment.

use std::fmt::Write as _;

use kairn_image::config::{Empty, HealthConfig};
use kairn_spec::dockerfile::{ArgDeclaration, Command, Healthcheck, KeyValue, Word};
use kairn_spec::{Diagnostic, Spanned};

use super::{Line, StageLowering, Wrong};
use crate::compile::arguments::NOT_IN_ENVIRONMENT;
use crate::compile::{golang, lint, ports, signals};

impl StageLowering<'_, '_, '_> {
    /// Declares ARGs from left to right, each seeing those before it. A default is expanded only if it is used.
    pub(super) fn arg(&mut self, declarations: &[ArgDeclaration], line: &Line) -> Result<(), Wrong> {
        let mut text = "ARG".to_owned();
        for ArgDeclaration { name, default } in declarations {
            let name = self.expand(name)?;
            let name = name.as_str();
            self.build.diagnostics.extend(lint::secret_name("ARG", name, line.span));
            let build = &self.build;
            let value = match (build.options.build_args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => build.globals.get(name).map(str::to_owned),
            };
            text.push(' ');
            text.push_str(name);
            if let Some(value) = &value {
                if !NOT_IN_ENVIRONMENT.contains(&name) {
                    self.state.set(name, value);
                }
                text.push('=');
                text.push_str(value);
            }
            self.state.args.set_in_place(name, value.unwrap_or_default());
        }
        self.note(text);
        Ok(())
    }

    /// Sets variables, all evaluated with the environment before the line.
    pub(super) fn env(&mut self, pairs: &[KeyValue], line: &Line) -> Result<(), Wrong> {
        let pairs = self.expand_pairs(pairs)?;
        let mut text = "ENV".to_owned();
        for (name, value) in pairs {
            let _ = write!(text, " {name}={value}");
            self.build.diagnostics.extend(lint::secret_name("ENV", &name, line.span));
            self.state.config_env.set_in_place(&name, value.as_str());
            self.state.set(&name, &value);
        }
        self.note(text);
        Ok(())
    }

    pub(super) fn label(&mut self, pairs: &[KeyValue]) -> Result<(), Wrong> {
        let pairs = self.expand_pairs(pairs)?;
        let mut text = "LABEL".to_owned();
        for (name, value) in pairs {
            let _ = write!(text, " {name}={value}");
            self.state.config.config.labels.insert(name, value);
        }
        self.note(text);
        Ok(())
    }

    fn expand_pairs(&mut self, pairs: &[KeyValue]) -> Result<Vec<(String, String)>, Wrong> {
        let words = self.expand_all(pairs.iter().flat_map(|pair| [&pair.key, &pair.value]))?;
        let mut words = words.into_iter();
        Ok(std::iter::from_fn(|| words.next().zip(words.next())).collect())
    }

    pub(super) fn cmd(&mut self, command: &Command, line: &Line) {
        self.lint_command("CMD", command, line);
        let args = self.command_line(command);
        let text = format!("CMD {}", golang::quoted_list(&args));
        let config = &mut self.state.config.config;
        config.cmd = Some(args).filter(|args| !args.is_empty());
        // As BuildKit does for either form.
        config.args_escaped = true;
        self.state.places.cmd = Some(line.span);
        self.note(text);
    }

    /// Sets the entry point; a CMD of the base was made for another one and goes.
    pub(super) fn entrypoint(&mut self, command: &Command, line: &Line) {
        self.lint_command("ENTRYPOINT", command, line);
        let args = self.command_line(command);
        let text = format!("ENTRYPOINT {}", golang::quoted_list(&args));
        let config = &mut self.state.config.config;
        config.entrypoint = Some(args).filter(|args| !args.is_empty());
        if self.state.places.cmd.is_none() {
            config.cmd = None;
        }
        self.state.places.entrypoint = Some(line.span);
        self.note(text);
    }

    /// Warns of a command that overrides another or runs under a shell.
    fn lint_command(&mut self, keyword: &str, command: &Command, line: &Line) {
        let places = &self.state.places;
        let before = if keyword == "CMD" { places.cmd } else { places.entrypoint };
        let is_shell_form = matches!(command, Command::Shell(_)) && self.state.config.config.shell.is_empty();
        let found = before.map(|before| lint::overridden(keyword, before, line.span));
        let shell_form = is_shell_form.then(|| lint::shell_form(keyword, line.span));
        self.build.diagnostics.extend(found.into_iter().chain(shell_form));
    }

    pub(super) fn shell(&mut self, shell: &[Spanned<String>]) {
        let shell: Vec<String> = shell.iter().map(|word| word.value.clone()).collect();
        self.note(format!("SHELL {}", golang::plain_list(&shell)));
        self.state.config.config.shell = shell;
    }

    /// Adds ports: BuildKit takes the words in the order of their text before expansion.
    pub(super) fn expose(&mut self, words: &[Word]) -> Result<(), Wrong> {
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by(|a, b| a.raw.cmp(&b.raw));
        let mut all = Vec::new();
        let mut wrong = None;
        for word in words {
            // Only for its warnings: what comes out of a variable is split into words as well.
            self.expand(word)?;
            let env = &self.state.env;
            let lookup = |name: &str| env.get(name).map(str::to_owned);
            let split = match word.expand_words(self.build.stages.escape, &lookup) {
                Ok(split) => split,
                Err(error) => return self.wrong(error),
            };
            for text in split {
                self.build.diagnostics.extend(lint::port(&text, word.span));
                match ports::expand(&text) {
                    Ok(ports) => all.extend(ports),
                    Err(what) => wrong = Some(self.wrong(Diagnostic::error("invalid-port", word.span, what))),
                }
            }
        }
        if let Some(wrong) = wrong {
            return wrong;
        }
        self.note(format!("EXPOSE {}", golang::plain_list(&all)));
        self.state.config.config.exposed_ports.extend(all.into_iter().map(|port| (port, Empty {})));
        Ok(())
    }

    pub(super) fn volume(&mut self, words: &[Word]) -> Result<(), Wrong> {
        let paths = self.expand_all(words)?;
        if let Some(empty) = paths.iter().position(String::is_empty) {
            let text = format!("the volume `{}` expands to nothing", words[empty].raw);
            return self.wrong(Diagnostic::error("empty-volume", words[empty].span, text));
        }
        self.note(format!("VOLUME {}", golang::plain_list(&paths)));
        self.state.config.config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        Ok(())
    }

    pub(super) fn user(&mut self, word: &Word) -> Result<(), Wrong> {
        let user = self.expand(word)?;
        self.note(format!("USER {user}"));
        self.state.config.config.user = user;
        Ok(())
    }

    /// Differs: a number above 64 is refused too; no container could be stopped with it.
    pub(super) fn stopsignal(&mut self, word: &Word) -> Result<(), Wrong> {
        let signal = self.expand(word)?;
        if !signals::is_signal(&signal) {
            let text = format!("`{signal}` is not a signal");
            let error = Diagnostic::error("invalid-signal", word.span, text);
            return self.wrong(error.with_help("write a name as `SIGTERM`, or a number from 1 to 64"));
        }
        self.note(format!("STOPSIGNAL {signal}"));
        self.state.config.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn healthcheck(&mut self, healthcheck: &Healthcheck, line: &Line) {
        let before = self.state.places.healthcheck.replace(line.span);
        let found = before.map(|before| lint::overridden("HEALTHCHECK", before, line.span));
        self.build.diagnostics.extend(found);
        let health = health_config(healthcheck);
        let HealthConfig { test, interval, timeout, start_period, start_interval, retries } = &health;
        self.note(format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{retries}}}",
            golang::plain_list(test),
            golang::duration(*interval),
            golang::duration(*timeout),
            golang::duration(*start_period),
            golang::duration(*start_interval),
        ));
        self.state.config.config.healthcheck = Some(health);
    }

    pub(super) fn maintainer(&mut self, author: &str) {
        self.note(format!("MAINTAINER {author}"));
        author.clone_into(&mut self.state.config.author);
    }

    /// Keeps a trigger for images and stages built on this one; it leaves no history.
    pub(super) fn onbuild(&mut self, trigger: &str) {
        self.state.config.config.on_build.push(trigger.to_owned());
    }
}

fn health_config(healthcheck: &Healthcheck) -> HealthConfig {
    match healthcheck {
        Healthcheck::Disable => HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() },
        Healthcheck::Check {
            command,
            interval_ns,
            timeout_ns,
            start_period_ns,
            start_interval_ns,
            retries,
        } => {
            let test = match command {
                Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                Command::Exec(args) => std::iter::once("CMD".to_owned())
                    .chain(args.iter().map(|arg| arg.value.clone()))
                    .collect(),
            };
            HealthConfig {
                test,
                interval: *interval_ns,
                timeout: *timeout_ns,
                start_period: *start_period_ns,
                start_interval: *start_interval_ns,
                retries: i64::from(*retries),
            }
        }
    }
}
