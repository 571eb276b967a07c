//! Other parsers as oracles, on the valid cases, where they are known to be right.

use dockerfile_parser::{BreakableStringComponent, ShellOrExecExpr};
use kairn_spec::dockerfile::{Command, Instruction, InstructionKind, parse};

/// What is compared: the line an instruction begins on, and its keyword.
type Start = (usize, String);

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

fn own_starts(text: &str) -> Vec<Start> {
    let dockerfile = parse(text).dockerfile;
    let keyword = |instruction: &Instruction| {
        (line_of(text, instruction.keyword.span.start), instruction.keyword.value.clone())
    };
    let mut starts: Vec<_> = dockerfile.global_args.iter().map(keyword).collect();
    for stage in &dockerfile.stages {
        starts.push((line_of(text, stage.span.start), "FROM".to_owned()));
        starts.extend(stage.instructions.iter().map(keyword));
    }
    starts
}

fn keyword_span(instruction: &parse_dockerfile::Instruction<'_>) -> std::ops::Range<usize> {
    use parse_dockerfile::Instruction as Other;
    match instruction {
        Other::Add(add) => add.add.span.clone(),
        Other::Arg(arg) => arg.arg.span.clone(),
        Other::Cmd(cmd) => cmd.cmd.span.clone(),
        Other::Copy(copy) => copy.copy.span.clone(),
        Other::Entrypoint(entrypoint) => entrypoint.entrypoint.span.clone(),
        Other::Env(env) => env.env.span.clone(),
        Other::Expose(expose) => expose.expose.span.clone(),
        Other::From(from) => from.from.span.clone(),
        Other::Healthcheck(healthcheck) => healthcheck.healthcheck.span.clone(),
        Other::Label(label) => label.label.span.clone(),
        Other::Maintainer(maintainer) => maintainer.maintainer.span.clone(),
        Other::Onbuild(onbuild) => onbuild.onbuild.span.clone(),
        Other::Run(run) => run.run.span.clone(),
        Other::Shell(shell) => shell.shell.span.clone(),
        Other::Stopsignal(stopsignal) => stopsignal.stopsignal.span.clone(),
        Other::User(user) => user.user.span.clone(),
        Other::Volume(volume) => volume.volume.span.clone(),
        Other::Workdir(workdir) => workdir.workdir.span.clone(),
        _ => panic!("{instruction:?} is none of the 18"),
    }
}

/// Files that parse-dockerfile refuses although they are valid: empty commands, heredocs in exec form.
const REFUSED: [&str; 2] = ["forms", "heredocs"];

/// Files that parse-dockerfile joins wrongly: to it a doubled escape continues the line.
const MISREAD: [&str; 1] = ["doubled-escapes"];

#[test]
fn instructions_begin_where_parse_dockerfile_says() {
    let mut compared = 0;
    for (name, text) in crate::cases("valid").into_iter().chain(extra()) {
        if MISREAD.contains(&&*name) {
            continue;
        }
        let Ok(instructions) = parse_dockerfile::parse_iter(&text)
            .expect("directives are readable")
            .collect::<Result<Vec<_>, _>>()
        else {
            assert!(REFUSED.contains(&&*name), "{name} is refused by parse-dockerfile");
            continue;
        };
        let theirs: Vec<Start> = instructions
            .iter()
            .map(|instruction| {
                let span = keyword_span(instruction);
                (line_of(&text, span.start), text[span].to_uppercase())
            })
            .collect();
        compared += theirs.len();
        assert_eq!(own_starts(&text), theirs, "{name}");
    }
    assert!(compared > 60, "only {compared} instructions were compared");
}

/// Valid files of the plain kind, which every parser reads.
fn extra() -> Vec<(String, String)> {
    [
        ("node", "FROM node:22 AS deps\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\n\nFROM node:22\nCOPY --from=deps /app/node_modules ./node_modules\nCOPY . .\nUSER node\nEXPOSE 3000\nCMD [\"node\", \"server.js\"]\n"),
        ("shell", "FROM debian:12\nRUN apt-get update && \\\n    apt-get install -y curl && \\\n    rm -rf /var/lib/apt/lists/*\nENTRYPOINT exec curl \"$@\"\nCMD curl --version\n"),
        ("comments", "# a\nFROM a\n# b\nRUN x \\\n  # c\n  && y\n# d\nCMD z\n"),
        ("many", "ARG V=1\nFROM a:$V AS one\nFROM --platform=linux/arm64 one AS two\nRUN [\"a\", \"b c\"]\nFROM scratch\nCOPY --from=two --chown=1:1 /a /b /c/\nENTRYPOINT [\"/b\"]\n"),
        ("crlf", "FROM a\r\nRUN b \\\r\n  c\r\nCMD d\r\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into()
}

/// FROM, COPY, RUN, CMD and ENTRYPOINT as text, from our own tree.
fn own_commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for stage in parse(text).dockerfile.stages {
        found.push(from(&stage.base.raw, stage.name.as_ref().map(|name| &*name.value)));
        for instruction in stage.instructions {
            match instruction.kind {
                InstructionKind::Copy(copy) => {
                    let words = copy.sources.iter().chain([&copy.dest]).map(|word| &*word.raw);
                    found.push(format!("COPY {:?}", words.collect::<Vec<_>>()));
                }
                InstructionKind::Run(run) => found.push(format!("RUN {}", command(&run.command))),
                InstructionKind::Cmd(cmd) => found.push(format!("CMD {}", command(&cmd))),
                InstructionKind::Entrypoint(entrypoint) => {
                    found.push(format!("ENTRYPOINT {}", command(&entrypoint)));
                }
                _ => {}
            }
        }
    }
    found
}

fn from(base: &str, name: Option<&str>) -> String {
    format!("FROM {base} {name:?}")
}

fn command(command: &Command) -> String {
    match command {
        // The other parser's handling of blanks at continuations is not BuildKit's.
        Command::Shell(text) => format!("{:?}", text.value.split_whitespace().collect::<Vec<_>>().join(" ")),
        Command::Exec(words) => format!("{:?}", words.iter().map(|word| &*word.value).collect::<Vec<_>>()),
    }
}

fn their_command(expression: &ShellOrExecExpr) -> String {
    match expression {
        ShellOrExecExpr::Shell(text) => {
            let parts = text.iter_components().filter_map(|component| match component {
                BreakableStringComponent::String(string) => Some(&*string.content),
                BreakableStringComponent::Comment(_) => None,
            });
            let text: String = parts.collect();
            format!("{:?}", text.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        ShellOrExecExpr::Exec(words) => format!("{:?}", words.as_str_vec()),
    }
}

fn their_commands(text: &str) -> Vec<String> {
    use dockerfile_parser::Instruction as Other;
    let dockerfile = dockerfile_parser::Dockerfile::parse(text).expect("the file is of the plain kind");
    let commands = dockerfile.instructions.iter().filter_map(|instruction| match instruction {
        Other::From(other) => {
            Some(from(&other.image.content, other.alias.as_ref().map(|alias| &*alias.content)))
        }
        Other::Copy(copy) => {
            let words = copy.sources.iter().chain([&copy.destination]).map(|word| &*word.content);
            Some(format!("COPY {:?}", words.collect::<Vec<_>>()))
        }
        Other::Run(run) => Some(format!("RUN {}", their_command(&run.expr))),
        Other::Cmd(cmd) => Some(format!("CMD {}", their_command(&cmd.expr))),
        Other::Entrypoint(entrypoint) => Some(format!("ENTRYPOINT {}", their_command(&entrypoint.expr))),
        Other::Arg(_) | Other::Label(_) | Other::Env(_) | Other::Misc(_) => None,
    });
    commands.collect()
}

#[test]
fn commands_say_what_dockerfile_parser_says() {
    for (name, text) in extra() {
        assert_eq!(own_commands(&text), their_commands(&text), "{name}");
    }
}
