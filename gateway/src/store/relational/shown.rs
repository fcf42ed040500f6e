//! The log as its readers are sent it: each row with where its record is, and what it holds where it says something.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use semantics::ids::{Revision, TenantId};

use super::read::{LIGHT_BYTES_MAX, ROWS_PER_READ, all_cells, currents, head, limit, numbers, per_key};
use super::tail::Tail;
use super::{Connection, PerKey};
use crate::store::codec::read::LookedAt;
use crate::store::codec::{Columns, Cursor, Value};
use crate::store::{LOOKED_AT_MAX, LogQuery, ShownPage, ShownRow, StoreError};

/// Fewest rows that one statement looks at.
const ROWS_PER_LOOK_MIN: usize = 16;
/// Rows that the first one looks at: what they weigh is not known yet.
const ROWS_AT_FIRST: usize = 64;

/// The content of heavy rows.
static HEAVY: LazyLock<PerKey> = LazyLock::new(|| {
    let columns = "l.revision, l.body_in_mutation, \
         case when l.body_in_mutation <> 0 then l.mutation end as held, l.record";
    per_key(columns, "log l", "l", &[("revision", "bigint")], "")
});

/// What was found so far.
struct Found {
    rows: Vec<ShownRow>,
    bytes: usize,
    looked_at: usize,
    last: Revision,
}

impl Found {
    fn is_full(&self, query: &LogQuery) -> bool {
        self.rows.len() >= query.rows_max || self.bytes >= query.bytes_max || self.looked_at >= LOOKED_AT_MAX
    }

    /// How many rows are looked at next: about as many as there is room for, by what came of those before.
    fn next(&self, query: &LogQuery) -> usize {
        if self.looked_at == 0 {
            return ROWS_AT_FIRST.min(query.rows_max);
        }
        let of = |most: usize, taken: usize| {
            most.saturating_sub(taken).saturating_mul(self.looked_at).div_ceil(taken.max(1))
        };
        let next = of(query.rows_max, self.rows.len()).min(of(query.bytes_max, self.bytes));
        next.clamp(ROWS_PER_LOOK_MIN, ROWS_PER_READ)
    }
}

/// A page of the log for readers.
pub(super) async fn shown_page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
) -> Result<ShownPage, StoreError> {
    let (head, _) = head(connection, tenant).await?;
    let tail = Tail::read(connection, tenant, query.after, &head).await?;
    let mut found = Found { rows: Vec::new(), bytes: 0, looked_at: 0, last: query.after };
    let mut reaches_head = false;
    while !reaches_head && !found.is_full(query) {
        reaches_head = look(connection, tenant, query, tail.as_ref(), &mut found).await?;
    }
    let current = currents(connection, tenant, &query.keys).await?;
    let cells = if query.with_cells && reaches_head { all_cells(connection, tenant).await? } else { None };
    let (has_cells, cells) = (cells.is_some(), cells.unwrap_or_default());
    Ok(ShownPage { head, rows: found.rows, last: found.last, reaches_head, current, cells, has_cells })
}

/// Looks at some rows more, up to where the page is full. Whether that was all there are.
async fn look<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
    tail: Option<&Tail>,
    found: &mut Found,
) -> Result<bool, StoreError> {
    let most = found.next(query);
    // One more than are taken tells whether the log goes on.
    let bounds =
        vec![Value::text(tenant.as_str()), Value::number(found.last.0), Value::Int(Some(limit(most + 1)))];
    let sql = if tail.is_some() { &C::pages().shown_at_end } else { &C::pages().shown };
    let rows = connection.fetch(sql, bounds).await?;
    let (mut heavy, mut room) = (Vec::new(), query.bytes_max.saturating_sub(found.bytes));
    for row in rows.iter().take(most) {
        let row = looked_at(row, tail)?;
        if room == 0 {
            break;
        }
        if row.is_shown {
            room = room.saturating_sub(row.weight);
            if row.weight > LIGHT_BYTES_MAX {
                heavy.push(row.revision.0);
            }
        }
    }
    let heavy = connection.fetch_each(&HEAVY, tenant, numbers(heavy.into_iter())).await?;
    let mut contents = BTreeMap::new();
    for row in &heavy {
        let mut at = Cursor::new(row, "log");
        contents.insert(Revision(at.number()?), at);
    }
    for (at, row) in rows.iter().enumerate() {
        if at == most || found.is_full(query) {
            return Ok(false);
        }
        let row = looked_at(row, tail)?;
        found.looked_at += 1;
        found.last = row.revision;
        if row.is_shown {
            found.bytes = found.bytes.saturating_add(row.weight);
            let content = contents.remove(&row.revision);
            let mut row = row.read(content)?;
            if let Some(tail) = tail {
                tail.set_now(&mut row);
            }
            found.rows.push(row);
        }
    }
    Ok(true)
}

fn looked_at<'a, R: Columns>(row: &'a R, tail: Option<&Tail>) -> Result<LookedAt<'a, R>, StoreError> {
    let mut row = LookedAt::of(row)?;
    if let Some(tail) = tail {
        tail.look(&mut row);
    }
    Ok(row)
}
