//! EXPOSE: port specifications to `port/protocol`.

use std::net::IpAddr;

/// Expands one word of EXPOSE (`80`, `80/udp`, `8000-8010`, and the tolerated `[ip:]host:container` forms).
///
/// Spec: Dockerfile reference, EXPOSE. As in BuildKit, a host address or port is checked and then dropped.
pub(crate) fn expand(word: &str) -> Result<Vec<String>, String> {
    let (host, container) = split_host(word);
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    if ports.is_empty() {
        return Err(format!("no port in `{word}`"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(format!("unknown protocol `{protocol}` in `{word}`")),
    };
    let (first, last) = range(ports).ok_or_else(|| format!("invalid port `{ports}` in `{word}`"))?;
    if let Some(host) = host {
        check_host(host, last - first).map_err(|what| format!("{what} in `{word}`"))?;
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn split_host(word: &str) -> (Option<&str>, &str) {
    word.rsplit_once(':').map_or((None, word), |(host, container)| (Some(host), container))
}

fn check_host(host: &str, span: u16) -> Result<(), String> {
    let (address, ports) = host.rsplit_once(':').unwrap_or(("", host));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid address `{address}`"));
    }
    if ports.is_empty() {
        return Ok(());
    }
    let (first, last) = range(ports).ok_or_else(|| format!("invalid host port `{ports}`"))?;
    if span != 0 && last - first != span {
        return Err("host and container ranges of different lengths".to_owned());
    }
    Ok(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        // `parse` would take a sign.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid() {
        let table: &[(&str, &[&str])] = &[
            ("80", &["80/tcp"]),
            ("80/", &["80/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("8000-8002", &["8000/tcp", "8001/tcp", "8002/tcp"]),
            ("8080:80", &["80/tcp"]),
            ("127.0.0.1:8080:80/sctp", &["80/sctp"]),
            ("127.0.0.1::80", &["80/tcp"]),
            ("[::1]:8080:80", &["80/tcp"]),
            ("8000-8010:80", &["80/tcp"]),
            ("0", &["0/tcp"]),
        ];
        for (word, expected) in table {
            assert_eq!(expand(word).unwrap(), *expected, "{word}");
        }
    }

    #[test]
    fn invalid() {
        for word in [
            "",
            "/tcp",
            "x",
            "80/foo",
            "70000",
            "-1",
            "+80",
            "9-8",
            "1-2-3",
            "1-",
            "nohost:1:80",
            "1-3:4-5",
            "a:80",
        ] {
            assert!(expand(word).is_err(), "{word}");
        }
    }
}
