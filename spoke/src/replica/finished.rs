//! Which mutations left the outbox because the hub's log has them: what whoever waits for one later is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use semantics::ids::{MutationId, Revision};

/// Mutations remembered, at most; the oldest are forgotten first.
pub const FINISHED_MAX: usize = 10_000;

/// The last of them, in memory alone: a replica that is opened again has forgotten them.
#[derive(Debug, Default)]
pub(crate) struct Finished(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    revisions: BTreeMap<MutationId, Revision>,
    order: VecDeque<MutationId>,
}

impl Finished {
    /// Notes one, before the transaction that takes it out of the outbox commits: whoever does not find it there
    /// any more finds it here.
    pub(crate) fn note(&self, id: MutationId, revision: Revision) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.revisions.insert(id, revision).is_none() {
            held.order.push_back(id);
        }
        if held.order.len() > FINISHED_MAX
            && let Some(oldest) = held.order.pop_front()
        {
            held.revisions.remove(&oldest);
        }
    }

    /// Its revision, while it is remembered.
    pub(crate) fn revision(&self, id: MutationId) -> Option<Revision> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).revisions.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_past_the_bound_and_one_noted_twice_counts_once() {
        let finished = Finished::default();
        let id = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            MutationId(bytes)
        };
        for n in 0..FINISHED_MAX {
            finished.note(id(n), Revision(1));
            finished.note(id(n), Revision(2));
        }
        assert_eq!(finished.revision(id(0)), Some(Revision(2)));
        finished.note(id(FINISHED_MAX), Revision(3));
        assert_eq!(finished.revision(id(0)), None);
        assert_eq!(finished.revision(id(FINISHED_MAX)), Some(Revision(3)));
    }
}
