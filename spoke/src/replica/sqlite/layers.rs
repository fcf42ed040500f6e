//! Records by key: the confirmed layer, the pending layer, and what is staged.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use semantics::cursor::{Change, Departure};
use semantics::digest::record_digest;
use semantics::envelope::Record;
use semantics::ids::{Key, Revision};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::batch::{marks, pieces, row_marks};
use super::codec::{
    KEY_END, digest_of, key_bytes, key_of, kind_bytes, limit, number, record_bytes, record_of,
    revision_column, sealed_record, unsealed_record,
};
use super::error::{damaged, failed};
use crate::error::{STAGED, StoreError};
use crate::replica::store::{ConfirmedRow, Range, Staged};

type ConfirmedColumns = (Vec<u8>, i64, Vec<u8>, Vec<u8>);
type PendingColumns = (Vec<u8>, Vec<u8>);

/// Keys from the first (inclusive) to the second (exclusive).
fn bounds(range: &Range) -> (Vec<u8>, Vec<u8>) {
    let (mut from, to) = match &range.kind {
        Some(kind) => {
            let from = [kind_bytes(kind), range.prefix.as_bytes().to_vec()].concat();
            let to = [from.clone(), KEY_END.to_vec()].concat();
            (from, to)
        }
        None => (Vec::new(), KEY_END.to_vec()),
    };
    if let Some(after) = &range.after {
        // The smallest key behind it.
        let after = [key_bytes(after), vec![0]].concat();
        from = from.max(after);
    }
    (from, to)
}

/// Removes rows by key.
pub(super) async fn delete(
    conn: &mut SqliteConnection,
    table: &'static str,
    keys: &[Key],
) -> Result<(), StoreError> {
    for keys in pieces(keys) {
        let sql = format!("delete from {table} where key in ({})", marks(keys.len()));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn confirmed_get(
    conn: &mut SqliteConnection,
    keys: &[Key],
) -> Result<BTreeMap<Key, ConfirmedRow>, StoreError> {
    let mut found = BTreeMap::new();
    for keys in pieces(keys) {
        let sql = format!(
            "select key, revision, digest, record from confirmed where key in ({})",
            marks(keys.len())
        );
        let mut query = sqlx::query_as::<_, ConfirmedColumns>(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        for columns in query.fetch_all(&mut *conn).await.map_err(failed)? {
            let row = confirmed_of(columns)?;
            found.insert(row.record.key.clone(), row);
        }
    }
    Ok(found)
}

/// The keys of all confirmed rows, and nothing else of them; those that cannot be read are left out.
pub(super) async fn confirmed_keys(conn: &mut SqliteConnection) -> Result<BTreeSet<Key>, StoreError> {
    let query = sqlx::query_scalar::<_, Vec<u8>>("select key from confirmed");
    let keys = query.fetch(conn).try_filter_map(async |key| Ok(key_of(&key).ok()));
    keys.try_collect().await.map_err(failed)
}

/// Inserts or replaces rows of the confirmed layer, or of what is left of an earlier one.
pub(super) async fn rows_put(
    conn: &mut SqliteConnection,
    table: &'static str,
    rows: &[ConfirmedRow],
) -> Result<(), StoreError> {
    for rows in pieces(rows) {
        let sql = format!(
            "insert into {table} (key, revision, digest, record) values {} on conflict (key) do update set \
             revision = excluded.revision, digest = excluded.digest, record = excluded.record",
            row_marks(rows.len(), 4)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for row in rows {
            query = query
                .bind(key_bytes(&row.record.key))
                .bind(revision_column(row.revision)?)
                .bind(row.digest.as_bytes().to_vec())
                .bind(record_bytes(&row.record));
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

/// Such rows in key order.
pub(super) async fn rows_page(
    conn: &mut SqliteConnection,
    table: &'static str,
    range: &Range,
    rows: usize,
) -> Result<Vec<ConfirmedRow>, StoreError> {
    let (from, to) = bounds(range);
    let sql = format!(
        "select key, revision, digest, record from {table} where key >= ? and key < ? order by key limit ?"
    );
    let query =
        sqlx::query_as::<_, ConfirmedColumns>(AssertSqlSafe(sql)).bind(from).bind(to).bind(limit(rows));
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    rows.into_iter().map(confirmed_of).collect()
}

fn confirmed_of((key, revision, digest, record): ConfirmedColumns) -> Result<ConfirmedRow, StoreError> {
    Ok(ConfirmedRow {
        revision: Revision(number(revision)?),
        record: record_of("confirmed layer", &key, &record)?,
        digest: digest_of(&digest)?,
    })
}

pub(super) async fn pending_get(
    conn: &mut SqliteConnection,
    keys: &[Key],
) -> Result<BTreeMap<Key, Record>, StoreError> {
    let mut found = BTreeMap::new();
    for keys in pieces(keys) {
        let sql = format!("select key, record from pending where key in ({})", marks(keys.len()));
        let mut query = sqlx::query_as::<_, PendingColumns>(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        for (key, record) in query.fetch_all(&mut *conn).await.map_err(failed)? {
            let record = unsealed_record("pending layer", &[&key], &record)?;
            found.insert(record.key.clone(), record);
        }
    }
    Ok(found)
}

pub(super) async fn pending_put(conn: &mut SqliteConnection, records: &[Record]) -> Result<(), StoreError> {
    for records in pieces(records) {
        let sql = format!(
            "insert into pending (key, record) values {} on conflict (key) do update set record = excluded.record",
            row_marks(records.len(), 2)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for record in records {
            let key = key_bytes(&record.key);
            let bytes = sealed_record(&[&key], record);
            query = query.bind(key).bind(bytes);
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn pending_page(
    conn: &mut SqliteConnection,
    range: &Range,
    rows: usize,
) -> Result<Vec<Record>, StoreError> {
    let (from, to) = bounds(range);
    let sql = "select key, record from pending where key >= ? and key < ? order by key limit ?";
    let query = sqlx::query_as::<_, PendingColumns>(sql).bind(from).bind(to).bind(limit(rows));
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    rows.into_iter().map(|(key, record)| unsealed_record("pending layer", &[&key], &record)).collect()
}

pub(super) async fn staging_put(conn: &mut SqliteConnection, items: &[Staged]) -> Result<(), StoreError> {
    for items in pieces(items) {
        // Whether it is a change tells a record that is not empty.
        let sql = format!(
            "insert into arrived (key, revision, digest, record) values {} on conflict (key) do update set \
             revision = excluded.revision, digest = excluded.digest, record = excluded.record \
             where (excluded.revision, length(excluded.record) > 0) > (arrived.revision, length(arrived.record) > 0)",
            row_marks(items.len(), 4)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for item in items {
            let (digest, record) = match item {
                Staged::Change(change) => {
                    (record_digest(&change.record).as_bytes().to_vec(), record_bytes(&change.record))
                }
                Staged::Departure(_) => (Vec::new(), Vec::new()),
            };
            query = query
                .bind(key_bytes(item.key()))
                .bind(revision_column(item.rank().0)?)
                .bind(digest)
                .bind(record);
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn staging_page(
    conn: &mut SqliteConnection,
    after: Option<&Key>,
    rows: usize,
) -> Result<Vec<Staged>, StoreError> {
    let (from, to) = bounds(&Range { after: after.cloned(), ..Range::default() });
    let sql =
        "select key, revision, digest, record from arrived where key >= ? and key < ? order by key limit ?";
    let query = sqlx::query_as::<_, ConfirmedColumns>(sql).bind(from).bind(to).bind(limit(rows));
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    rows.into_iter().map(staged_of).collect()
}

fn staged_of((key, revision, digest, record): ConfirmedColumns) -> Result<Staged, StoreError> {
    let revision = Revision(number(revision)?);
    if record.is_empty() && digest.is_empty() {
        return Ok(Staged::Departure(Departure { revision, key: key_of(&key)? }));
    }
    let record = record_of(STAGED, &key, &record)?;
    if record_digest(&record) != digest_of(&digest)? {
        return Err(damaged(STAGED, format!("record {} is not what came", record.key)));
    }
    Ok(Staged::Change(Box::new(Change { revision, record })))
}

/// The two tables change their names, so that no row is written a second time. They are of one shape
/// (`the_tables_that_change_places_have_one_shape`). A change whose record is gone is no departure: it stays, and is found
/// to be damaged where it is read.
pub(super) async fn staging_confirm(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let statements = [
        "delete from arrived where length(record) = 0 and length(digest) = 0",
        "alter table confirmed rename to replaced",
        "alter table arrived rename to confirmed",
        "alter table replaced rename to arrived",
        "delete from arrived",
    ];
    for sql in statements {
        sqlx::query(sql).persistent(false).execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}
