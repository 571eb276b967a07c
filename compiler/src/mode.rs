//! `--chmod`: an octal number, or clauses as chmod(1) takes them.
//!
//! Differs from chmod(1) as BuildKit's parser does: clauses without `ugoa` obey a mask of 022, `-X` removes nothing.

use std::fmt;

const ALL: u32 = 0o7777;
const STICKY: u32 = 0o1000;
/// Bits that a clause may change: all but the sticky one, which `t` adds.
const STANDARD: u32 = 0o6777;
const EXECUTE: u32 = 0o111;
/// What clauses that name nobody may set.
const MASK: u32 = !0o022;

/// What `--chmod` does to the mode of each copied file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModeChange {
    text: String,
    steps: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Change {
    Add(u32),
    Remove(u32),
    /// Adds where the file is a directory or was executable.
    AddExecute(u32),
    /// Copies the three bits of a class, shifted right by `from`, to the classes in `to` within `mask`.
    Class {
        from: u32,
        to: [Option<u32>; 3],
        mask: u32,
        operator: Operator,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Operator {
    Add,
    Remove,
    Set,
}

/// A text is no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an octal mode from 0 to 07777, and no clauses such as `u=rwX,go=rX`")]
pub struct InvalidMode;

impl ModeChange {
    /// Reads a mode.
    ///
    /// # Errors
    /// The text is neither an octal number up to 07777 nor clauses.
    pub fn parse(text: &str) -> Result<Self, InvalidMode> {
        let steps = if text.starts_with(|ch: char| ch.is_ascii_digit()) {
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(InvalidMode);
            }
            let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= ALL).ok_or(InvalidMode)?;
            vec![Change::Remove(ALL), Change::Add(mode)]
        } else {
            let mut steps = Vec::new();
            for clause in text.split(',') {
                read_clause(clause, &mut steps)?;
            }
            steps
        };
        Ok(Self { text: text.to_owned(), steps })
    }

    /// Gives the mode that a file or directory of mode `before` gets.
    pub fn apply(&self, before: u32, is_directory: bool) -> u32 {
        let mut mode = before & ALL;
        for step in &self.steps {
            match *step {
                Change::Add(bits) => mode |= bits,
                Change::Remove(bits) => mode &= !bits,
                Change::AddExecute(bits) => {
                    if is_directory || before & EXECUTE != 0 {
                        mode |= bits;
                    }
                }
                Change::Class { from, to, mask, operator } => {
                    let value = (mode >> from) & 7;
                    for shift in to.into_iter().flatten() {
                        let cleared = if operator == Operator::Set { 7 } else { value };
                        if operator != Operator::Add {
                            mode &= !((cleared << shift) & mask);
                        }
                        if operator != Operator::Remove {
                            mode |= (value << shift) & mask;
                        }
                    }
                }
            }
        }
        mode
    }
}

impl fmt::Display for ModeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads one clause: who, then operators with their permissions.
fn read_clause(clause: &str, steps: &mut Vec<Change>) -> Result<(), InvalidMode> {
    let at = clause.find(|ch| !"ugoa".contains(ch)).ok_or(InvalidMode)?;
    let (who_text, mut rest) = clause.split_at(at);
    let mut who = who_text.chars().fold(0, |who, ch| {
        who | match ch {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o007,
            _ => STANDARD,
        }
    });
    let mut first = true;
    while first || !rest.is_empty() {
        first = false;
        let operator = match rest.chars().next() {
            Some('+') => Operator::Add,
            Some('-') => Operator::Remove,
            Some('=') => Operator::Set,
            _ => return Err(InvalidMode),
        };
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        who &= !STICKY;
        read_permissions(&rest[..end], operator, &mut who, steps)?;
        rest = &rest[end..];
    }
    Ok(())
}

fn read_permissions(
    letters: &str,
    operator: Operator,
    who: &mut u32,
    steps: &mut Vec<Change>,
) -> Result<(), InvalidMode> {
    let mut permissions = 0;
    let mut execute = 0;
    let mut has_set = false;
    let not_only_others = |who: u32| who == 0 || who & !0o007 != 0;
    for letter in letters.chars() {
        match letter {
            'r' => permissions |= 0o444,
            'w' => permissions |= 0o222,
            'x' => permissions |= EXECUTE,
            'X' if operator != Operator::Remove => execute = EXECUTE,
            's' if not_only_others(*who) => permissions |= 0o6000,
            't' if not_only_others(*who) => {
                *who |= STICKY;
                permissions |= STICKY;
            }
            'X' | 's' | 't' => {}
            'u' | 'g' | 'o' => {
                if permissions != 0 {
                    change(operator, *who, permissions, steps);
                    permissions = 0;
                }
                has_set |= operator == Operator::Set;
                if execute != 0 {
                    steps.push(Change::AddExecute(scope(*who) & execute));
                    execute = 0;
                }
                steps.push(class(letter, *who, operator));
            }
            _ => return Err(InvalidMode),
        }
    }
    if permissions != 0 || operator == Operator::Set && !has_set {
        change(operator, *who, permissions, steps);
    }
    if execute != 0 {
        steps.push(Change::AddExecute(scope(*who) & execute));
    }
    Ok(())
}

/// The bits that a clause may set.
fn scope(who: u32) -> u32 {
    if who == 0 { MASK } else { who }
}

fn change(operator: Operator, who: u32, permissions: u32, steps: &mut Vec<Change>) {
    let bits = scope(who) & permissions;
    match operator {
        Operator::Add => steps.push(Change::Add(bits)),
        Operator::Remove => steps.push(Change::Remove(bits)),
        Operator::Set => {
            steps.push(Change::Remove(if who == 0 { STANDARD } else { who }));
            steps.push(Change::Add(bits));
        }
    }
}

fn class(letter: char, who: u32, operator: Operator) -> Change {
    let from = match letter {
        'u' => 6,
        'g' => 3,
        _ => 0,
    };
    let named = |read: u32, shift| (who == 0 || who & read != 0).then_some(shift);
    let mask = if who == 0 { MASK } else { !0 };
    Change::Class { from, to: [named(0o400, 6), named(0o040, 3), named(0o004, 0)], mask, operator }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_modes_as_chmod_does() {
        for (text, before, is_directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("04755", 0o600, false, 0o4755),
            ("0", 0o777, true, 0),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a-X", 0o755, false, 0o755),
            ("u+rwX,go=r,go+X", 0o600, true, 0o755),
            ("u+rwX,go=r,go+X", 0o700, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("+w", 0o444, false, 0o644),
            ("a+w", 0o444, false, 0o666),
            ("go-rwx", 0o777, false, 0o700),
            ("=r", 0o777, false, 0o444),
            ("g=u", 0o640, false, 0o660),
            ("o=u-w", 0o640, false, 0o644),
            ("u+s", 0o755, false, 0o4755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o755, true, 0o1755),
            ("u=", 0o755, false, 0o055),
            ("ug+x,o-r", 0o644, false, 0o750),
            ("a=rx,u+w", 0o000, false, 0o755),
        ] {
            let change = ModeChange::parse(text).unwrap();
            assert_eq!(change.apply(before, is_directory), expected, "{text} on {before:o}");
            assert_eq!(change.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_mode() {
        for text in ["", "8", "10000", "0o755", "7x", "rwx", "u", "u+z", "u+r,", ",u+r", "a b"] {
            assert_eq!(ModeChange::parse(text), Err(InvalidMode), "{text}");
        }
    }
}
