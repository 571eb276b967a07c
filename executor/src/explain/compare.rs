//! Two lists of key parts, and what changed from one to the other.

use std::collections::BTreeMap;

use super::{Cause, Change};

/// Names of variables whose values are not shown.
const SECRET_WORDS: [&str; 9] =
    ["apikey", "auth", "credential", "key", "passphrase", "passwd", "password", "secret", "token"];

/// Longest value that is shown whole, in characters.
const SHOWN: usize = 120;

type Parts = [(String, String)];

/// What one instruction was and is.
pub struct Texts<'a> {
    /// The line before.
    pub old: &'a str,
    /// The line now.
    pub new: &'a str,
    /// Names of the variables that ARGs give.
    pub arg_names: &'a [String],
}

/// What changed in a step itself, its inputs left aside, in the order in which it counts.
pub fn own_changes(old: &Parts, new: &Parts, texts: &Texts<'_>) -> Vec<Cause> {
    let (was, is) = (by_name(old), by_name(new));
    let mut causes = Vec::new();
    if was.get("version") != is.get("version") {
        causes.push(Cause::Version);
    }
    let names: Vec<&str> =
        was.keys().chain(is.keys().filter(|name| !was.contains_key(*name))).copied().collect();
    let changed = |name: &&str| was.get(*name) != is.get(*name);
    let is_word = |name: &str| {
        ["op", "args[", "sources[", "dest", "chown", "mode", "excludes[", "path"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let words: Vec<&str> = names.iter().copied().filter(|name| is_word(name)).filter(changed).collect();
    if let Some(word) = words.first() {
        causes.push(if texts.old == texts.new {
            let value = |parts: &BTreeMap<&str, &str>| parts.get(word).map(|value| shown(value));
            Cause::Field(Change { name: word_name(word), old: value(&was), new: value(&is) })
        } else {
            Cause::Instruction { old: shown(texts.old), new: shown(texts.new) }
        });
    }
    let variables = names.iter().copied().filter(|name| name.starts_with("env.")).filter(changed);
    causes.extend(variables.map(|part| variable(part, &was, &is, texts.arg_names)));
    let order = |parts: &Parts| -> Vec<String> {
        parts.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with("env.")).collect()
    };
    if causes.is_empty() && order(old) != order(new) {
        causes.push(Cause::VariableOrder);
    }
    let others = names.iter().copied().filter(|name| {
        let is_input = name.starts_with("input.") || name.starts_with("secret.");
        !is_input && *name != "version" && !name.starts_with("env.") && !is_word(name)
    });
    causes.extend(others.filter(changed).map(|name| {
        let value = |parts: &BTreeMap<&str, &str>| {
            let is_root = |value: &&&str| name == "user" && value.is_empty();
            parts.get(name).map(|value| if is_root(&value) { "root".to_owned() } else { shown(value) })
        };
        Cause::Field(Change { name: field_name(name), old: value(&was), new: value(&is) })
    }));
    causes
}

/// Names of the inputs whose content is another one, the root first.
pub fn changed_inputs(old: &Parts, new: &Parts) -> Vec<String> {
    let (was, is) = (by_name(old), by_name(new));
    let inputs = is.iter().filter(|(name, _)| name.starts_with("input."));
    inputs.filter(|(name, value)| was.get(*name) != Some(value)).map(|(name, _)| (*name).to_owned()).collect()
}

/// Ids of the secrets whose content counts.
pub fn secrets(parts: &Parts) -> Vec<&str> {
    parts.iter().filter_map(|(name, _)| name.strip_prefix("secret.")).collect()
}

fn by_name(parts: &Parts) -> BTreeMap<&str, &str> {
    parts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn variable(
    part: &str,
    was: &BTreeMap<&str, &str>,
    is: &BTreeMap<&str, &str>,
    arg_names: &[String],
) -> Cause {
    let name = part.strip_prefix("env.").unwrap_or(part);
    let value = |parts: &BTreeMap<&str, &str>| parts.get(part).map(|value| masked(name, value));
    let change = Change { name: format!("`{name}`"), old: value(was), new: value(is) };
    if arg_names.iter().any(|arg| arg == name) { Cause::Argument(change) } else { Cause::Variable(change) }
}

/// A value as it may be shown.
fn masked(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    let is_secret = name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| SECRET_WORDS.contains(&word))
        || ["password", "secret", "token"].iter().any(|word| name.contains(word));
    if is_secret { "***".to_owned() } else { shown(value) }
}

/// A text on one line, cut where it is long.
fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().count() > SHOWN {
        text.push_str("...");
    }
    text.replace("\\\"", "\"").replace("\\'", "'")
}

/// What a word of an instruction is called.
fn word_name(part: &str) -> String {
    let name = part.split('[').next().unwrap_or(part);
    match name {
        "args" => "the command",
        "sources" => "the source",
        "dest" => "the destination",
        "chown" => "`--chown`",
        "mode" => "`--chmod`",
        "excludes" => "`--exclude`",
        "path" => "the directory",
        _ => "the instruction",
    }
    .to_owned()
}

/// What another field is called.
fn field_name(part: &str) -> String {
    match part.split('[').next().unwrap_or(part) {
        "cwd" => "the working directory".to_owned(),
        "user" => "the user".to_owned(),
        "mounts" => "a mount".to_owned(),
        "network" => "the network".to_owned(),
        "security" => "the security mode".to_owned(),
        name => match name.strip_prefix("platform.") {
            Some(field) => format!("the platform's {}", field.replace('_', " ")),
            None => format!("`{name}`"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(items: &[(&str, &str)]) -> Vec<(String, String)> {
        items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn changes_have_words() {
        let args = ["V".to_owned()];
        let texts = Texts { old: "RUN x", new: "RUN x", arg_names: &args };
        let old = [("op", "run"), ("args[0]", "x"), ("env.V", "1"), ("env.W", "a"), ("cwd", "/")];
        let cases: [(&[(&str, &str)], &str); 7] = [
            (
                &[("op", "run"), ("args[0]", "x"), ("env.V", "2"), ("env.W", "a"), ("cwd", "/")],
                "ARG `V` is `2`, and was `1`",
            ),
            (
                &[("op", "run"), ("args[0]", "x"), ("env.V", "1"), ("env.W", "b"), ("cwd", "/")],
                "ENV `W` is `b`, and was `a`",
            ),
            (&[("op", "run"), ("args[0]", "x"), ("env.V", "1"), ("cwd", "/")], "ENV `W` is gone: it was `a`"),
            (
                &[("op", "run"), ("args[0]", "x"), ("env.W", "a"), ("env.V", "1"), ("cwd", "/")],
                "the order of its variables changed",
            ),
            (
                &[("op", "run"), ("args[0]", "y"), ("env.V", "1"), ("env.W", "a"), ("cwd", "/")],
                "the command is `y`, and was `x`",
            ),
            (
                &[("op", "run"), ("args[0]", "x"), ("env.V", "1"), ("env.W", "a"), ("cwd", "/a")],
                "the working directory is `/a`, and was `/`",
            ),
            (
                &[
                    ("op", "run"),
                    ("args[0]", "x"),
                    ("env.V", "1"),
                    ("env.W", "a"),
                    ("env.API_TOKEN", "x"),
                    ("cwd", "/"),
                ],
                "ENV `API_TOKEN` is new: `***`",
            ),
        ];
        for (new, expected) in cases {
            let causes = own_changes(&parts(&old), &parts(new), &texts);
            assert_eq!(causes.first().map(ToString::to_string).as_deref(), Some(expected));
        }
    }
}
