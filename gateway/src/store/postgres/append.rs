//! The append statement, in three shapes: a server takes longer to begin a statement for each table and each array in it
//! than to write a row.

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
const FIRST_COLUMN: usize = 10;

/// The tables of every append, in the order of their columns.
const EVERY: [&Table; 5] = [&LOG, &COMMITS, &RECORDS, &WRITERS, &CELLS];
/// Those and the one that few appends write.
const ALL: [&Table; 6] = [&LOG, &COMMITS, &RECORDS, &WRITERS, &CELLS, &HELD];

/// One row into each table, as a single mutation has it; each column is one value.
static SINGLE: LazyLock<String> = LazyLock::new(|| ended(inserts(&EVERY, value)));
/// Any rows; each column is one array.
static MANY: LazyLock<String> = LazyLock::new(|| ended(inserts(&EVERY, element)));
/// The same, and revisions that are held or released.
static HOLDING: LazyLock<String> = LazyLock::new(|| ended(inserts(&ALL, element) + &releases()));

/// One statement: whatever it writes selects from the head it moved.
fn inserts(tables: &[&Table], column: fn(Holds, usize) -> String) -> String {
    let mut sql = format!("{HEAD} and {ARE_SAFE} returning tenant)");
    let mut next = FIRST_COLUMN;
    for table in tables {
        let (name, names) = (table.name, table.names());
        let columns: Vec<String> =
            table.columns.iter().zip(next..).map(|((_, holds), place)| column(*holds, place)).collect();
        let (columns, conflict) = (columns.join(", "), table.on_conflict());
        next += table.columns.len();
        let _ = write!(
            sql,
            ", into_{name} as (insert into {name} (tenant, {names}) select head.tenant, {columns} \
             from head{conflict})",
        );
    }
    sql
}

fn releases() -> String {
    let place = FIRST_COLUMN + ALL.iter().map(|table| table.columns.len()).sum::<usize>();
    format!(
        ", from_held as (delete from held where ctid = any(array(select found.ctid \
         from head cross join unnest(${place}::bigint[]) as rows (revision) \
         cross join lateral (select h.ctid from held h where h.tenant = head.tenant \
         and h.revision = rows.revision offset 0) found)))"
    )
}

/// It returns how many heads it moved: none where the session's settings do not keep what it commits.
fn ended(sql: String) -> String {
    sql + " select count(*) from head"
}

fn kind(holds: Holds) -> &'static str {
    match holds {
        Holds::Int => "bigint",
        Holds::Bytes => "bytea",
    }
}

fn value(holds: Holds, place: usize) -> String {
    format!("${place}::{}", kind(holds))
}

/// Arrays of one length side by side in a select list give row by row what is at one place of each. Nothing is laid down
/// for it, as it is for functions that are selected from.
fn element(holds: Holds, place: usize) -> String {
    format!("unnest(${place}::{}[])", kind(holds))
}

/// The statement that writes these rows, with what it moves the head by, and then their columns in its order.
pub(super) fn append(rows: &AppendRows, with_head: impl FnOnce(&'static str) -> Bound) -> Bound {
    let AppendRows { head: _, commits, log, records, writers, cells, held, released } = rows;
    let every: [(&Table, &Rows); 5] =
        [(&LOG, log), (&COMMITS, commits), (&RECORDS, records), (&WRITERS, writers), (&CELLS, cells)];
    if rows.is_single() {
        every.into_iter().flat_map(|(_, rows)| rows.values()).fold(with_head(&SINGLE), with_value)
    } else if held.len() + released.len() == 0 {
        every.into_iter().fold(with_head(&MANY), with_arrays)
    } else {
        let holding = every.into_iter().chain([(&HELD, held), (&HELD, released)]);
        holding.fold(with_head(&HOLDING), with_arrays)
    }
}

fn with_value(query: Bound, value: Stored<'_>) -> Bound {
    match value {
        Stored::Int(int) => query.bind(int),
        Stored::Bytes(bytes) => query.bind(bytes),
    }
}

/// A value of the other sort is null there, which no column of a key takes.
fn with_arrays(query: Bound, (table, rows): (&Table, &Rows)) -> Bound {
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
        for (sql, tables) in [(&SINGLE, EVERY.as_slice()), (&MANY, &EVERY), (&HOLDING, &ALL)] {
            assert_eq!(sql.matches("insert into").count(), tables.len());
            assert_eq!(sql.matches("select head.tenant, ").count(), tables.len());
            let columns: usize = tables.iter().map(|table| table.columns.len()).sum();
            assert!(sql.contains(&format!("${}::", FIRST_COLUMN + columns - 1)));
        }
        assert_eq!(HOLDING.matches("delete from").count(), 1);
        let columns: usize = ALL.iter().map(|table| table.columns.len()).sum();
        assert!(HOLDING.contains(&format!(
            "from head cross join unnest(${}::bigint[]) as rows (revision) cross",
            FIRST_COLUMN + columns
        )));
    }
}
