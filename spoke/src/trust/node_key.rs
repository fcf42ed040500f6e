//! The node's key: made when it joins, never leaves the data folder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use semantics::ids::{NodeId, TenantId};
use semantics::reason::{Reason, Refusal};
use serde::Serialize;

/// Signed before a join token's text, so that this signature can never pass for another.
const JOIN_CONTEXT: &[u8] = b"hubward join v1";
/// What an assertion's audience begins with; the tenant's name follows.
const ASSERTION_AUDIENCE: &str = "hubward/";
/// How long an assertion is valid, seconds.
const ASSERTION_LIFE_S: u64 = 60;

/// An Ed25519 key.
pub struct NodeKey {
    key: SigningKey,
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeKey").field("public", &hex::encode(self.public_key())).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: NodeId,
    sub: NodeId,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
}

impl NodeKey {
    /// Makes a key of 32 random bytes and writes it to a new file that only its owner can read. A file that is
    /// there already is kept and read: a join that was cut short goes on with its key.
    ///
    /// # Errors
    /// STORE_UNSAFE when the file cannot be written; as [`Self::load`].
    pub fn create(path: &Path, seed: [u8; 32]) -> Result<Self, Refusal> {
        if path.exists() {
            return Self::load(path);
        }
        let key = SigningKey::from_bytes(&seed);
        let pem =
            key.to_pkcs8_pem(LineEnding::LF).map_err(|e| Refusal::new(Reason::Internal, e.to_string()))?;
        write_new(path, pem.as_bytes())
            .map_err(|e| Refusal::new(Reason::StoreUnsafe, format!("{}: {e}", path.display())))?;
        Ok(Self { key })
    }

    /// Reads a key.
    ///
    /// # Errors
    /// NOT_JOINED without a file; STORE_CORRUPT for a file that is no key.
    pub fn load(path: &Path) -> Result<Self, Refusal> {
        let at = |reason, e: &dyn std::fmt::Display| Refusal::new(reason, format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => at(Reason::NotJoined, &"no node key"),
            _ => at(Reason::StoreUnavailable, &e),
        })?;
        let key = SigningKey::from_pkcs8_pem(&text).map_err(|e| at(Reason::StoreCorrupt, &e))?;
        Ok(Self { key })
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Shows to a hub, for a join token's text, that the node holds the key.
    #[must_use]
    pub fn prove_join(&self, token: &str) -> Vec<u8> {
        let mut signed = JOIN_CONTEXT.to_vec();
        signed.extend_from_slice(token.as_bytes());
        self.key.sign(&signed).to_bytes().to_vec()
    }

    /// Signs an assertion, good for one exchange within [`ASSERTION_LIFE_S`] seconds.
    ///
    /// # Errors
    /// INTERNAL when the key cannot sign.
    pub fn assertion(
        &self,
        tenant: &TenantId,
        node: NodeId,
        jti: [u8; 16],
        now_ms: u64,
    ) -> Result<String, Refusal> {
        let internal = |e: &dyn std::fmt::Display| Refusal::new(Reason::Internal, format!("assertion: {e}"));
        let der = self.key.to_pkcs8_der().map_err(|e| internal(&e))?;
        let iat = now_ms / 1_000;
        let audience = format!("{ASSERTION_AUDIENCE}{tenant}");
        let jti = hex::encode(jti);
        let exp = iat.saturating_add(ASSERTION_LIFE_S);
        let claims = Claims { iss: node, sub: node, aud: &audience, iat, exp, jti: &jti };
        let key = EncodingKey::from_ed_der(der.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).map_err(|e| internal(&e))
    }
}

/// Writes beside the file, syncs, and links it in place, which fails when there is one: a crash leaves the whole
/// file or none, and no key is ever overwritten.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::hard_link(&beside, path)?;
    std::fs::remove_file(&beside)?;
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or(Ok(()), |f| File::open(f)?.sync_all())
}

#[cfg(test)]
mod tests;
