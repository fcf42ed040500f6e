//! Where writes that have left the outbox stand in the log, for those who wait for them: in memory, the newest ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use semantics::ids::{LogId, MutationId, Revision};

/// Most writes whose place is remembered after they have left the outbox.
pub const PLACES_MAX: usize = 10_000;

/// The newest places.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    log: Option<LogId>,
    at: BTreeMap<MutationId, Revision>,
    order: VecDeque<MutationId>,
}

impl Places {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers these; the oldest go, and all that stood in another log.
    pub(super) fn note(&self, log: LogId, finished: Vec<(MutationId, Revision)>) {
        let mut held = self.held();
        if held.log != Some(log) {
            *held = Held { log: Some(log), ..Held::default() };
        }
        for (id, revision) in finished {
            if held.at.insert(id, revision).is_none() {
                held.order.push_back(id);
            }
        }
        while held.order.len() > PLACES_MAX {
            if let Some(oldest) = held.order.pop_front() {
                held.at.remove(&oldest);
            }
        }
    }

    pub(super) fn of(&self, id: MutationId) -> Option<Revision> {
        self.held().at.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> MutationId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
        MutationId(bytes)
    }

    #[test]
    fn the_newest_places_are_remembered_and_the_oldest_go() {
        let places = Places::default();
        places.note(LogId([1; 16]), (0..PLACES_MAX).map(|n| (id(n), Revision(1))).collect());
        places.note(LogId([1; 16]), vec![(id(3), Revision(2)), (id(PLACES_MAX), Revision(3))]);
        assert_eq!(places.of(id(0)), None);
        assert_eq!(places.of(id(1)), Some(Revision(1)));
        assert_eq!(places.of(id(3)), Some(Revision(2)));
        assert_eq!(places.of(id(PLACES_MAX)), Some(Revision(3)));
        places.note(LogId([2; 16]), vec![(id(1), Revision(9))]);
        assert_eq!((places.of(id(1)), places.of(id(3))), (Some(Revision(9)), None));
    }
}
