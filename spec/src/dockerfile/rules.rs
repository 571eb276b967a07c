//! Which instruction has which flags.

use super::flags::Rule;
use super::keyword::Keyword;

const MOUNT: &str = "copy what the command needs with COPY; caches and secrets cannot be mounted yet";
const NETWORK: &str = "remove the flag: the step runs with the default network";
const SECURITY: &str = "remove the flag: the step runs in the sandbox";
const DEVICE: &str = "remove the flag: devices cannot be passed to a step yet";
const LINK: &str = "remove the flag: the same files are copied without it";
const PARENTS: &str = "copy each directory to its own destination";
const EXCLUDE: &str = "list the excluded files in `.dockerignore`, or copy the wanted ones only";
const REMOTE: &str = "download the file beforehand, or with RUN in a stage that has the tools";
const UNPACK: &str = "remove the flag: local archives are unpacked, remote ones cannot be added yet";

/// Returns the flags that an instruction has.
pub(super) fn of(keyword: Keyword) -> &'static [(&'static str, Rule)] {
    match keyword {
        Keyword::Add => &[
            ("chown", Rule::Text),
            ("chmod", Rule::Text),
            ("link", Rule::OnlyFalse { help: LINK }),
            ("exclude", Rule::Unsupported { help: EXCLUDE }),
            ("checksum", Rule::Unsupported { help: REMOTE }),
            ("keep-git-dir", Rule::OnlyFalse { help: REMOTE }),
            ("unpack", Rule::Unsupported { help: UNPACK }),
        ],
        Keyword::Copy => &[
            ("from", Rule::Text),
            ("chown", Rule::Text),
            ("chmod", Rule::Text),
            ("link", Rule::OnlyFalse { help: LINK }),
            ("parents", Rule::OnlyFalse { help: PARENTS }),
            ("exclude", Rule::Unsupported { help: EXCLUDE }),
        ],
        Keyword::From => &[("platform", Rule::Text)],
        Keyword::Healthcheck => &[
            ("interval", Rule::Text),
            ("timeout", Rule::Text),
            ("start-period", Rule::Text),
            ("start-interval", Rule::Text),
            ("retries", Rule::Text),
        ],
        Keyword::Run => &[
            ("mount", Rule::Unsupported { help: MOUNT }),
            ("network", Rule::Only { allowed: "default", unsupported: &["none", "host"], help: NETWORK }),
            ("security", Rule::Only { allowed: "sandbox", unsupported: &["insecure"], help: SECURITY }),
            ("device", Rule::Unsupported { help: DEVICE }),
        ],
        Keyword::Arg
        | Keyword::Cmd
        | Keyword::Entrypoint
        | Keyword::Env
        | Keyword::Expose
        | Keyword::Label
        | Keyword::Maintainer
        | Keyword::Onbuild
        | Keyword::Shell
        | Keyword::Stopsignal
        | Keyword::User
        | Keyword::Volume
        | Keyword::Workdir => &[],
    }
}

/// Whether a flag may be given more than once.
pub(super) fn may_repeat(name: &str) -> bool {
    matches!(name, "mount" | "exclude" | "device")
}
