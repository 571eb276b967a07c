//! No byte of a file is lost: each belongs to an instruction, a heredoc's body, a comment or a blank line.

use kairn_spec::Severity;
use kairn_spec::Span;
use kairn_spec::dockerfile::{Dockerfile, Heredoc, Instruction, InstructionKind, parse, parse_trigger};
use proptest::prelude::*;

pub(crate) fn heredocs(instruction: &Instruction) -> &[Heredoc] {
    match &instruction.kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => &copy.heredocs,
        InstructionKind::Run(run) => &run.heredocs,
        _ => &[],
    }
}

/// The bytes of instructions, and of heredocs' bodies with the lines that end them.
fn covered(dockerfile: &Dockerfile, text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut add = |instruction: &Instruction| {
        spans.push(instruction.span);
        let bodies = heredocs(instruction).iter().map(|heredoc| heredoc.content.span);
        // A COPY may take one body twice, or in another order; a body of its JSON form has no bytes.
        let mut bodies: Vec<_> = bodies.filter(|body| body.start >= instruction.span.end).collect();
        bodies.sort();
        bodies.dedup();
        spans.extend(bodies.into_iter().map(|body| {
            let end = text[body.end..].find('\n').map_or(text.len(), |at| body.end + at + 1);
            Span::new(body.start, end)
        }));
    };
    dockerfile.global_args.iter().for_each(&mut add);
    let mut stages = Vec::new();
    for stage in &dockerfile.stages {
        stages.push(stage.span);
        stage.instructions.iter().for_each(&mut add);
    }
    spans.extend(stages);
    spans.sort();
    spans
}

/// A piece of a file: its text, and what of it is an instruction and what a body, from the piece's start.
#[derive(Clone, Debug)]
struct Piece {
    text: String,
    instruction: Option<Span>,
    bodies: Vec<(String, String)>,
}

fn quiet() -> impl Strategy<Value = Piece> {
    let line = prop_oneof![Just(String::new()), "[ \t]{0,3}", "[ \t]{0,2}#[ -~]{0,12}", "#[ \t]*\\PC{0,8}"];
    line.prop_map(|line| Piece { text: line + "\n", instruction: None, bodies: Vec::new() })
}

fn plain() -> impl Strategy<Value = Piece> {
    let keyword = prop::sample::select(vec![
        "RUN x",
        "USER a",
        "WORKDIR /x",
        "COPY a b",
        "CMD [\"<<E\"]",
        "run \"<<E\"",
    ]);
    let middle =
        prop::sample::select(vec!["", " \\\n y", " \\ \t\n# c\n  y", " \\\n\n \\\n  y", " \\\r\n y"]);
    ("[ \t]{0,2}", keyword, middle, prop::sample::select(vec!["\n", "\r\n", "  \n"])).prop_map(
        |(before, keyword, middle, end)| {
            let span = Span::new(before.len(), before.len() + keyword.len() + middle.len());
            let text = format!("{before}{keyword}{middle}{end}");
            Piece { text, instruction: Some(span), bodies: Vec::new() }
        },
    )
}

fn with_heredocs() -> impl Strategy<Value = Piece> {
    let body = prop::collection::vec("[ -~\t]{0,10}", 0..4);
    let heredoc = (prop::sample::select(vec!["<<", "<<-", "3<<"]), prop::bool::ANY, body);
    let keyword = prop::sample::select(vec!["RUN cat", "COPY", "ADD --link", "run"]);
    (keyword, prop::collection::vec(heredoc, 1..4)).prop_map(|(keyword, heredocs)| {
        let mut line = keyword.to_owned();
        let (mut after, mut bodies) = (String::new(), Vec::new());
        for (at, (arrow, quoted, lines)) in heredocs.into_iter().enumerate() {
            let name = format!("END{at}");
            let quote = if quoted { "'" } else { "" };
            line.extend([" ", arrow, quote, &name, quote]);
            let lines = lines.into_iter().filter(|line| line.trim_start_matches('\t') != name);
            let body: String = lines.map(|line| line + "\n").collect();
            let tabs = if arrow == "<<-" { "\t\t" } else { "" };
            after.extend([&body, tabs, &name, "\n"]);
            bodies.push((name, body));
        }
        line += " /dest";
        let instruction = Some(Span::new(0, line.len()));
        Piece { text: format!("{line}\n{after}"), instruction, bodies }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_found_where_they_were_put(
        pieces in prop::collection::vec(prop_oneof![quiet(), plain(), with_heredocs()], 0..12),
    ) {
        let mut text = "FROM a\n".to_owned();
        let (mut spans, mut bodies) = (Vec::new(), Vec::new());
        for piece in &pieces {
            spans.extend(piece.instruction.map(|span| Span::new(text.len() + span.start, text.len() + span.end)));
            bodies.extend(piece.bodies.clone());
            text += &piece.text;
        }
        let parsed = parse(&text);
        prop_assert!(
            parsed.diagnostics.iter().all(|found| found.severity == Severity::Warning), "{:?}", parsed.diagnostics
        );
        let instructions = &parsed.dockerfile.stages[0].instructions;
        let found: Vec<_> = instructions.iter().map(|instruction| instruction.span).collect();
        prop_assert_eq!(found, spans, "{}", text);
        let found: Vec<_> = instructions.iter().flat_map(heredocs).collect();
        for heredoc in &found {
            let place = heredoc.content.span;
            prop_assert_eq!(&text[place.start..place.end], &*heredoc.content.raw);
        }
        let found: Vec<_> =
            found.iter().map(|heredoc| (heredoc.name.clone(), heredoc.content.raw.clone())).collect();
        prop_assert_eq!(found, bodies, "{}", text);
    }

    #[test]
    fn triggers_with_heredocs_survive_the_config(piece in with_heredocs()) {
        let text = format!("FROM a\nONBUILD {}", piece.text);
        let parsed = parse(&text);
        let InstructionKind::Onbuild(stored) = &parsed.dockerfile.stages[0].instructions[0].kind else {
            return Err(TestCaseError::fail("no trigger"));
        };
        let trigger = parse_trigger(&stored.value).expect("a trigger");
        let found: Vec<_> = heredocs(&trigger)
            .iter()
            .map(|heredoc| (heredoc.name.clone(), heredoc.content.raw.clone()))
            .collect();
        prop_assert_eq!(found, piece.bodies);
    }

    #[test]
    fn no_byte_is_lost(lines in prop::collection::vec(any_line(), 0..20)) {
        let text = format!("FROM a\n{}\nRUN\nRUN\n#x\n#x\n", lines.concat());
        let parsed = parse(&text);
        // What has an error is not in the tree.
        prop_assume!(parsed.diagnostics.iter().all(|found| found.severity == Severity::Warning));
        let (mut rest, mut at) = (String::new(), 0);
        for span in covered(&parsed.dockerfile, &text) {
            prop_assert!(span.start >= at, "{:?} is covered twice in {:?}", span, text);
            rest += &text[at..span.start];
            at = span.end;
        }
        rest += &text[at..];
        for line in rest.lines() {
            let line = line.trim();
            prop_assert!(line.is_empty() || line.starts_with('#'), "{:?} is lost of {:?}", line, text);
        }
    }
}

/// A line that is an instruction, a comment or blank, wherever it stands; names of heredocs are such lines, too.
fn any_line() -> impl Strategy<Value = String> {
    let junk = prop_oneof![
        prop::sample::select(vec![
            "<<RUN",
            "<<-'RUN'",
            "<<#x",
            "3<<\"#x\"",
            " ",
            "\t",
            "\\",
            "\\ ",
            "'",
            "\"",
            "[\"a\"]",
            "$x",
            "<<",
            "\u{e9}",
            "\r",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,3}",
    ];
    let junk = prop::collection::vec(junk, 0..5).prop_map(|junk| junk.concat());
    let start =
        prop::sample::select(vec!["RUN ", "run ", "\tRUN ", "CMD ", "RUN", "#", "#x", " # ", "", "  "]);
    (start, junk).prop_map(|(start, junk)| match start {
        "RUN" | "#x" | "" | "  " => format!("{start}\n"),
        _ => format!("{start}{junk}\n"),
    })
}
