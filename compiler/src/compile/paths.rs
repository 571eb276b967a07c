//! Paths of the image, by Go's rules: text only, no file system asked.

/// Cleans a path as if it stood below the root: no empty parts, no `.`, and `..` never leaves the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Applies WORKDIR to the working directory before it (empty for none).
///
/// As in BuildKit, an absolute path goes into the config as it was written; a relative one is joined and cleaned.
pub(crate) fn workdir(current: &str, path: &str) -> String {
    let current = if current.is_empty() { "/" } else { current };
    match path {
        "" => workdir("/", current),
        path if path.starts_with('/') => path.to_owned(),
        path => clean(&format!("{current}/{path}")),
    }
}

/// Makes the destination of a COPY absolute and clean; a final slash says that it is a directory.
pub(crate) fn destination(workdir: &str, dest: &str) -> String {
    let absolute = if dest.starts_with('/') { clean(dest) } else { clean(&format!("{workdir}/{dest}")) };
    let is_directory = matches!(dest, "" | ".") || dest.ends_with('/') || dest.ends_with("/.");
    if is_directory && absolute != "/" { absolute + "/" } else { absolute }
}

/// Makes a COPY source relative to the root of what it is copied from, which itself is `.`.
pub(crate) fn source(path: &str) -> String {
    let clean = clean(path);
    if clean == "/" { ".".to_owned() } else { clean[1..].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workdir_joins_and_keeps_absolute_text() {
        let table = [
            ("", "a", "/a"),
            ("/", "a", "/a"),
            ("/a", "b/../c/", "/a/c"),
            ("/a", "../../..", "/"),
            ("/a", "", "/a"),
            ("", "", "/"),
            ("/a", "/b/", "/b/"),
            ("rel", "x", "/rel/x"),
        ];
        for (current, path, expected) in table {
            assert_eq!(workdir(current, path), expected, "WORKDIR {path} in {current}");
        }
    }

    #[test]
    fn destination_knows_directories() {
        let table = [
            ("/w", ".", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "", "/w/"),
            ("/", ".", "/"),
            ("/w", "a", "/w/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", "a/.", "/w/a/"),
            ("/w", "..", "/"),
            ("/w", "/x//y/../z", "/x/z"),
            ("", "a", "/a"),
        ];
        for (dir, dest, expected) in table {
            assert_eq!(destination(dir, dest), expected, "{dest} in {dir}");
        }
    }

    #[test]
    fn sources_stay_below_the_root() {
        let table = [
            (".", "."),
            ("/", "."),
            ("/a/", "a"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b", "b"),
            ("*.txt", "*.txt"),
            ("a/./b", "a/b"),
        ];
        for (path, expected) in table {
            assert_eq!(source(path), expected);
        }
    }
}
