//! An append as rows of columns.

use std::collections::BTreeMap;

use prost::Message as _;
use semantics::commit::Head;
use semantics::envelope::{Content, Op};
use semantics::ids::{Key, TenantId, Writer};

use super::{AnsweredEntry, AnsweredList, OpenEntry, OpenList, OutcomeList, Value, cell_key};
use crate::store::{Append, CellRow, CommitRow, LogRow, Pointer, RowOutcome, WriterRow};

/// Rows of one table.
pub(in crate::store) type Rows = Vec<Vec<Value>>;

/// What an append writes; no key twice in one table.
#[derive(Debug)]
pub(in crate::store) struct AppendRows {
    /// The tenant, the expected commit number, the head's columns, then the expected chain.
    pub(in crate::store) head: Vec<Value>,
    pub(in crate::store) commits: Rows,
    pub(in crate::store) log: Rows,
    pub(in crate::store) records: Rows,
    pub(in crate::store) writers: Rows,
    pub(in crate::store) cells: Rows,
    pub(in crate::store) held: Rows,
    pub(in crate::store) released: Rows,
}

/// Encodes an append. Of two rows with one key the later one stands.
pub(in crate::store) fn append(tenant: &TenantId, append: Append) -> AppendRows {
    let mut head_values = vec![Value::text(tenant.as_str()), Value::number(append.expected.0)];
    head_values.extend(head(&append.head));
    head_values.push(Value::bytes(append.expected_chain.as_bytes()));
    let pointers: BTreeMap<Key, Pointer> =
        append.pointers.into_iter().map(|pointer| (pointer.key.clone(), pointer)).collect();
    let writers: BTreeMap<Writer, WriterRow> =
        append.writers.into_iter().map(|writer| (writer.writer, writer)).collect();
    let cells: BTreeMap<Vec<u8>, CellRow> =
        append.cells.into_iter().map(|cell| (cell_key(&cell.cell), cell)).collect();
    let holds: BTreeMap<_, bool> = append.holds.into_iter().collect();
    let held = |wanted: bool| {
        let revisions = holds.iter().filter(move |(_, hold)| **hold == wanted);
        revisions.map(|(revision, _)| vec![Value::number(revision.0)]).collect()
    };
    AppendRows {
        head: head_values,
        commits: vec![commit(&append.commit)],
        log: append.rows.into_iter().map(log).collect(),
        records: pointers.into_values().map(pointer).collect(),
        writers: writers.into_values().map(writer).collect(),
        cells: cells.into_iter().map(|(key, row)| cell(key, &row)).collect(),
        held: held(true),
        released: held(false),
    }
}

/// Log id, commit number, revision, chain, horizon, time.
pub(in crate::store) fn head(head: &Head) -> [Value; 6] {
    [
        Value::bytes(head.log_id.as_bytes()),
        Value::number(head.commit.0),
        Value::number(head.revision.0),
        Value::bytes(head.chain.as_bytes()),
        Value::number(head.horizon.0),
        Value::number(head.time_ms),
    ]
}

/// A record's name.
pub(in crate::store) fn key(key: &Key) -> Vec<Value> {
    vec![Value::text(key.kind.as_str()), Value::text(key.id.as_str())]
}

/// A writer's name.
pub(in crate::store) fn writer_key(writer: &Writer) -> Vec<Value> {
    vec![Value::bytes(writer.node.as_bytes()), Value::number(u64::from(writer.epoch))]
}

fn optional(text: Option<&str>) -> Value {
    Value::Bytes(text.map(|text| text.as_bytes().to_vec()))
}

pub(in crate::store) fn outcome(outcome: RowOutcome) -> u64 {
    match outcome {
        RowOutcome::Applied => 1,
        RowOutcome::Merged => 2,
        RowOutcome::Conflicted => 3,
        RowOutcome::Control => 4,
    }
}

fn log(row: LogRow) -> Vec<Value> {
    let body_in_mutation = match (row.mutation.as_ref().map(|mutation| &mutation.op), &row.record.content) {
        (Some(Op::Put { body }), Content::Live(live)) => body == live,
        _ => false,
    };
    let departed = row.departed.as_ref().map(|departed| &departed.cell);
    let weight = u64::try_from(row.record.weight()).unwrap_or(u64::MAX);
    let id = row.record.key.id.as_str().as_bytes().to_vec();
    let mut record = proto::v1::Record::from(row.record);
    if body_in_mutation {
        record.body = None;
    }
    vec![
        Value::number(row.revision.0),
        Value::number(row.previous.0),
        Value::number(row.commit.0),
        Value::text(row.cell.kind.as_str()),
        Value::bytes(id),
        Value::text(row.cell.domain.as_str()),
        optional(row.cell.facet.as_ref().map(|facet| facet.as_str())),
        optional(departed.map(|cell| cell.domain.as_str())),
        optional(departed.map(|cell| cell.kind.as_str())),
        optional(departed.and_then(|cell| cell.facet.as_ref()).map(|facet| facet.as_str())),
        Value::Int(row.departed.as_ref().map(|departed| super::clamped(departed.since.0))),
        Value::bytes(row.dot.writer.node.as_bytes()),
        Value::number(u64::from(row.dot.writer.epoch)),
        Value::number(row.dot.n),
        Value::number(outcome(row.outcome)),
        Value::number(row.rule_version.0),
        Value::number(weight),
        Value::flag(body_in_mutation),
        Value::Bytes(row.mutation.map(|mutation| proto::v1::Mutation::from(mutation).encode_to_vec())),
        Value::bytes(record.encode_to_vec()),
    ]
}

fn commit(row: &CommitRow) -> Vec<Value> {
    let outcomes = row.outcomes.iter().cloned().map(proto::v1::DotOutcome::from).collect();
    vec![
        Value::number(row.number.0),
        Value::number(row.first.0),
        Value::number(row.last.0),
        Value::bytes(row.chain.as_bytes()),
        Value::bytes(row.leaf.as_bytes()),
        Value::number(row.time_ms),
        Value::number(row.horizon.0),
        Value::bytes(OutcomeList { outcomes }.encode_to_vec()),
    ]
}

fn pointer(pointer: Pointer) -> Vec<Value> {
    let open =
        pointer.open.into_iter().map(|open| OpenEntry { path: open.path, id: open.id.into() }).collect();
    let mut values = key(&pointer.key);
    values.extend([
        Value::text(pointer.cell.domain.as_str()),
        optional(pointer.cell.facet.as_ref().map(|facet| facet.as_str())),
        Value::number(pointer.since.0),
        Value::number(pointer.revision.0),
        Value::flag(pointer.deleted),
        Value::bytes(pointer.digest.as_bytes()),
        Value::bytes(OpenList { open }.encode_to_vec()),
    ]);
    values
}

fn writer(row: WriterRow) -> Vec<Value> {
    let ranges = row
        .answered
        .iter()
        .map(|range| AnsweredEntry { first_n: range.first_n, last_n: range.last_n, commit: range.commit.0 })
        .collect();
    let mut values = writer_key(&row.writer);
    values.extend([
        Value::number(row.last_n),
        Value::bytes(row.last_digest.as_bytes()),
        Value::number(row.confirmed_n),
        Value::bytes(AnsweredList { ranges }.encode_to_vec()),
        Value::flag(row.closed),
    ]);
    values
}

fn cell(key: Vec<u8>, row: &CellRow) -> Vec<Value> {
    vec![Value::bytes(key), Value::bytes(row.hash.as_bytes().as_slice())]
}
