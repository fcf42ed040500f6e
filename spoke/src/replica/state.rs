//! The replica's single values as types.

use semantics::clock::{CLOCK_AHEAD_MS_MAX, HybridTime};
use semantics::cursor::Cursor;
use semantics::ids::{Digest, Domain, Key, LogId, MutationId, NodeId, Revision, Writer};
use semantics::reason::Refusal;
use semantics::recovery::Recovery;
use semantics::view::View;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::store::{MetaKey, ReplicaTxn};
use crate::error::StoreError;

/// Whose replica this is, and which file on which host it was last opened as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Where its new records go.
    pub domain: Domain,
    /// Names this file on this host: a replica opened under another one is a copy. Opaque.
    pub place: String,
}

/// The writer's stream, as far as it is durable here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) writer: Option<Writer>,
    pub(crate) last_n: u64,
    pub(crate) last_digest: Option<Digest>,
    pub(crate) answered_n: u64,
    /// Greatest time that anything was sent with.
    #[serde(default)]
    pub(crate) last_time: HybridTime,
    /// The log that last welcomed this writer: what was answered was answered by it. `None` where an older version, or
    /// a reconciliation, left the stream.
    #[serde(default)]
    pub(crate) log_id: Option<LogId>,
}

/// How far the hub may be ahead of its time as it is known here, milliseconds: what told it was on its way for so long, or
/// a clock ran slow since.
const HUB_TIME_LATE_MS: u64 = 10_000;

/// The hybrid clock, and how far the hub's time is ahead of the wall clock here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    pub(crate) last: HybridTime,
    pub(crate) hub_ahead_ms: i64,
    /// The hub's time when it last told it, milliseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub(crate) heard_ms: u64,
}

impl Clock {
    /// The hub's time, as far as known here: never before it was last heard, though the clock here may have stepped
    /// back since.
    pub(crate) fn hub_now_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.hub_ahead_ms).max(self.heard_ms)
    }

    /// A time of something that the hub has taken, as known here. What lies beyond the hub's bound by more than its time
    /// may be known too early here is not the time it was taken at: another copy of it, stamped anew, was what the hub
    /// took.
    pub(crate) fn as_taken(&self, time: HybridTime, now_ms: u64) -> HybridTime {
        let ms = self.hub_now_ms(now_ms).saturating_add(CLOCK_AHEAD_MS_MAX);
        if time.ms > ms.saturating_add(HUB_TIME_LATE_MS) { HybridTime { ms, counter: 0 } } else { time }
    }

    /// The time of a write after everything in its base.
    pub(crate) fn tick(&mut self, base: HybridTime, now_ms: u64) -> HybridTime {
        let now_ms = self.hub_now_ms(now_ms);
        // A clock that once ran ahead must not hold every later write ahead: only the base must be passed.
        let last = if self.last.is_ahead_of(now_ms) { HybridTime::ZERO } else { self.last };
        self.last = last.max(base).tick(now_ms);
        self.last
    }
}

/// What keeps the replica from syncing, and what it has noticed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// It is a copy, or may be one, and opens an epoch of its own before it sends anything.
    pub needs_epoch: bool,
    /// Why only a person may let it sync again.
    pub stopped: Option<Refusal>,
    /// How often its digest differed from the hub's at a cut.
    pub digest_mismatches: u64,
    /// The log that it left for the hub's, until an epoch of the hub's is its own: commits that its entries name are
    /// that log's.
    #[serde(default)]
    pub left: Option<LogId>,
    /// The epoch that it had there, where it was not known to be a copy.
    #[serde(default)]
    pub left_epoch: Option<u32>,
}

/// What is known of the hub's backups, and what is kept until they hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Backups {
    /// Up to where a backup holds the log; `None` = none is made, and nothing is kept.
    pub revision: Option<Revision>,
    /// When the hub last said so, milliseconds since 1970-01-01 UTC.
    pub noted_ms: u64,
    /// Kept entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that no backup held when they had to go.
    pub given_up: u64,
    /// The log that took what is kept; `None` where an older version kept it.
    #[serde(default)]
    pub log_id: Option<LogId>,
}

/// How much of what this replica had in the log before a restore was told to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The log before.
    pub predecessor: LogId,
    /// How many records were put aside.
    pub count: u64,
    /// Number of the next part.
    pub page: u32,
    /// Records up to here were told.
    pub after: Option<Key>,
    /// Whether all were, or as many as are told.
    pub is_told: bool,
}

/// The logs that a log went on from, the nearest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// The log that last welcomed this replica.
    pub(crate) log_id: LogId,
    pub(crate) before: Vec<Recovery>,
}

impl Lineage {
    /// What is known of the log in which a cursor stands.
    pub(crate) fn of(known: Option<&Self>, cursor: Option<&Cursor>) -> Vec<Recovery> {
        let of_it = known.zip(cursor).filter(|(known, cursor)| known.log_id == cursor.log_id);
        of_it.map(|(known, _)| known.before.clone()).unwrap_or_default()
    }
}

pub(crate) async fn load<T: DeserializeOwned>(
    txn: &mut dyn ReplicaTxn,
    key: MetaKey,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = txn.meta_get(key).await? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(key, &e))
}

pub(crate) async fn save<T: Serialize + Sync>(
    txn: &mut dyn ReplicaTxn,
    key: MetaKey,
    value: &T,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|e| damaged(key, &e))?;
    txn.meta_put(key, Some(&bytes)).await
}

fn damaged(key: MetaKey, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: key.as_str(), detail: error.to_string() }
}

pub(crate) async fn stream(txn: &mut dyn ReplicaTxn) -> Result<Stream, StoreError> {
    Ok(load(txn, MetaKey::Stream).await?.unwrap_or_default())
}

pub(crate) async fn clock(txn: &mut dyn ReplicaTxn) -> Result<Clock, StoreError> {
    Ok(load(txn, MetaKey::Clock).await?.unwrap_or_default())
}

pub(crate) async fn condition(txn: &mut dyn ReplicaTxn) -> Result<Condition, StoreError> {
    Ok(load(txn, MetaKey::Condition).await?.unwrap_or_default())
}

pub(crate) async fn backups(txn: &mut dyn ReplicaTxn) -> Result<Backups, StoreError> {
    Ok(load(txn, MetaKey::Backups).await?.unwrap_or_default())
}

pub(crate) async fn report(txn: &mut dyn ReplicaTxn) -> Result<Option<Report>, StoreError> {
    load(txn, MetaKey::Report).await
}

pub(crate) async fn lineage(txn: &mut dyn ReplicaTxn) -> Result<Option<Lineage>, StoreError> {
    load(txn, MetaKey::Lineage).await
}

pub(crate) async fn cursor(txn: &mut dyn ReplicaTxn) -> Result<Option<Cursor>, StoreError> {
    load(txn, MetaKey::Cursor).await
}

pub(crate) async fn view(txn: &mut dyn ReplicaTxn) -> Result<Option<View>, StoreError> {
    load(txn, MetaKey::View).await
}

/// Mutations that go out before all others, in the order in which they became urgent.
pub(crate) async fn urgent(txn: &mut dyn ReplicaTxn) -> Result<Vec<MutationId>, StoreError> {
    Ok(load(txn, MetaKey::Urgent).await?.unwrap_or_default())
}

/// Takes `count` places in the queue; gives the first.
pub(crate) async fn take_orders(txn: &mut dyn ReplicaTxn, count: u64) -> Result<u64, StoreError> {
    let first: u64 = load(txn, MetaKey::Order).await?.unwrap_or(1);
    save(txn, MetaKey::Order, &first.saturating_add(count)).await?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stamped_as_late_as_the_hub_takes_it_is_known_whole() {
        let clock = Clock { heard_ms: 1_000, ..Clock::default() };
        let last_ms = 1_000 + CLOCK_AHEAD_MS_MAX;
        let time = |ms: u64, counter: u32| HybridTime { ms, counter };
        for taken in [time(500, 4), time(last_ms, 4), time(last_ms + HUB_TIME_LATE_MS, 4)] {
            assert_eq!(clock.as_taken(taken, 1_000), taken);
        }
        let beyond = time(last_ms + HUB_TIME_LATE_MS + 1, 4);
        assert_eq!(clock.as_taken(beyond, 1_000), time(last_ms, 0), "another copy's was taken");
    }
}
