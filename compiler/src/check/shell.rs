//! A shell script's commands, as far as words tell: enough to see which programs it calls.

/// Words that stand before a command.
const PREFIXES: [&str; 13] =
    ["!", "{", "(", "command", "do", "elif", "else", "env", "exec", "if", "sudo", "then", "time"];

/// Splits a script into its simple commands, each at least one word long, without what stands before the program.
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = script.chars().peekable();
    while let Some(ch) = chars.next() {
        match (ch, quote) {
            (_, Some(open)) if ch == open => quote = None,
            (_, Some(_)) => word.push(ch),
            ('\'' | '"', None) => quote = Some(ch),
            ('\\', None) => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => word.push(escaped),
            },
            ('#', None) if word.is_empty() => while chars.next_if(|&ch| ch != '\n').is_some() {},
            (';' | '&' | '|' | '\n' | '(' | ')', None) => {
                end_word(&mut word, &mut words);
                end_command(&mut words, &mut commands);
            }
            (ch, None) if ch.is_whitespace() => end_word(&mut word, &mut words),
            (ch, None) => word.push(ch),
        }
    }
    end_word(&mut word, &mut words);
    end_command(&mut words, &mut commands);
    commands
}

fn end_word(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

fn end_command(words: &mut Vec<String>, commands: &mut Vec<Vec<String>>) {
    let is_before = |word: &String| PREFIXES.contains(&&**word) || is_assignment(word);
    let command: Vec<String> = std::mem::take(words).into_iter().skip_while(is_before).collect();
    if !command.is_empty() {
        commands.push(command);
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs() {
        let programs = |script: &str| -> Vec<String> {
            commands(script).into_iter().map(|words| words.join(" ")).collect()
        };
        assert_eq!(programs("a b && c; d | e\nf"), ["a b", "c", "d", "e", "f"]);
        assert_eq!(programs("A=1 sudo x 'y && z' # w"), ["x y && z"]);
        assert_eq!(programs("if true; then (x); fi"), ["true", "x", "fi"]);
        assert_eq!(programs("x \\\n  y"), ["x y"]);
        assert_eq!(programs(" 'open"), ["open"]);
    }
}
