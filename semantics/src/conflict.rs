//! Conflict records: both sides and the ancestor, by log revision, so that nothing that lost is gone.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::ids::{Dot, Key, RecordId, Revision};

/// Most sides one conflict names beside the primary; older losing sides of the same writer are replaced first,
/// then the oldest is only counted.
pub const CONFLICT_SIDES_MAX: usize = 8;
/// Most open conflicts (paths) on one record; further ones are merged into the conflict with the empty path.
pub const OPEN_CONFLICTS_MAX: usize = 64;

/// What sort of disagreement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictType {
    /// Two changes of one value, neither of which had seen the other.
    Version,
    /// A delete beside a change that had not seen it.
    Deletion,
    /// Two bodies under one id of an append-only kind, by two authors.
    Collision,
    /// Two bodies under one id of an append-only kind, by one author.
    Equivocation,
}

/// One path on which the mutation and the record disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// Top-level field, or empty for the whole record.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// Whose value stands.
    pub winner: Stamp,
    /// Whose value does not.
    pub loser: Stamp,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The mutation.
    pub stamp: Stamp,
    /// Its log revision.
    pub revision: Revision,
}

/// The body of a record of the kind `conflict`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The record it is about.
    pub subject: Key,
    /// Top-level field, or empty for the whole record.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// The side whose value stands.
    pub primary: Side,
    /// The sides whose values do not, oldest first, at most [`CONFLICT_SIDES_MAX`].
    pub losers: Vec<Side>,
    /// Losing sides that were counted only.
    pub dropped: u64,
    /// Log revision of the common ancestor; [`Revision::ZERO`] = there was none, or it is unknown.
    pub ancestor: Revision,
    /// Whether nobody has settled it.
    pub open: bool,
}

/// Id of a conflict record: SHA-256 over (kind, id, path, first losing dot), in hexadecimal (see
/// [`crate::digest::conflict_id`]).
#[must_use]
pub fn id(subject: &Key, path: &str, first_loser: Dot) -> RecordId {
    crate::digest::conflict_id(subject, path, first_loser)
}
