//! What a committer reads, and what it then knows.

use std::collections::BTreeSet;

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::{Revision, TenantId};

use super::{Committer, Known, Means, Missing, Standing};
use crate::hub::error::HubError;
use crate::store::{CommitRow, Loaded, LogRow, TenantIo};

/// What a plan missed.
pub(super) struct Read {
    pub(super) loaded: Loaded,
    commits: Vec<CommitRow>,
    rows: Vec<LogRow>,
}

/// Reads what a plan misses.
pub(super) async fn read(
    means: &Means,
    tenant: &TenantId,
    io: &mut dyn TenantIo,
    missing: &Missing,
) -> Result<Read, HubError> {
    let loaded = io.load(&missing.wanted).await?;
    let commits = if missing.commits.is_empty() { Vec::new() } else { io.commits(&missing.commits).await? };
    let named: BTreeSet<Revision> = missing.rows.union(&missing.bodies).copied().collect();
    let rows = if named.is_empty() {
        Vec::new()
    } else {
        // Rows never change: it does not matter that these are read beside what is read at the head.
        means.store.rows(tenant, &named).await?
    };
    Ok(Read { loaded, commits, rows })
}

/// What is known with what was read, which holds at the head that was read with it.
pub(super) fn learned(means: &Means, known: Option<Known>, missing: &Missing, read: Read) -> Known {
    let Read { loaded, commits, rows } = read;
    let holds = |known: &Known| known.head == loaded.head || Fault::CacheOverMiss.is_planted();
    let mut known = known.filter(holds).unwrap_or(Known::at(loaded.head));
    known.head = loaded.head;
    known.version_writers_kept = means.version_writers_kept;
    if let Some(time_ms) = loaded.time_ms {
        known.store_ahead_ms = time_ms.saturating_sub(means.clock.now_ms());
    }
    known.absorb(missing, loaded, commits, rows);
    known
}

/// Learns what was read while an append was under way that goes on from `before`; `known` is what will be known once it has
/// happened, with all that it changes. What was read is none of that, so it is the same before the append and after it: it
/// holds if it was read at either head. `None` = it was not, or names what only the append brings.
pub(super) fn learned_ahead(before: Head, known: &mut Known, missing: &Missing, read: Read) -> Option<()> {
    let Read { loaded, commits, rows } = read;
    let is_there = missing.rows.iter().chain(&missing.bodies).all(|named| *named <= loaded.head.revision)
        && missing.commits.iter().all(|number| *number <= loaded.head.commit);
    let holds = loaded.head == before || loaded.head == known.head || Fault::CacheOverMiss.is_planted();
    (holds && is_there).then(|| known.absorb(missing, loaded, commits, rows))
}

/// What is known while more is read. Dropped, because who leads went away or the store failed, it is left to whoever leads
/// next: nothing was begun on it.
pub(super) struct Reading<'a> {
    committer: &'a Committer,
    pub(super) known: Option<Known>,
}

impl<'a> Reading<'a> {
    pub(super) fn on(committer: &'a Committer, known: Option<Known>) -> Self {
        Self { committer, known }
    }

    pub(super) fn done(mut self) -> Option<Known> {
        self.known.take()
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(mut known) = self.known.take() {
            known.trim();
            *self.committer.standing() = Some(Standing { known, next: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use semantics::ids::{CommitNumber, LogId, NodeId};

    use super::*;
    use crate::hub::known::view_key;
    use crate::store::Wanted;

    fn head(commit: u64, revision: u64) -> Head {
        let (commit, revision) = (CommitNumber(commit), Revision(revision));
        Head { commit, revision, ..Head::empty(LogId([1; 16])) }
    }

    /// Whether what was missing is known after it was read at a head while the append from 7 to 8 was under way.
    fn is_learned(missing: &Missing, at: Head) -> bool {
        let mut known = Known::at(head(8, 12));
        let (current, writers, cells) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let loaded = Loaded { head: at, time_ms: None, current, writers, cells };
        let read = Read { loaded, commits: Vec::new(), rows: Vec::new() };
        let is_learned = learned_ahead(head(7, 10), &mut known, missing, read).is_some();
        let is_known = |revision: &Revision| known.state(*revision).is_some();
        let is_read = missing.wanted.keys.iter().all(|key| known.is_read(key));
        assert_eq!(is_learned, is_read && missing.rows.iter().all(is_known));
        assert_eq!(known.head, head(8, 12));
        is_learned
    }

    #[test]
    fn what_an_append_does_not_touch_holds_where_it_was_read_before_it_or_after_it() {
        let wanted = Wanted { keys: view_key(NodeId([1; 16])).into_iter().collect(), ..Wanted::default() };
        let missing = Missing { wanted, ..Missing::default() };
        assert!(is_learned(&missing, head(7, 10)) && is_learned(&missing, head(8, 12)));
        for other in [head(6, 10), head(8, 11), head(9, 12)] {
            assert!(!is_learned(&missing, other), "{other:?}");
        }
    }

    #[test]
    fn what_an_append_brings_is_not_taken_for_gone_because_it_was_looked_for_before_it() {
        for (revision, is_there_before) in [(10, true), (11, false), (12, false)] {
            let missing = Missing { rows: BTreeSet::from([Revision(revision)]), ..Missing::default() };
            assert_eq!(is_learned(&missing, head(7, 10)), is_there_before, "{revision}");
            assert!(is_learned(&missing, head(8, 12)));
        }
    }
}
