//! Sizes such as `64m`, as BuildKit's unit library reads them.

/// Reads a size in bytes: a decimal number, perhaps a blank, and a unit of powers of 1024.
pub fn parse(text: &str) -> Option<u64> {
    let end = text.rfind(|ch: char| ch.is_ascii_digit() || ch == '.' || ch == ' ')? + 1;
    let (number, unit) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    if !number.starts_with(|ch: char| ch.is_ascii_digit() || matches!(ch, '.' | '+')) {
        return None;
    }
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
    let unit = unit.to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if matches!(&*unit, "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    // Saturates, as sizes beyond 2^63 are no limits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_units() {
        for (text, expected) in [
            ("32", Some(32)),
            ("32b", Some(32)),
            ("32K", Some(32 << 10)),
            ("32kb", Some(32 << 10)),
            ("32Kib", Some(32 << 10)),
            ("1.5 MB", Some(3 << 19)),
            ("1g", Some(1 << 30)),
            ("2T", Some(2 << 40)),
            ("1pib", Some(1 << 50)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1ib", None),
            ("1x", None),
            ("1mm", None),
            ("1 m b", None),
            ("inf0", None),
            ("nan", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
