//! The outbox table and its sums.

use std::collections::BTreeMap;

use semantics::ids::{GroupId, Key, MutationId, Revision};
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

use super::batch::{marks, pieces, row_marks};
use super::codec::{
    column, entry_bytes, entry_of, key_bytes, key_of, limit, number, revision_column, state_column,
};
use super::error::{damaged, failed};
use crate::error::StoreError;
use crate::replica::entry::Entry;
use crate::replica::store::{OutboxTotals, ROWS_MAX};

type Columns = (Vec<u8>, Vec<u8>);
type TotalColumns = (i64, i64, i64, i64, i64, i64);

async fn entries<'q>(
    conn: &mut SqliteConnection,
    query: sqlx::query::QueryAs<'q, Sqlite, Columns, SqliteArguments>,
) -> Result<Vec<Entry>, StoreError> {
    let rows = query.fetch_all(conn).await.map_err(failed)?;
    rows.into_iter().map(|(id, entry)| entry_of(&id, &entry)).collect()
}

/// Takes rows out of the sums that are about to be replaced or removed.
async fn uncount(
    conn: &mut SqliteConnection,
    totals: &mut OutboxTotals,
    ids: &[MutationId],
) -> Result<(), StoreError> {
    let sql = format!("select state, bytes from outbox where id in ({})", marks(ids.len()));
    let mut query = sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql));
    for id in ids {
        query = query.bind(id.as_bytes().to_vec());
    }
    for (state, bytes) in query.fetch_all(conn).await.map_err(failed)? {
        let count = count(totals, state)?;
        *count = count.saturating_sub(1);
        totals.entries = totals.entries.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(number(bytes)?);
    }
    Ok(())
}

fn count(totals: &mut OutboxTotals, state: i64) -> Result<&mut u64, StoreError> {
    match state {
        0 => Ok(&mut totals.queued),
        1 => Ok(&mut totals.dotted),
        2 => Ok(&mut totals.answered),
        3 => Ok(&mut totals.set_aside),
        _ => Err(damaged("outbox", format!("a state {state}"))),
    }
}

pub(super) async fn put(
    conn: &mut SqliteConnection,
    totals: &mut OutboxTotals,
    entries: &[Entry],
) -> Result<(), StoreError> {
    // Of several with one id the last stays, as it would one by one.
    let latest: BTreeMap<MutationId, &Entry> = entries.iter().map(|entry| (entry.id(), entry)).collect();
    let latest: Vec<(MutationId, &Entry)> = latest.into_iter().collect();
    for piece in pieces(&latest) {
        let ids: Vec<MutationId> = piece.iter().map(|(id, _)| *id).collect();
        uncount(conn, totals, &ids).await?;
        let sql = format!(
            "insert into outbox (id, place, key, after, group_id, group_index, state, n, revision, bytes, entry) \
             values {} on conflict (id) do update set place = excluded.place, key = excluded.key, \
             after = excluded.after, group_id = excluded.group_id, group_index = excluded.group_index, \
             state = excluded.state, n = excluded.n, revision = excluded.revision, bytes = excluded.bytes, \
             entry = excluded.entry",
            row_marks(piece.len(), 11)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (id, entry) in piece {
            let state = state_column(&entry.state);
            let group = entry.mutation.group;
            *count(totals, state)? += 1;
            totals.entries += 1;
            totals.bytes = totals.bytes.saturating_add(entry.bytes());
            query = query
                .bind(id.as_bytes().to_vec())
                .bind(column(entry.order)?)
                .bind(key_bytes(&entry.mutation.key))
                .bind(entry.after.map(|after| after.as_bytes().to_vec()))
                .bind(group.map(|group| group.id.as_bytes().to_vec()))
                .bind(group.map(|group| i64::from(group.index)))
                .bind(state)
                .bind(column(entry.mutation.dot.n)?)
                .bind(entry.answered_revision().map(revision_column).transpose()?)
                .bind(column(entry.bytes())?)
                .bind(entry_bytes(entry)?);
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn remove(
    conn: &mut SqliteConnection,
    totals: &mut OutboxTotals,
    ids: &[MutationId],
) -> Result<(), StoreError> {
    for ids in pieces(ids) {
        uncount(conn, totals, ids).await?;
        let sql = format!("delete from outbox where id in ({})", marks(ids.len()));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for id in ids {
            query = query.bind(id.as_bytes().to_vec());
        }
        query.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn get(conn: &mut SqliteConnection, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
    listed(conn, "id", ids).await
}

/// Entries with one of these in a column, in queue order.
async fn listed(
    conn: &mut SqliteConnection,
    column: &'static str,
    ids: &[MutationId],
) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    for ids in pieces(ids) {
        let sql = format!("select id, entry from outbox where {column} in ({})", marks(ids.len()));
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for id in ids {
            query = query.bind(id.as_bytes().to_vec());
        }
        found.extend(entries(conn, query).await?);
    }
    found.sort_by_key(|entry| entry.order);
    Ok(found)
}

pub(super) async fn of(conn: &mut SqliteConnection, key: &Key) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where key = ? order by place";
    entries(conn, sqlx::query_as(sql).bind(key_bytes(key))).await
}

pub(super) async fn has(conn: &mut SqliteConnection, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
    let mut found = Vec::new();
    for keys in pieces(keys) {
        let sql = format!("select distinct key from outbox where key in ({})", marks(keys.len()));
        let mut query = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        for key in query.fetch_all(&mut *conn).await.map_err(failed)? {
            found.push(key_of(&key)?);
        }
    }
    Ok(found)
}

pub(super) async fn last(
    conn: &mut SqliteConnection,
    keys: &[Key],
) -> Result<BTreeMap<Key, Entry>, StoreError> {
    let mut found = BTreeMap::new();
    for keys in pieces(keys) {
        // Beside max(), SQLite takes the other columns from the row that has it.
        let sql = format!(
            "select id, entry, max(place) from outbox where key in ({}) and state <> 3 group by key",
            marks(keys.len())
        );
        let mut query = sqlx::query_as::<_, (Vec<u8>, Vec<u8>, i64)>(AssertSqlSafe(sql));
        for key in keys {
            query = query.bind(key_bytes(key));
        }
        for (id, entry, _) in query.fetch_all(&mut *conn).await.map_err(failed)? {
            let entry = entry_of(&id, &entry)?;
            found.insert(entry.mutation.key.clone(), entry);
        }
    }
    Ok(found)
}

pub(super) async fn after(conn: &mut SqliteConnection, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
    listed(conn, "after", ids).await
}

pub(super) async fn group(conn: &mut SqliteConnection, group: GroupId) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where group_id = ? order by group_index";
    entries(conn, sqlx::query_as(sql).bind(group.as_bytes().to_vec())).await
}

pub(super) async fn dotted(
    conn: &mut SqliteConnection,
    after_n: u64,
    rows: usize,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where state = 1 and n > ? order by n limit ?";
    entries(conn, sqlx::query_as(sql).bind(column(after_n)?).bind(limit(rows))).await
}

pub(super) async fn queued(
    conn: &mut SqliteConnection,
    after_order: Option<u64>,
    rows: usize,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where state = 0 and place > ? order by place limit ?";
    entries(conn, sqlx::query_as(sql).bind(after_place(after_order)?).bind(limit(rows))).await
}

pub(super) async fn answered(
    conn: &mut SqliteConnection,
    up_to: Revision,
    rows: usize,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where state = 2 and revision <= ? order by revision, id limit ?";
    entries(conn, sqlx::query_as(sql).bind(revision_column(up_to)?).bind(limit(rows))).await
}

pub(super) async fn page(
    conn: &mut SqliteConnection,
    after_order: Option<u64>,
    rows: usize,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "select id, entry from outbox where place > ? order by place limit ?";
    entries(conn, sqlx::query_as(sql).bind(after_place(after_order)?).bind(limit(rows))).await
}

fn after_place(order: Option<u64>) -> Result<i64, StoreError> {
    order.map_or(Ok(-1), column)
}

pub(super) async fn load_totals(conn: &mut SqliteConnection) -> Result<OutboxTotals, StoreError> {
    let sql = "select entries, bytes, queued, dotted, answered, set_aside from outbox_totals where one = 1";
    let (entries, bytes, queued, dotted, answered, set_aside) =
        sqlx::query_as::<_, TotalColumns>(sql).fetch_one(conn).await.map_err(failed)?;
    Ok(OutboxTotals {
        entries: number(entries)?,
        bytes: number(bytes)?,
        queued: number(queued)?,
        dotted: number(dotted)?,
        answered: number(answered)?,
        set_aside: number(set_aside)?,
    })
}

pub(super) async fn save_totals(
    conn: &mut SqliteConnection,
    totals: &OutboxTotals,
) -> Result<(), StoreError> {
    let sql = "update outbox_totals set entries = ?, bytes = ?, queued = ?, dotted = ?, answered = ?, \
               set_aside = ? where one = 1";
    let numbers =
        [totals.entries, totals.bytes, totals.queued, totals.dotted, totals.answered, totals.set_aside];
    let mut query = sqlx::query(sql);
    for number in numbers {
        query = query.bind(column(number)?);
    }
    query.execute(conn).await.map(|_| ()).map_err(failed)
}

type WholeRow =
    (Vec<u8>, i64, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, i64, i64, Option<i64>, Vec<u8>);

/// Rows that a look-up would not find, or find in the wrong place: their columns are not those of their entries. Then
/// whether the sums are those of the rows.
pub(super) async fn check(
    conn: &mut SqliteConnection,
    findings_max: usize,
) -> Result<Vec<String>, StoreError> {
    let (mut found, mut totals, mut after) = (Vec::new(), OutboxTotals::default(), Vec::new());
    loop {
        let sql = "select id, place, key, after, group_id, group_index, state, n, revision, entry from outbox \
                   where id > ? order by id limit ?";
        let query = sqlx::query_as::<_, WholeRow>(sql).bind(after).bind(limit(ROWS_MAX));
        let rows = query.fetch_all(&mut *conn).await.map_err(failed)?;
        let Some(last) = rows.last() else { break };
        after = last.0.clone();
        for row in &rows {
            match entry_of(&row.0, &row.9) {
                Ok(entry) => {
                    let state = state_column(&entry.state);
                    *count(&mut totals, state)? += 1;
                    totals.entries += 1;
                    totals.bytes = totals.bytes.saturating_add(entry.bytes());
                    if !stands_for(row, &entry)? && found.len() < findings_max {
                        found.push(format!("outbox: mutation {} is listed as another", entry.id()));
                    }
                }
                Err(error) if found.len() < findings_max => found.push(error.to_string()),
                Err(_) => {}
            }
        }
    }
    if found.is_empty() && load_totals(conn).await? != totals {
        found.push("outbox: the sums over it are not those of its entries".to_owned());
    }
    Ok(found)
}

fn stands_for(row: &WholeRow, entry: &Entry) -> Result<bool, StoreError> {
    let group = entry.mutation.group;
    let (_, place, key, after, group_id, group_index, state, n, revision, _) = row;
    Ok(*place == column(entry.order)?
        && *key == key_bytes(&entry.mutation.key)
        && *after == entry.after.map(|after| after.as_bytes().to_vec())
        && *group_id == group.map(|group| group.id.as_bytes().to_vec())
        && *group_index == group.map(|group| i64::from(group.index))
        && *state == state_column(&entry.state)
        && *n == column(entry.mutation.dot.n)?
        && *revision == entry.answered_revision().map(revision_column).transpose()?)
}
