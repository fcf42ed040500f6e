//! Seals resume positions: what a reader hands back must be what a gateway of this hub gave to this very node. The
//! key of a tenant is made at its first use and kept in the store, where every gateway finds the same one.

use std::sync::OnceLock;

use semantics::ids::TenantId;
use semantics::reason::Reason;
use sha2::{Digest as _, Sha256};

use super::error::HubError;
use super::{Hub, Principal};
use crate::store::Space;

/// Bytes of a tag.
const TAG_BYTES: usize = 32;
/// Bytes of a block of SHA-256, which HMAC fills its key up to.
const BLOCK_BYTES: usize = 64;
/// Name of a tenant's key.
const KEY_NAME: &[u8] = b"resume-key";
/// Keeps these tags apart from any other use of the key.
const CONTEXT: &[u8] = b"hubward resume v1";

/// A tenant's key, once it was read.
#[derive(Default)]
pub(super) struct SealKey(OnceLock<[u8; TAG_BYTES]>);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl Hub {
    /// The position with its tag before it.
    pub(super) async fn seal(&self, who: &Principal, position: &[u8]) -> Result<Vec<u8>, HubError> {
        let key = self.seal_key(&who.tenant).await?;
        let mut sealed = tag(&key, who, position).to_vec();
        sealed.extend_from_slice(position);
        Ok(sealed)
    }

    /// The position that was sealed for this node.
    ///
    /// # Errors
    /// BAD_TOKEN when it was not; store errors.
    pub(super) async fn unseal<'a>(&self, who: &Principal, sealed: &'a [u8]) -> Result<&'a [u8], HubError> {
        let bad = || HubError::new(Reason::BadToken, "no resume position that this node was given");
        let (given, position) = sealed.split_at_checked(TAG_BYTES).ok_or_else(bad)?;
        let key = self.seal_key(&who.tenant).await?;
        // Every byte is looked at: how long it takes says nothing of how much was right.
        let differs = tag(&key, who, position)
            .iter()
            .zip(given)
            .fold(0, |differs, (right, byte)| differs | (right ^ byte));
        if differs == 0 { Ok(position) } else { Err(bad()) }
    }

    async fn seal_key(&self, tenant: &TenantId) -> Result<[u8; TAG_BYTES], HubError> {
        let here = self.tenant(tenant);
        if let Some(key) = here.seal.0.get() {
            return Ok(*key);
        }
        let held = self.store().plain_get(tenant, Space::Mark, KEY_NAME).await?;
        let held = match held {
            Some(row) => row,
            None => {
                let fresh = [self.entropy().bytes16(), self.entropy().bytes16()].concat();
                // Another gateway may be first: the one that stands counts.
                self.store().plain_put(tenant, Space::Mark, KEY_NAME, &fresh, 0).await?;
                let stands = self.store().plain_get(tenant, Space::Mark, KEY_NAME).await?;
                stands.ok_or_else(|| HubError::internal("the key of resume positions is gone"))?
            }
        };
        let key = <[u8; TAG_BYTES]>::try_from(held.value.as_slice());
        let key =
            key.map_err(|_| HubError::new(Reason::StoreCorrupt, "the key of resume positions is none"))?;
        Ok(*here.seal.0.get_or_init(|| key))
    }
}

fn tag(key: &[u8; TAG_BYTES], who: &Principal, position: &[u8]) -> [u8; TAG_BYTES] {
    // The node's id has one length, so that nothing can be moved between the parts.
    hmac(key, &[CONTEXT, who.node.as_bytes(), position])
}

/// HMAC-SHA-256 (RFC 2104) with a key no longer than a block.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    parts.iter().for_each(|part| inner.update(part));
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_one_of_rfc_4231() {
        let tag = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
