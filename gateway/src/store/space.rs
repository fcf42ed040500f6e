//! Plain rows: families, values, bounds.

use super::StoreError;

/// Longest plain value, bytes.
pub const PLAIN_BYTES_MAX: usize = 64 * 1024;

/// Families of plain rows: what is not log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Node registry: heartbeats, addresses, public keys. By node id.
    Node,
    /// What each writer has acknowledged. By writer.
    Ack,
    /// Leases of resume positions and of background work. By holder.
    Lease,
    /// Join tokens, hashed. By token id.
    Token,
    /// Used assertion ids. By id.
    Assertion,
    /// Pruning marks and other small facts of one tenant. By name.
    Mark,
    /// Hub-wide secrets sealed outside, public keys, settings. By name.
    Hub,
    /// Blocks of the access log. By number, eight bytes, the highest first.
    Access,
    /// What spokes had in a log before a restore. By log, node and part.
    Remnant,
}

impl Space {
    /// Every space, with its stable number.
    pub const ALL: [(Self, i16); 9] = [
        (Self::Node, 1),
        (Self::Ack, 2),
        (Self::Lease, 3),
        (Self::Token, 4),
        (Self::Assertion, 5),
        (Self::Mark, 6),
        (Self::Hub, 7),
        (Self::Access, 8),
        (Self::Remnant, 9),
    ];
    /// Its number in stores.
    #[must_use]
    pub fn number(self) -> i16 {
        Self::ALL.iter().find(|(space, _)| *space == self).map_or(0, |(_, number)| *number)
    }
}

/// A plain row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainRow {
    /// Its key, bytes.
    pub key: Vec<u8>,
    /// Its value, at most [`PLAIN_BYTES_MAX`].
    pub value: Vec<u8>,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// Whether a plain value is short enough.
pub(super) fn check_plain(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > PLAIN_BYTES_MAX {
        return Err(StoreError::Internal(format!("a plain value has {} bytes", value.len())));
    }
    Ok(())
}
