//! What a replica asks of its store: rows and transactions, and no rule.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use semantics::cursor::{Change, Departure};
use semantics::digest::record_digest;
use semantics::envelope::{Cell, Record};
use semantics::ids::{Digest, GroupId, Key, Kind, MutationId, Revision};

use super::entry::Entry;
use crate::error::StoreError;

/// Most rows one call returns, takes, or names.
pub const ROWS_MAX: usize = 1000;

/// Visible changes that a store keeps at least.
pub const CHANGES_KEPT: u64 = 100_000;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only read.
    Read,
    /// Read and write.
    Write,
}

/// The replica's single values. The bytes are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetaKey {
    /// Which node this is, its domain, and the identity of file and host.
    Identity,
    /// The writer's stream: writer, last counter given, its digest, last counter answered.
    Stream,
    /// Hybrid clock and the hub's time relative to ours.
    Clock,
    /// Next place in the outbox's queue.
    Order,
    /// Where the confirmed layer stands.
    Cursor,
    /// The view in force at the cursor.
    View,
    /// Where an unfinished catch-up stands.
    Resume,
    /// What keeps the replica from syncing, and what it has noticed.
    Condition,
    /// Moved whenever a kind's declaration in the confirmed layer changes.
    Kinds,
    /// What the hub's backups hold, and what is kept until they do.
    Backups,
    /// What of the log before a restore was told to the hub.
    Report,
}

impl MetaKey {
    /// Every key.
    pub const ALL: &'static [Self] = &[
        Self::Identity,
        Self::Stream,
        Self::Clock,
        Self::Order,
        Self::Cursor,
        Self::View,
        Self::Resume,
        Self::Condition,
        Self::Kinds,
        Self::Backups,
        Self::Report,
    ];
    /// Stable name, for stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Stream => "stream",
            Self::Clock => "clock",
            Self::Order => "order",
            Self::Cursor => "cursor",
            Self::View => "view",
            Self::Resume => "resume",
            Self::Condition => "condition",
            Self::Kinds => "kinds",
            Self::Backups => "backups",
            Self::Report => "report",
        }
    }
}

/// A record or tombstone of the confirmed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmedRow {
    /// The revision that gave it this state.
    pub revision: Revision,
    /// The state.
    pub record: Record,
    /// Digest of the state, as computed when it came.
    pub digest: Digest,
}

impl ConfirmedRow {
    /// Whether this is what came. What a damaged file makes of a record is neither shown nor written on: it would be
    /// spread.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the record.
    pub fn check(&self) -> Result<(), StoreError> {
        if record_digest(&self.record) == self.digest {
            return Ok(());
        }
        let Key { kind, id } = &self.record.key;
        let detail = format!(
            "{} {} is not what came; `spoke doctor --repair` fetches it anew",
            kind.as_str(),
            id.as_str()
        );
        Err(StoreError::Corrupt { what: "record", detail })
    }
}

/// An entry that took effect, and left the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The revision it got; no two have the same.
    pub revision: Revision,
    /// When the hub was last heard before it left, milliseconds since 1970-01-01 UTC.
    pub acknowledged_ms: u64,
    /// The entry.
    pub entry: Entry,
}

/// What came and is not yet shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// A record's state.
    Change(Box<Change>),
    /// A record that left.
    Departure(Departure),
}

impl Staged {
    /// Which record.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Change(change) => &change.record.key,
            Self::Departure(departure) => &departure.key,
        }
    }
    /// At which revision, and on equal revisions a change before a departure: it was sent under a later view.
    #[must_use]
    pub fn rank(&self) -> (Revision, bool) {
        match self {
            Self::Change(change) => (change.revision, true),
            Self::Departure(departure) => (departure.revision, false),
        }
    }
}

/// Rows in key order (kind, then id, as bytes).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only ids that start with these bytes; empty = all. Without a kind it means nothing.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<Key>,
}

impl Range {
    /// Whether a key lies in it.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == key.kind && key.id.as_str().starts_with(&self.prefix))
            && self.after.as_ref().is_none_or(|after| key > after)
    }
}

/// What the outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxTotals {
    /// Entries, whatever their state.
    pub entries: u64,
    /// Their [`Entry::bytes`].
    pub bytes: u64,
    /// Entries that wait for their dot.
    pub queued: u64,
    /// Entries with a dot and without an answer.
    pub dotted: u64,
    /// Entries that took effect and wait for a cut.
    pub answered: u64,
    /// Entries that were refused.
    pub set_aside: u64,
}

/// That what is visible of a record changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleChange {
    /// Goes up with every change, over restarts too.
    pub position: u64,
    /// The record. What it changed to is what it is now.
    pub key: Key,
}

/// Which visible changes a store still has: those with `after < position <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangesKept {
    /// Last position that was forgotten; 0 = none.
    pub after: u64,
    /// Last position given; 0 = none.
    pub last: u64,
}

/// The contract:
/// - A transaction sees the state as of its begin and its own writes, and nothing of others meanwhile.
/// - At most one write transaction is open at a time; `begin(Mode::Write)` waits for its turn. Readers do not wait.
/// - After [`ReplicaTxn::commit`] has returned, all of the transaction's writes survive a crash and a power cut;
///   a transaction dropped before leaves no trace. There is no state in between.
#[async_trait]
pub trait ReplicaStore: Send + Sync + Debug {
    /// Opens a transaction.
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError>;

    /// What is wrong with how the state lies on the disk, at most [`FINDINGS_MAX`] findings for a person to read; none
    /// of a store that keeps nothing there. Reads everything once, changes nothing, and says nothing about whether the
    /// state is the hub's. What is so damaged that it cannot even be looked at is [`StoreError::Corrupt`].
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// Most findings of one [`ReplicaStore::check`].
pub const FINDINGS_MAX: usize = 10;

/// Primitives inside one transaction. Lists that are passed in or asked for have at most [`ROWS_MAX`] elements
/// (a longer `limit` is cut to it). Writing in a [`Mode::Read`] transaction is [`StoreError::Unavailable`].
#[async_trait]
pub trait ReplicaTxn: Send {
    /// A single value.
    async fn meta_get(&mut self, key: MetaKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Sets or (with `None`) removes a single value.
    async fn meta_put(&mut self, key: MetaKey, value: Option<&[u8]>) -> Result<(), StoreError>;

    /// Confirmed rows by key; absent ones are left out.
    async fn confirmed_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, ConfirmedRow>, StoreError>;
    /// Inserts or replaces confirmed rows.
    async fn confirmed_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError>;
    /// Removes confirmed rows; absent ones are no error.
    async fn confirmed_delete(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Removes every confirmed row.
    async fn confirmed_clear(&mut self) -> Result<(), StoreError>;
    /// Confirmed rows of a range in key order, tombstones included.
    async fn confirmed_page(&mut self, range: &Range, limit: usize) -> Result<Vec<ConfirmedRow>, StoreError>;

    /// Pending records by key; absent ones are left out.
    async fn pending_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Record>, StoreError>;
    /// Inserts or replaces pending records.
    async fn pending_put(&mut self, records: &[Record]) -> Result<(), StoreError>;
    /// Removes pending records; absent ones are no error.
    async fn pending_delete(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Pending records of a range in key order, tombstones included.
    async fn pending_page(&mut self, range: &Range, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Inserts entries, or replaces those with the same mutation id.
    async fn outbox_put(&mut self, entries: &[Entry]) -> Result<(), StoreError>;
    /// Removes entries; absent ones are no error.
    async fn outbox_remove(&mut self, ids: &[MutationId]) -> Result<(), StoreError>;
    /// Entries by mutation id, in queue order; absent ones are left out.
    async fn outbox_get(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError>;
    /// All entries of one record, in queue order. The one list without a bound but the outbox's own.
    async fn outbox_of(&mut self, key: &Key) -> Result<Vec<Entry>, StoreError>;
    /// Which of these records have entries.
    async fn outbox_has(&mut self, keys: &[Key]) -> Result<Vec<Key>, StoreError>;
    /// The last entry in queue order of each record that is not set aside.
    async fn outbox_last(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Entry>, StoreError>;
    /// Entries whose `after` is this one, in queue order.
    async fn outbox_after(&mut self, id: MutationId) -> Result<Vec<Entry>, StoreError>;
    /// Entries of a group, by index.
    async fn outbox_group(&mut self, group: GroupId) -> Result<Vec<Entry>, StoreError>;
    /// Dotted, unanswered entries with a counter greater than `n`, in counter order.
    async fn outbox_dotted(&mut self, after_n: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Queued entries with an order greater than this, in queue order.
    async fn outbox_queued(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
    /// Answered entries with a revision up to this one, in revision order.
    async fn outbox_answered(&mut self, up_to: Revision, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Entries in any state with an order greater than this, in queue order.
    async fn outbox_page(&mut self, after_order: Option<u64>, limit: usize)
    -> Result<Vec<Entry>, StoreError>;
    /// What the outbox holds.
    async fn outbox_totals(&mut self) -> Result<OutboxTotals, StoreError>;

    /// Keeps entries that left the outbox, by their revisions.
    async fn kept_put(&mut self, kept: &[Kept]) -> Result<(), StoreError>;
    /// Kept entries after a revision, in revision order.
    async fn kept_page(&mut self, after: Revision, limit: usize) -> Result<Vec<Kept>, StoreError>;
    /// Removes kept entries up to a revision.
    async fn kept_remove(&mut self, up_to: Revision) -> Result<(), StoreError>;

    /// Inserts or replaces remnants.
    async fn remnants_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError>;
    /// Remnants after this key, in key order.
    async fn remnants_page(
        &mut self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, StoreError>;
    /// Removes every remnant.
    async fn remnants_clear(&mut self) -> Result<(), StoreError>;

    /// Stages items; of several for one record the one with the greatest [`Staged::rank`] stays.
    async fn staging_put(&mut self, items: &[Staged]) -> Result<(), StoreError>;
    /// Staged items after this key, in key order.
    async fn staging_page(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<Staged>, StoreError>;
    /// Removes every staged item.
    async fn staging_clear(&mut self) -> Result<(), StoreError>;

    /// Every cell's digest state.
    async fn cells(&mut self) -> Result<BTreeMap<Cell, Vec<u8>>, StoreError>;
    /// Sets a cell's digest state, or (with `None`) removes it.
    async fn cell_put(&mut self, cell: &Cell, state: Option<&[u8]>) -> Result<(), StoreError>;
    /// Removes every cell's digest state.
    async fn cells_clear(&mut self) -> Result<(), StoreError>;

    /// Notes that what is visible of these records changed: each gets its position at the commit, once, in key
    /// order. The oldest are forgotten, never one of the last [`CHANGES_KEPT`].
    async fn visible_changed(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Committed changes after a position, in order.
    async fn changes_after(&mut self, position: u64, limit: usize) -> Result<Vec<VisibleChange>, StoreError>;
    /// Which committed changes are still there.
    async fn changes_kept(&mut self) -> Result<ChangesKept, StoreError>;

    /// Makes the transaction's writes durable and visible, all at once.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
