//! Which instruction has which flags.

use super::flags::Rule;
use super::keyword::Keyword;

const DEVICE: &str = "remove the flag: devices cannot be passed to a step";

/// Returns the flags that an instruction has.
pub(super) fn of(keyword: Keyword) -> &'static [(&'static str, Rule)] {
    match keyword {
        Keyword::Add => &[
            ("chown", Rule::Text),
            ("chmod", Rule::Text),
            ("link", Rule::Bool),
            ("exclude", Rule::List),
            ("checksum", Rule::Text),
            ("keep-git-dir", Rule::Bool),
            ("unpack", Rule::Bool),
        ],
        Keyword::Copy => &[
            ("from", Rule::Text),
            ("chown", Rule::Text),
            ("chmod", Rule::Text),
            ("link", Rule::Bool),
            ("parents", Rule::Bool),
            ("exclude", Rule::List),
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
            ("mount", Rule::List),
            ("network", Rule::OneOf(&["default", "none", "host"])),
            ("security", Rule::OneOf(&["sandbox", "insecure"])),
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
