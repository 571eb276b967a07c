//! `RUN --mount`.

use kairn_spec::Diagnostic;
use kairn_spec::dockerfile::{self, MountSpec};

use super::{Line, StageLowering, Wrong};
use crate::compile::mentions::Reader;
use crate::compile::paths;
use crate::compile::stages::Read;
use crate::graph::{Input, Mount, MountKind, Sharing, StepId};

/// Build argument that keeps cache directories of different builds apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Mounts, with the inputs that they read from.
type Mounts = (Vec<Mount>, Vec<(Input, StepId)>);

impl StageLowering<'_, '_, '_> {
    pub(super) fn mounts(
        &mut self,
        mounts: &[dockerfile::Mount],
        reads: &[Read],
        line: &Line,
    ) -> Result<Mounts, Wrong> {
        let (mut done, mut inputs) = (Vec::new(), Vec::new());
        let mut agents = 0;
        let mut wrong = false;
        for (index, mount) in mounts.iter().enumerate() {
            let read = reads.iter().find(|read| read.reader == Reader::Mount(index));
            match self.mount(mount, read, line, &mut agents) {
                Ok((mount, source)) => {
                    let place = u16::try_from(done.len()).unwrap_or(u16::MAX);
                    inputs.extend(source.map(|source| (Input::Mount(place), source)));
                    done.push(mount);
                }
                Err(Wrong) => wrong = true,
            }
        }
        if wrong { Err(Wrong) } else { Ok((done, inputs)) }
    }

    fn mount(
        &mut self,
        mount: &dockerfile::Mount,
        read: Option<&Read>,
        line: &Line,
        agents: &mut usize,
    ) -> Result<(Mount, Option<StepId>), Wrong> {
        let mut failed = false;
        let resolved = mount.resolve(&mut |word| {
            if let Some(read) = read
                && read.span == word.span
            {
                return Ok(read.text.clone());
            }
            // A mistake in the word is among the diagnostics when this returns.
            self.expand(word).map_err(|Wrong| {
                failed = true;
                Diagnostic::error("invalid-mount", word.span, "")
            })
        });
        let spec = match resolved {
            Ok(spec) => spec,
            Err(errors) => {
                if !failed {
                    self.build.diagnostics.extend(errors);
                }
                return Err(Wrong);
            }
        };
        let source = read.map(|read| self.source(&read.named, read.span, line).0);
        Ok(match spec {
            MountSpec::Bind { target, from: _, source: path, read_write } => {
                let source = source.unwrap_or_else(|| self.context());
                let kind = MountKind::Bind { source: paths::source(&path), read_write };
                (Mount { target: Some(self.target(&target, mount)?), kind }, Some(source))
            }
            MountSpec::Cache { id, target, sharing, from: _, source: path, read_only, mode, uid, gid } => {
                let target_path = self.target(&target, mount)?;
                let id = id.unwrap_or_else(|| paths::clean(&target));
                let namespace = self.build.options.build_args.get(CACHE_NAMESPACE).map_or("", String::as_str);
                let kind = MountKind::Cache {
                    id: format!("{namespace}/{id}"),
                    sharing: match sharing {
                        dockerfile::Sharing::Shared => Sharing::Shared,
                        dockerfile::Sharing::Private => Sharing::Private,
                        dockerfile::Sharing::Locked => Sharing::Locked,
                    },
                    source: paths::source(&path),
                    read_only,
                    mode,
                    uid,
                    gid,
                };
                (Mount { target: Some(target_path), kind }, source)
            }
            MountSpec::Tmpfs { target, size_bytes } => (
                Mount { target: Some(self.target(&target, mount)?), kind: MountKind::Tmpfs { size_bytes } },
                None,
            ),
            MountSpec::Secret { id, target, env, required, mode, uid, gid } => {
                let target = match (target, &env) {
                    (Some(target), _) => Some(self.target(&target, mount)?),
                    (None, None) => Some(format!("/run/secrets/{id}")),
                    (None, Some(_)) => None,
                };
                let (mode, uid, gid) = (mode.unwrap_or(0o400), uid.unwrap_or(0), gid.unwrap_or(0));
                (Mount { target, kind: MountKind::Secret { id, env, required, mode, uid, gid } }, None)
            }
            MountSpec::Ssh { id, target, required, mode, uid, gid } => {
                let target = match target {
                    Some(target) => self.target(&target, mount)?,
                    None => format!("/run/buildkit/ssh_agent.{agents}"),
                };
                *agents += 1;
                let (mode, uid, gid) = (mode.unwrap_or(0o600), uid.unwrap_or(0), gid.unwrap_or(0));
                (Mount { target: Some(target), kind: MountKind::Ssh { id, required, mode, uid, gid } }, None)
            }
        })
    }

    /// Makes a target absolute and clean.
    fn target(&mut self, target: &str, mount: &dockerfile::Mount) -> Result<String, Wrong> {
        let path = paths::destination(&self.state.workdir(), target);
        let path = if path == "/" { path } else { path.trim_end_matches('/').to_owned() };
        if path == "/" {
            let text = format!("`{target}` is the root directory, which cannot be mounted over");
            return self.wrong(Diagnostic::error("invalid-mount", mount.span, text));
        }
        Ok(path)
    }
}
