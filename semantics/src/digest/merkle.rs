//! The Merkle tree hash of RFC 6962, section 2.1, over digests.

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

/// The tree hash: SHA-256 of nothing for no leaf, SHA-256(0x00 ‖ leaf) for one, otherwise
/// SHA-256(0x01 ‖ left ‖ right), where the left tree has the largest power of two of leaves below their number.
#[must_use]
pub fn merkle_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest(Sha256::new().finalize().into()),
        [leaf] => Digest(Sha256::new().chain_update([0]).chain_update(leaf.as_bytes()).finalize().into()),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let hash = Sha256::new()
                .chain_update([1])
                .chain_update(merkle_root(left).as_bytes())
                .chain_update(merkle_root(right).as_bytes());
            Digest(hash.finalize().into())
        }
    }
}
