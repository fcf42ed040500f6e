//! Stamps as they are sent: after everything in the base, and not further ahead than the hub allows.
//!
//! A stamp that is not after its base's is refused for good, one that is too far ahead only for now. So what the hub is
//! known to have taken is always passed, whatever the clock here says; and what may never have been sent under the
//! time that stands here is not waited for.

use semantics::clock::HybridTime;
use semantics::ids::Writer;

use super::entry::Entry;
use super::state::Clock;
use super::store::ReplicaTxn;
use super::write::newest;
use crate::error::StoreError;

/// What a mutation must be stamped after for the confirmed part of what it was made on.
pub(super) async fn floor(
    txn: &mut dyn ReplicaTxn,
    clock: &Clock,
    entry: &Entry,
    now_ms: u64,
) -> Result<HybridTime, StoreError> {
    let key = &entry.mutation.key;
    let confirmed = txn.confirmed_get(std::slice::from_ref(key)).await?.remove(key);
    // What is confirmed the hub has taken at that very time; of what came since, the base knows nothing.
    let taken = confirmed.map_or(HybridTime::ZERO, |row| newest(&row.record)).min(entry.base_time);
    Ok(clock.as_taken(entry.base_time, now_ms).max(taken))
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
