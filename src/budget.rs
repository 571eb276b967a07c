//! How much may be kept: ages and sizes as people write them.

use kairn_executor::store::{Budget, Store};

use crate::failure::Failure;

/// What a store may keep where nobody says otherwise: enough for a laptop, and bounded on a volume that CI jobs share.
pub const DEFAULT: &str = "age=60d,size=100GB,free=10%";

/// Bytes of a store that are no reason for a disk to be full.
const RESERVE: u64 = 1_000_000_000;

/// Reads `off` or `age=60d,size=100GB,free=10%`; `off` is no budget.
pub fn parse(text: &str, store: &Store) -> Result<Option<Budget>, Failure> {
    if text == "off" {
        return Ok(None);
    }
    let mut budget = Budget { age_s: None, size_bytes: None, free_bytes: None, reserve_bytes: RESERVE };
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("age", value)) => budget.age_s = Some(age(value)?),
            Some(("size", value)) => budget.size_bytes = Some(size(value, store)?),
            Some(("free", value)) => budget.free_bytes = Some(size(value, store)?),
            _ => {
                return Err(Failure::user(format!(
                    "`--prune {text}`: `{field}` is none of `age=`, `size=` and `free=`"
                ))
                .with_help(format!("write `off`, or some of `{DEFAULT}`")));
            }
        }
    }
    Ok(Some(budget))
}

/// Reads an age: a number with `s`, `m`, `h`, `d` or `w`. In seconds.
pub fn age(text: &str) -> Result<u64, Failure> {
    let wrong = || {
        Failure::user(format!("`{text}` is no age"))
            .with_help("write it as `90s`, `30m`, `12h`, `30d` or `4w`")
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a size as [`bytes`] does, or a share of the store's disk with `%`. In bytes.
pub fn size(text: &str, store: &Store) -> Result<u64, Failure> {
    read(text, Some(store))
}

/// Reads a size: a number with `B`, `kB`, `MB`, `GB`, `TB` (or `KiB` and so on). In bytes.
pub fn bytes(text: &str) -> Result<u64, Failure> {
    read(text, None)
}

fn read(text: &str, store: Option<&Store>) -> Result<u64, Failure> {
    let examples = if store.is_some() { "`500MB`, `20GB` or `10%`" } else { "`500MB` or `20GB`" };
    let wrong = || Failure::user(format!("`{text}` is no size")).with_help(format!("write it as {examples}"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[expect(clippy::cast_precision_loss, reason = "a budget need not be exact to the byte")]
    let factor = match (unit.to_ascii_lowercase().as_str(), store) {
        ("" | "b", _) => 1.0,
        ("k" | "kb", _) => 1e3,
        ("m" | "mb", _) => 1e6,
        ("g" | "gb", _) => 1e9,
        ("t" | "tb", _) => 1e12,
        ("kib", _) => 1024.0,
        ("mib", _) => 1024.0_f64.powi(2),
        ("gib", _) => 1024.0_f64.powi(3),
        ("tib", _) => 1024.0_f64.powi(4),
        ("%", Some(store)) if number <= 100.0 => store.disk_bytes() as f64 / 100.0,
        _ => return Err(wrong()),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and is cut off"
    )]
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        for (text, expected) in [
            ("90s", Some(90)),
            ("2h", Some(7200)),
            ("1w", Some(604_800)),
            ("d", None),
            ("1y", None),
            ("", None),
        ] {
            assert_eq!(age(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("10", Some(10)),
            ("1.5kB", Some(1500)),
            ("1KiB", Some(1024)),
            ("2GB", Some(2_000_000_000)),
            ("x", None),
            ("200%", None),
        ] {
            assert_eq!(size(text, &store).ok(), expected, "{text}");
        }
        assert_eq!(bytes("2GiB").ok(), Some(2 << 30));
        assert!(bytes("10%").is_err());
        assert_eq!(parse("off", &store).ok(), Some(None));
        assert!(parse("ages=1d", &store).is_err());
        assert!(
            parse(DEFAULT, &store)
                .is_ok_and(|budget| budget.is_some_and(|budget| budget.age_s == Some(5_184_000)))
        );
    }
}
