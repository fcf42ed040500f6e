//! Digests.

use crate::ids::{Dot, Key, RecordId};

/// Id of a conflict record.
#[must_use]
pub fn conflict_id(_subject: &Key, _path: &str, _first_loser: Dot) -> RecordId {
    unimplemented!()
}
