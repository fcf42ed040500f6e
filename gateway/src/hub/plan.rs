//! From what is known and what is asked to what one commit writes. Pure: the committer reads before and appends
//! after.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use semantics::clock::{HybridTime, Stamp};
use semantics::commit::Head;
use semantics::conflict::Conflict;
use semantics::digest::{self, CommitSummary};
use semantics::envelope::{Cell, Content, KEY_ID_CLEAR, Mutation, Placement, Record};
use semantics::fault::Fault;
use semantics::ids::{
    Digest, Domain, Dot, Facet, Incarnation, Key, NodeId, RecordId, Revision, Salt, Writer,
};
use semantics::kind;
use semantics::lthash::{LtHash, Moves};
use semantics::outcome::DotOutcome;
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;

use super::known::{Known, Missing};
use super::work::{Answer, ControlWork, Work};
use crate::store::{
    Append, CellRow, CommitRow, Current, Departed, LogRow, Pointer, RowOutcome, Wanted, WriterRow,
};

mod ancestor;
mod cause;
mod conditions;
mod conflicts;
mod epochs;
mod precedents;
mod push;
mod retired;
mod settle;
mod writers;

pub(in crate::hub) use self::conditions::policy_of_newer;

/// What a plan comes to.
#[derive(Debug)]
pub struct Plan {
    /// What to append; `None` when nothing changes.
    pub append: Option<Box<Append>>,
    /// The records the append changes, as they stand after it.
    pub current: IndexMap<Key, Current>,
    /// One answer for each work; `None` = plan it again after this commit.
    pub answers: Vec<Option<Answer>>,
}

/// Plans one commit at wall time `now_ms`.
///
/// # Errors
/// [`Missing`] when something must be read first.
pub fn plan<W: Borrow<Work>>(
    known: &Known,
    works: &[W],
    now_ms: u64,
    bytes_max: usize,
) -> Result<Plan, Box<Missing>> {
    let missing = known.missing(works);
    if !missing.is_empty() {
        return Err(Box::new(missing));
    }
    let mut draft = Draft::new(known, now_ms, bytes_max);
    let answers = works.iter().map(|work| draft.work(work.borrow())).collect();
    draft.finish(answers)
}

/// By record and path, the conflict that a commit makes or changes, and the salt it will have.
type Touched = BTreeMap<(Key, String), (RecordId, Conflict, Salt)>;

/// A commit in the making.
struct Draft<'a> {
    known: &'a Known,
    head: Head,
    rows: Vec<LogRow>,
    /// Of each row's record.
    digests: Vec<Digest>,
    current: IndexMap<Key, Current>,
    writers: BTreeMap<Writer, WriterRow>,
    moves: BTreeMap<Cell, Moves>,
    outcomes: Vec<DotOutcome>,
    conflicts: Touched,
    holds: BTreeMap<Revision, bool>,
    unread: BTreeSet<Revision>,
    bodies_unread: BTreeSet<Revision>,
    keys_unread: BTreeSet<Key>,
    bytes: usize,
    bytes_max: usize,
}

/// A row before it has a number.
struct NewRow {
    record: Record,
    dot: Dot,
    mutation: Option<Mutation>,
    outcome: RowOutcome,
    rule_version: Revision,
}

impl<'a> Draft<'a> {
    fn new(known: &'a Known, now_ms: u64, bytes_max: usize) -> Self {
        let clock_ms = now_ms.saturating_add(known.store_ahead_ms);
        let time_ms =
            if Fault::ClockBackFollowed.is_planted() { clock_ms } else { clock_ms.max(known.head.time_ms) };
        Self {
            known,
            head: Head { commit: known.head.commit.next(), time_ms, ..known.head },
            rows: Vec::new(),
            digests: Vec::new(),
            current: IndexMap::new(),
            writers: BTreeMap::new(),
            moves: BTreeMap::new(),
            outcomes: Vec::new(),
            conflicts: BTreeMap::new(),
            holds: BTreeMap::new(),
            unread: BTreeSet::new(),
            bodies_unread: BTreeSet::new(),
            keys_unread: BTreeSet::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// A record as decisions see it. A tombstone that was given up is absent, whether or not it is still stored or
    /// remembered: what comes of a mutation must not depend on how far pruning has come.
    fn current(&self, key: &Key) -> Option<&Current> {
        let current = self.current.get(key).or_else(|| self.known.current(key))?;
        let pointer = &current.pointer;
        let is_given_up =
            pointer.deleted && pointer.open.is_empty() && pointer.revision <= self.known.head.horizon;
        (!is_given_up).then_some(current)
    }

    fn writer(&self, writer: &Writer) -> Option<&WriterRow> {
        self.writers.get(writer).or_else(|| self.known.writer(writer))
    }

    fn work(&mut self, work: &Work) -> Option<Answer> {
        match work {
            Work::Push(push) => self.push(push),
            Work::Control(control) => Some(Answer::Control(self.control(control))),
            Work::Settle(settle) => Some(Answer::Settled(self.settle(settle))),
            Work::OpenEpoch(writer) => Some(Answer::Done(self.open_epoch(*writer))),
            Work::ReopenEpoch { writer, last_n } => Some(Answer::Done(self.reopen_epoch(*writer, *last_n))),
            Work::CloseEpochs(writers) => Some(Answer::Done(self.close_epochs(writers))),
            Work::Confirm(confirmed) => Some(Answer::Done(self.confirm(confirmed))),
            Work::MoveHorizon(to) => {
                self.head.horizon = self.head.horizon.max((*to).min(self.known.head.revision));
                Some(Answer::Done(true))
            }
        }
    }

    fn control(&mut self, work: &ControlWork) -> Result<Revision, Refusal> {
        let current = self.current(&work.key);
        let live = current.filter(|current| !current.pointer.deleted);
        // What is deleted stays where it lies; all else that comes this way lies in the default domain.
        let lies = live.filter(|_| work.body.is_none()).map(|live| live.record.placement.domain.clone());
        let stands_at = live.map(|current| current.pointer.revision).unwrap_or_default();
        if stands_at != work.expected {
            let detail = format!("{} stands at revision {stands_at}, not {}", work.key, work.expected);
            return Err(Refusal::new(Reason::Stale, detail));
        }
        if let Some(only_if) = &work.only_if {
            self.check_none_opened(only_if)?;
        }
        let body = work
            .body
            .as_ref()
            .map(|body| semantics::canonical::to_canonical(&serde_json::Value::Object(body.clone())));
        let content = match body.transpose()? {
            Some(body) => Content::Live(body.into()),
            None => Content::Deleted,
        };
        let facet = kind::is_declaration(&work.key.kind).then(|| Facet::new(work.key.id.as_str()).ok());
        let domain = lies.unwrap_or_else(Domain::default_domain);
        let record = self.hub_record(&work.key, content, facet.flatten(), domain, work.salt);
        let record = Record { author: work.author, ..record };
        let dot = record.stamp.dot;
        let row = NewRow {
            record,
            dot,
            mutation: None,
            outcome: RowOutcome::Control,
            rule_version: Revision::ZERO,
        };
        Ok(self.place(row))
    }

    /// A record that the hub writes, as its next revision.
    fn hub_record(
        &self,
        key: &Key,
        content: Content,
        facet: Option<Facet>,
        domain: Domain,
        salt: Salt,
    ) -> Record {
        let revision = self.head.revision.next();
        let dot = Dot { writer: Writer::HUB, n: revision.0 };
        let stamp = Stamp { time: HybridTime { ms: self.head.time_ms, counter: 0 }, dot };
        let before = self.current(key).map(|current| &current.record);
        let reborn = before.is_some_and(Record::is_deleted) && content != Content::Deleted;
        let incarnation = before.map(|record| record.incarnation).unwrap_or_default();
        Record {
            key: key.clone(),
            placement: Placement { domain, subject: None },
            placement_stamp: stamp,
            facet: facet.filter(|_| content != Content::Deleted),
            incarnation: if reborn { incarnation.next() } else { Incarnation(incarnation.0) },
            version: before.map(|record| record.version.clone()).unwrap_or_default().join(&Version::of(dot)),
            stamp,
            author: NodeId::HUB,
            key_id: KEY_ID_CLEAR,
            salt,
            content,
            fields: BTreeMap::new(),
            inputs: BTreeMap::new(),
        }
    }

    /// Gives a row its revision and moves the record's pointer and cells to it.
    fn place(&mut self, new: NewRow) -> Revision {
        let revision = self.head.revision.next();
        self.head.revision = revision;
        let old = self.current(&new.record.key).map(|current| current.pointer.clone());
        let cell = match (&old, new.record.is_deleted()) {
            (Some(old), true) => old.cell.clone(),
            _ => new.record.cell(),
        };
        let digest = digest::record_digest(&new.record);
        let departed = old
            .as_ref()
            .filter(|old| old.cell != cell)
            .map(|old| Departed { cell: old.cell.clone(), since: old.since });
        if let Some(old) = old.as_ref().filter(|old| !old.deleted && !Fault::SupersededInDigest.is_planted())
        {
            self.moves.entry(old.cell.clone()).or_default().leave.push(old.digest);
        }
        if !new.record.is_deleted() {
            self.moves.entry(cell.clone()).or_default().come.push(digest);
        }
        let pointer = Pointer {
            key: new.record.key.clone(),
            cell: cell.clone(),
            since: old.as_ref().filter(|old| old.cell == cell).map_or(revision, |old| old.since),
            revision,
            deleted: new.record.is_deleted(),
            digest,
            open: old.as_ref().map(|old| old.open.clone()).unwrap_or_default(),
        };
        self.bytes += new.record.weight();
        self.digests.push(digest);
        self.rows.push(LogRow {
            revision,
            previous: old.map(|old| old.revision).unwrap_or_default(),
            commit: self.head.commit,
            cell,
            departed,
            dot: new.dot,
            mutation: new.mutation,
            record: new.record.clone(),
            outcome: new.outcome,
            rule_version: new.rule_version,
        });
        self.current.insert(pointer.key.clone(), Current { pointer, record: new.record });
        revision
    }

    fn finish(mut self, answers: Vec<Option<Answer>>) -> Result<Plan, Box<Missing>> {
        let wanted = Wanted { keys: self.keys_unread, ..Wanted::default() };
        let missing = Missing { wanted, rows: self.unread, bodies: self.bodies_unread, ..Missing::default() };
        if !missing.is_empty() {
            return Err(Box::new(missing));
        }
        (self.unread, self.bodies_unread, self.keys_unread) = Default::default();
        self.write_conflicts();
        let moved = self.head.horizon != self.known.head.horizon;
        let writers_moved = self.writers.iter().any(|(writer, row)| self.known.writer(writer) != Some(row));
        if self.rows.is_empty() && self.outcomes.is_empty() && !moved && !writers_moved {
            return Ok(Plan { append: None, current: IndexMap::new(), answers });
        }
        let cells = self.cells()?;
        let first = self.known.head.revision.next();
        let summary = CommitSummary {
            commit: self.head.commit,
            first,
            last: self.head.revision,
            time_ms: self.head.time_ms,
            horizon: self.head.horizon,
            mutations_root: digest::merkle_root(&self.outcomes.iter().map(|o| o.digest).collect::<Vec<_>>()),
            records_root: digest::merkle_root(&self.digests),
            cells_root: digest::merkle_root(
                &cells.iter().map(|row| digest::cell_digest(&row.cell, &row.hash)).collect::<Vec<_>>(),
            ),
        };
        let leaf = digest::commit_leaf(&summary);
        self.head.chain = digest::chain(&self.known.head.chain, &leaf);
        let commit = CommitRow {
            number: self.head.commit,
            first,
            last: self.head.revision,
            chain: self.head.chain,
            leaf,
            time_ms: self.head.time_ms,
            horizon: self.head.horizon,
            outcomes: self.outcomes,
        };
        let append = Append {
            expected: self.known.head.commit,
            expected_chain: self.known.head.chain,
            head: self.head,
            commit,
            rows: self.rows,
            pointers: self.current.values().map(|current| current.pointer.clone()).collect(),
            writers: self.writers.into_values().collect(),
            cells,
            holds: self.holds.into_iter().collect(),
        };
        Ok(Plan { append: Some(Box::new(append)), current: self.current, answers })
    }

    fn cells(&self) -> Result<Vec<CellRow>, Box<Missing>> {
        let mut missing = Missing::default();
        let mut cells = Vec::new();
        for (cell, moves) in &self.moves {
            let Some(known) = self.known.cell(cell) else {
                missing.wanted.cells.insert(cell.clone());
                continue;
            };
            let mut hash: LtHash = known.clone();
            hash.apply(moves);
            cells.push(CellRow { cell: cell.clone(), hash });
        }
        if missing.is_empty() { Ok(cells) } else { Err(Box::new(missing)) }
    }
}
