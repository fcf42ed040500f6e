//! Where the records of a log stood at one moment.

use std::sync::Arc;

use semantics::commit::Head;
use semantics::ids::Revision;

/// Most revisions that came since, so that a page of them leaves out what those superseded.
pub const LATEST_BEHIND_MAX: u64 = 2_048;

/// The latest revision of each record, tombstones included, as they all were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The head of that moment.
    pub head: Head,
    /// The revisions, in order.
    pub revisions: Vec<Revision>,
}

/// Rows of a log that are known beforehand to be all that says something to somebody who holds nothing older than them.
#[derive(Debug, Clone)]
pub struct Only {
    /// Of these revisions…
    pub latest: Arc<Latest>,
    /// …those up to this one, which lies at most where they were read.
    pub to: Revision,
}

impl Only {
    /// The revisions after one.
    #[must_use]
    pub fn after(&self, after: Revision) -> &[Revision] {
        let all = self.latest.revisions.as_slice();
        let (first, end) = (all.partition_point(|at| *at <= after), all.partition_point(|at| *at <= self.to));
        all.get(first..end).unwrap_or_default()
    }
}
