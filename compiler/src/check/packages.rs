//! Package managers: which commands fetch packages, and where they keep what they fetched.

/// A command that fetches packages.
#[derive(Debug)]
pub(super) struct Installation {
    /// The command's first words.
    pub(super) program: String,
    /// Directory that its files are kept in.
    pub(super) cache: &'static str,
    /// Whether it keeps them.
    pub(super) is_cached: bool,
}

struct Manager {
    programs: &'static [&'static str],
    /// Words one of which says that packages are fetched; none if every call does.
    verbs: &'static [&'static str],
    cache: &'static str,
    /// Options that keep nothing.
    uncached: &'static [&'static str],
}

const MANAGERS: [Manager; 16] = [
    manager(&["apt-get", "apt"], &["install", "dist-upgrade", "upgrade"], "/var/cache/apt", &[]),
    manager(&["apk"], &["add", "upgrade"], "/var/cache/apk", &["--no-cache"]),
    manager(&["dnf", "microdnf"], &["install", "update", "upgrade"], "/var/cache/dnf", &[]),
    manager(&["yum"], &["install", "update", "upgrade"], "/var/cache/yum", &[]),
    manager(&["pip", "pip3"], &["install", "wheel", "download"], "/root/.cache/pip", &["--no-cache-dir"]),
    manager(&["uv"], &["sync", "pip"], "/root/.cache/uv", &["--no-cache", "-n"]),
    manager(&["poetry"], &["install"], "/root/.cache/pypoetry", &["--no-cache"]),
    manager(&["npm"], &["ci", "install", "i"], "/root/.npm", &[]),
    manager(&["yarn"], &["install"], "/usr/local/share/.cache/yarn", &[]),
    manager(&["pnpm"], &["install", "i", "fetch"], "/root/.local/share/pnpm/store", &[]),
    manager(&["go"], &["build", "install", "test", "mod"], "/root/.cache/go-build", &[]),
    manager(&["cargo"], &["build", "install", "test", "fetch"], "/usr/local/cargo/registry", &[]),
    manager(&["mvn", "mvnw"], &[], "/root/.m2", &[]),
    manager(&["gradle", "gradlew"], &[], "/root/.gradle", &[]),
    manager(&["composer"], &["install", "update"], "/root/.composer/cache", &["--no-cache"]),
    manager(&["dotnet"], &["restore", "build", "publish"], "/root/.nuget/packages", &[]),
];

const fn manager(
    programs: &'static [&'static str],
    verbs: &'static [&'static str],
    cache: &'static str,
    uncached: &'static [&'static str],
) -> Manager {
    Manager { programs, verbs, cache, uncached }
}

/// Says what a command fetches, if it fetches packages.
pub(super) fn installation(words: &[String]) -> Option<Installation> {
    let words = match words {
        [python, dash_m, module @ ..] if python.starts_with("python") && dash_m == "-m" => module,
        words => words,
    };
    let (program, arguments) = words.split_first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    let manager = MANAGERS.iter().find(|manager| manager.programs.contains(&name))?;
    let verb = arguments.iter().find(|word| !word.starts_with('-'));
    if !manager.verbs.is_empty() && !verb.is_some_and(|verb| manager.verbs.contains(&&**verb)) {
        return None;
    }
    Some(Installation {
        program: verb.map_or_else(|| name.to_owned(), |verb| format!("{name} {verb}")),
        cache: manager.cache,
        is_cached: !arguments.iter().any(|word| manager.uncached.contains(&&**word)),
    })
}
