//! HEALTHCHECK.

use super::flags::Flags;
use super::instruction::Reader;
use super::{Command, Healthcheck, duration};
use crate::text::Slice;
use crate::{Diagnostic, Spanned};

/// Shortest time that is not zero.
const MIN_NS: i64 = 1_000_000;

/// Reads the arguments of HEALTHCHECK.
pub(super) fn read(reader: &mut Reader<'_>, flags: Flags, arguments: Slice<'_>) -> Option<Healthcheck> {
    let string = arguments.as_str();
    let end = string.find(char::is_whitespace).unwrap_or(string.len());
    let (kind, rest) = (arguments.part(0..end), arguments.from(end).trim_start());
    match &*kind.as_str().to_ascii_uppercase() {
        "" => {
            reader.error(
                Diagnostic::error(
                    "missing-argument",
                    reader.span,
                    "`HEALTHCHECK` needs at least one argument",
                )
                .with_help("write `HEALTHCHECK CMD <command>` or `HEALTHCHECK NONE`"),
            );
            None
        }
        "NONE" => disable(reader, &flags, rest),
        "CMD" => check(reader, flags, kind, rest),
        _ => {
            reader.error(
                Diagnostic::error(
                    "unknown-healthcheck",
                    kind.span(),
                    format!("unknown type `{}` of health check", kind.as_str()),
                )
                .with_help("write `HEALTHCHECK CMD <command>` or `HEALTHCHECK NONE`"),
            );
            None
        }
    }
}

fn disable(reader: &mut Reader<'_>, flags: &Flags, rest: Slice<'_>) -> Option<Healthcheck> {
    if !rest.is_empty() {
        reader.error(Diagnostic::error(
            "too-many-arguments",
            rest.span(),
            "`HEALTHCHECK NONE` takes no arguments",
        ));
        return None;
    }
    if let Some(span) = flags.span() {
        reader.error(
            Diagnostic::warning("ignored-flag", span, "the flags of `HEALTHCHECK NONE` have no effect")
                .with_help("remove them"),
        );
    }
    Some(Healthcheck::Disable)
}

fn check(reader: &mut Reader<'_>, mut flags: Flags, kind: Slice<'_>, rest: Slice<'_>) -> Option<Healthcheck> {
    let before = reader.diagnostics.len();
    let command = reader.command(rest);
    let is_empty = match &command {
        Some(Command::Shell(text)) => text.value.is_empty(),
        Some(Command::Exec(words)) => words.is_empty(),
        None => false,
    };
    if is_empty {
        reader.error(
            Diagnostic::error("missing-argument", kind.span(), "`HEALTHCHECK CMD` needs a command")
                .with_help("write `HEALTHCHECK NONE` to switch an inherited check off"),
        );
    }
    let interval_ns = time(reader, flags.spanned("interval"));
    let timeout_ns = time(reader, flags.spanned("timeout"));
    let start_period_ns = time(reader, flags.spanned("start-period"));
    let start_interval_ns = time(reader, flags.spanned("start-interval"));
    let retries = count(reader, flags.spanned("retries"));
    if reader.diagnostics.len() > before {
        return None;
    }
    Some(Healthcheck::Check {
        command: command?,
        interval_ns,
        timeout_ns,
        start_period_ns,
        start_interval_ns,
        retries,
    })
}

fn time(reader: &mut Reader<'_>, value: Option<Spanned<String>>) -> i64 {
    value.map_or(0, |value| {
        parse_time(&value).unwrap_or_else(|error| {
            reader.error(error);
            0
        })
    })
}

/// Reads a time, in nanoseconds: 0, or at least a millisecond.
pub(crate) fn parse_time(value: &Spanned<String>) -> Result<i64, Diagnostic> {
    let error = |message: String| Diagnostic::error("invalid-duration", value.span, message);
    match duration::parse(&value.value) {
        Some(0) => Ok(0),
        Some(time) if time >= MIN_NS => Ok(time),
        Some(_) => Err(error(format!("duration `{}` is shorter than 1ms", value.value))),
        None => Err(error(format!("`{}` is not a duration", value.value))
            .with_help("write numbers with units, such as `30s`, `1m30s` or `500ms`")),
    }
}

fn count(reader: &mut Reader<'_>, value: Option<Spanned<String>>) -> u32 {
    value.map_or(0, |value| {
        parse_retries(&value).unwrap_or_else(|error| {
            reader.error(error);
            0
        })
    })
}

/// Reads a number of retries.
pub(crate) fn parse_retries(value: &Spanned<String>) -> Result<u32, Diagnostic> {
    let count = value.value.parse::<i32>().ok().and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| {
        let text = format!("`{}` is not a number of retries", value.value);
        Diagnostic::error("invalid-retries", value.span, text)
    })
}
