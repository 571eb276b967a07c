//! A mount while its fields are read one after the other.

use super::Word;
use super::mount::{Mount, MountField, MountSpec, Sharing};
use super::mount_kind::{KEYS, Kind, unknown_key};
use super::mount_value::Value;
use crate::{Diagnostic, Span, Spanned};

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    kind: Kind,
    from: Option<String>,
    source: String,
    target: String,
    read_only: Option<bool>,
    required: bool,
    size_bytes: Option<u64>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    /// The keys given, and where.
    seen: Vec<(&'static str, Span)>,
}

impl Draft {
    /// Reads the fields in their order.
    pub(super) fn read(
        mount: &Mount,
        expand: &mut dyn FnMut(&Word) -> Result<String, Diagnostic>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut draft, mut diagnostics) = (Self::default(), Vec::new());
        for field in &mount.fields {
            if let Err(diagnostic) = draft.field(field, expand) {
                diagnostics.push(diagnostic);
            }
        }
        if diagnostics.is_empty() { Ok(draft) } else { Err(diagnostics) }
    }

    fn field(
        &mut self,
        field: &MountField,
        expand: &mut dyn FnMut(&Word) -> Result<String, Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some(&(_, key)) = KEYS.iter().find(|(name, _)| *name == field.key.value) else {
            return Err(unknown_key(&field.key));
        };
        self.seen.push((key, field.key.span));
        if matches!(key, "required" | "size") && !self.kind.takes(key) {
            return Err(self.wrong_key(key, field.key.span));
        }
        let Some(word) = &field.value else {
            return self.alone(key, &field.key);
        };
        let value = Value { key, text: expand(word)?, span: word.span };
        match key {
            "type" => self.kind = value.one_of(&Kind::ALL)?,
            "from" => self.from = value.some(),
            "source" => self.source = value.text,
            "target" => self.target = value.text,
            "readonly" => self.read_only = Some(value.truth()?),
            "readwrite" => self.read_only = Some(!value.truth()?),
            "required" => self.required = value.truth()?,
            "size" => self.size_bytes = value.size()?,
            "id" => self.id = value.some(),
            "sharing" => {
                let modes =
                    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];
                self.sharing = Some(value.one_of(&modes)?);
            }
            "mode" => self.mode = Some(value.number(8)?),
            "uid" => self.uid = Some(value.number(10)?),
            "gid" => self.gid = Some(value.number(10)?),
            _ => self.env = Some(value.text),
        }
        Ok(())
    }

    /// Reads a key without a value.
    fn alone(&mut self, key: &str, written: &Spanned<String>) -> Result<(), Diagnostic> {
        match key {
            "readonly" => self.read_only = Some(true),
            "readwrite" => self.read_only = Some(false),
            "required" => self.required = true,
            _ => {
                return Err(Diagnostic::error(
                    "missing-mount-value",
                    written.span,
                    format!("mount field `{}` needs a value", written.value),
                )
                .with_help(format!("write `{}=<value>`", written.value)));
            }
        }
        Ok(())
    }

    fn wrong_key(&self, key: &str, span: Span) -> Diagnostic {
        let diagnostic = Diagnostic::error(
            "wrong-mount-key",
            span,
            format!("a mount of type `{}` has no `{key}`", self.kind.name()),
        );
        let typed = self.seen.iter().any(|(seen, _)| *seen == "type");
        if typed {
            diagnostic
        } else {
            diagnostic.with_help("write `type=` first; without it the type is `bind`")
        }
    }

    fn given(&self, key: &str) -> bool {
        match key {
            "from" => self.from.is_some(),
            "source" => !self.source.is_empty(),
            _ => true,
        }
    }

    /// Warns of keys that have no effect.
    pub(super) fn unused(&self) -> Vec<Diagnostic> {
        let unused = self.seen.iter().filter(|(key, _)| self.kind.ignores(key) && self.kind.takes(key));
        let refused = |key: &str| self.kind == Kind::Tmpfs && key == "readonly";
        unused
            .filter(|(key, _)| !refused(key))
            .map(|(key, span)| {
                Diagnostic::warning(
                    "ignored-mount-key",
                    *span,
                    format!("`{key}` has no effect on a mount of type `{}`", self.kind.name()),
                )
                .with_help("remove it")
            })
            .collect()
    }

    /// Checks the fields against each other.
    pub(super) fn finish(self, span: Span) -> Result<MountSpec, Vec<Diagnostic>> {
        let mut diagnostics: Vec<_> = self
            .seen
            .iter()
            .filter(|(key, _)| !self.kind.takes(key) && self.given(key))
            .map(|(key, span)| self.wrong_key(key, *span))
            .collect();
        let mut error = |message: &str, help: &str| {
            diagnostics.push(Diagnostic::error("invalid-mount", span, message).with_help(help));
        };
        match self.kind {
            Kind::Bind | Kind::Cache | Kind::Tmpfs if is_root(&self.target) => {
                error("nothing can be mounted over `/`", "give `target` a directory below it");
            }
            Kind::Tmpfs if self.read_only == Some(true) => {
                error("a mount of type `tmpfs` that is read-only is not supported", "remove `readonly`");
            }
            Kind::Secret if !self.source.is_empty() && self.id.is_some() => {
                error("a secret has `id` or `source`, not both", "remove `source`, which means the same");
            }
            Kind::Secret if self.source.is_empty() && self.id.is_none() && self.target.is_empty() => {
                error("a secret needs an `id` or a `target`", "write `id=<name of the secret>`");
            }
            Kind::Bind | Kind::Cache | Kind::Tmpfs | Kind::Secret | Kind::Ssh => {}
        }
        if diagnostics.is_empty() { Ok(self.spec()) } else { Err(diagnostics) }
    }

    fn spec(self) -> MountSpec {
        let Self { from, source, target, required, mode, uid, gid, .. } = self;
        match self.kind {
            Kind::Bind => MountSpec::Bind { target, from, source, read_write: self.read_only == Some(false) },
            Kind::Cache => MountSpec::Cache {
                id: self.id,
                target,
                sharing: self.sharing.unwrap_or_default(),
                from,
                source,
                read_only: self.read_only == Some(true),
                mode,
                uid,
                gid,
            },
            Kind::Tmpfs => MountSpec::Tmpfs { target, size_bytes: self.size_bytes },
            Kind::Secret => {
                let id = self.id.unwrap_or_else(|| {
                    if source.is_empty() { base_name(&target).to_owned() } else { source }
                });
                let env = self.env.map(|env| if env.is_empty() { id.clone() } else { env });
                let target = match (target.is_empty(), &env) {
                    (false, _) => Some(target),
                    (true, Some(_)) => None,
                    (true, None) => Some(format!("/run/secrets/{}", base_name(&id))),
                };
                MountSpec::Secret { id, target, env, required, mode, uid, gid }
            }
            Kind::Ssh => MountSpec::Ssh {
                id: self.id.unwrap_or_else(|| "default".to_owned()),
                target: Some(target).filter(|target| !target.is_empty()),
                required,
                mode,
                uid,
                gid,
            },
        }
    }
}

/// Whether an absolute path names the root.
fn is_root(path: &str) -> bool {
    let depth = path.split('/').fold(0_usize, |depth, part| match part {
        "" | "." => depth,
        ".." => depth.saturating_sub(1),
        _ => depth + 1,
    });
    path.starts_with('/') && depth == 0
}

/// Returns a path's last component as Go's `path.Base` does.
fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => {
            if path.is_empty() {
                "."
            } else {
                "/"
            }
        }
        Some(name) => name,
    }
}
