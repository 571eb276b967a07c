//! Go's printing of strings, lists and durations, which BuildKit's history texts are made of.

use std::fmt::Write as _;

/// Prints a string list as `%q`: `["a" "b"]`.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Prints a string list as `%v`: `[a b]`.
pub(crate) fn plain_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// Prints a string as `%q`: in double quotes, with escapes for what cannot be printed.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                    0..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

fn is_printable(c: char) -> bool {
    // `escape_debug` knows what is printable, but also escapes a combining mark that stands first and a quote.
    c == '\'' || ['a', c].iter().collect::<String>().escape_debug().count() == 2
}

/// Prints nanoseconds as a `Duration`: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < 1_000_000_000 {
        let (unit, name) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{name}", decimal(total, unit));
    }
    let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Prints `value / unit` (a power of ten) without final zeros.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let table = [
            ("a b", r#""a b""#),
            ("it's \"x\" \\", r#""it's \"x\" \\""#),
            ("\t\n\u{1}\u{7f}", r#""\t\n\x01\x7f""#),
            ("é\u{301}\u{200b}\u{e0001}", "\"é\u{301}\\u200b\\U000e0001\""),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(quoted_list(&["a".into(), "b c".into()]), r#"["a" "b c"]"#);
        assert_eq!(quoted_list(&[]), "[]");
        assert_eq!(plain_list(&["a".into(), "b c".into()]), "[a b c]");
    }

    #[test]
    fn durations() {
        let table = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_400_050_000_000, "1h30m0.05s"),
            (-1_000_000_000, "-1s"),
        ];
        for (nanoseconds, expected) in table {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
