//! The encoding under every digest: a name for what is hashed, then fields as (tag, length, bytes).

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

/// Feeds fields to SHA-256. The first field (tag 0) names what is hashed, so that no two sorts of thing share an
/// encoding; an absent field is left out, which differs from an empty one.
#[derive(Debug, Clone)]
#[must_use]
pub struct FieldHasher(Sha256);

impl FieldHasher {
    /// Begins with the name of what is hashed.
    pub fn new(name: &str) -> Self {
        Self(Sha256::new()).bytes(0, name.as_bytes())
    }

    /// Adds a field. Tags go up; each stands at most once.
    pub fn bytes(mut self, tag: u8, bytes: &[u8]) -> Self {
        // Everything hashed is bounded far below 4 GiB.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.update([tag]);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a field that may be absent.
    pub fn optional(self, tag: u8, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.bytes(tag, bytes),
            None => self,
        }
    }

    /// Adds a number: 8 bytes, big-endian.
    pub fn number(self, tag: u8, number: u64) -> Self {
        self.bytes(tag, &number.to_be_bytes())
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
