//! Statements on a PostgreSQL connection.

use semantics::ids::TenantId;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use super::{append, error, settings};
use crate::store::codec::write::{AppendRows, Keys};
use crate::store::codec::{Columns, Value};
use crate::store::relational::{Connection, PerKey, read};
use crate::store::table::Holds;
use crate::store::{Appended, StoreError};

/// One column of many keys, as one parameter.
#[derive(Debug)]
enum Array {
    /// Integers.
    Ints(Vec<Option<i64>>),
    /// Bytes.
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Array {
    /// An empty one with room.
    fn of(holds: Holds, room: usize) -> Self {
        match holds {
            Holds::Int => Self::Ints(Vec::with_capacity(room)),
            Holds::Bytes => Self::Bytes(Vec::with_capacity(room)),
        }
    }

    /// One value more; a value of the other sort is null there, which no column of a key takes.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Ints(ints), Value::Int(int)) => ints.push(int),
            (Self::Ints(ints), Value::Bytes(_)) => ints.push(None),
            (Self::Bytes(all), Value::Bytes(bytes)) => all.push(bytes),
            (Self::Bytes(all), Value::Int(_)) => all.push(None),
        }
    }
}

/// A statement with its values.
pub(super) type Bound = Query<'static, Postgres, PgArguments>;

fn bound(sql: &'static str, values: impl IntoIterator<Item = Value>) -> Bound {
    values.into_iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Int(int) => query.bind(int),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn with_arrays(query: Bound, arrays: impl IntoIterator<Item = Array>) -> Bound {
    arrays.into_iter().fold(query, |query, array| match array {
        Array::Ints(ints) => query.bind(ints),
        Array::Bytes(bytes) => query.bind(bytes),
    })
}

fn transposed(keys: Keys) -> Vec<Array> {
    let count = keys.len();
    let mut columns: Vec<Array> = Vec::new();
    for key in keys {
        if columns.is_empty() {
            let array = |value: &Value| match value {
                Value::Int(_) => Array::of(Holds::Int, count),
                Value::Bytes(_) => Array::of(Holds::Bytes, count),
            };
            columns = key.iter().map(array).collect();
        }
        columns.iter_mut().zip(key).for_each(|(column, value)| column.push(value));
    }
    columns
}

impl Connection for PgConnection {
    type Row = PgRow;
    type Written = Bound;
    const HEAD: &'static str = "select log_id, commit_number, revision, chain, horizon, time_ms, \
         (extract(epoch from clock_timestamp()) * 1000)::bigint from heads where tenant = $1";

    const LATEST: &'static str = "select count(*), convert_to(coalesce(string_agg(revision::text, ','), ''), 'UTF8') \
         from (select revision from records where tenant = $1 limit $2) found";
    const KEYS_AT_ONCE: usize = usize::MAX;

    fn pages() -> &'static read::Pages {
        &read::POSTGRES
    }

    async fn fetch(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<PgRow>, StoreError> {
        bound(sql, values).fetch_all(&mut *self).await.map_err(|error| error::of(&error))
    }

    async fn fetch_each(
        &mut self,
        sql: &PerKey,
        tenant: &TenantId,
        keys: Keys,
    ) -> Result<Vec<PgRow>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let query = with_arrays(bound(sql.many, [Value::text(tenant.as_str())]), transposed(keys));
        query.fetch_all(&mut *self).await.map_err(|error| error::of(&error))
    }

    async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = bound(sql, values).execute(&mut *self).await.map_err(|error| error::of(&error))?;
        Ok(done.rows_affected())
    }

    fn written(rows: AppendRows) -> Bound {
        append::append(&rows, |sql| bound(sql, rows.head.iter().cloned()))
    }

    async fn append(&mut self, tenant: &TenantId, append: Bound) -> Result<Appended, StoreError> {
        let row = append.fetch_one(&mut *self).await.map_err(|error| error::of_commit(&error))?;
        if row.int(0)? == Some(1) {
            return Ok(Appended::Yes);
        }
        settings::check(self).await?;
        read::head(self, tenant).await?;
        Ok(Appended::HeadMoved)
    }
}

impl Columns for PgRow {
    fn int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        self.try_get(at).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}
