//! Rows of columns as domain values. Whatever does not decode is told as corrupt.

use bytes::Bytes;
use prost::Message as _;
use semantics::commit::Head;
use semantics::envelope::{Cell, Content, Mutation, Op, Record};
use semantics::ids::{
    CommitNumber, Digest, Domain, Dot, Facet, Key, Kind, LogId, NodeId, RecordId, Revision, Writer,
};
use semantics::lthash::LtHash;
use semantics::outcome::DotOutcome;

use super::{AnsweredList, Body, Columns, Cursor, Holder, Named, OpenList, OutcomeList, cell_of};
use crate::store::table::RECORDS;
use crate::store::{
    AnsweredRange, CellRow, CommitRow, Current, Departed, LogEntry, LogRow, OpenConflict, PlainRow, Pointer,
    RowOutcome, Sent, ShownRow, StoreError, WriterRow,
};

/// What a record is, of its row `l` of the log, behind the columns of where it is: whether its body stands in its mutation, the
/// mutation where it does, and the rest.
pub(in crate::store) const OF_RECORD: [&str; 3] =
    ["l.body_in_mutation", "case when l.body_in_mutation <> 0 then l.mutation end as mutation", "l.record"];

/// A head, and the store's clock behind it.
pub(in crate::store) fn head<R: Columns>(row: &R) -> Result<(Head, Option<u64>), StoreError> {
    head_at(&mut Cursor::new(row, "heads"))
}

/// The same behind a record's columns.
pub(in crate::store) fn head_behind<R: Columns>(row: &R) -> Result<(Head, Option<u64>), StoreError> {
    head_at(&mut Cursor::behind(row, RECORDS.columns.len() + OF_RECORD.len(), "heads"))
}

fn head_at<R: Columns>(at: &mut Cursor<'_, R>) -> Result<(Head, Option<u64>), StoreError> {
    let head = Head {
        log_id: at.id(LogId::from_slice)?,
        commit: CommitNumber(at.number()?),
        revision: Revision(at.number()?),
        chain: at.id(Digest::from_slice)?,
        horizon: Revision(at.number()?),
        time_ms: at.number()?,
    };
    Ok((head, at.maybe_number()?))
}

/// A log row, and where its record is now.
pub(in crate::store) fn entry<R: Columns>(row: &R) -> Result<LogEntry, StoreError> {
    let mut at = Cursor::new(row, "log");
    let row = log_at(&mut at)?;
    let now = maybe_pointer(&mut at)?;
    Ok(LogEntry { row, now })
}

/// A row of the log that was looked at.
#[derive(Debug)]
pub(in crate::store) struct LookedAt<'a, R> {
    pub(in crate::store) revision: Revision,
    /// Whether anybody is sent it.
    pub(in crate::store) is_shown: bool,
    pub(in crate::store) weight: usize,
    rest: Cursor<'a, R>,
}

impl<'a, R: Columns> LookedAt<'a, R> {
    /// What a row says before it is read.
    pub(in crate::store) fn of(row: &'a R) -> Result<Self, StoreError> {
        let mut at = Cursor::new(row, "log");
        let (revision, is_shown, weight) = (Revision(at.number()?), at.flag()?, at.number()?);
        let weight = usize::try_from(weight).unwrap_or(usize::MAX);
        Ok(Self { revision, is_shown, weight, rest: at })
    }

    /// The row as readers are sent it, with its content from elsewhere where it is heavy.
    pub(in crate::store) fn read(self, heavy: Option<Cursor<'a, R>>) -> Result<ShownRow, StoreError> {
        let Self { revision, weight, rest: mut at, .. } = self;
        let key = at.key()?;
        let (domain, facet) = (at.name(Domain::new)?, at.maybe_name(Facet::new)?);
        let cell = Cell { domain, kind: key.kind.clone(), facet };
        let departed = departed(&mut at)?;
        let now = match at.maybe_number()?.map(Revision) {
            None => {
                at.skip(2);
                None
            }
            Some(now) => {
                let (domain, facet) = (at.name(Domain::new)?, at.maybe_name(Facet::new)?);
                Some((now, Cell { domain, kind: key.kind.clone(), facet }))
            }
        };
        let record = Sent::Wire(wire(&mut heavy.unwrap_or(at), revision, &key)?);
        Ok(ShownRow { revision, key, cell, departed, now, weight, record })
    }
}

/// A record's bytes, with the body that stands in its mutation. That they are its bytes is seen by the name alone.
fn wire<R: Columns>(at: &mut Cursor<'_, R>, revision: Revision, key: &Key) -> Result<Bytes, StoreError> {
    let is_held = at.flag()?;
    let (holder, stored) = (at.maybe_bytes()?, at.bytes()?);
    let named = Named::decode(stored).map_err(|error| broken_record(revision, &error))?;
    if named.key.is_none_or(|named| named.kind != key.kind.as_str() || named.id != key.id.as_str()) {
        return Err(at.corrupt(format_args!("revision {revision} holds another record than its columns say")));
    }
    if !is_held {
        return Ok(Bytes::copy_from_slice(stored));
    }
    let body = Body { body: Some(held_body(holder, revision)?) };
    let mut record = Vec::with_capacity(stored.len() + body.encoded_len());
    record.extend_from_slice(stored);
    body.encode(&mut record).map_err(|error| broken_record(revision, &error))?;
    Ok(record.into())
}

/// The body of a record that stands in its mutation.
fn held_body(mutation: Option<&[u8]>, revision: Revision) -> Result<Vec<u8>, StoreError> {
    let holder = mutation.map(Holder::decode).transpose().map_err(|error| broken_record(revision, &error))?;
    let held = holder.and_then(|holder| holder.put);
    Ok(held.ok_or_else(|| broken_record(revision, &"its mutation has no body"))?.body)
}

fn broken_record(revision: Revision, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("table log: record of revision {revision}: {error}"))
}

/// A log row.
pub(in crate::store) fn log<R: Columns>(row: &R) -> Result<LogRow, StoreError> {
    log_at(&mut Cursor::new(row, "log"))
}

/// A record as it stands.
pub(in crate::store) fn current<R: Columns>(row: &R) -> Result<Current, StoreError> {
    maybe_current(row)?.ok_or_else(|| StoreError::Corrupt("table records: a row without a kind".to_owned()))
}

/// The same, of a row that is null there where a left join found none.
pub(in crate::store) fn maybe_current<R: Columns>(row: &R) -> Result<Option<Current>, StoreError> {
    let mut at = Cursor::new(row, "records");
    let Some(pointer) = maybe_pointer(&mut at)? else { return Ok(None) };
    at.table("log");
    let (revision, is_held, holder) = (pointer.revision, at.flag()?, at.maybe_bytes()?);
    let body = is_held.then(|| held_body(holder, revision)).transpose()?;
    let record = record(&mut at, revision, body.map(Bytes::from))?;
    if record.key != pointer.key {
        return Err(
            at.corrupt(format_args!("revision {revision} holds another record than its pointer says"))
        );
    }
    Ok(Some(Current { pointer, record }))
}

fn log_at<R: Columns>(at: &mut Cursor<'_, R>) -> Result<LogRow, StoreError> {
    let revision = Revision(at.number()?);
    let previous = Revision(at.number()?);
    let commit = CommitNumber(at.number()?);
    let key = at.key()?;
    let cell =
        Cell { domain: at.name(Domain::new)?, kind: key.kind.clone(), facet: at.maybe_name(Facet::new)? };
    let departed = departed(at)?;
    let dot = Dot { writer: writer_name(at)?, n: at.number()? };
    let outcome = outcome(at)?;
    let rule_version = Revision(at.number()?);
    let _weight = at.number()?;
    let body_in_mutation = at.flag()?;
    let mutation = mutation(at, revision)?;
    let body = match mutation.as_ref().filter(|_| body_in_mutation).map(|mutation| &mutation.op) {
        Some(Op::Put { body }) => Some(body.clone()),
        Some(Op::Patch { .. } | Op::Delete) => {
            return Err(broken_record(revision, &"its mutation has no body"));
        }
        None => None,
    };
    let record = record(at, revision, body)?;
    if record.key != key {
        return Err(at.corrupt(format_args!("revision {revision} holds another record than its columns say")));
    }
    Ok(LogRow { revision, previous, commit, cell, departed, dot, mutation, record, outcome, rule_version })
}

fn departed<R: Columns>(at: &mut Cursor<'_, R>) -> Result<Option<Departed>, StoreError> {
    let (domain, kind) = (at.maybe_name(Domain::new)?, at.maybe_name(Kind::new)?);
    let (facet, since) = (at.maybe_name(Facet::new)?, at.maybe_number()?);
    match (domain, kind, since) {
        (None, None, None) => Ok(None),
        (Some(domain), Some(kind), Some(since)) => {
            Ok(Some(Departed { cell: Cell { domain, kind, facet }, since: Revision(since) }))
        }
        _ => Err(at.corrupt("half a departure")),
    }
}

fn outcome<R: Columns>(at: &mut Cursor<'_, R>) -> Result<RowOutcome, StoreError> {
    match at.number()? {
        1 => Ok(RowOutcome::Applied),
        2 => Ok(RowOutcome::Merged),
        3 => Ok(RowOutcome::Conflicted),
        4 => Ok(RowOutcome::Control),
        other => Err(at.corrupt(format_args!("outcome {other}"))),
    }
}

fn mutation<R: Columns>(at: &mut Cursor<'_, R>, revision: Revision) -> Result<Option<Mutation>, StoreError> {
    let Some(bytes) = at.maybe_bytes()? else { return Ok(None) };
    let broken = |error: &dyn std::fmt::Display| {
        StoreError::Corrupt(format!("table log: mutation of revision {revision}: {error}"))
    };
    let mutation = proto::v1::Mutation::decode(bytes).map_err(|error| broken(&error))?;
    Mutation::try_from(mutation).map(Some).map_err(|error| broken(&error))
}

/// A record whose body may stand in its mutation.
fn record<R: Columns>(
    at: &mut Cursor<'_, R>,
    revision: Revision,
    held: Option<Bytes>,
) -> Result<Record, StoreError> {
    let bytes = at.bytes()?;
    let record = proto::v1::Record::decode(bytes).map_err(|error| broken_record(revision, &error))?;
    let mut record = Record::try_from(record).map_err(|error| broken_record(revision, &error))?;
    if let Some(body) = held {
        record.content = Content::Live(body);
    }
    Ok(record)
}

/// A pointer's columns; null throughout where a left join found none.
fn maybe_pointer<R: Columns>(at: &mut Cursor<'_, R>) -> Result<Option<Pointer>, StoreError> {
    at.table("records");
    let Some(kind) = at.maybe_name(Kind::new)? else { return Ok(None) };
    let key = Key { kind, id: at.name(RecordId::new)? };
    let cell =
        Cell { domain: at.name(Domain::new)?, kind: key.kind.clone(), facet: at.maybe_name(Facet::new)? };
    let (since, revision) = (Revision(at.number()?), Revision(at.number()?));
    let (deleted, digest) = (at.flag()?, at.id(Digest::from_slice)?);
    let list = OpenList::decode(at.bytes()?).map_err(|error| at.corrupt(error))?;
    let mut open = Vec::new();
    for entry in list.open {
        let id = RecordId::new(entry.id).map_err(|error| at.corrupt(error))?;
        open.push(OpenConflict { path: entry.path, id });
    }
    Ok(Some(Pointer { key, cell, since, revision, deleted, digest, open }))
}

fn writer_name<R: Columns>(at: &mut Cursor<'_, R>) -> Result<Writer, StoreError> {
    let node = at.id(NodeId::from_slice)?;
    let epoch = u32::try_from(at.number()?).map_err(|_| at.corrupt("an epoch past its bound"))?;
    Ok(Writer { node, epoch })
}

/// A writer.
pub(in crate::store) fn writer<R: Columns>(row: &R) -> Result<WriterRow, StoreError> {
    let mut at = Cursor::new(row, "writers");
    let writer = writer_name(&mut at)?;
    let (last_n, last_digest) = (at.number()?, at.id(Digest::from_slice)?);
    let confirmed_n = at.number()?;
    let list = AnsweredList::decode(at.bytes()?).map_err(|error| at.corrupt(error))?;
    let range = |entry: &super::AnsweredEntry| AnsweredRange {
        first_n: entry.first_n,
        last_n: entry.last_n,
        commit: CommitNumber(entry.commit),
    };
    let answered = list.ranges.iter().map(range).collect();
    Ok(WriterRow { writer, last_n, last_digest, confirmed_n, answered, closed: at.flag()? })
}

/// A commit.
pub(in crate::store) fn commit<R: Columns>(row: &R) -> Result<CommitRow, StoreError> {
    let mut at = Cursor::new(row, "commits");
    let number = CommitNumber(at.number()?);
    let (first, last) = (Revision(at.number()?), Revision(at.number()?));
    let (chain, leaf) = (at.id(Digest::from_slice)?, at.id(Digest::from_slice)?);
    let time_ms = at.number()?;
    let horizon = Revision(at.number()?);
    let broken = |error: &dyn std::fmt::Display| {
        StoreError::Corrupt(format!("table commits: outcomes of commit {number}: {error}"))
    };
    let list = OutcomeList::decode(at.bytes()?).map_err(|error| broken(&error))?;
    let outcomes: Result<Vec<DotOutcome>, _> = list.outcomes.into_iter().map(DotOutcome::try_from).collect();
    let outcomes = outcomes.map_err(|error| broken(&error))?;
    Ok(CommitRow { number, first, last, chain, leaf, time_ms, horizon, outcomes })
}

/// A cell.
pub(in crate::store) fn cell<R: Columns>(row: &R) -> Result<CellRow, StoreError> {
    let mut at = Cursor::new(row, "cells");
    let cell = cell_of(at.bytes()?).ok_or_else(|| at.corrupt("a key that is no cell"))?;
    Ok(CellRow { cell, hash: at.id(LtHash::from_bytes)? })
}

/// A plain row.
pub(in crate::store) fn plain<R: Columns>(row: &R) -> Result<PlainRow, StoreError> {
    let mut at = Cursor::new(row, "plain");
    Ok(PlainRow { key: at.bytes()?.to_vec(), value: at.bytes()?.to_vec(), version: at.number()? })
}

/// The first column, a revision.
pub(in crate::store) fn revision<R: Columns>(row: &R) -> Result<Revision, StoreError> {
    Ok(Revision(Cursor::new(row, "log").number()?))
}
