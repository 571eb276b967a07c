//! Near misses of names.

/// Returns the name that is nearest to what was written, if one is near: at most a third of its letters differ.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    let limit = (length / 3).max(1);
    names
        .into_iter()
        // Names of other lengths differ in more letters: most are never compared.
        .filter(|name| name.chars().count().abs_diff(length) <= limit)
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|&(distance, name)| distance <= limit && name != written)
        .min()
        .map(|(_, name)| name)
}

/// Counts the letters to insert, delete, replace or swap with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = replace.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let names = ["build", "final", "test"];
        assert_eq!(nearest("biuld", names), Some("build"));
        assert_eq!(nearest("FINAL", names), Some("final"));
        assert_eq!(nearest("tests", names), Some("test"));
        assert_eq!(nearest("alpine", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
