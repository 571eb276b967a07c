//! PAX extended header records, `length key=value\n`.
//!
//! Spec: POSIX pax, "pax Extended Header".

use crate::layer::Timestamp;

/// Prefix of the records that carry extended attributes.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Appends one record.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits: adding them may add one more.
    let rest = key.len() + value.len() + 3;
    let digits = |n: usize| n.ilog10() as usize + 1;
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Splits off the first record, as key, value and rest; `None` where the text is not one.
pub(super) fn split_first(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty()).then_some((key, value, rest))
}

/// Writes a time as seconds with as many decimals as it needs.
pub(super) fn format_time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    // Two parts that add up become a sign and a fraction: -2 s + 0.75 s is -1.25.
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, n) => ("", seconds.unsigned_abs(), n),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, n) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - n),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{nanoseconds:09}").trim_end_matches('0').to_owned()
}

/// Reads a time, cutting decimals after the ninth.
pub(super) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = digits.parse().ok()?;
    let nanoseconds: u32 =
        fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, n) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - n },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for value_bytes in 0..2_000 {
            let mut records = Vec::new();
            push(&mut records, b"k", &vec![b'\n'; value_bytes]);
            let (key, value, rest) = split_first(&records).unwrap();
            assert_eq!((key, value.len(), rest), (&b"k"[..], value_bytes, &b""[..]));
        }
    }

    #[test]
    fn times_round_trip() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (5, 0, "5"),
            (5, 1, "5.000000001"),
            (5, 500_000_000, "5.5"),
            (-1, 0, "-1"),
            (-2, 750_000_000, "-1.25"),
            (-1, 500_000_000, "-0.5"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time));
        }
        for wrong in ["", "-", ".5", "1e3", "+1", "1.x", "99999999999999999999"] {
            assert_eq!(parse_time(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse_time(b"1.1234567899"), Some(Timestamp { seconds: 1, nanoseconds: 123_456_789 }));
    }

    #[test]
    fn broken_records_are_refused() {
        let broken = ["", "x", "5 k=v", "3 k=v\n", "0 k=v\n", "99 k=v\n", "6 kv2\n", "5 =v\n", "-6 k=v\n"];
        for text in broken {
            assert!(split_first(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
