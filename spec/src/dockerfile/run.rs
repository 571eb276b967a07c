//! RUN.

use super::flags::Flags;
use super::instruction::Reader;
use super::mount;
use super::{Network, Run, Security};
use crate::Spanned;
use crate::text::Slice;

/// Reads the flags and the command of RUN.
///
/// A RUN of nothing gives the shell an empty command, as in BuildKit.
pub(super) fn read(reader: &mut Reader<'_>, mut flags: Flags, arguments: Slice<'_>) -> Option<Run> {
    let mounts = match mount::read(&mut flags, reader.escape) {
        Ok((mounts, warnings)) => {
            reader.diagnostics.extend(warnings);
            Some(mounts)
        }
        Err(diagnostics) => {
            reader.diagnostics.extend(diagnostics);
            None
        }
    };
    let network = flags.choice("network").map(|given| {
        let network = match &*given.value {
            "none" => Network::None,
            "host" => Network::Host,
            _ => Network::Default,
        };
        Spanned::new(network, given.span)
    });
    let security = flags.choice("security").map(|given| {
        let insecure = given.value == "insecure";
        Spanned::new(if insecure { Security::Insecure } else { Security::Sandbox }, given.span)
    });
    let command = reader.command(arguments)?;
    Some(Run { mounts: mounts?, network, security, command, heredocs: reader.heredocs.to_vec() })
}
