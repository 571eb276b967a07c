//! Secrets whose content counts: `--secret id=ID,key=content`.

use std::num::NonZeroU32;

use kairn_compiler::KeyParts;
use kairn_compiler::graph::{MountKind, RunOp};
use ring::pbkdf2;

use crate::error::Error;
use crate::grants::Grants;

/// Rounds that make guessing a secret from a key slow, which others may see: some 50 ms for each guess.
const ROUNDS: NonZeroU32 = NonZeroU32::new(200_000).expect("not zero");

/// Lets a key depend on the secrets that a RUN mounts, as far as the user wants that.
pub(super) fn with_contents(mut parts: KeyParts, op: &RunOp, grants: &Grants) -> Result<KeyParts, Error> {
    for mount in &op.mounts {
        let MountKind::Secret { id, .. } = &mount.kind else { continue };
        let name = format!("secret.{id}");
        if !grants.keyed.contains(id) || parts.parts.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let value = grants.secret(id)?.unwrap_or_default();
        let mut digest = [0; 32];
        let salt = format!("kairn secret {id}");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt.as_bytes(), &value, &mut digest);
        parts = parts.with_hidden(&name, &digest);
    }
    Ok(parts)
}
