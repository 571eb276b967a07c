//! Facts about trees that files on disk cannot show well.

use kairn_spec::Severity;
use kairn_spec::dockerfile::{Command, InstructionKind, MountSpec, Run, parse, parse_trigger};

fn shell_text(source: &str) -> String {
    let parsed = parse(source);
    assert!(parsed.diagnostics.iter().all(|found| found.severity == Severity::Warning), "{source:?}");
    match &parsed.dockerfile.stages[0].instructions[0].kind {
        InstructionKind::Run(Run { command: Command::Shell(text), .. }) => text.value.clone(),
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn shells_get_the_text_as_it_stands() {
    for (source, expected) in [
        ("FROM a\nRUN  x  y  \n", "x  y"),
        ("FROM a\r\nRUN x \\\r\n  y\r\n", "x   y"),
        ("\u{feff}FROM a\nRUN x", "x"),
        ("FROM a\n\tRUN\tx \\\n\n\t# c\n\ty", "x \ty"),
        ("FROM a\nRUN x \\\n", "x"),
        ("FROM a\nRUN \\\n  x", "x"),
        ("FROM a\nRUN", ""),
        ("FROM a\nRUN echo \"# no comment\" # none either", "echo \"# no comment\" # none either"),
        ("FROM a\nRUN '\u{e9}' \\\n'\u{1f600}'", "'\u{e9}' '\u{1f600}'"),
        ("FROM a\nRUN x \\\n    && y \\ \\\n    z", "x     && y \\     z"),
    ] {
        assert_eq!(shell_text(source), expected, "{source:?}");
    }
}

#[test]
fn texts_are_single_lines() {
    let source = "FROM a\nCOPY --from=b \\\n# c\n  x \\\n  y  \n";
    let instruction = &parse(source).dockerfile.stages[0].instructions[0];
    assert_eq!(instruction.text, "COPY --from=b   x   y");
    assert_eq!(&source[instruction.span.start..instruction.span.end], "COPY --from=b \\\n# c\n  x \\\n  y");
    assert_eq!(instruction.keyword.value, "COPY");
}

#[test]
fn words_know_their_place_across_continuations() {
    let source = "FROM a\nENV A=x$\\\nundefined B=\"$t\\\nwo\"\n";
    let parsed = parse(source);
    let InstructionKind::Env(pairs) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    let found: Vec<_> = pairs
        .iter()
        .flat_map(|pair| pair.value.expand('\\', &|_| None).expect("a value").undefined)
        .map(|name| (name.value, &source[name.span.start..name.span.end]))
        .collect();
    assert_eq!(found, [("undefined".to_owned(), "$\\\nundefined"), ("two".to_owned(), "$t\\\nwo")]);
}

#[test]
fn flag_values_know_their_place_behind_quotes() {
    let source = "FROM a\nCOPY --chown='a'\"$b\":${c^} x y\n";
    let parsed = parse(source);
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    let chown = copy.chown.as_ref().expect("a flag");
    assert_eq!(chown.raw, "a$b:${c^}");
    let error = chown.expand('\\', &|_| None).expect_err("an unsupported modifier");
    assert_eq!(&source[error.span.start..error.span.end], "^");
}

#[test]
fn broken_instructions_are_left_out() {
    let parsed = parse("FROM a\nCPOY x y\nUSER u\nFROM b c\nUSER lost\nFROM d\nUSER v\n");
    assert_eq!(parsed.diagnostics.len(), 2);
    let stages: Vec<_> = parsed
        .dockerfile
        .stages
        .iter()
        .map(|stage| (stage.index, &*stage.base.raw, stage.instructions.len()))
        .collect();
    assert_eq!(stages, [(0, "a", 1), (1, "d", 1)]);
}

#[test]
fn triggers_are_single_instructions() {
    let instruction = parse_trigger("RUN a \\\n b").expect("a trigger");
    assert_eq!((&*instruction.text, &*instruction.keyword.value), ("RUN a  b", "RUN"));
    for (trigger, expected) in [
        ("", "invalid-trigger"),
        ("# comment", "invalid-trigger"),
        ("FROM a", "invalid-trigger"),
        ("ONBUILD RUN a", "invalid-trigger"),
        ("MAINTAINER a", "invalid-trigger"),
        ("RUN a\nRUN b", "invalid-trigger"),
        ("BANANA", "unknown-instruction"),
        ("COPY a", "missing-argument"),
        ("RUN <<EOF\nRUN b", "unterminated-heredoc"),
        ("RUN <<EOF\nRUN b\nEOF\nRUN c", "invalid-trigger"),
        ("RUN --mount=type=cach,target=/x a", "invalid-mount-value"),
        ("RUN --device=x a", "unsupported"),
    ] {
        let codes: Vec<_> =
            parse_trigger(trigger).expect_err(trigger).iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, [expected], "{trigger:?}");
    }
}

#[test]
fn onbuild_keeps_the_trigger_as_written() {
    let parsed = parse("FROM a\nonbuild   copy --chown=1 \\\n  x   y  \n");
    let InstructionKind::Onbuild(trigger) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!()
    };
    assert_eq!(trigger.value, "copy --chown=1   x   y  ");
}

#[test]
fn long_lines_are_refused() {
    let text = |length: usize| format!("FROM a\nRUN {}\n", "x".repeat(length - 4));
    assert_eq!(parse(&text(65_535)).diagnostics, []);
    assert_eq!(parse(&text(65_536)).diagnostics[0].code, "line-too-long");
}

#[test]
fn mounts_are_resolved_with_variables() {
    let source = "FROM a\nRUN --mount=type=$T,from=${F},target=/$D,size=$S x\n";
    let parsed = parse(source);
    assert_eq!(parsed.diagnostics, []);
    let InstructionKind::Run(run) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    let resolve = |kind: &str, size: &str| {
        let lookup = |name: &str| match name {
            "T" => Some(kind.to_owned()),
            "S" => Some(size.to_owned()),
            "D" => Some("dir".to_owned()),
            _ => Some(String::new()),
        };
        run.mounts[0].resolve(&mut |word| word.expand('\\', &lookup).map(|expansion| expansion.value))
    };
    assert_eq!(
        resolve("tmpfs", "1k"),
        Ok(MountSpec::Tmpfs { target: "/dir".to_owned(), size_bytes: Some(1024) })
    );
    for (kind, size, code, place) in [
        ("cache", "1k", "wrong-mount-key", "size"),
        ("tmpfs", "x", "invalid-mount-value", "$S"),
        ("nfs", "1k", "invalid-mount-value", "$T"),
    ] {
        let errors = resolve(kind, size).expect_err(kind);
        assert_eq!((errors[0].code, &source[errors[0].span.start..errors[0].span.end]), (code, place));
    }
}

#[test]
fn heredocs_escape_by_backslash_whatever_the_file_does() {
    let parsed = parse("# escape=`\nFROM a\nCOPY <<E `\n /x\n\\$a `$a `\nE\n");
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    let expansion = copy.heredocs[0].expand(&|_| Some("1".to_owned())).expect("a body");
    assert_eq!(expansion.value, "$a `1 `\n");
}

#[test]
fn one_body_serves_all_heredocs_of_its_name() {
    let parsed = parse("FROM a\nCOPY <<E <<-'E' /x\n1\nE\n\t2\nE\n");
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    let bodies: Vec<_> = copy.heredocs.iter().map(|heredoc| heredoc.chomped().raw).collect();
    assert_eq!(bodies, ["\t2\n", "2\n"]);
}
