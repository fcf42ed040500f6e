//! Statements on a SQLite connection.

use std::sync::LazyLock;

use semantics::ids::TenantId;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Row as _, Sqlite};

use super::error;
use crate::store::codec::rows::{Rows, Stored};
use crate::store::codec::write::{AppendRows, Keys};
use crate::store::codec::{Columns, Value};
use crate::store::relational::read::{self, Pages};
use crate::store::relational::{Connection, KEYS_IN_TURN_MAX, PerKey};
use crate::store::table::{CELLS, COMMITS, HELD, LOG, RECORDS, Table, WRITERS};
use crate::store::{Appended, StoreError};

/// How many rows one statement inserts, the most first: few trips to the thread on which SQLite runs, and few statements.
const ROWS_PER_INSERT: [usize; 5] = [256, 64, 16, 4, 1];

const RELEASE: &str = "delete from held where revision = ? and tenant = $2";

/// What every append writes into, in the order in which it does.
const EVERY: [&Table; 5] = [&COMMITS, &LOG, &RECORDS, &WRITERS, &CELLS];

/// Inserts into one table, in the order of [`ROWS_PER_INSERT`].
type Inserts = LazyLock<[String; ROWS_PER_INSERT.len()]>;

fn inserts(table: &Table) -> [String; ROWS_PER_INSERT.len()] {
    ROWS_PER_INSERT.map(|rows| table.insert_in_turn(rows, rows * table.columns.len() + 1))
}

static MOVE_HEAD: LazyLock<String> = LazyLock::new(|| move_head(1));
static INTO_LOG: Inserts = LazyLock::new(|| inserts(&LOG));
static INTO_COMMITS: Inserts = LazyLock::new(|| inserts(&COMMITS));
static INTO_RECORDS: Inserts = LazyLock::new(|| inserts(&RECORDS));
static INTO_WRITERS: Inserts = LazyLock::new(|| inserts(&WRITERS));
static INTO_CELLS: Inserts = LazyLock::new(|| inserts(&CELLS));
static INTO_HELD: Inserts = LazyLock::new(|| inserts(&HELD));
/// An append of one row for each of [`EVERY`], whole: one trip to the thread on which SQLite runs. Where the head is not
/// moved nothing else is written, and no row comes back. The rows' values come first, then what the head is moved by.
static SINGLE: LazyLock<String> = LazyLock::new(|| {
    let tenant = EVERY.iter().map(|table| table.columns.len()).sum::<usize>() + 1;
    let inserts = EVERY.map(|table| table.insert_behind(tenant)).join("; ");
    format!("begin immediate; {} returning 1; {inserts}; commit", move_head(tenant))
});

/// Moves the head by what [`AppendRows::head`] holds; the first of it is the parameter with this number.
fn move_head(first: usize) -> String {
    let [tenant, expected, log_id, number, revision, chain, horizon, time_ms, expected_chain] =
        std::array::from_fn(|at| first + at);
    format!(
        "update heads set commit_number = ${number}, revision = ${revision}, chain = ${chain}, \
         horizon = ${horizon}, time_ms = ${time_ms} where tenant = ${tenant} and commit_number = ${expected} \
         and log_id = ${log_id} and chain = ${expected_chain}"
    )
}

/// Writes an append of single rows if the head is where it is expected, in a transaction of its own. Where that fails the
/// transaction may stand open.
pub(super) async fn append_single(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    rows: &AppendRows,
) -> Result<Appended, StoreError> {
    let AppendRows { head, commits, log, records, writers, cells, .. } = rows;
    let every = [commits, log, records, writers, cells];
    let query = every.into_iter().flat_map(Rows::values).fold(sqlx::query(SINGLE.as_str()), with_value);
    let query = head.iter().cloned().fold(query, with);
    let moved = query.fetch_all(&mut *connection).await.map_err(|error| error::of_commit(&error))?;
    if moved.is_empty() {
        read::head(connection, tenant).await?;
        return Ok(Appended::HeadMoved);
    }
    Ok(Appended::Yes)
}

type Bound = Query<'static, Sqlite, SqliteArguments>;

fn with(query: Bound, value: Value) -> Bound {
    match value {
        Value::Int(int) => query.bind(int),
        Value::Bytes(bytes) => query.bind(bytes),
    }
}

fn with_value(query: Bound, value: Stored<'_>) -> Bound {
    match value {
        Stored::Int(int) => query.bind(int),
        Stored::Bytes(bytes) => query.bind(bytes),
    }
}

fn bound(sql: &'static str, values: impl IntoIterator<Item = Value>) -> Bound {
    values.into_iter().fold(sqlx::query(sql), with)
}

async fn insert(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    inserts: &'static Inserts,
    rows: &Rows,
) -> Result<(), StoreError> {
    let (mut left, mut values) = (rows.len(), rows.values());
    let width = values.len() / left.max(1);
    for (count, sql) in ROWS_PER_INSERT.into_iter().zip(inserts.iter()) {
        while left >= count {
            run_in_turn(connection, sql, values.by_ref().take(count * width), tenant).await?;
            left -= count;
        }
    }
    Ok(())
}

/// The statement for the fewest keys that takes all of so many, or as many as one takes.
fn in_turn(sql: &PerKey, keys: usize) -> Option<(usize, &'static str)> {
    let all = sql.in_turn.filter(|_| keys > 1)?;
    all.into_iter().find(|(count, _)| *count >= keys).or(all.last().copied())
}

/// Runs statements whose last parameter is the tenant.
async fn run_in_turn<'a>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    values: impl Iterator<Item = Stored<'a>>,
    tenant: &'a TenantId,
) -> Result<(), StoreError> {
    let tenant = Stored::Bytes(Some(tenant.as_str().as_bytes()));
    let query = values.chain([tenant]).fold(sqlx::query(sql), with_value);
    query.execute(connection).await.map(drop).map_err(|error| error::of(&error))
}

impl Connection for SqliteConnection {
    type Row = SqliteRow;
    type Written = AppendRows;
    const HEAD: &'static str = "select log_id, commit_number, revision, chain, horizon, time_ms, null \
         from heads where tenant = $1";

    const LATEST: &'static str = "select count(*), cast(coalesce(group_concat(revision, ','), '') as blob) \
         from (select revision from records where tenant = $1 limit $2) found";
    const KEYS_AT_ONCE: usize = KEYS_IN_TURN_MAX;

    fn pages() -> &'static Pages {
        &read::SQLITE
    }

    async fn fetch(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<SqliteRow>, StoreError> {
        bound(sql, values).fetch_all(&mut *self).await.map_err(|error| error::of(&error))
    }

    async fn fetch_each(
        &mut self,
        sql: &PerKey,
        tenant: &TenantId,
        keys: Keys,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let (mut left, width) = (keys.len(), keys.first().map_or(0, Vec::len));
        let (mut columns, mut found) = (keys.into_iter().flatten(), Vec::new());
        while left > 0 {
            let tenant = [Value::text(tenant.as_str())].into_iter();
            if let Some((count, sql)) = in_turn(sql, left) {
                let some = columns.by_ref().chain(std::iter::repeat(Value::Int(None))).take(count * width);
                found.extend(self.fetch(sql, some.chain(tenant).collect()).await?);
                left = left.saturating_sub(count);
            } else {
                let one = tenant.chain(columns.by_ref().take(width)).collect();
                found.extend(self.fetch(sql.one, one).await?);
                left -= 1;
            }
        }
        Ok(found)
    }

    async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = bound(sql, values).execute(&mut *self).await.map_err(|error| error::of(&error))?;
        Ok(done.rows_affected())
    }

    fn written(rows: AppendRows) -> AppendRows {
        rows
    }

    async fn append(&mut self, tenant: &TenantId, rows: AppendRows) -> Result<Appended, StoreError> {
        let AppendRows { head, commits, log, records, writers, cells, held, released } = rows;
        if self.run(&MOVE_HEAD, head).await? == 0 {
            read::head(self, tenant).await?;
            return Ok(Appended::HeadMoved);
        }
        insert(self, tenant, &INTO_COMMITS, &commits).await?;
        insert(self, tenant, &INTO_LOG, &log).await?;
        insert(self, tenant, &INTO_RECORDS, &records).await?;
        insert(self, tenant, &INTO_WRITERS, &writers).await?;
        insert(self, tenant, &INTO_CELLS, &cells).await?;
        insert(self, tenant, &INTO_HELD, &held).await?;
        for released in released.values() {
            run_in_turn(self, RELEASE, [released].into_iter(), tenant).await?;
        }
        Ok(Appended::Yes)
    }
}

impl Columns for SqliteRow {
    fn int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}
