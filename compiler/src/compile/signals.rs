//! STOPSIGNAL: which names are signals.

/// Largest signal number of Linux.
const LAST: u32 = 64;

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Says whether the text names a signal of Linux: a number from 1, or a name in any case with or without `SIG`.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return (1..=i64::from(LAST)).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_offset(name, "RTMIN+", 15) || is_offset(name, "RTMAX-", 14)
}

fn is_offset(name: &str, prefix: &str, last: u32) -> bool {
    name.strip_prefix(prefix).is_some_and(|digits| (1..=last).any(|n| n.to_string() == digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for text in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-14", "64", "sigusr1", "RTMIN"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "SIG", "FOO", "0", "-1", "65", "RTMIN+16", "RTMIN+03", "RTMAX-15", "SIGSIGTERM"] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
