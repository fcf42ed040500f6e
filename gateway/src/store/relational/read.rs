//! Reads: each runs in a transaction that sees one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use semantics::commit::Head;
use semantics::ids::{CommitNumber, Key, NodeId, Revision, TenantId, Writer};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::{Connection, KEYS_IN_TURN, PerKey};
use crate::store::codec::{Cursor, Value, cell_key, read, write};
use crate::store::table::{CELLS, COMMITS, LOG, RECORDS, WRITERS};
use crate::store::{
    CellRow, CommitRow, Current, Loaded, LogEntry, LogPage, LogQuery, LogRow, PAGE_CELLS_MAX, PointerPage,
    PointerQuery, StoreError, Wanted, WriterRow,
};

/// Most rows that one statement reads of a page: each is done well within an engine's time for a statement.
pub(in crate::store) const ROWS_PER_READ: usize = 512;
/// Records that weigh no more come with the look at where they are, bytes: so one statement brings at most
/// [`ROWS_PER_READ`] times as much, whatever there is room for.
pub(super) const LIGHT_BYTES_MAX: usize = 16 * 1024;
/// Greater than every name: no byte of UTF-8 reaches it.
const AFTER_ALL_NAMES: u8 = 0xff;

/// What finds one of many keys' rows, for one key and for many.
pub(super) fn per_key(list: &str, from: &str, alias: &str, keys: &[(&str, &str)], behind: &str) -> PerKey {
    let one: Vec<String> =
        keys.iter().enumerate().map(|(at, (column, _))| format!("{alias}.{column} = ${}", at + 2)).collect();
    let one =
        format!("select {list} from {from}{behind} where {alias}.tenant = $1 and {}", one.join(" and "));
    let arrays: Vec<String> =
        keys.iter().enumerate().map(|(at, (_, kind))| format!("${}::{kind}[]", at + 2)).collect();
    let names: Vec<String> = (0..keys.len()).map(|at| format!("k{at}")).collect();
    let joined: Vec<String> =
        keys.iter().enumerate().map(|(at, (column, _))| format!("{alias}.{column} = wanted.k{at}")).collect();
    // `offset 0` keeps each look-up a look-up: without it the planner may read the whole table instead.
    let many = format!(
        "select found.* from unnest({}) as wanted({}) cross join lateral \
         (select {list} from {from}{behind} where {alias}.tenant = $1 and {} offset 0) found",
        arrays.join(", "),
        names.join(", "),
        joined.join(" and "),
    );
    let in_turn = KEYS_IN_TURN.map(|count| -> (usize, &'static str) {
        let key = format!("({})", vec!["?"; keys.len()].join(", "));
        let joined: Vec<String> = (keys.iter().zip(1..))
            .map(|((column, _), at)| format!("{alias}.{column} = wanted.column{at}"))
            .collect();
        let in_turn = format!(
            "select {list} from (values {}) wanted cross join {from}{behind} where {alias}.tenant = ${} and {}",
            vec![key; count].join(", "),
            count * keys.len() + 1,
            joined.join(" and "),
        );
        (count, in_turn.leak())
    });
    PerKey { one: one.leak(), many: many.leak(), in_turn: Some(in_turn) }
}

const KEY: &[(&str, &str)] = &[("kind", "bytea"), ("id", "bytea")];

/// A record as it stands.
static CURRENT_LIST: LazyLock<String> =
    LazyLock::new(|| format!("{}, {}", RECORDS.list("p"), read::OF_RECORD.join(", ")));
static CURRENT: LazyLock<PerKey> = LazyLock::new(|| {
    let list = CURRENT_LIST.as_str();
    let behind = |joins: Joins| format!(" {}", joins.look_up("join", "log", "l", LOG_OF_RECORD));
    let many = per_key(list, "records p", "p", KEY, &behind(Joins::Lateral)).many;
    PerKey { many, ..per_key(list, "records p", "p", KEY, &behind(Joins::Plain)) }
});
static LOG_ROW: LazyLock<PerKey> =
    LazyLock::new(|| per_key(&LOG.list("l"), "log l", "l", &[("revision", "bigint")], ""));
static WRITER: LazyLock<PerKey> = LazyLock::new(|| {
    per_key(&WRITERS.list("w"), "writers w", "w", &[("node", "bytea"), ("epoch", "bigint")], "")
});
static CELL: LazyLock<PerKey> =
    LazyLock::new(|| per_key(&CELLS.list("c"), "cells c", "c", &[("cell", "bytea")], ""));
static COMMIT: LazyLock<PerKey> =
    LazyLock::new(|| per_key(&COMMITS.list("c"), "commits c", "c", &[("number", "bigint")], ""));
static HELD: LazyLock<PerKey> =
    LazyLock::new(|| per_key("h.revision", "held h", "h", &[("revision", "bigint")], ""));

const LOG_PAGE_WEIGHTS: &str =
    "select revision, weight from log where tenant = $1 and revision > $2 order by revision limit $3";

const LOG_OF_RECORD: &str = "l.tenant = p.tenant and l.revision = p.revision";
const RECORD_OF_LOG: &str = "p.tenant = l.tenant and p.kind = l.kind and p.id = l.id";
/// A row's record left a cell with it. Anybody is sent such a row, or its record's latest.
const DEPARTED: &str = "l.departed_domain is not null";
/// A bound on `id` alone would be what the index is entered by, instead of the pair: a page would look at every key
/// of its kind before it. So the prefix is compared in a form that no index serves.
const POINTER_RANGE: &str = "where p.tenant = $1 and (p.kind, p.id) >= ($2, $3) and (p.kind, p.id) < ($4, $5) \
     and substr(p.id, 1, length($6)) = $6 order by p.kind, p.id limit $7";

/// Of a row of the log what its readers are sent: whether it is shown, its content where that is to come with it, and where its
/// record is now.
fn shown_columns(is_shown: &str, is_latest: &str, now: &str) -> String {
    let light = format!("{is_latest}l.weight <= {LIGHT_BYTES_MAX}");
    format!(
        "l.revision, cast(case when {is_shown} then 1 else 0 end as bigint), l.weight, l.kind, l.id, \
         l.domain, l.facet, l.departed_domain, l.departed_kind, l.departed_facet, l.departed_since, {now}, \
         l.body_in_mutation, case when {light} and l.body_in_mutation <> 0 then l.mutation end, \
         case when {light} then l.record end"
    )
}

/// The same without a look at its record: that it says that its record left a cell stands in the place of whether it is shown,
/// and nothing in that of where its record is now.
pub(super) fn columns_at_end() -> String {
    shown_columns(DEPARTED, "", "cast(null as bigint), cast(null as bytea), cast(null as bytea)")
}

/// How an engine is told to look up one row for each of another table.
#[derive(Debug, Clone, Copy)]
enum Joins {
    /// By a join; the engine looks up by the index.
    Plain,
    /// By a subquery with `offset 0`, which stays a look-up whatever the planner makes of the tables' sizes.
    Lateral,
}

impl Joins {
    fn look_up(self, join: &str, table: &str, alias: &str, on: &str) -> String {
        match self {
            Self::Plain => format!("{join} {table} {alias} on {on}"),
            Self::Lateral => {
                format!("{join} lateral (select * from {table} {alias} where {on} offset 0) {alias} on true")
            }
        }
    }
}

/// Statements that join, for one engine.
#[derive(Debug)]
pub(in crate::store) struct Pages {
    /// Records, and behind each the head: one row at least.
    currents: PerKey,
    log: String,
    pointers: String,
    pointer_weights: String,
    pub(super) shown: String,
    /// As it, without a look at each record.
    pub(super) shown_at_end: String,
}

impl Pages {
    fn new(joins: Joins, head: &str) -> Self {
        let log = joins.look_up("join", "log", "l", LOG_OF_RECORD);
        let records = joins.look_up("left join", "records", "p", RECORD_OF_LOG);
        let (of_log, of_records) = (LOG.list("l"), RECORDS.list("p"));
        let shown = |columns: &str, records: &str| {
            format!(
                "select {columns} from log l {records} where l.tenant = $1 and l.revision > $2 \
                 order by l.revision limit $3"
            )
        };
        let is_shown = format!("(p.revision = l.revision or {DEPARTED})");
        let currents = |found: &str, tenant: usize| -> &'static str {
            let found = match joins {
                Joins::Plain => format!("({found})"),
                Joins::Lateral => format!("lateral ({found})"),
            };
            let head = head.replace("$1", &format!("${tenant}"));
            format!("select found.*, head.* from ({head}) head left join {found} found on true").leak()
        };
        let in_turn = |(count, found)| (count, currents(found, count * KEY.len() + 1));
        Self {
            currents: PerKey {
                one: currents(CURRENT.one, 1),
                many: currents(CURRENT.many, 1),
                in_turn: CURRENT.in_turn.map(|all| all.map(in_turn)),
            },
            log: format!(
                "select {of_log}, {of_records} from log l {records} \
                 where l.tenant = $1 and l.revision > $2 and l.revision <= $3 order by l.revision"
            ),
            pointers: format!("select {} from records p {log} {POINTER_RANGE}", *CURRENT_LIST),
            shown: shown(
                &shown_columns(&is_shown, &format!("{is_shown} and "), "p.revision, p.domain, p.facet"),
                &records,
            ),
            shown_at_end: shown(&columns_at_end(), ""),
            pointer_weights: format!("select l.revision, l.weight from records p {log} {POINTER_RANGE}"),
        }
    }
}

/// SQLite's.
pub(in crate::store) static SQLITE: LazyLock<Pages> =
    LazyLock::new(|| Pages::new(Joins::Plain, SqliteConnection::HEAD));
/// PostgreSQL's.
pub(in crate::store) static POSTGRES: LazyLock<Pages> =
    LazyLock::new(|| Pages::new(Joins::Lateral, PgConnection::HEAD));

static ALL_CELLS: LazyLock<String> =
    LazyLock::new(|| format!("select {} from cells c where c.tenant = $1 limit $2", CELLS.list("c")));
const CELL_BEYOND: &str = "select cell from cells where tenant = $1 order by cell limit 1 offset $2";
static COMMITS_AFTER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from commits c where c.tenant = $1 and c.number > $2 order by c.number limit $3",
        COMMITS.list("c")
    )
});
static WRITERS_AFTER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from writers w where w.tenant = $1 and (w.node, w.epoch) > ($2, $3) \
         and w.node >= $4 and w.node <= $5 order by w.node, w.epoch limit $6",
        WRITERS.list("w")
    )
});

pub(super) fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

/// The head, and the store's clock.
pub(in crate::store) async fn head<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
) -> Result<(Head, Option<u64>), StoreError> {
    let rows = connection.fetch(C::HEAD, vec![Value::text(tenant.as_str())]).await?;
    rows.first().map_or_else(|| Err(StoreError::NoTenant(tenant.clone())), read::head)
}

/// Tenants after a name.
pub(in crate::store) async fn tenants<C: Connection>(
    connection: &mut C,
    after: Option<&TenantId>,
    max: usize,
) -> Result<Vec<TenantId>, StoreError> {
    let sql = "select tenant from heads where tenant > $1 order by tenant limit $2";
    let after = Value::text(after.map_or("", TenantId::as_str));
    let rows = connection.fetch(sql, vec![after, Value::Int(Some(limit(max)))]).await?;
    rows.iter().map(|row| Cursor::new(row, "heads").name(TenantId::new)).collect()
}

pub(super) async fn currents<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    keys: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, Current>, StoreError> {
    let rows = connection.fetch_each(&CURRENT, tenant, keys.iter().map(write::key).collect()).await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let current = read::current(row)?;
        found.insert(current.pointer.key.clone(), current);
    }
    Ok(found)
}

/// Head, records, writers and cells.
pub(in crate::store) async fn load<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    wanted: &Wanted,
) -> Result<Loaded, StoreError> {
    let (head, time_ms) = head(connection, tenant).await?;
    let current = currents(connection, tenant, &wanted.keys).await?;
    let writers = wanted.writers.iter().map(write::writer_key).collect();
    let rows = connection.fetch_each(&WRITER, tenant, writers).await?;
    let writers: Result<Vec<WriterRow>, StoreError> = rows.iter().map(read::writer).collect();
    let cells = wanted.cells.iter().map(|cell| vec![Value::bytes(cell_key(cell))]).collect();
    let rows = connection.fetch_each(&CELL, tenant, cells).await?;
    let cells: Result<Vec<CellRow>, StoreError> = rows.iter().map(read::cell).collect();
    Ok(Loaded {
        head,
        time_ms,
        current,
        writers: writers?.into_iter().map(|row| (row.writer, row)).collect(),
        cells: cells?.into_iter().map(|row| (row.cell.clone(), row)).collect(),
    })
}

/// Whether one statement loads all of it.
pub(in crate::store) fn is_loaded_at_once<C: Connection>(wanted: &Wanted) -> bool {
    wanted.writers.is_empty() && wanted.cells.is_empty() && wanted.keys.len() <= C::KEYS_AT_ONCE
}

/// Head and records in one statement, so that it needs no transaction.
pub(in crate::store) async fn load_at_once<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    keys: &BTreeSet<Key>,
) -> Result<Loaded, StoreError> {
    let mut current = BTreeMap::new();
    let (head, time_ms) = if keys.is_empty() {
        head(connection, tenant).await?
    } else {
        let keys = keys.iter().map(write::key).collect();
        let rows = connection.fetch_each(&C::pages().currents, tenant, keys).await?;
        for row in &rows {
            if let Some(found) = read::maybe_current(row)? {
                current.insert(found.pointer.key.clone(), found);
            }
        }
        rows.first().map_or_else(|| Err(StoreError::NoTenant(tenant.clone())), read::head_behind)?
    };
    Ok(Loaded { head, time_ms, current, writers: BTreeMap::new(), cells: BTreeMap::new() })
}

/// How many rows of a page are taken: the bounds look at what stands before a row.
struct Taken {
    revisions: Vec<Revision>,
    is_all: bool,
}

fn take<C: Connection>(rows: &[C::Row], rows_max: usize, bytes_max: usize) -> Result<Taken, StoreError> {
    let mut taken = Taken { revisions: Vec::new(), is_all: true };
    let mut bytes = 0_usize;
    for row in rows {
        if taken.revisions.len() >= rows_max || bytes >= bytes_max {
            taken.is_all = false;
            break;
        }
        let mut at = Cursor::new(row, "log");
        taken.revisions.push(Revision(at.number()?));
        bytes = bytes.saturating_add(usize::try_from(at.number()?).unwrap_or(usize::MAX));
    }
    Ok(taken)
}

/// A page of the log.
pub(in crate::store) async fn log_page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
) -> Result<LogPage, StoreError> {
    let (head, _) = head(connection, tenant).await?;
    let name = || Value::text(tenant.as_str());
    let bounds =
        vec![name(), Value::number(query.after.0), Value::Int(Some(limit(query.rows_max.saturating_add(1))))];
    let weights = connection.fetch(LOG_PAGE_WEIGHTS, bounds).await?;
    let taken = take::<C>(&weights, query.rows_max, query.bytes_max)?;
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut after = query.after;
    for revisions in taken.revisions.chunks(ROWS_PER_READ) {
        let last = revisions.last().copied().unwrap_or(after);
        let range = vec![name(), Value::number(after.0), Value::number(last.0)];
        for row in &connection.fetch(&C::pages().log, range).await? {
            entries.push(read::entry(row)?);
        }
        after = last;
    }
    let current = currents(connection, tenant, &query.keys).await?;
    let cells = if query.with_cells && taken.is_all { all_cells(connection, tenant).await? } else { None };
    let has_cells = cells.is_some();
    let cells = cells.unwrap_or_default();
    Ok(LogPage { head, entries, reaches_head: taken.is_all, current, cells, has_cells })
}

/// Every cell; `None` when there are too many.
pub(super) async fn all_cells<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
) -> Result<Option<Vec<CellRow>>, StoreError> {
    let values = || vec![Value::text(tenant.as_str()), Value::Int(Some(limit(PAGE_CELLS_MAX)))];
    // The first beyond the bound is looked for by its key alone.
    if !connection.fetch(CELL_BEYOND, values()).await?.is_empty() {
        return Ok(None);
    }
    let rows = connection.fetch(ALL_CELLS.as_str(), values()).await?;
    let mut cells: Vec<CellRow> = rows.iter().map(read::cell).collect::<Result<_, _>>()?;
    cells.sort_by(|one, two| one.cell.cmp(&two.cell));
    Ok(Some(cells))
}

/// The range of keys that a page may hold, as the parameters of `POINTER_RANGE` but for the limit.
fn pointer_range(tenant: &TenantId, query: &PointerQuery) -> Vec<Value> {
    let prefix = query.prefix.as_deref().unwrap_or("").as_bytes();
    let kind = query.kind.as_ref().map(|kind| kind.as_str().as_bytes());
    let first =
        (kind.unwrap_or_default().to_vec(), if kind.is_some() { prefix.to_vec() } else { Vec::new() });
    let after = query.after.as_ref().map(|key| {
        // The next key in byte order.
        let mut id = key.id.as_str().as_bytes().to_vec();
        id.push(0);
        (key.kind.as_str().as_bytes().to_vec(), id)
    });
    let (low_kind, low_id) = after.map_or_else(|| first.clone(), |after| after.max(first.clone()));
    let past_prefix: Vec<u8> = prefix.iter().copied().chain([AFTER_ALL_NAMES]).collect();
    let (high_kind, high_id) = match kind {
        Some(kind) => (kind.to_vec(), past_prefix),
        None => (vec![AFTER_ALL_NAMES], Vec::new()),
    };
    let names = [low_kind, low_id, high_kind, high_id, prefix.to_vec()];
    [Value::text(tenant.as_str())].into_iter().chain(names.map(Value::bytes)).collect()
}

/// A page of records.
pub(in crate::store) async fn pointer_page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &PointerQuery,
) -> Result<PointerPage, StoreError> {
    let (head, _) = head(connection, tenant).await?;
    let mut bounds = pointer_range(tenant, query);
    bounds.push(Value::Int(Some(limit(query.rows_max.saturating_add(1)))));
    let weights = connection.fetch(&C::pages().pointer_weights, bounds).await?;
    let taken = take::<C>(&weights, query.rows_max, query.bytes_max)?;
    let mut rows = Vec::new();
    if !taken.revisions.is_empty() {
        let mut bounds = pointer_range(tenant, query);
        bounds.push(Value::Int(Some(limit(taken.revisions.len()))));
        let found = connection.fetch(&C::pages().pointers, bounds).await?;
        rows = found.iter().map(read::current).collect::<Result<_, _>>()?;
    }
    Ok(PointerPage { head, rows, is_last: taken.is_all })
}

pub(super) fn numbers(revisions: impl Iterator<Item = u64>) -> Vec<Vec<Value>> {
    revisions.map(|number| vec![Value::number(number)]).collect()
}

/// Log rows by revision.
pub(in crate::store) async fn rows<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    revisions: &BTreeSet<Revision>,
) -> Result<Vec<LogRow>, StoreError> {
    let found = connection.fetch_each(&LOG_ROW, tenant, numbers(revisions.iter().map(|r| r.0))).await?;
    let mut rows = found.iter().map(read::log).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| row.revision);
    Ok(rows)
}

/// Commits by number.
pub(in crate::store) async fn commits<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    commits: &BTreeSet<CommitNumber>,
) -> Result<Vec<CommitRow>, StoreError> {
    let found = connection.fetch_each(&COMMIT, tenant, numbers(commits.iter().map(|c| c.0))).await?;
    let mut rows = found.iter().map(read::commit).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

/// Commits after a number.
pub(in crate::store) async fn commits_after<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    after: CommitNumber,
    max: usize,
) -> Result<Vec<CommitRow>, StoreError> {
    let values = vec![Value::text(tenant.as_str()), Value::number(after.0), Value::Int(Some(limit(max)))];
    connection.fetch(COMMITS_AFTER.as_str(), values).await?.iter().map(read::commit).collect()
}

/// Writers after a writer.
pub(in crate::store) async fn writers<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    node: Option<NodeId>,
    after: Option<Writer>,
    max: usize,
) -> Result<Vec<WriterRow>, StoreError> {
    let (first, last) = node.map_or((NodeId([0; 16]), NodeId([u8::MAX; 16])), |node| (node, node));
    let mut values = vec![Value::text(tenant.as_str())];
    match &after {
        Some(after) => values.extend(write::writer_key(after)),
        None => values.extend([Value::bytes(Vec::new()), Value::number(0)]),
    }
    values.extend([
        Value::bytes(first.as_bytes()),
        Value::bytes(last.as_bytes()),
        Value::Int(Some(limit(max))),
    ]);
    connection.fetch(WRITERS_AFTER.as_str(), values).await?.iter().map(read::writer).collect()
}

/// Which revisions are held.
pub(in crate::store) async fn held<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    revisions: &BTreeSet<Revision>,
) -> Result<BTreeSet<Revision>, StoreError> {
    let found = connection.fetch_each(&HELD, tenant, numbers(revisions.iter().map(|r| r.0))).await?;
    found.iter().map(read::revision).collect()
}
