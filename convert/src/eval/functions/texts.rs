//! Functions on texts.

use super::{Outcome, count, list, number, text};
use crate::eval::{MAX_TEXT, to_number};
use crate::say::sanitized;
use crate::term::Term;

pub(super) fn concrete(name: &str, terms: &[Term]) -> Option<Outcome> {
    if let Some(change) = change(name) {
        return Some(text(terms, 0).map(|text| Term::Text(change(&text))));
    }
    Some(match name {
        "strlen" | "length" => text(terms, 0).map(|text| Term::Number(to_number(text.chars().count()))),
        "byteslen" => text(terms, 0).map(|text| Term::Number(to_number(text.len()))),
        "trim" => two(terms, |text, set| text.trim_matches(|ch| set.contains(ch)).to_owned()),
        "trimprefix" => two(terms, |text, prefix| {
            text.strip_prefix(prefix).map_or_else(|| text.to_owned(), str::to_owned)
        }),
        "trimsuffix" => two(terms, |text, suffix| {
            text.strip_suffix(suffix).map_or_else(|| text.to_owned(), str::to_owned)
        }),
        "replace" => replace(terms),
        "split" => split(terms),
        "join" => join(terms),
        "substr" => substr(terms),
        "indent" => indent(terms),
        "format" => format(terms),
        _ => return None,
    })
}

/// Functions of one text.
fn change(name: &str) -> Option<fn(&str) -> String> {
    Some(match name {
        "lower" => |text| text.to_lowercase(),
        "upper" => |text| text.to_uppercase(),
        "title" => title,
        "sanitize" => sanitized,
        "trimspace" => |text| text.trim().to_owned(),
        "chomp" => |text| text.trim_end_matches(['\n', '\r']).to_owned(),
        "reverse" => |text| text.chars().rev().collect(),
        "basename" => basename,
        "dirname" => dirname,
        _ => return None,
    })
}

fn title(text: &str) -> String {
    let mut before = ' ';
    let mut all = String::new();
    for ch in text.chars() {
        if before.is_alphanumeric() {
            all.push(ch);
        } else {
            all.extend(ch.to_uppercase());
        }
        before = ch;
    }
    all
}

fn basename(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".".to_owned(),
        "" => "/".to_owned(),
        path => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

fn dirname(path: &str) -> String {
    match path.rsplit_once('/') {
        None => ".".to_owned(),
        Some((folder, _)) => match folder.trim_end_matches('/') {
            "" => "/".to_owned(),
            folder => folder.to_owned(),
        },
    }
}

fn two(terms: &[Term], change: impl Fn(&str, &str) -> String) -> Outcome {
    Ok(Term::Text(change(&text(terms, 0)?, &text(terms, 1)?)))
}

fn replace(terms: &[Term]) -> Outcome {
    let (text, from, to) = (text(terms, 0)?, text(terms, 1)?, text(terms, 2)?);
    let found = text.matches(&from).count();
    bounded(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(Term::Text(text.replace(&from, &to)))
}

fn bounded(bytes: usize) -> Result<(), String> {
    if bytes > MAX_TEXT { Err("the text is too long".to_owned()) } else { Ok(()) }
}

fn split(terms: &[Term]) -> Outcome {
    let (separator, text) = (text(terms, 0)?, text(terms, 1)?);
    let parts: Vec<Term> = if separator.is_empty() {
        text.chars().map(|ch| Term::Text(ch.to_string())).collect()
    } else {
        text.split(&separator).map(Term::text).collect()
    };
    if parts.len() > 10_000 { Err("the list is too long".to_owned()) } else { Ok(Term::List(parts)) }
}

fn join(terms: &[Term]) -> Outcome {
    let separator = text(terms, 0)?;
    let mut parts = Vec::new();
    for at in 1..terms.len() {
        let items = list(terms, at)?;
        for item in 0..items.len() {
            parts.push(text(items, item)?);
        }
    }
    bounded(parts.iter().map(String::len).sum::<usize>().saturating_add(separator.len() * parts.len()))?;
    Ok(Term::Text(parts.join(&separator)))
}

fn substr(terms: &[Term]) -> Outcome {
    let chars: Vec<char> = text(terms, 0)?.chars().collect();
    let start = if number(terms, 1)? < 0.0 {
        let back = count(&[Term::Number(-number(terms, 1)?)], 0)?;
        chars.len().saturating_sub(back)
    } else {
        count(terms, 1)?
    };
    let rest = chars.iter().skip(start);
    let length = if number(terms, 2)? < 0.0 { usize::MAX } else { count(terms, 2)? };
    Ok(Term::Text(rest.take(length).collect()))
}

fn indent(terms: &[Term]) -> Outcome {
    let (spaces, text) = (count(terms, 0)?, text(terms, 1)?);
    bounded(text.len().saturating_add(spaces.saturating_mul(text.matches('\n').count())))?;
    Ok(Term::Text(text.replace('\n', &format!("\n{}", " ".repeat(spaces)))))
}

/// Fills `%s`, `%v`, `%d`, `%t` and `%q` in.
fn format(terms: &[Term]) -> Outcome {
    let pattern = text(terms, 0)?;
    let mut next = 1;
    let mut filled = String::new();
    let mut chars = pattern.chars();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            filled.push(ch);
            continue;
        }
        match chars.next() {
            Some('%') => {
                filled.push('%');
                continue;
            }
            Some('s' | 'v' | 't') => filled.push_str(&text(terms, next)?),
            Some('d') => filled.push_str(&crate::term::number(number(terms, next)?.trunc())),
            Some('q') => filled.push_str(&super::encoding::quoted(&text(terms, next)?)),
            other => return Err(format!("`%{}` cannot be filled in here", other.unwrap_or(' '))),
        }
        bounded(filled.len())?;
        next += 1;
    }
    Ok(Term::Text(filled))
}
