//! The ladder of isolations: which rung can be had here, and why no better one.

use std::ffi::OsString;
use std::path::Path;

use kairn_executor::sandbox::Rung;
use kairn_executor::sandbox::probe::{self, PROBE_ARGUMENT, Probe};
use kairn_executor::sandbox::userns::{self, Refused};

use crate::args::Isolation;
use crate::failure::Failure;

/// A rung, and why there is no better one.
pub struct Choice {
    pub rung: Rung,
    pub refused: Option<Refused>,
}

/// Whether the rung `userns` can be had; `inside` says whether this process has a user namespace of its own by now.
/// `folder` is an empty one of the store's disk.
pub fn namespaces(inside: Result<(), Refused>, program: &Path, folder: &Path) -> Result<(), Refused> {
    inside.and_then(|()| Probe::Overlay.run(program, folder).map_err(|error| no_overlay(&error)))
}

/// As [`namespaces`], from outside: in a process that makes a namespace, tries, and ends.
pub fn namespaces_from_outside(folder: &Path) -> Result<(), Refused> {
    let arguments: [OsString; 3] = [PROBE_ARGUMENT.into(), Probe::Overlay.name().into(), folder.into()];
    let status = userns::run_inside(&arguments)?;
    if status.success() { Ok(()) } else { Err(no_overlay(&status.to_string())) }
}

fn no_overlay(error: &str) -> Refused {
    Refused {
        reason: format!("directories of the store cannot be stacked ({error})"),
        help: "point `--kairn-root` at a volume: the store must not lie on an overlay file system".to_owned(),
    }
}

/// Finds the best rung that may be had.
///
/// # Errors
/// Fails where `isolation` forces one that cannot be had.
pub fn choose(
    isolation: Isolation,
    namespaces: Result<(), Refused>,
    program: &Path,
    folder: &Path,
) -> Result<Choice, Failure> {
    let cannot = |refused: Refused| {
        Failure::environment(format!("`--isolation` cannot be had: {}", refused.reason))
            .with_help(refused.help)
    };
    let refused = match (isolation, namespaces) {
        (Isolation::None, _) => return Ok(Choice { rung: Rung::None, refused: None }),
        (Isolation::Auto | Isolation::Userns, Ok(())) => {
            return Ok(Choice { rung: Rung::Userns, refused: None });
        }
        (Isolation::Userns, Err(refused)) => return Err(cannot(refused)),
        (Isolation::Auto | Isolation::Chroot, namespaces) => namespaces.err(),
    };
    match (isolation, probe::chroot(program, folder)) {
        (_, Ok(())) => Ok(Choice { rung: Rung::Chroot, refused }),
        (Isolation::Chroot, Err(refused)) => Err(cannot(refused)),
        (_, Err(last)) => {
            let first = refused.map(|refused| format!("{refused}; ")).unwrap_or_default();
            let refused = Refused { reason: format!("{first}{}", last.reason), help: last.help };
            Ok(Choice { rung: Rung::None, refused: Some(refused) })
        }
    }
}
