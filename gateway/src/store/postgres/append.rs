//! The append statement.

use std::fmt::Write as _;
use std::sync::LazyLock;

use crate::store::codec::rows::{Rows, Stored};
use crate::store::codec::write::AppendRows;
use crate::store::table::{CELLS, COMMITS, HELD, Holds, LOG, RECORDS, Table, WRITERS};

use super::connection::Bound;
use super::settings::ARE_SAFE;

/// Tenant, expected commit number, log id, what the head moves to, then the expected chain.
const HEAD: &str = "with head as (update heads set commit_number = $4, revision = $5, chain = $6, horizon = $7, \
     time_ms = $8 where tenant = $1 and commit_number = $2 and log_id = $3 and chain = $9";
const FIRST_ARRAY: usize = 10;

/// Every table of an append, in the order of its arrays.
const TABLES: [&Table; 6] = [&LOG, &COMMITS, &RECORDS, &WRITERS, &CELLS, &HELD];

/// One statement: whatever it writes selects from the head it moved. Each column is one array. It returns how many
/// heads it moved: none where the session's settings do not keep what it commits.
pub(super) static APPEND: LazyLock<String> = LazyLock::new(|| {
    let mut sql = format!("{HEAD} and {ARE_SAFE} returning tenant)");
    let mut next = FIRST_ARRAY;
    for table in TABLES {
        let (name, names) = (table.name, table.names());
        let arrays = arrays(table, &mut next);
        let conflict = table.on_conflict();
        let _ = write!(
            sql,
            ", into_{name} as (insert into {name} (tenant, {names}) select head.tenant, rows.* \
             from head cross join unnest({arrays}) as rows ({names}){conflict})",
        );
    }
    let released = arrays(&HELD, &mut next);
    let _ = write!(
        sql,
        ", from_held as (delete from held where ctid = any(array(select found.ctid \
         from head cross join unnest({released}) as rows (revision) \
         cross join lateral (select h.ctid from held h where h.tenant = head.tenant \
         and h.revision = rows.revision offset 0) found))) select count(*) from head",
    );
    sql
});

fn arrays(table: &Table, next: &mut usize) -> String {
    let mut text = String::new();
    for (_, holds) in table.columns {
        let kind = match holds {
            Holds::Int => "bigint",
            Holds::Bytes => "bytea",
        };
        let _ = write!(text, "{}${next}::{kind}[]", if text.is_empty() { "" } else { ", " });
        *next += 1;
    }
    text
}

/// The statement with the arrays of an append, in its order. A value of the other sort is null there, which no column of
/// a key takes.
pub(super) fn bound(query: Bound, rows: &AppendRows) -> Bound {
    let AppendRows { head: _, commits, log, records, writers, cells, held, released } = rows;
    let tables: [(&Table, &Rows); 7] = [
        (&LOG, log),
        (&COMMITS, commits),
        (&RECORDS, records),
        (&WRITERS, writers),
        (&CELLS, cells),
        (&HELD, held),
        (&HELD, released),
    ];
    tables.into_iter().fold(query, |query, (table, rows)| {
        table.columns.iter().enumerate().fold(query, |query, (at, (_, holds))| match holds {
            Holds::Int => query.bind(collected(rows, at, |value| match value {
                Stored::Int(int) => int,
                Stored::Bytes(_) => None,
            })),
            Holds::Bytes => query.bind(collected(rows, at, |value| match value {
                Stored::Bytes(bytes) => bytes,
                Stored::Int(_) => None,
            })),
        })
    })
}

fn collected<'a, T>(rows: &'a Rows, at: usize, of: impl Fn(Stored<'a>) -> T) -> Vec<T> {
    let mut column = Vec::with_capacity(rows.len());
    column.extend(rows.column(at).map(of));
    column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_selects_from_the_moved_head() {
        let sql = APPEND.as_str();
        let writes = sql.matches("insert into").count() + sql.matches("delete from").count();
        assert_eq!(writes, sql.matches("from head cross join unnest(").count());
        let columns: usize = TABLES.iter().map(|table| table.columns.len()).sum();
        assert!(
            sql.contains(&format!("unnest(${}::bigint[]) as rows (revision) cross", FIRST_ARRAY + columns))
        );
    }
}
