//! The log as its readers are sent it: each row with where its record is, and what it holds where it says something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use semantics::ids::{Revision, TenantId};

use super::latest::superseded;
use super::read::{
    LIGHT_BYTES_MAX, ROWS_PER_READ, all_cells, columns_at_end, limit, load_at_once, numbers, per_key,
};
use super::tail::Tail;
use super::{Connection, PerKey};
use crate::store::codec::read::LookedAt;
use crate::store::codec::{Columns, Cursor, Value};
use crate::store::{LOOKED_AT_MAX, Loaded, LogQuery, Only, ShownPage, ShownRow, StoreError};

/// Fewest rows that one statement looks at.
const ROWS_PER_LOOK_MIN: usize = 16;
/// Rows that the first one looks at: what they weigh is not known yet.
const ROWS_AT_FIRST: usize = 64;

/// Where no more rows than so many lie between one that is known to be wanted and the next, all are read.
const SPAN_MAX: usize = 3;

/// Rows that are known to be shown.
static KNOWN: LazyLock<PerKey> =
    LazyLock::new(|| per_key(&columns_at_end(), "log l", "l", &[("revision", "bigint")], ""));
/// The content of heavy rows.
static HEAVY: LazyLock<PerKey> = LazyLock::new(|| {
    let columns = "l.revision, l.body_in_mutation, \
         case when l.body_in_mutation <> 0 then l.mutation end as held, l.record";
    per_key(columns, "log l", "l", &[("revision", "bigint")], "")
});

/// What was found so far.
struct Found {
    shown: usize,
    bytes: usize,
    looked_at: usize,
    last: Revision,
}

impl Found {
    fn is_full(&self, query: &LogQuery) -> bool {
        self.shown >= query.rows_max || self.bytes >= query.bytes_max || self.looked_at >= LOOKED_AT_MAX
    }

    /// How many rows are looked at next: about as many as there is room for, by what came of those before.
    fn next(&self, query: &LogQuery) -> usize {
        if self.looked_at == 0 {
            return ROWS_AT_FIRST.min(query.rows_max);
        }
        let of = |most: usize, taken: usize| {
            most.saturating_sub(taken).saturating_mul(self.looked_at).div_ceil(taken.max(1))
        };
        let next = of(query.rows_max, self.shown).min(of(query.bytes_max, self.bytes));
        next.clamp(ROWS_PER_LOOK_MIN, ROWS_PER_READ)
    }

    /// How many of the rows are taken, up to where the page is full; those whose content is heavy.
    fn take<R: Columns>(
        &mut self,
        look: &Look<R>,
        query: &LogQuery,
        tail: Option<&Tail>,
    ) -> Result<(usize, Vec<Revision>), StoreError> {
        let (mut taken, mut heavy) = (0, Vec::new());
        for row in &look.rows {
            if self.is_full(query) {
                return Ok((taken, heavy));
            }
            let row = looked_at(row, tail)?;
            taken += 1;
            self.looked_at += 1;
            self.last = row.revision;
            if row.is_shown {
                self.shown += 1;
                self.bytes = self.bytes.saturating_add(row.weight);
                heavy.extend((row.weight > LIGHT_BYTES_MAX).then_some(row.revision));
            }
        }
        self.last = look.last;
        Ok((taken, heavy))
    }
}

/// Rows that were looked at.
struct Look<R> {
    rows: Vec<R>,
    /// Up to here.
    last: Revision,
    /// Whether nothing more is to be looked at.
    is_last: bool,
}

/// What is looked at.
struct Looker<'a> {
    tenant: &'a TenantId,
    query: &'a LogQuery,
    only: Option<&'a Only>,
    /// Of these rows those that were superseded since.
    superseded: BTreeSet<Revision>,
    /// What tells which rows were superseded, where that is known without a look at each record.
    tail: Option<Tail>,
}

impl Looker<'_> {
    /// Looks at some rows more.
    async fn next<C: Connection>(
        &self,
        connection: &mut C,
        found: &Found,
    ) -> Result<Look<C::Row>, StoreError> {
        let most = found.next(self.query);
        if let Some(only) = self.only {
            return self.only(connection, only, found.last, most).await;
        }
        let sql = if self.tail.is_some() { &C::pages().shown_at_end } else { &C::pages().shown };
        // One more than are taken tells whether the log goes on.
        let mut rows = connection.fetch(sql, self.bounds(found.last, most + 1)).await?;
        let is_last = rows.len() <= most;
        rows.truncate(most);
        let last = rows.last().map(revision).transpose()?.unwrap_or(found.last);
        Ok(Look { rows, last, is_last })
    }

    /// Looks at those of some rows that are kept. Where few lie between them all are read: to find each costs more.
    async fn only<C: Connection>(
        &self,
        connection: &mut C,
        only: &Only,
        after: Revision,
        most: usize,
    ) -> Result<Look<C::Row>, StoreError> {
        let all = only.after(after);
        let wanted = all.get(..most).unwrap_or(all);
        let is_last = wanted.len() == all.len();
        let end = wanted.last().copied().unwrap_or(after);
        let span = usize::try_from(end.0 - after.0).unwrap_or(usize::MAX);
        let rows = if span <= wanted.len().saturating_mul(SPAN_MAX) {
            let mut rows = connection.fetch(&C::pages().shown_at_end, self.bounds(after, span)).await?;
            let is_wanted = |at: &Revision| wanted.binary_search(at).is_ok() && !self.superseded.contains(at);
            let wanted = rows.iter().map(|row| revision(row).map(|at| is_wanted(&at)));
            let mut wanted = wanted.collect::<Result<Vec<_>, _>>()?.into_iter();
            rows.retain(|_| wanted.next().unwrap_or_default());
            rows
        } else {
            let wanted = wanted.iter().filter(|at| !self.superseded.contains(at));
            let wanted = numbers(wanted.map(|at| at.0));
            let mut rows = connection.fetch_each(&KNOWN, self.tenant, wanted).await?;
            rows.sort_by_cached_key(|row| revision(row).ok());
            rows
        };
        Ok(Look { rows, last: if is_last { only.to } else { end }, is_last })
    }

    fn bounds(&self, after: Revision, most: usize) -> Vec<Value> {
        vec![Value::text(self.tenant.as_str()), Value::number(after.0), Value::Int(Some(limit(most)))]
    }
}

fn revision<R: Columns>(row: &R) -> Result<Revision, StoreError> {
    Ok(Revision(Cursor::new(row, "log").number()?))
}

/// A page of the log for readers. While rows are read out of what came, those behind them come.
pub(super) async fn shown_page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    query: &LogQuery,
    only: Option<&Only>,
) -> Result<ShownPage, StoreError> {
    let Loaded { head, current, .. } = load_at_once(connection, tenant, &query.keys).await?;
    let (tail, superseded) = match only {
        Some(only) => (Some(Tail::default()), superseded(connection, tenant, &only.latest, &head).await?),
        None => (Tail::read(connection, tenant, query.after, &head).await?, BTreeSet::new()),
    };
    let looker = Looker { tenant, query, only, superseded, tail };
    let mut found = Found { shown: 0, bytes: 0, looked_at: 0, last: query.after };
    let (mut rows, mut look) = (Vec::new(), looker.next(connection, &found).await?);
    let is_all = loop {
        let (taken, heavy) = found.take(&look, query, looker.tail.as_ref())?;
        let is_all = look.is_last && taken == look.rows.len();
        let heavy = numbers(heavy.iter().map(|revision| revision.0));
        let heavy = connection.fetch_each(&HEAVY, tenant, heavy).await?;
        let (came, rows, tail) = (look.rows, &mut rows, looker.tail.as_ref());
        let mut read = move || read_out(came.get(..taken).unwrap_or_default(), &heavy, tail, rows);
        if is_all || found.is_full(query) {
            read()?;
            break is_all;
        }
        // Asked for first: the database is at it meanwhile.
        let (next, read) = futures::join!(looker.next(connection, &found), async move { read() });
        read?;
        look = next?;
    };
    let reaches_head = is_all && only.is_none_or(|only| only.to == head.revision);
    let cells = if query.with_cells && reaches_head { all_cells(connection, tenant).await? } else { None };
    let (has_cells, cells) = (cells.is_some(), cells.unwrap_or_default());
    Ok(ShownPage { head, rows, last: found.last, reaches_head, current, cells, has_cells })
}

/// Reads those that are shown out of rows that came.
fn read_out<R: Columns>(
    came: &[R],
    heavy: &[R],
    tail: Option<&Tail>,
    rows: &mut Vec<ShownRow>,
) -> Result<(), StoreError> {
    let mut contents = BTreeMap::new();
    for row in heavy {
        let mut at = Cursor::new(row, "log");
        contents.insert(Revision(at.number()?), at);
    }
    for row in came {
        let row = looked_at(row, tail)?;
        if row.is_shown {
            let content = contents.remove(&row.revision);
            let mut row = row.read(content)?;
            if let Some(tail) = tail {
                tail.set_now(&mut row);
            }
            rows.push(row);
        }
    }
    Ok(())
}

fn looked_at<'a, R: Columns>(row: &'a R, tail: Option<&Tail>) -> Result<LookedAt<'a, R>, StoreError> {
    let mut row = LookedAt::of(row)?;
    if let Some(tail) = tail {
        tail.look(&mut row);
    }
    Ok(row)
}
