//! The ladder of isolations: which rung can be had here, and why no better one.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use kairn_executor::sandbox::Rung;
use kairn_executor::sandbox::probe::{self, PROBE_ARGUMENT, Probe};
use kairn_executor::sandbox::userns::{self, Ids, Refused};

use crate::args::Isolation;
use crate::failure::Failure;

/// A rung, and why there is no better one.
pub struct Choice {
    pub rung: Rung,
    pub refused: Option<Refused>,
}

/// Runs the build in the best user namespace that can be had and that `isolation` wants.
///
/// # Errors
/// Says why there is none; nothing has been run then.
pub fn enter(isolation: Isolation, arguments: &[OsString]) -> Result<ExitStatus, Refused> {
    let forced = || "`--isolation` says so".to_owned();
    match isolation {
        Isolation::Chroot | Isolation::None => Err(Refused { reason: forced(), help: String::new() }),
        Isolation::Userns => userns::run_inside(arguments, &Ids::Range),
        Isolation::UsernsSingle => userns::run_inside(arguments, &Ids::One(forced())),
        Isolation::Auto => userns::run_inside(arguments, &Ids::Range).or_else(|refused| {
            userns::run_inside(arguments, &Ids::One(refused.reason.clone())).map_err(|_| refused)
        }),
    }
}

/// What is wrong with the namespace that this process is in, if it cannot be used for RUNs; `folder` is an empty one of
/// the store's disk.
pub fn usable(namespace: Result<Ids, Refused>, program: &Path, folder: &Path) -> Result<Ids, Refused> {
    let ids = namespace?;
    needed(&ids).run(program, folder).map_err(|error| no_overlay(&error))?;
    Ok(ids)
}

/// As [`enter`] and [`usable`], in processes that try and end.
pub fn usable_from_outside(folder: &Path) -> Result<Ids, Refused> {
    let attempt = |ids: Ids| {
        let arguments: [OsString; 3] = [PROBE_ARGUMENT.into(), needed(&ids).name().into(), folder.into()];
        let status = userns::run_inside(&arguments, &ids)?;
        if status.success() { Ok(ids) } else { Err(no_overlay(&status.to_string())) }
    };
    attempt(Ids::Range).or_else(|refused| attempt(Ids::One(refused.reason.clone())).map_err(|_| refused))
}

fn needed(ids: &Ids) -> Probe {
    match ids {
        Ids::Range => Probe::Overlay,
        Ids::One(_) => Probe::OneId,
    }
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
    namespace: Result<Ids, Refused>,
    program: &Path,
    folder: &Path,
) -> Result<Choice, Failure> {
    let cannot = |refused: Refused| {
        Failure::environment(format!("`--isolation` cannot be had: {}", refused.reason))
            .with_help(refused.help)
    };
    let refused = match (isolation, namespace) {
        (Isolation::None, _) => return Ok(Choice { rung: Rung::None, refused: None }),
        (Isolation::Chroot, namespace) => namespace.err(),
        (_, Ok(Ids::Range)) => return Ok(Choice { rung: Rung::Userns, refused: None }),
        (_, Ok(Ids::One(reason))) => {
            let refused = (isolation == Isolation::Auto).then(|| Refused { reason, help: String::new() });
            return Ok(Choice { rung: Rung::UsernsSingle, refused });
        }
        (Isolation::Userns | Isolation::UsernsSingle, Err(refused)) => return Err(cannot(refused)),
        (Isolation::Auto, Err(refused)) => Some(refused),
    };
    match (isolation, probe::chroot(program, folder)) {
        (_, Ok(())) => Ok(Choice { rung: Rung::Chroot, refused }),
        (Isolation::Chroot, Err(refused)) => Err(cannot(refused)),
        (_, Err(last)) => {
            let mut both = last;
            if let Some(first) = refused {
                both.reason = format!("{first}; {}", both.reason);
                both.help = format!("{}; or {}", first.help, both.help);
            }
            both.help.push_str("; `kairn doctor` has the lines to change");
            Ok(Choice { rung: Rung::None, refused: Some(both) })
        }
    }
}
