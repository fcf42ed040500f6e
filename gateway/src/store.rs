//! The store: where a hub keeps its tenants. One small trait, three engines; no rule lives below it.
//!
//! Contract. Each sentence here and at the traits names the case of the conformance suite that holds it; a test
//! looks whether it is there.
//!
//! - `append_is_atomic`: all of an [`Append`] is visible, or nothing of it.
//! - `append_is_durable`: once `append` has answered [`Appended::Yes`], no crash of the process or the database
//!   loses it.
//! - `append_moves_the_head_by_compare_and_set`: of two appends that expect one commit number, one is
//!   [`Appended::Yes`] and the other [`Appended::HeadMoved`], and the loser has written nothing.
//! - `append_refuses_another_log`: an append whose head names another log id than the stored one is
//!   [`Appended::HeadMoved`].
//! - `append_follows_its_chain`: an append made where the log had another chain is [`Appended::HeadMoved`], whatever its
//!   commit number.
//! - `append_is_the_only_way_the_log_changes`: plain rows and pruning never move a head.
//! - `load_is_one_moment`: everything one [`Store::load`] returns, head included, was true at the same commit.
//! - `log_page_is_one_moment`: likewise for [`Store::log_page`], [`Store::shown_page`] and
//!   [`Store::pointer_page`].
//! - `log_pages_are_in_revision_order`, without gaps but for pruned rows.
//! - `ids_are_compared_as_bytes`: no locale, no normalisation, no case folding, any Unicode including U+0000.
//! - `pages_are_bounded`: no call returns more than the caller's bounds plus one row.
//! - `a_log_page_brings_all_cells_or_none`: at most [`PAGE_CELLS_MAX`], and never a part of them.
//! - `tenants_are_apart`: nothing written under one tenant is returned under another.
//! - `plain_rows_change_by_compare_and_set`: a [`Store::plain_put`] with a stale version writes nothing.
//! - `pruning_takes_a_bounded_number_of_commits`: at most [`PRUNE_COMMITS_MAX`] in one call, the oldest first.
//! - `writes_stop_when_the_settings_no_longer_keep_them`: a write whose commit would not be kept is
//!   [`StoreError::Unsafe`] and has written nothing, also when the settings changed after the store was opened.
//! - `an_engine_tells_its_settings`: with no address and no secret in them.
//! - `exclusive_shuts_out_other_appends`: between [`Store::exclusive`] and its end no other append succeeds; it
//!   ends by itself within [`EXCLUSIVE_MS_MAX`] when its holder stops.
//! - `unknown_means_maybe`: [`StoreError::Unknown`] is returned only when the append may or may not have happened.
//! - `a_commit_that_does_not_end_is_hanging_and_stops_other_writes_until_it_does`: [`StoreError::Hanging`] is returned
//!   only when it may yet happen, at any later time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use semantics::commit::Head;
use semantics::envelope::{Cell, Mutation, Record};
use semantics::ids::{CommitNumber, Digest, Dot, Key, Kind, NodeId, RecordId, Revision, TenantId, Writer};
use semantics::lthash::LtHash;
use semantics::outcome::DotOutcome;

mod append;
pub mod archive;
mod codec;
pub(crate) mod copy;
mod error;
mod latest;
pub mod memory;
mod migrate;
pub mod postgres;
mod relational;
mod shared;
mod shown;
mod space;
pub mod sqlite;
mod table;

pub use self::append::{Append, Appended, Prepared};
pub use self::error::StoreError;
pub use self::latest::{LATEST_BEHIND_MAX, Latest, Only};
pub use self::shared::Shared;
pub use self::shown::{LOOKED_AT_MAX, Sent, ShownChange, ShownPage, ShownRow};
use self::space::check_plain;
pub use self::space::{PLAIN_BYTES_MAX, PlainRow, Space};

/// Longest time one exclusive section lasts, milliseconds.
pub const EXCLUSIVE_MS_MAX: u64 = 2_000;
/// Most keys, writers or cells asked for in one load.
pub const LOAD_KEYS_MAX: usize = 4096;
/// Most commits that one call prunes.
pub const PRUNE_COMMITS_MAX: usize = 1_000;
/// Most cell hashes (2 KiB each) that come with one page of the log.
pub const PAGE_CELLS_MAX: usize = 4_096;

/// The cell a record left, and since which revision it had been there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// The old cell.
    pub cell: Cell,
    /// The revision at which the record had come there.
    pub since: Revision,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its number.
    pub revision: Revision,
    /// The revision of the same record before it; zero = none.
    pub previous: Revision,
    /// The commit it belongs to.
    pub commit: CommitNumber,
    /// The cell the record lies in from here on; a tombstone stays where the record lay.
    pub cell: Cell,
    /// The cell it left, if it moved.
    pub departed: Option<Departed>,
    /// Who wrote it; the hub for control and conflict records.
    pub dot: Dot,
    /// The mutation as sent; `None` for what the hub wrote.
    pub mutation: Option<Mutation>,
    /// The record from here on.
    pub record: Record,
    /// Name of the outcome (`applied`, `merged`, `conflicted`, or `control`).
    pub outcome: RowOutcome,
    /// Revision of the rule that decided; zero = a built-in one.
    pub rule_version: Revision,
}

impl LogRow {
    /// As readers are sent it, who are sent the record alone.
    #[must_use]
    pub fn without_mutation(&self) -> Self {
        Self {
            revision: self.revision,
            previous: self.previous,
            commit: self.commit,
            cell: self.cell.clone(),
            departed: self.departed.clone(),
            dot: self.dot,
            mutation: None,
            record: self.record.clone(),
            outcome: self.outcome,
            rule_version: self.rule_version,
        }
    }
}

/// How a row came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// A mutation on its base.
    Applied,
    /// A mutation beside others.
    Merged,
    /// A mutation against others.
    Conflicted,
    /// Written by the hub.
    Control,
}

/// An open conflict of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConflict {
    /// Its path.
    pub path: String,
    /// Id of its conflict record.
    pub id: RecordId,
}

/// Where a record's present state is: its latest row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Which record.
    pub key: Key,
    /// The cell it lies in.
    pub cell: Cell,
    /// Since which revision it has lain there.
    pub since: Revision,
    /// Its latest revision.
    pub revision: Revision,
    /// Whether that is a tombstone.
    pub deleted: bool,
    /// Digest of the record.
    pub digest: Digest,
    /// Its open conflicts, at most [`semantics::conflict::OPEN_CONFLICTS_MAX`].
    pub open: Vec<OpenConflict>,
}

/// A record's present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Where it is.
    pub pointer: Pointer,
    /// What it is.
    pub record: Record,
}

/// Which counters of a writer a commit answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredRange {
    /// First counter.
    pub first_n: u64,
    /// Last counter.
    pub last_n: u64,
    /// The commit whose outcomes hold them.
    pub commit: CommitNumber,
}

/// Where a writer's stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterRow {
    /// Whose.
    pub writer: Writer,
    /// Last counter consumed.
    pub last_n: u64,
    /// Digest of what consumed it.
    pub last_digest: Digest,
    /// The writer has received the outcomes up to here.
    pub confirmed_n: u64,
    /// Where the outcomes above `confirmed_n` are, in counter order.
    pub answered: Vec<AnsweredRange>,
    /// Whether the epoch was closed: it is refused from then on and holds no horizon.
    pub closed: bool,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// Its number.
    pub number: CommitNumber,
    /// First revision; greater than `last` when it has none.
    pub first: Revision,
    /// The log's last revision after it.
    pub last: Revision,
    /// Chain after it.
    pub chain: Digest,
    /// Its leaf.
    pub leaf: Digest,
    /// Its time, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// The horizon after it: the last input of the leaf that stands nowhere else.
    pub horizon: Revision,
    /// What became of each dot it consumed, in order.
    pub outcomes: Vec<DotOutcome>,
}

/// A cell's multiset hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRow {
    /// The cell.
    pub cell: Cell,
    /// Hash of its live records.
    pub hash: LtHash,
}

/// What a load asks for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Records.
    pub keys: BTreeSet<Key>,
    /// Writers.
    pub writers: BTreeSet<Writer>,
    /// Cells.
    pub cells: BTreeSet<Cell>,
}

/// What a load found; what is absent is not in the maps.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The head.
    pub head: Head,
    /// The store's own clock, milliseconds since 1970-01-01 UTC, where it has one.
    pub time_ms: Option<u64>,
    /// Records, tombstones included.
    pub current: BTreeMap<Key, Current>,
    /// Writers.
    pub writers: BTreeMap<Writer, WriterRow>,
    /// Cells.
    pub cells: BTreeMap<Cell, CellRow>,
}

/// What a page of the log asks for.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Rows after this revision.
    pub after: Revision,
    /// Most rows.
    pub rows_max: usize,
    /// Stop after the row with which the records' weight reaches this, bytes.
    pub bytes_max: usize,
    /// Records to read at the same moment.
    pub keys: BTreeSet<Key>,
    /// Whether to read all cell hashes when the page reaches the head.
    pub with_cells: bool,
}

/// A row and where its record is now.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The row.
    pub row: LogRow,
    /// The record's pointer; `None` when it was collected.
    pub now: Option<Pointer>,
}

/// A page of the log.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// The head.
    pub head: Head,
    /// Rows in revision order.
    pub entries: Vec<LogEntry>,
    /// Whether nothing lies between the last entry and the head.
    pub reaches_head: bool,
    /// The records asked for.
    pub current: BTreeMap<Key, Current>,
    /// All cell hashes where `has_cells`, else none.
    pub cells: Vec<CellRow>,
    /// Whether `cells` are all there are: they were asked for, the page reaches the head, and there are no more than
    /// [`PAGE_CELLS_MAX`].
    pub has_cells: bool,
}

/// What a page of records asks for.
#[derive(Debug, Clone, Default)]
pub struct PointerQuery {
    /// Records after this key, in key order.
    pub after: Option<Key>,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only ids that start with these bytes.
    pub prefix: Option<String>,
    /// Most records.
    pub rows_max: usize,
    /// Stop after the row with which the records' weight reaches this, bytes.
    pub bytes_max: usize,
}

/// A page of records, tombstones included.
#[derive(Debug, Clone)]
pub struct PointerPage {
    /// The head.
    pub head: Head,
    /// Records in key order.
    pub rows: Vec<Current>,
    /// Whether there are no more.
    pub is_last: bool,
}

/// What pruning takes away. Deletes only; what is not there is no error.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Log rows.
    pub rows: Vec<Revision>,
    /// Tombstones: the pointer goes when it still stands at the revision, and the row with it.
    pub tombstones: Vec<(Key, Revision)>,
    /// Commits whose last revision lies below this one, the oldest [`PRUNE_COMMITS_MAX`] of them.
    pub commits_below: Revision,
}

/// Loads and appends of one tenant: outside of or inside an exclusive section.
#[async_trait]
pub trait TenantIo: Send {
    /// Reads at one moment (`exclusive_reads_and_appends`).
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError>;
    /// Reads commits by number; absent ones are left out (`exclusive_reads_and_appends`).
    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError>;
    /// Appends (`exclusive_reads_and_appends`). Inside an exclusive section this also ends the section
    /// (`exclusive_is_released_by_its_append`).
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError>;
    /// As [`Store::append_prepared`] (`a_prepared_append_is_as_any_other`).
    async fn append_prepared(
        &mut self,
        append: &Append,
        _prepared: Prepared,
    ) -> Result<Appended, StoreError> {
        self.append(append).await
    }
}

/// The store. See the module for its contract.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether it answers, and would keep what is written now (`writes_stop_when_the_settings_no_longer_keep_them`).
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] names the setting that does not; [`StoreError::Unavailable`].
    async fn check(&self) -> Result<(), StoreError>;
    /// What the engine says of itself, by name: its version, what its settings keep, its sizes; for people, without
    /// addresses and secrets, and nothing where an engine has nothing to say (`an_engine_tells_its_settings`).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        Ok(BTreeMap::new())
    }
    /// Makes a tenant with this head; false when it exists (`a_tenant_is_made_once`).
    async fn create_tenant(&self, tenant: &TenantId, head: &Head) -> Result<bool, StoreError>;
    /// Tenants after a name, in byte order (`tenants_page_in_byte_order`).
    async fn tenants(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError>;
    /// A tenant's head; [`StoreError::NoTenant`] where there is none, as of every call (`an_unknown_tenant_is_told_as_such`).
    async fn head(&self, tenant: &TenantId) -> Result<Head, StoreError>;
    /// Reads at one moment; what is absent is left out (`load_finds_what_is_there_and_leaves_out_the_rest`).
    async fn load(&self, tenant: &TenantId, wanted: &Wanted) -> Result<Loaded, StoreError>;
    /// Appends at the expected commit number alone (`an_append_at_an_old_commit_number_writes_nothing`).
    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError>;
    /// What can be made of an append before its turn has come (`a_prepared_append_is_as_any_other`).
    fn prepare(&self, _tenant: &TenantId, _append: &Append) -> Prepared {
        Prepared::default()
    }
    /// As [`Store::append`], with what was made of it before; of another append that counts for nothing
    /// (`a_prepared_append_is_as_any_other`).
    async fn append_prepared(
        &self,
        tenant: &TenantId,
        append: &Append,
        _prepared: Prepared,
    ) -> Result<Appended, StoreError> {
        self.append(tenant, append).await
    }
    /// Takes the tenant's head for one read-decide-append; dropping it gives up (`exclusive_is_released_on_drop`).
    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError>;
    /// A page of the log, with where each of its records is now (`a_log_page_tells_where_each_record_is_now`).
    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError>;
    /// A page of the log as readers are sent it: without rows that say nothing to anybody, of which at most
    /// [`LOOKED_AT_MAX`] are passed over (`a_shown_page_is_a_log_page_without_what_nobody_is_sent`). Of some rows only it has
    /// those that nothing superseded since, as long as no more than
    /// [`LATEST_BEHIND_MAX`] revisions came (`a_shown_page_of_latest_revisions_is_without_history`).
    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError>;
    /// The latest revision of each record at one moment; `None` where there are more records than asked for
    /// (`latest_revisions_are_those_of_all_records`).
    async fn latest(&self, tenant: &TenantId, records_max: usize) -> Result<Option<Latest>, StoreError>;
    /// A page of records, in key order (`records_of_one_kind_page`).
    async fn pointer_page(&self, tenant: &TenantId, query: &PointerQuery) -> Result<PointerPage, StoreError>;
    /// Log rows by revision; absent ones are left out (`rows_come_by_revision`).
    async fn rows(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<Vec<LogRow>, StoreError>;
    /// Commits after a number, in order (`commits_page`).
    async fn commits_after(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError>;
    /// Writers of one node, or of all nodes, after a writer, in order (`writers_page`).
    async fn writers(
        &self,
        tenant: &TenantId,
        node: Option<NodeId>,
        after: Option<Writer>,
        max: usize,
    ) -> Result<Vec<WriterRow>, StoreError>;
    /// Which of these revisions are held (`held_revisions_are_told`).
    async fn held(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<BTreeSet<Revision>, StoreError>;
    /// Deletes what has been given up (`pruning_takes_rows_and_commits`); what is not there is no error
    /// (`pruning_what_is_not_there_is_no_error`).
    async fn prune(&self, tenant: &TenantId, prune: &Prune) -> Result<(), StoreError>;
    /// A plain row, of its space alone (`plain_spaces_are_apart`).
    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError>;
    /// Writes a plain row when its version is still `expected` (0 = absent); false and nothing written else
    /// (`of_two_puts_at_one_version_one_wins`). A value longer than [`PLAIN_BYTES_MAX`] is an error
    /// (`a_plain_value_past_its_bound_is_an_error`).
    async fn plain_put(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
        value: &[u8],
        expected: u64,
    ) -> Result<bool, StoreError>;
    /// Deletes a plain row that is as it was read; false when it is not: somebody has written it since, or it is gone
    /// (`a_deleted_plain_row_starts_again`, `a_plain_row_that_was_written_since_it_was_read_is_not_deleted`).
    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError>;
    /// Plain rows after a key, in byte order (`plain_rows_page_in_byte_order`).
    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError>;
}
