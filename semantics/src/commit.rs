//! Commits: what one transaction appended, and the chain over them.

use serde::{Deserialize, Serialize};

use crate::ids::{CommitNumber, Digest, LogId, Revision};

/// Where a tenant's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which incarnation of the log.
    pub log_id: LogId,
    /// Last commit.
    pub commit: CommitNumber,
    /// Last revision.
    pub revision: Revision,
    /// Chain at that commit.
    pub chain: Digest,
    /// What lies at or below has been given up: versions superseded, tombstones and departures at or below it
    /// may be gone, and no cursor below it is taken.
    pub horizon: Revision,
    /// Time of that commit, milliseconds since 1970-01-01 UTC; never goes back.
    pub time_ms: u64,
}

impl Head {
    /// The head of an empty log.
    #[must_use]
    pub fn empty(log_id: LogId) -> Self {
        Self {
            log_id,
            commit: CommitNumber::ZERO,
            revision: Revision::ZERO,
            chain: Digest::default(),
            horizon: Revision::ZERO,
            time_ms: 0,
        }
    }
}
