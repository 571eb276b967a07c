//! kairn's own checks: what is valid, and better written otherwise.
//!
//! They look at one stage's text at a time. What needs the whole file is in [`mod@crate::compile`].

mod packages;
mod shell;

use kairn_spec::Diagnostic;
use kairn_spec::dockerfile::{Command, Copy, Instruction, InstructionKind, Run, Stage};

use shell::commands;

/// Where apt keeps its lists of packages.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// File names that are secrets.
const SECRET_FILES: [&str; 14] = [
    ".env",
    ".git-credentials",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    "_netrc",
    "credentials",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "service-account.json",
];
/// Ends of file names that are secrets.
const SECRET_ENDS: [&str; 5] = [".jks", ".key", ".p12", ".pem", ".pfx"];

/// Looks at a stage.
pub(crate) fn stage(stage: &Stage) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut wide_copy: Option<&Instruction> = None;
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) if copy.from.is_none() => {
                found.extend(secrets(copy));
                if copy.sources.iter().any(|source| matches!(&*source.raw, "." | "./" | "/" | "*")) {
                    wide_copy.get_or_insert(instruction);
                }
            }
            InstructionKind::Run(run) => found.extend(self::run(run, instruction, wide_copy)),
            _ => {}
        }
    }
    found
}

fn run(run: &Run, instruction: &Instruction, wide_copy: Option<&Instruction>) -> Vec<Diagnostic> {
    let mut text = match &run.command {
        Command::Shell(text) => text.value.clone(),
        Command::Exec(args) => args.iter().map(|arg| arg.value.as_str()).collect::<Vec<_>>().join(" "),
    };
    for heredoc in &run.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content.raw);
    }
    let commands = commands(&text);
    let mut found = Vec::new();
    if leaves_apt_lists(&commands) && !mounts_over(run, APT_LISTS) {
        let text = "the lists of `apt-get update` stay in the layer";
        found.push(Diagnostic::warning("AptListsLeft", instruction.span, text).with_help(format!(
            "end the RUN with `&& rm -rf {APT_LISTS}/*`, or mount a cache at `/var/lib/apt`"
        )));
    }
    let installs: Vec<_> = commands.iter().filter_map(|words| packages::installation(words)).collect();
    if let (Some(first), Some(wide_copy)) = (installs.first(), wide_copy) {
        let text = format!("`{}` runs again whenever any file of the build context changes", first.program);
        found.push(
            Diagnostic::warning("InstallAfterWideCopy", instruction.span, text)
                .with_related(wide_copy.span, "everything is copied here")
                .with_help("install above the wide COPY; copy only the files that it reads before it"),
        );
    }
    let uncached = installs.iter().find(|install| install.is_cached);
    if let Some(install) = uncached.filter(|_| !has_cache_mount(run)) {
        let text = format!("`{}` fetches everything again whenever this RUN changes", install.program);
        let help = format!(
            "keep its files from build to build: `RUN --mount=type=cache,target={} ...`",
            install.cache
        );
        found.push(Diagnostic::warning("CacheMountMissing", instruction.span, text).with_help(help));
    }
    found
}

fn secrets(copy: &Copy) -> Vec<Diagnostic> {
    let is_secret = |path: &str| {
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        SECRET_FILES.contains(&name) || SECRET_ENDS.iter().any(|end| name.ends_with(end))
    };
    (copy.sources.iter())
        .filter(|source| is_secret(&source.raw))
        .map(|source| {
            let text =
                format!("`{}` looks like a secret, and everybody who has the image can read it", source.raw);
            Diagnostic::warning("SecretCopied", source.span, text)
                .with_help("give it to the RUNs that need it with `--mount=type=secret`")
        })
        .collect()
}

fn leaves_apt_lists(commands: &[Vec<String>]) -> bool {
    let updates = commands
        .iter()
        .any(|words| matches!(&*words[0], "apt-get" | "apt") && words.iter().any(|word| word == "update"));
    let removes = commands.iter().any(|words| {
        words.iter().any(|word| word.contains(APT_LISTS)) && matches!(&*words[0], "rm" | "find")
    });
    updates && !removes
}

/// The text of a mount's key, where it has one of that name.
fn field<'m>(mount: &'m kairn_spec::dockerfile::Mount, keys: &[&str]) -> Option<&'m str> {
    let field = mount.fields.iter().rfind(|field| keys.contains(&&*field.key.value.to_ascii_lowercase()))?;
    field.value.as_ref().map(|value| value.raw.as_str())
}

fn mounts_over(run: &Run, path: &str) -> bool {
    run.mounts.iter().any(|mount| {
        matches!(field(mount, &["type"]), Some("cache" | "tmpfs"))
            && field(mount, &["target", "dst", "destination"])
                .is_some_and(|target| path.starts_with(target.trim_end_matches('/')))
    })
}

fn has_cache_mount(run: &Run) -> bool {
    run.mounts.iter().any(|mount| field(mount, &["type"]) == Some("cache"))
}

#[cfg(test)]
mod tests {
    use kairn_spec::dockerfile::parse;

    fn codes(text: &str) -> Vec<&'static str> {
        let parsed = parse(&format!("FROM x:1\n{text}\n"));
        let stage = parsed.dockerfile.stages.first().expect("the stage parses");
        super::stage(stage).into_iter().map(|found| found.code).collect()
    }

    #[test]
    fn apt_lists() {
        assert_eq!(
            codes("RUN apt-get update && apt-get install -y --no-install-recommends x"),
            ["AptListsLeft", "CacheMountMissing"]
        );
        assert!(!codes("RUN apt-get update && rm -rf /var/lib/apt/lists/*").contains(&"AptListsLeft"));
        assert_eq!(codes("RUN --mount=type=cache,target=/var/lib/apt apt-get update"), [""; 0]);
        assert_eq!(codes("RUN echo apt-get update"), [""; 0]);
        assert_eq!(codes("RUN <<EOF\nset -e\napt-get update\nEOF"), ["AptListsLeft"]);
    }

    #[test]
    fn wide_copies() {
        assert!(codes("COPY . /app\nRUN npm ci").contains(&"InstallAfterWideCopy"));
        assert!(!codes("COPY package.json /app/\nRUN npm ci\nCOPY . /app").contains(&"InstallAfterWideCopy"));
        assert!(!codes("COPY --from=y . /app\nRUN npm ci").contains(&"InstallAfterWideCopy"));
    }

    #[test]
    fn caches() {
        for (run, missing) in [
            ("pip install -r requirements.txt", true),
            ("pip install --no-cache-dir x", false),
            ("python3 -m pip install x", true),
            ("apk add --no-cache git", false),
            ("cd /src && go build ./...", true),
            ("go version", false),
            ("--mount=type=cache,target=/root/.npm npm ci", false),
        ] {
            assert_eq!(codes(&format!("RUN {run}")).contains(&"CacheMountMissing"), missing, "{run}");
        }
    }

    #[test]
    fn secrets() {
        assert_eq!(codes("COPY .env keys/server.pem /app/"), ["SecretCopied", "SecretCopied"]);
        assert_eq!(codes("COPY .env.example README.md /app/"), [""; 0]);
        assert_eq!(codes("COPY --from=y id_rsa /app/"), [""; 0]);
    }
}
