//! Variables in the texts of compose files: `$NAME`, `${NAME}`, `${NAME:-default}` and their like.
//!
//! Spec: compose specification, "Interpolation".

/// The deepest that variables may lie in the defaults of others.
const MAX_DEPTH: usize = 16;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// As it stands.
    Text(String),
    /// The value of a variable.
    Variable {
        /// Its name.
        name: String,
        /// What is done with it.
        form: Form,
    },
}

/// What is done with the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// It is taken; `${NAME}`.
    Plain,
    /// Without it, something else is taken; `:-` and `-`.
    Default(Vec<Segment>),
    /// Without it, this is the mistake; `:?` and `?`.
    Required(String),
    /// With it, something else is taken; `:+` and `+`.
    Alternative(Vec<Segment>),
}

/// Splits a text into its pieces.
///
/// # Errors
/// What is wrong with it.
pub(super) fn segments(text: &str) -> Result<Vec<Segment>, String> {
    let (segments, _) = read(text, false, 0)?;
    Ok(segments)
}

/// Reads pieces up to the end, or up to the brace that closes a default; returns also what is behind it.
fn read(text: &str, is_inner: bool, depth: usize) -> Result<(Vec<Segment>, &str), String> {
    if depth > MAX_DEPTH {
        return Err("variables lie too deeply in each other's defaults".to_owned());
    }
    let mut segments = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    loop {
        let Some(ch) = rest.chars().next() else {
            if is_inner {
                return Err("`${` is not closed".to_owned());
            }
            push(&mut segments, &mut plain);
            return Ok((segments, rest));
        };
        let behind = &rest[ch.len_utf8()..];
        match ch {
            '}' if is_inner => {
                push(&mut segments, &mut plain);
                return Ok((segments, behind));
            }
            '$' if behind.starts_with('$') => {
                plain.push('$');
                rest = &behind[1..];
            }
            '$' if behind.starts_with('{') => {
                push(&mut segments, &mut plain);
                let (segment, after) = braced(&behind[1..], depth)?;
                segments.push(segment);
                rest = after;
            }
            '$' if name_length(behind) > 0 => {
                push(&mut segments, &mut plain);
                let (name, after) = behind.split_at(name_length(behind));
                segments.push(Segment::Variable { name: name.to_owned(), form: Form::Plain });
                rest = after;
            }
            '$' => return Err("`$` is followed by no name: a plain one is written `$$`".to_owned()),
            ch => {
                plain.push(ch);
                rest = behind;
            }
        }
    }
}

fn push(segments: &mut Vec<Segment>, plain: &mut String) {
    if !plain.is_empty() {
        segments.push(Segment::Text(std::mem::take(plain)));
    }
}

/// Returns the length of the name that a text begins with.
fn name_length(text: &str) -> usize {
    if text.starts_with(|ch: char| ch.is_ascii_digit()) {
        return 0;
    }
    text.find(|ch: char| !(ch.is_ascii_alphanumeric() || ch == '_')).unwrap_or(text.len())
}

/// Reads what is behind `${`.
fn braced(text: &str, depth: usize) -> Result<(Segment, &str), String> {
    let (name, rest) = text.split_at(name_length(text));
    if name.is_empty() {
        return Err("`${` is followed by no name".to_owned());
    }
    let name = name.to_owned();
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((Segment::Variable { name, form: Form::Plain }, rest));
    }
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let Some(operator @ ('-' | '?' | '+')) = rest.chars().next() else {
        return Err(format!("`${{{name}` is not closed"));
    };
    let (word, rest) = read(&rest[1..], true, depth + 1)?;
    let form = match operator {
        '-' => Form::Default(word),
        '+' => Form::Alternative(word),
        _ => Form::Required(plain(&word)),
    };
    Ok((Segment::Variable { name, form }, rest))
}

/// Returns the text of a message, in which variables are only named.
fn plain(segments: &[Segment]) -> String {
    let word = |segment: &Segment| match segment {
        Segment::Text(text) => text.clone(),
        Segment::Variable { name, .. } => format!("${name}"),
    };
    segments.iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, form: Form) -> Segment {
        Segment::Variable { name: name.to_owned(), form }
    }

    fn text(text: &str) -> Segment {
        Segment::Text(text.to_owned())
    }

    #[test]
    fn texts_are_split() {
        let default = Form::Default(vec![text("d")]);
        for (source, expected) in [
            ("", vec![]),
            ("a$$b", vec![text("a$b")]),
            ("$A-$B_1", vec![variable("A", Form::Plain), text("-"), variable("B_1", Form::Plain)]),
            ("${A}b", vec![variable("A", Form::Plain), text("b")]),
            ("${A:-d}", vec![variable("A", default.clone())]),
            ("${A-d}", vec![variable("A", default)]),
            ("${A:?no}", vec![variable("A", Form::Required("no".to_owned()))]),
            ("${A+$B}", vec![variable("A", Form::Alternative(vec![variable("B", Form::Plain)]))]),
            ("${A:-}", vec![variable("A", Form::Default(vec![]))]),
            (
                "${A:-${B:-x}y}",
                vec![variable(
                    "A",
                    Form::Default(vec![variable("B", Form::Default(vec![text("x")])), text("y")]),
                )],
            ),
        ] {
            assert_eq!(segments(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for source in ["$", "$1", "${", "${}", "${A", "${A:-x", "${A!x}", "a$ b", &"${A:-".repeat(40)] {
            assert!(segments(source).is_err(), "{source}");
        }
    }
}
