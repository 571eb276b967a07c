//! What a file is, by its name.

/// What the text of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A bake file in HashiCorp's configuration language.
    BakeHcl,
    /// A bake file in JSON.
    BakeJson,
    /// A compose file.
    Compose,
}

/// The names that bake looks for where none is given, in the order in which it merges them.
///
/// Spec: bake file reference, "File format".
pub const DEFAULT_NAMES: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

impl Kind {
    /// Says what a file of this name or path is; `None` if the name does not tell.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit(['/', '\\']).next()?.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "hcl" => Some(Self::BakeHcl),
            "json" => Some(Self::BakeJson),
            "yaml" | "yml" => Some(Self::Compose),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        for (name, expected) in [
            ("docker-bake.hcl", Some(Kind::BakeHcl)),
            ("build/other.HCL", Some(Kind::BakeHcl)),
            ("docker-bake.override.json", Some(Kind::BakeJson)),
            ("compose.yaml", Some(Kind::Compose)),
            ("deploy/docker-compose.yml", Some(Kind::Compose)),
            ("kairn.toml", None),
            ("a.hcl/Dockerfile", None),
            ("hcl", None),
            ("", None),
        ] {
            assert_eq!(Kind::of_name(name), expected, "{name}");
        }
        assert!(DEFAULT_NAMES.iter().all(|name| Kind::of_name(name).is_some()));
    }
}
