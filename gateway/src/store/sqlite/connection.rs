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
use crate::store::relational::{Connection, PerKey};
use crate::store::table::{CELLS, COMMITS, HELD, LOG, RECORDS, Table, WRITERS};
use crate::store::{Appended, StoreError};

/// Most rows that one statement inserts: fewer trips to the thread on which SQLite runs.
const ROWS_PER_INSERT: usize = 16;

const MOVE_HEAD: &str = "update heads set commit_number = $4, revision = $5, chain = $6, horizon = $7, \
     time_ms = $8 where tenant = $1 and commit_number = $2 and log_id = $3 and chain = $9";
const RELEASE: &str = "delete from held where tenant = $1 and revision = $2";

/// Inserts into one table, of one row and of many.
struct Inserts {
    one: String,
    many: String,
}

impl Inserts {
    fn of(table: &Table) -> Self {
        Self { one: table.insert(1), many: table.insert(ROWS_PER_INSERT) }
    }
}

static INTO_LOG: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&LOG));
static INTO_COMMITS: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&COMMITS));
static INTO_RECORDS: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&RECORDS));
static INTO_WRITERS: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&WRITERS));
static INTO_CELLS: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&CELLS));
static INTO_HELD: LazyLock<Inserts> = LazyLock::new(|| Inserts::of(&HELD));

fn bound(
    sql: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Query<'static, Sqlite, SqliteArguments> {
    values.into_iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Int(int) => query.bind(int),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

async fn insert(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    inserts: &'static Inserts,
    rows: &Rows,
) -> Result<(), StoreError> {
    let (mut left, mut values) = (rows.len(), rows.values());
    let width = values.len() / left.max(1);
    while left > 0 {
        let (sql, count) =
            if left >= ROWS_PER_INSERT { (&inserts.many, ROWS_PER_INSERT) } else { (&inserts.one, 1) };
        run_with(connection, sql, tenant, values.by_ref().take(count * width)).await?;
        left -= count;
    }
    Ok(())
}

/// Runs a statement whose first parameter is the tenant.
async fn run_with(
    connection: &mut SqliteConnection,
    sql: &'static str,
    tenant: &TenantId,
    values: impl Iterator<Item = Stored<'_>>,
) -> Result<(), StoreError> {
    let query = values.fold(sqlx::query(sql).bind(tenant.as_str().as_bytes()), |query, value| match value {
        Stored::Int(int) => query.bind(int),
        Stored::Bytes(bytes) => query.bind(bytes),
    });
    query.execute(connection).await.map(drop).map_err(|error| error::of(&error))
}

impl Connection for SqliteConnection {
    type Row = SqliteRow;
    const HEAD: &'static str = "select log_id, commit_number, revision, chain, horizon, time_ms, null \
         from heads where tenant = $1";

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
        let mut found = Vec::new();
        for key in keys {
            let values = [Value::text(tenant.as_str())].into_iter().chain(key).collect();
            found.extend(self.fetch(sql.one, values).await?);
        }
        Ok(found)
    }

    async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = bound(sql, values).execute(&mut *self).await.map_err(|error| error::of(&error))?;
        Ok(done.rows_affected())
    }

    async fn append(&mut self, tenant: &TenantId, rows: AppendRows) -> Result<Appended, StoreError> {
        if self.run(MOVE_HEAD, rows.head).await? == 0 {
            read::head(self, tenant).await?;
            return Ok(Appended::HeadMoved);
        }
        insert(self, tenant, &INTO_COMMITS, &rows.commits).await?;
        insert(self, tenant, &INTO_LOG, &rows.log).await?;
        insert(self, tenant, &INTO_RECORDS, &rows.records).await?;
        insert(self, tenant, &INTO_WRITERS, &rows.writers).await?;
        insert(self, tenant, &INTO_CELLS, &rows.cells).await?;
        insert(self, tenant, &INTO_HELD, &rows.held).await?;
        for released in rows.released.values() {
            run_with(self, RELEASE, tenant, [released].into_iter()).await?;
        }
        Ok(Appended::Yes)
    }
}

impl Columns for SqliteRow {
    fn int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
    fn bytes(&self, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}
