//! Options in the words of the command line: `type=registry,ref=..`.

use crate::say::{Piece, join_pieces, pieces};
use crate::term::Term;

/// Writes the fields of a table as words, the type first; what has no value is left out.
pub(crate) fn fields(pairs: &[(String, Term)]) -> Option<Term> {
    let (types, others): (Vec<_>, Vec<_>) = pairs.iter().partition(|(name, _)| name == "type");
    let mut all = Vec::new();
    let mut now = Some(String::new());
    let present = types.into_iter().chain(others);
    for (name, value) in present.filter(|(_, value)| *value != Term::Null && *value != Term::text("")) {
        if !all.is_empty() {
            all.push(Piece::Text(",".to_owned()));
            now = now.map(|now| now + ",");
        }
        let field = field(name, value)?;
        let text = value.now().and_then(|value| value.as_text());
        now = now.zip(text).map(|(now, text)| format!("{now}{name}={text}"));
        all.extend(field);
    }
    join_pieces(all, now.map(Term::Text))
}

/// Writes a field, in quotes if something in it would end it.
fn field(name: &str, value: &Term) -> Option<Vec<Piece>> {
    if let Some(text) = value.as_text() {
        let text = format!("{name}={text}");
        let text =
            if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text };
        return Some(vec![Piece::Text(text)]);
    }
    let mut all = vec![Piece::Text(format!("{name}="))];
    all.extend(pieces(value)?);
    Some(all)
}

/// Writes a cache as words: a lone reference is one of a registry.
pub(crate) fn cache(term: Term) -> Term {
    prefixed(term, |start| !start.contains(['=', ',']), "type=registry,ref=")
}

/// Writes an output as words: a lone path is a folder, a dash is standard output.
pub(crate) fn output(term: Term) -> Term {
    if term == Term::text("-") {
        return Term::text("type=tar,dest=-");
    }
    prefixed(term, |start| !start.contains(['=', ',']), "type=local,dest=")
}

/// Puts something before a text if what is known of it is like this.
fn prefixed(term: Term, is_lone: impl Fn(&str) -> bool, prefix: &str) -> Term {
    match term {
        Term::Text(text) if is_lone(&text) => Term::Text(format!("{prefix}{text}")),
        Term::Symbol(mut symbol) => {
            let texts = symbol.pieces.iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Say(_) => None,
            });
            let now = symbol.now.as_ref().and_then(Term::as_text);
            let is_lone = texts.clone().all(&is_lone)
                && now.as_deref().is_none_or(&is_lone)
                && !now.as_deref().is_some_and(str::is_empty);
            if is_lone {
                symbol.pieces.insert(0, Piece::Text(prefix.to_owned()));
                symbol.now = now.map(|now| Term::Text(format!("{prefix}{now}")));
            }
            Term::Symbol(symbol)
        }
        other => other,
    }
}

/// Changes how a text begins, if it begins so.
pub(crate) fn replace_start(term: Term, from: &str, to: &str) -> Term {
    let changed = |text: &str| text.strip_prefix(from).map(|rest| format!("{to}{rest}"));
    match term {
        Term::Text(text) => Term::Text(changed(&text).unwrap_or(text)),
        Term::Symbol(mut symbol) => {
            if let Some(Piece::Text(first)) = symbol.pieces.first_mut()
                && let Some(new) = changed(first)
            {
                *first = new;
            }
            Term::Symbol(symbol)
        }
        other => other,
    }
}
