use super::*;
use crate::Span;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "a" => "one",
        "b" => "two words",
        "e" => "",
        "p" => "/usr/local/lib.tar.gz",
        "s" => "x*y",
        "d" => "$a",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expand(raw: &str) -> Result<String, &'static str> {
    let word = Word::new(raw, Span::new(0, raw.len()));
    word.expand('\\', &variables).map(|expansion| expansion.value).map_err(|diagnostic| diagnostic.code)
}

#[test]
fn expands() {
    for (raw, expected) in [
        // Quotes and escapes.
        ("plain", "plain"),
        ("'$a \\x'", "$a \\x"),
        ("\"$a 'q'\"", "one 'q'"),
        ("\\$a", "$a"),
        ("\"\\$a \\\" \\\\ \\n\"", "$a \" \\ \\n"),
        ("a\\b\\ c", "ab c"),
        ("trailing\\", "trailing"),
        ("x\"y\"'z'", "xyz"),
        ("''", ""),
        ("a  b", "a  b"),
        // Plain variables.
        ("$a", "one"),
        ("${a}x", "onex"),
        ("$ax", ""),
        ("$a.x-$a", "one.x-one"),
        ("$", "$"),
        ("$.", "$."),
        ("a$", "a$"),
        ("$1$@$#$*$?$$x", "x"),
        ("$10x", "x"),
        ("${1}${@}", ""),
        ("$b", "two words"),
        ("$d", "$a"),
        ("$\u{e9}", ""),
        // Substitutes.
        ("${a:-w}${a-w}", "oneone"),
        ("${u:-w}${u-w}", "ww"),
        ("${e:-w}|${e-w}", "w|"),
        ("${a:+w}${a+w}", "ww"),
        ("${u:+w}${u+w}", ""),
        ("${e:+w}|${e+w}", "|w"),
        ("${a:?m}${a?m}${e?m}", "oneone"),
        ("${u:-$a}", "one"),
        ("${u:-${v:-${a}}}", "one"),
        ("${u:-'q $a' \"$a\"}", "q $a one"),
        ("${u:-\\}}", "}"),
        ("${u:-a b}", "a b"),
        ("${u-}", ""),
        // Patterns.
        ("${p#*/}", "usr/local/lib.tar.gz"),
        ("${p##*/}", "lib.tar.gz"),
        ("${p%.*}", "/usr/local/lib.tar"),
        ("${p%%.*}", "/usr/local/lib"),
        ("${p#nope}", "/usr/local/lib.tar.gz"),
        ("${p%/}", "/usr/local/lib.tar.gz"),
        ("${a#?}${a%?}", "neon"),
        ("${s%\\**}", "x"),
        ("${s#x\\*}", "y"),
        ("${a#}${a%}", "oneone"),
        ("${a#[o]}", "one"),
        ("${u#x}", ""),
        ("${a##$a}", ""),
        // Replacements.
        ("${p/l/L}", "/usr/Local/lib.tar.gz"),
        ("${p//l/L}", "/usr/LocaL/Lib.tar.gz"),
        ("${p/\\//-}", "-usr/local/lib.tar.gz"),
        ("${p//\\//-}", "-usr-local-lib.tar.gz"),
        ("${p/u*l/X}", "/Xib.tar.gz"),
        ("${a/o?/X}", "Xe"),
        ("${a/n/}", "oe"),
        ("${a/n/$b}", "otwo wordse"),
        ("${a/./x}", "one"),
        ("${a/n/$d}", "o$ae"),
    ] {
        assert_eq!(expand(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn refuses() {
    for (raw, code, at) in [
        ("x'y", "unterminated-quote", 1..3),
        ("x\"y", "unterminated-quote", 1..3),
        ("\"${a\"", "unsupported-modifier", 4..5),
        ("x${", "bad-substitution", 1..3),
        ("x${}", "bad-substitution", 1..4),
        ("x${{a}}", "bad-substitution", 1..4),
        ("${:a}", "bad-substitution", 0..3),
        ("${a", "bad-substitution", 0..3),
        ("x${a:-w", "bad-substitution", 1..7),
        ("x${a:-${b}", "bad-substitution", 1..10),
        ("${a/x}", "bad-substitution", 0..6),
        ("${a^}", "unsupported-modifier", 3..4),
        ("${a:#x}", "unsupported-modifier", 3..5),
        ("${a:%x}", "unsupported-modifier", 3..5),
        ("${a:1:2}", "unsupported-modifier", 3..5),
        ("${a b}", "unsupported-modifier", 3..4),
        ("x${u:?}", "required-variable", 1..7),
        ("${u?why}", "required-variable", 0..8),
        ("${e:?why}", "required-variable", 0..9),
        ("${a#\\x}", "invalid-pattern", 0..7),
        ("${a:-${u?m}}", "required-variable", 5..11),
    ] {
        let word = Word::new(raw, Span::new(0, raw.len()));
        let diagnostic = word.expand('\\', &variables).expect_err(raw);
        assert_eq!((diagnostic.code, diagnostic.span), (code, Span::new(at.start, at.end)), "{raw}");
    }
}

#[test]
fn says_why_a_variable_is_required() {
    for (raw, expected) in [
        ("${u?}", "`u`: is not allowed to be unset"),
        ("${e:?}", "`e`: is not allowed to be empty"),
        ("${u:?set it to $a}", "`u`: set it to one"),
    ] {
        let word = Word::new(raw, Span::new(0, raw.len()));
        assert_eq!(word.expand('\\', &variables).expect_err(raw).message, expected, "{raw}");
    }
}

#[test]
fn lists_undefined_variables() {
    for (raw, expected) in [
        ("$u ${v}", &[("u", 0..2), ("v", 3..7)][..]),
        ("${u-w}${u:+w}${a:-$v}", &[("v", 18..20)]),
        ("${u#x}'$u'\\$u\"$u\"", &[("u", 0..6), ("u", 14..16)]),
        ("$1", &[("1", 0..2)]),
    ] {
        let word = Word::new(raw, Span::new(0, raw.len()));
        let found = word.expand('\\', &variables).expect(raw).undefined;
        let found: Vec<_> = found.iter().map(|name| (&*name.value, name.span.start..name.span.end)).collect();
        assert_eq!(found, expected, "{raw}");
    }
}

#[test]
fn escapes_by_backtick() {
    let word = Word::new("`$a \\ \"`\"\\\"", Span::default());
    assert_eq!(word.expand('`', &variables).map(|expansion| expansion.value).as_deref(), Ok("$a \\ \"\\"));
}

#[test]
fn splits_after_expansion() {
    for (raw, expected) in [
        ("80 $b", &["80", "two", "words"][..]),
        ("\"$b\" c", &["two words", "c"]),
        ("x$b", &["xtwo", "words"]),
        ("$e '' \"\" a", &["a"]),
        ("a\\ b c", &["a b", "c"]),
        ("", &[]),
        ("$u", &[]),
    ] {
        let word = Word::new(raw, Span::new(0, raw.len()));
        assert_eq!(word.expand_words('\\', &variables).expect(raw), expected, "{raw}");
    }
}

#[test]
fn limits_nesting() {
    let raw = "${u:-".repeat(100_000);
    assert_eq!(expand(&raw), Err("bad-substitution"));
    let raw = format!("{}x{}", "${u:-".repeat(100), "}".repeat(100));
    assert_eq!(expand(&raw).as_deref(), Ok("x"));
}
