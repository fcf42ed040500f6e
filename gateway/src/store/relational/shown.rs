//! The log as its readers are sent it: first where each row's record is, then those rows alone that say something.

use std::sync::LazyLock;

use semantics::ids::{Revision, TenantId};

use super::read::{ROWS_PER_READ, all_cells, currents, head, limit, numbers, per_key};
use super::{Connection, PerKey};
use crate::store::codec::read::{Standing, shown, standing};
use crate::store::codec::{Cursor, Value};
use crate::store::{LOOKED_AT_MAX, LogQuery, ShownPage, ShownRow, StoreError};

/// A row's own columns: of its mutation only what has its record's body.
const COLUMNS: &str = "l.revision, l.kind, l.id, l.domain, l.facet, l.departed_domain, l.departed_kind, \
     l.departed_facet, l.departed_since, l.body_in_mutation, \
     case when l.body_in_mutation <> 0 then l.mutation end, l.record";

static RANGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {COLUMNS} from log l where l.tenant = $1 and l.revision >= $2 and l.revision <= $3 \
         order by l.revision"
    )
});
/// The columns under names: they stand in a subquery.
static EACH: LazyLock<PerKey> = LazyLock::new(|| {
    let columns = COLUMNS.replace("l.mutation end", "l.mutation end as held");
    per_key(&columns, "log l", "l", &[("revision", "bigint")], "")
});

/// What was found so far.
struct Found {
    standing: Vec<Standing>,
    bytes: usize,
    looked_at: usize,
    last: Revision,
    reaches_head: bool,
}

impl Found {
    fn is_full(&self, query: &LogQuery) -> bool {
        self.standing.len() >= query.rows_max
            || self.bytes >= query.bytes_max
            || self.looked_at >= LOOKED_AT_MAX
    }
}

/// A page of the log for readers.
pub(super) async fn shown_page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
) -> Result<ShownPage, StoreError> {
    let (head, _) = head(connection, tenant).await?;
    let found = find(connection, tenant, query).await?;
    let mut rows = Vec::with_capacity(found.standing.len());
    for standing in found.standing.chunks(ROWS_PER_READ) {
        rows.extend(read(connection, tenant, standing).await?);
    }
    let current = currents(connection, tenant, &query.keys).await?;
    let reads_cells = query.with_cells && found.reaches_head;
    let cells = if reads_cells { all_cells(connection, tenant).await? } else { None };
    let (last, reaches_head, has_cells) = (found.last, found.reaches_head, cells.is_some());
    Ok(ShownPage { head, rows, last, reaches_head, current, cells: cells.unwrap_or_default(), has_cells })
}

/// Looks which rows there are and where their records are, until the bounds stop it.
async fn find<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
) -> Result<Found, StoreError> {
    let mut found =
        Found { standing: Vec::new(), bytes: 0, looked_at: 0, last: query.after, reaches_head: false };
    loop {
        // One more than are taken tells whether the log goes on.
        let most = ROWS_PER_READ + 1;
        let bounds =
            vec![Value::text(tenant.as_str()), Value::number(found.last.0), Value::Int(Some(limit(most)))];
        let rows = connection.fetch(&C::pages().standing, bounds).await?;
        for row in rows.iter().take(ROWS_PER_READ) {
            if found.is_full(query) {
                return Ok(found);
            }
            let standing = standing(row)?;
            found.looked_at += 1;
            found.last = standing.revision;
            if standing.is_shown {
                found.bytes = found.bytes.saturating_add(standing.weight);
                found.standing.push(standing);
            }
        }
        if rows.len() < most {
            found.reaches_head = true;
            return Ok(found);
        }
        if found.is_full(query) {
            return Ok(found);
        }
    }
}

/// Reads some of the rows: as a range where none is left out between them.
async fn read<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    wanted: &[Standing],
) -> Result<Vec<ShownRow>, StoreError> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
    let (first, last) = (first.revision.0, last.revision.0);
    let mut rows = if last - first < u64::try_from(wanted.len()).unwrap_or(u64::MAX) {
        let range = vec![Value::text(tenant.as_str()), Value::number(first), Value::number(last)];
        connection.fetch(RANGE.as_str(), range).await?
    } else {
        let keys = numbers(wanted.iter().map(|standing| standing.revision.0));
        connection.fetch_each(&EACH, tenant, keys).await?
    };
    let mut numbered = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        numbered.push((Cursor::new(&row, "log").number()?, row));
    }
    numbered.sort_by_key(|(revision, _)| *revision);
    if numbered.len() != wanted.len() {
        return Err(StoreError::Corrupt(format!("table log: rows between {first} and {last} are gone")));
    }
    numbered.iter().zip(wanted).map(|((_, row), standing)| shown(row, standing)).collect()
}
