//! Kept entries.

use semantics::ids::Revision;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::batch::{pieces, row_marks};
use super::codec::{column, entry_bytes, entry_of, limit, number, revision_column};
use super::error::failed;
use crate::error::StoreError;
use crate::replica::store::Kept;

type Columns = (i64, i64, Vec<u8>, Vec<u8>);

pub(super) async fn put(conn: &mut SqliteConnection, rows: &[Kept]) -> Result<(), StoreError> {
    for rows in pieces(rows) {
        let sql = format!(
            "insert or replace into kept (revision, acknowledged_ms, id, entry) values {}",
            row_marks(rows.len(), 4)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for kept in rows {
            query = query
                .bind(revision_column(kept.revision)?)
                .bind(column(kept.acknowledged_ms)?)
                .bind(kept.entry.id().as_bytes().to_vec())
                .bind(entry_bytes(&kept.entry)?);
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn page(
    conn: &mut SqliteConnection,
    after: Revision,
    rows: usize,
) -> Result<Vec<Kept>, StoreError> {
    let sql =
        "select revision, acknowledged_ms, id, entry from kept where revision > ? order by revision limit ?";
    let query = sqlx::query_as::<_, Columns>(sql).bind(revision_column(after)?).bind(limit(rows));
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    let kept = |(revision, acknowledged_ms, id, entry): Columns| {
        Ok(Kept {
            revision: Revision(number(revision)?),
            acknowledged_ms: number(acknowledged_ms)?,
            entry: entry_of(&id, &entry)?,
        })
    };
    rows.into_iter().map(kept).collect()
}

pub(super) async fn remove(conn: &mut SqliteConnection, up_to: Revision) -> Result<(), StoreError> {
    let query = sqlx::query("delete from kept where revision <= ?").bind(revision_column(up_to)?);
    query.execute(conn).await.map(|_| ()).map_err(failed)
}
