//! An append as rows of columns.

use std::collections::BTreeMap;

use semantics::commit::Head;
use semantics::envelope::{Content, Op};
use semantics::ids::{Key, TenantId, Writer};

use super::rows::Rows;
use super::{AnsweredEntry, AnsweredList, OpenEntry, OpenList, OutcomeList, Value, cell_key};
use crate::store::table::{CELLS, COMMITS, HELD, LOG, RECORDS, WRITERS};
use crate::store::{Append, CellRow, CommitRow, LogRow, OpenConflict, Pointer, RowOutcome, WriterRow};

/// Values of keys, each as long as its table's key.
pub(in crate::store) type Keys = Vec<Vec<Value>>;

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

impl AppendRows {
    /// Whether it is one row for each table that every append writes, as a single mutation has it, and nothing else.
    pub(in crate::store) fn is_single(&self) -> bool {
        let Self { head: _, commits, log, records, writers, cells, held, released } = self;
        [commits, log, records, writers, cells].iter().all(|rows| rows.len() == 1)
            && held.len() + released.len() == 0
    }
}

/// Encodes an append. Of two rows with one key the later one stands.
pub(in crate::store) fn append(tenant: &TenantId, append: &Append) -> AppendRows {
    let mut head_values = vec![Value::text(tenant.as_str()), Value::number(append.expected.0)];
    head_values.extend(head(&append.head));
    head_values.push(Value::bytes(append.expected_chain.as_bytes()));
    let holds: BTreeMap<_, bool> = append.holds.iter().copied().collect();
    let held = |wanted: bool| {
        let revisions = holds.iter().filter(move |(_, hold)| **hold == wanted);
        Rows::of(&HELD, revisions.map(|(revision, _)| revision), |row, revision| row.number(revision.0))
    };
    AppendRows {
        head: head_values,
        commits: Rows::of(&COMMITS, [&append.commit], commit),
        log: Rows::of(&LOG, &append.rows, log),
        records: Rows::of(&RECORDS, last_of_each(&append.pointers, |pointer| &pointer.key), pointer),
        writers: Rows::of(&WRITERS, last_of_each(&append.writers, |row| &row.writer), writer),
        cells: Rows::of(&CELLS, last_of_each(&append.cells, |row| &row.cell), cell),
        held: held(true),
        released: held(false),
    }
}

/// The rows in the order of their keys, of those with one key the last.
fn last_of_each<T, K: Ord>(rows: &[T], key: impl Fn(&T) -> &K) -> Vec<&T> {
    let mut found: Vec<&T> = rows.iter().collect();
    found.sort_by(|a, b| key(a).cmp(key(b)));
    found.dedup_by(|later, earlier| {
        let is_same = key(later) == key(earlier);
        if is_same {
            *earlier = *later;
        }
        is_same
    });
    found
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

pub(in crate::store) fn outcome(outcome: RowOutcome) -> u64 {
    match outcome {
        RowOutcome::Applied => 1,
        RowOutcome::Merged => 2,
        RowOutcome::Conflicted => 3,
        RowOutcome::Control => 4,
    }
}

fn log(to: &mut Rows, row: &LogRow) {
    let body_in_mutation = match (row.mutation.as_ref().map(|mutation| &mutation.op), &row.record.content) {
        (Some(Op::Put { body }), Content::Live(live)) => body == live,
        _ => false,
    };
    let departed = row.departed.as_ref().map(|departed| &departed.cell);
    let mut record = proto::v1::Record::from(&row.record);
    if body_in_mutation {
        record.body = None;
    }
    to.number(row.revision.0);
    to.number(row.previous.0);
    to.number(row.commit.0);
    to.text(row.cell.kind.as_str());
    to.text(row.record.key.id.as_str());
    to.text(row.cell.domain.as_str());
    to.optional(row.cell.facet.as_ref().map(|facet| facet.as_str()));
    to.optional(departed.map(|cell| cell.domain.as_str()));
    to.optional(departed.map(|cell| cell.kind.as_str()));
    to.optional(departed.and_then(|cell| cell.facet.as_ref()).map(|facet| facet.as_str()));
    to.maybe_number(row.departed.as_ref().map(|departed| departed.since.0));
    to.bytes(row.dot.writer.node.as_bytes());
    to.number(u64::from(row.dot.writer.epoch));
    to.number(row.dot.n);
    to.number(outcome(row.outcome));
    to.number(row.rule_version.0);
    to.number(u64::try_from(row.record.weight()).unwrap_or(u64::MAX));
    to.flag(body_in_mutation);
    match &row.mutation {
        Some(mutation) => to.message(&proto::v1::Mutation::from(mutation)),
        None => to.optional(None),
    }
    to.message(&record);
}

fn commit(to: &mut Rows, row: &CommitRow) {
    let outcomes = row.outcomes.iter().map(proto::v1::DotOutcome::from).collect();
    to.number(row.number.0);
    to.number(row.first.0);
    to.number(row.last.0);
    to.bytes(row.chain.as_bytes());
    to.bytes(row.leaf.as_bytes());
    to.number(row.time_ms);
    to.number(row.horizon.0);
    to.message(&OutcomeList { outcomes });
}

fn pointer(to: &mut Rows, pointer: &Pointer) {
    let open = |open: &OpenConflict| OpenEntry { path: open.path.clone(), id: open.id.to_string() };
    to.text(pointer.key.kind.as_str());
    to.text(pointer.key.id.as_str());
    to.text(pointer.cell.domain.as_str());
    to.optional(pointer.cell.facet.as_ref().map(|facet| facet.as_str()));
    to.number(pointer.since.0);
    to.number(pointer.revision.0);
    to.flag(pointer.deleted);
    to.bytes(pointer.digest.as_bytes());
    to.message(&OpenList { open: pointer.open.iter().map(open).collect() });
}

fn writer(to: &mut Rows, row: &WriterRow) {
    let ranges = row
        .answered
        .iter()
        .map(|range| AnsweredEntry { first_n: range.first_n, last_n: range.last_n, commit: range.commit.0 })
        .collect();
    to.bytes(row.writer.node.as_bytes());
    to.number(u64::from(row.writer.epoch));
    to.number(row.last_n);
    to.bytes(row.last_digest.as_bytes());
    to.number(row.confirmed_n);
    to.message(&AnsweredList { ranges });
    to.flag(row.closed);
}

fn cell(to: &mut Rows, row: &CellRow) {
    to.bytes(&cell_key(&row.cell));
    to.bytes(row.hash.as_bytes());
}
