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
    /// The logs that the replica's log went on from.
    Lineage,
    /// Mutations that go out before all others.
    Urgent,
    /// Identities whose last state written here has collapsed.
    Fallen,
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
        Self::Lineage,
        Self::Urgent,
        Self::Fallen,
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
            // Under its name of before, "resume", it counted on rows that are read by nobody any more.
            Self::Resume => "catch-up",
            Self::Condition => "condition",
            Self::Kinds => "kinds",
            Self::Backups => "backups",
            Self::Report => "report",
            Self::Lineage => "lineage",
            Self::Urgent => "urgent",
            Self::Fallen => "fallen",
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
    /// What a change brings.
    #[must_use]
    pub fn of(change: &Change) -> Self {
        let Change { revision, record } = change;
        Self { revision: *revision, digest: record_digest(record), record: record.clone() }
    }

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

/// The contract. Each sentence here and below names the case of the suite that holds it; a test looks whether it is
/// there.
/// - A transaction sees the state as of its begin and its own writes, and nothing of others meanwhile
///   (`a_reader_sees_its_begin_and_does_not_wait_for_the_writer`).
/// - At most one write transaction is open at a time: `begin` waits for its turn (`writers_take_turns`).
/// - Readers do not wait (`a_reader_sees_its_begin_and_does_not_wait_for_the_writer`).
/// - After [`ReplicaTxn::commit`] has returned, all of the transaction's writes survive a crash
///   (`what_was_committed_is_there_after_a_kill`).
/// - So they do a power cut (`a_log_cut_short_by_a_power_cut_is_read_up_to_its_last_whole_commit`).
/// - A transaction dropped before leaves no trace (`a_dropped_transaction_leaves_no_trace`).
/// - There is no state in between (`a_copy_of_file_and_log_taken_at_any_commit_holds_what_was_committed`).
/// - Keys are any text, compared as bytes (`keys_are_any_text_in_the_order_of_their_bytes`).
#[async_trait]
pub trait ReplicaStore: Send + Sync + Debug {
    /// Opens a transaction (`writers_take_turns`).
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError>;

    /// What is wrong with how the state lies on the disk, at most [`FINDINGS_MAX`] findings for a person to read, whether
    /// or not the state is the hub's (`a_row_that_is_missing_from_an_index_is_found`). Nothing is wrong with a store that
    /// keeps nothing there, or with a whole one, and looking changes nothing (`a_whole_store_has_nothing_wrong_with_it`).
    /// What is so damaged that it cannot even be looked at is [`StoreError::Corrupt`]
    /// (`a_damaged_page_is_an_error_and_no_empty_replica`).
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// After a large transaction: brings what it left beside the state into its place, so that no later commit waits for
    /// that; where it is not called, or fails, nothing is lost
    /// (`what_much_at_once_left_in_the_log_is_brought_into_the_file`).
    async fn fold(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Most findings of one [`ReplicaStore::check`].
pub const FINDINGS_MAX: usize = 10;

/// Primitives inside one transaction:
/// - A list that is asked for has at most [`ROWS_MAX`] elements, and a longer `limit` is cut to it
///   (`a_page_has_no_more_rows_than_asked_for_and_never_more_than_the_bound`).
/// - Lists that are passed in have at most as many (`lists_of_the_longest_length_are_taken`).
/// - Writing in a [`Mode::Read`] transaction is [`StoreError::Unavailable`]
///   (`a_write_in_a_read_transaction_is_refused`).
#[async_trait]
pub trait ReplicaTxn: Send {
    /// A single value (`single_values_are_set_and_removed`).
    async fn meta_get(&mut self, key: MetaKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Sets or (with `None`) removes a single value (`single_values_are_set_and_removed`).
    async fn meta_put(&mut self, key: MetaKey, value: Option<&[u8]>) -> Result<(), StoreError>;

    /// Confirmed rows by key; absent ones are left out (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn confirmed_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, ConfirmedRow>, StoreError>;
    /// Inserts or replaces confirmed rows (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn confirmed_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError>;
    /// Removes confirmed rows; absent ones are no error (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn confirmed_delete(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Confirmed rows of a range in key order, tombstones included
    /// (`a_range_is_a_kind_a_prefix_and_a_start_and_no_pattern`).
    async fn confirmed_page(&mut self, range: &Range, limit: usize) -> Result<Vec<ConfirmedRow>, StoreError>;

    /// Pending records by key; absent ones are left out (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn pending_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Record>, StoreError>;
    /// Inserts or replaces pending records (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn pending_put(&mut self, records: &[Record]) -> Result<(), StoreError>;
    /// Removes pending records; absent ones are no error
    /// (`rows_are_replaced_and_removed_and_absent_ones_are_no_error`).
    async fn pending_delete(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Pending records of a range in key order, tombstones included
    /// (`a_range_is_a_kind_a_prefix_and_a_start_and_no_pattern`).
    async fn pending_page(&mut self, range: &Range, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Inserts entries, or replaces those with the same mutation id
    /// (`the_outbox_totals_follow_what_is_put_replaced_and_removed`).
    async fn outbox_put(&mut self, entries: &[Entry]) -> Result<(), StoreError>;
    /// Removes entries; absent ones are no error (`the_outbox_totals_follow_what_is_put_replaced_and_removed`).
    async fn outbox_remove(&mut self, ids: &[MutationId]) -> Result<(), StoreError>;
    /// Entries by mutation id, in queue order; absent ones are left out
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_get(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError>;
    /// All entries of one record, in queue order (`the_outbox_is_found_by_everything_it_is_asked_for`): the one list without a bound but the
    /// outbox's own (`a_record_may_have_more_entries_than_a_page`).
    async fn outbox_of(&mut self, key: &Key) -> Result<Vec<Entry>, StoreError>;
    /// Which of these records have entries (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_has(&mut self, keys: &[Key]) -> Result<Vec<Key>, StoreError>;
    /// The last entry in queue order of each record that is not set aside
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_last(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Entry>, StoreError>;
    /// Entries whose `after` is one of these, in queue order (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_after(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError>;
    /// Entries of a group, by index (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_group(&mut self, group: GroupId) -> Result<Vec<Entry>, StoreError>;
    /// Dotted, unanswered entries with a counter greater than `n`, in counter order
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_dotted(&mut self, after_n: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Queued entries with an order greater than this, in queue order
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_queued(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
    /// Answered entries with a revision up to this one, in revision order
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_answered(&mut self, up_to: Revision, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Entries in any state with an order greater than this, in queue order
    /// (`the_outbox_is_found_by_everything_it_is_asked_for`).
    async fn outbox_page(&mut self, after_order: Option<u64>, limit: usize)
    -> Result<Vec<Entry>, StoreError>;
    /// What the outbox holds (`the_outbox_totals_follow_what_is_put_replaced_and_removed`).
    async fn outbox_totals(&mut self) -> Result<OutboxTotals, StoreError>;

    /// Keeps entries that left the outbox, by their revisions (`kept_entries_page_and_go_by_revision`).
    async fn kept_put(&mut self, kept: &[Kept]) -> Result<(), StoreError>;
    /// Kept entries after a revision, in revision order (`kept_entries_page_and_go_by_revision`).
    async fn kept_page(&mut self, after: Revision, limit: usize) -> Result<Vec<Kept>, StoreError>;
    /// Removes kept entries up to a revision (`kept_entries_page_and_go_by_revision`).
    async fn kept_remove(&mut self, up_to: Revision) -> Result<(), StoreError>;

    /// Inserts or replaces remnants (`remnants_page_in_key_order_beside_the_confirmed_layer`).
    async fn remnants_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError>;
    /// Remnants after this key, in key order (`remnants_page_in_key_order_beside_the_confirmed_layer`).
    async fn remnants_page(
        &mut self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, StoreError>;
    /// Removes every remnant (`clearing_takes_every_row_of_its_sort_and_of_no_other`).
    async fn remnants_clear(&mut self) -> Result<(), StoreError>;

    /// Stages items; of several for one record the one with the greatest [`Staged::rank`] stays
    /// (`of_what_is_staged_for_a_record_the_highest_rank_stays`).
    async fn staging_put(&mut self, items: &[Staged]) -> Result<(), StoreError>;
    /// Staged items after this key, in key order (`keys_are_any_text_in_the_order_of_their_bytes`).
    async fn staging_page(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<Staged>, StoreError>;
    /// Makes the staged changes the confirmed rows, in place of those that were there, with the digests of their records;
    /// staged departures go, and nothing is staged afterwards
    /// (`what_is_staged_takes_the_place_of_the_confirmed_rows`).
    async fn staging_confirm(&mut self) -> Result<(), StoreError>;
    /// Removes every staged item (`clearing_takes_every_row_of_its_sort_and_of_no_other`).
    async fn staging_clear(&mut self) -> Result<(), StoreError>;

    /// Every cell's digest state (`cells_hold_their_state_until_it_is_removed`).
    async fn cells(&mut self) -> Result<BTreeMap<Cell, Vec<u8>>, StoreError>;
    /// Sets a cell's digest state, or (with `None`) removes it (`cells_hold_their_state_until_it_is_removed`).
    async fn cell_put(&mut self, cell: &Cell, state: Option<&[u8]>) -> Result<(), StoreError>;
    /// Removes every cell's digest state (`clearing_takes_every_row_of_its_sort_and_of_no_other`).
    async fn cells_clear(&mut self) -> Result<(), StoreError>;

    /// Notes that what is visible of these records changed: each gets its position at the commit, once, in key order
    /// (`visible_changes_get_their_position_at_the_commit_once_each_in_key_order`). The oldest are
    /// forgotten, never one of the last [`CHANGES_KEPT`] (`the_last_changes_are_kept_and_the_oldest_forgotten`).
    async fn visible_changed(&mut self, keys: &[Key]) -> Result<(), StoreError>;
    /// Notes it of every confirmed record, whatever its row holds
    /// (`of_every_confirmed_record_it_is_noted_that_it_changed`). One whose key cannot be read any more is left out
    /// (`what_cannot_be_read_is_replaced_by_what_is_fetched_anew`).
    async fn all_changed(&mut self) -> Result<(), StoreError>;
    /// Committed changes after a position, in order
    /// (`visible_changes_get_their_position_at_the_commit_once_each_in_key_order`).
    async fn changes_after(&mut self, position: u64, limit: usize) -> Result<Vec<VisibleChange>, StoreError>;
    /// Which committed changes are still there (`the_last_changes_are_kept_and_the_oldest_forgotten`).
    async fn changes_kept(&mut self) -> Result<ChangesKept, StoreError>;

    /// Makes the transaction's writes durable and visible, all at once (`what_was_committed_is_there_after_a_kill`).
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
