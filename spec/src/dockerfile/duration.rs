//! Durations as Go writes them: `1m30s`, `1.5h`, `500ms`.

use std::iter::Peekable;
use std::str::Chars;

/// Reads a duration into nanoseconds; `None` if it is malformed or too long for 64 bits.
///
/// Spec: Go's `time.ParseDuration`.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if body == "0" {
        return Some(0);
    }
    if body.is_empty() {
        return None;
    }
    let mut chars = body.chars().peekable();
    let mut total: i128 = 0;
    while chars.peek().is_some() {
        total = total.checked_add(component(&mut chars)?)?;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Reads one number and its unit.
fn component(chars: &mut Peekable<Chars<'_>>) -> Option<i128> {
    let whole = take_while(chars, |ch| ch.is_ascii_digit());
    let mut fraction = String::new();
    if chars.next_if_eq(&'.').is_some() {
        fraction = take_while(chars, |ch| ch.is_ascii_digit());
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit: i128 = match &*take_while(chars, |ch| ch != '.' && !ch.is_ascii_digit()) {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Beyond this many digits nothing adds up to a nanosecond of an hour.
    fraction.truncate(20);
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / scale)
}

fn take_while(chars: &mut Peekable<Chars<'_>>, wanted: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(ch) = chars.next_if(|&ch| wanted(ch)) {
        taken.push(ch);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("100us", Some(100_000)),
            ("100\u{b5}s", Some(100_000)),
            ("-5s", Some(-5_000_000_000)),
            ("+5s", Some(5_000_000_000)),
            ("2562047h47m16.854775807s", Some(i64::MAX)),
            ("2562048h", None),
            ("", None),
            ("-", None),
            ("5", None),
            ("5 s", None),
            ("5d", None),
            (".s", None),
            ("s", None),
            ("1s1", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
