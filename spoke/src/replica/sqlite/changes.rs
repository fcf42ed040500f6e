//! Which records changed in what is shown, in order.

use std::collections::BTreeSet;

use semantics::ids::Key;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::batch::{pieces, row_marks};
use super::codec::{column, key_bytes, key_of, limit, number};
use super::error::failed;
use crate::error::StoreError;
use crate::replica::store::{CHANGES_KEPT, ChangesKept, VisibleChange};

/// Writes them down, and forgets the oldest past [`CHANGES_KEPT`].
pub(super) async fn append(conn: &mut SqliteConnection, keys: BTreeSet<Key>) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = keys.into_iter().collect();
    for keys in pieces(&keys) {
        let sql = format!("insert into changes (key) values {}", row_marks(keys.len(), 1));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    let sql = "delete from changes where position <= (select max(position) from changes) - ?";
    sqlx::query(sql).bind(column(CHANGES_KEPT)?).execute(conn).await.map(|_| ()).map_err(failed)
}

pub(super) async fn after(
    conn: &mut SqliteConnection,
    position: u64,
    rows: usize,
) -> Result<Vec<VisibleChange>, StoreError> {
    let sql = "select position, key from changes where position > ? order by position limit ?";
    let query = sqlx::query_as::<_, (i64, Vec<u8>)>(sql).bind(column(position)?).bind(limit(rows));
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    rows.into_iter()
        .map(|(position, key)| Ok(VisibleChange { position: number(position)?, key: key_of(&key)? }))
        .collect()
}

pub(super) async fn kept(conn: &mut SqliteConnection) -> Result<ChangesKept, StoreError> {
    let sql = "select coalesce(min(position), 1) - 1, coalesce(max(position), 0) from changes";
    let (after, last) = sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(conn).await.map_err(failed)?;
    Ok(ChangesKept { after: number(after)?, last: number(last)? })
}
