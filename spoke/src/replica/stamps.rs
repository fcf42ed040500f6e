//! Stamps as they are sent: after everything in the base, and not further ahead than the hub allows.
//!
//! A stamp that is not after its base's is refused for good, one that is too far ahead only for now. So what the hub is
//! known to have taken is always passed, whatever the clock here says; and what may never have been sent under the
//! time that stands here is not waited for.

use std::collections::{BTreeMap, BTreeSet};

use semantics::clock::HybridTime;
use semantics::ids::{Key, Writer};

use super::entry::Entry;
use super::state::Clock;
use super::store::{ROWS_MAX, ReplicaTxn};
use super::write::newest;
use crate::error::StoreError;

/// The stamps of confirmed records; of those that there are none of, zero.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<Key, HybridTime>);

impl Taken {
    /// Looks those up that were not before.
    pub(super) async fn look(
        &mut self,
        txn: &mut dyn ReplicaTxn,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        let keys: BTreeSet<&Key> = entries.iter().map(|entry| &entry.mutation.key).collect();
        let keys: Vec<Key> = keys.into_iter().filter(|key| !self.0.contains_key(*key)).cloned().collect();
        for keys in keys.chunks(ROWS_MAX) {
            let confirmed = txn.confirmed_get(keys).await?;
            let of = |key: &Key| confirmed.get(key).map_or(HybridTime::ZERO, |row| newest(&row.record));
            self.0.extend(keys.iter().map(|key| (key.clone(), of(key))));
        }
        Ok(())
    }

    /// What a mutation must be stamped after for the confirmed part of what it was made on.
    pub(super) fn floor(&self, clock: &Clock, entry: &Entry, now_ms: u64) -> HybridTime {
        // What is confirmed the hub has taken at that very time; of what came since, the base knows nothing.
        let taken = self.0.get(&entry.mutation.key).copied().unwrap_or(HybridTime::ZERO).min(entry.base_time);
        clock.as_taken(entry.base_time, now_ms).max(taken)
    }
}

/// What a mutation must be stamped after for the entry it was made on.
pub(super) fn of_parent(parent: &Entry, writer: Writer, clock: &Clock, now_ms: u64) -> HybridTime {
    // In the present epoch nobody else sent it, and it went out with this time. Before, a copy of this replica may
    // have sent it with another, of which only the hub's time is known here.
    let is_known = parent.mutation.dot.writer == writer;
    let time = parent.mutation.time;
    let latest = HybridTime { ms: clock.hub_now_ms(now_ms), counter: u32::MAX };
    let time = if is_known { time } else { clock.as_taken(time, now_ms).max(latest) };
    time.max(clock.as_taken(parent.base_time, now_ms))
}
