//! Valid appends, built step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gateway::store::{
    AnsweredRange, Append, Appended, CellRow, CommitRow, Departed, LogPage, LogQuery, LogRow, OpenConflict,
    Pointer, PointerQuery, RowOutcome, Space, Store, Wanted, WriterRow,
};
use semantics::clock::{HybridTime, Stamp};
use semantics::commit::Head;
use semantics::digest;
use semantics::envelope::{Base, Cell, Content, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use semantics::ids::{
    CommitNumber, Digest, Domain, Dot, Facet, Incarnation, Key, Kind, LogId, MutationId, NodeId, RecordId,
    Revision, Salt, TenantId, Writer,
};
use semantics::lthash::LtHash;
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;

pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}
pub fn key(kind: &str, id: &str) -> Key {
    Key { kind: Kind::new(kind).unwrap(), id: RecordId::new(id).unwrap() }
}
pub fn note(id: &str) -> Key {
    key("note", id)
}
pub fn writer(n: u8) -> Writer {
    Writer { node: NodeId([n; 16]), epoch: 1 }
}
pub fn cell(domain: &str, kind: &str, facet: Option<&str>) -> Cell {
    let facet = facet.map(|facet| Facet::new(facet).unwrap());
    Cell { domain: Domain::new(domain).unwrap(), kind: Kind::new(kind).unwrap(), facet }
}
pub fn everything(after: Revision) -> LogQuery {
    LogQuery { after, rows_max: 100_000, bytes_max: usize::MAX, keys: BTreeSet::new(), with_cells: true }
}
pub fn all_records() -> PointerQuery {
    PointerQuery { rows_max: 100_000, bytes_max: usize::MAX, ..PointerQuery::default() }
}
pub fn wanted(keys: &[&Key]) -> Wanted {
    Wanted { keys: keys.iter().map(|key| (*key).clone()).collect(), ..Wanted::default() }
}

/// One tenant's log as the test has written it.
#[derive(Debug, Clone)]
pub struct Log {
    pub tenant: TenantId,
    pub head: Head,
    pub pointers: BTreeMap<Key, Pointer>,
    pub cells: BTreeMap<Cell, LtHash>,
    pub is_made: bool,
    last_n: u64,
}

impl Log {
    /// Makes the tenant.
    pub async fn create(store: &dyn Store, name: &str) -> Self {
        let log = Self::unmade(tenant(name)).made();
        assert!(store.create_tenant(&log.tenant, &log.head).await.unwrap());
        log
    }

    /// The log of a tenant that is not there yet.
    pub fn unmade(tenant: TenantId) -> Self {
        let head = Head::empty(LogId([7; 16]));
        Self { tenant, head, pointers: BTreeMap::new(), cells: BTreeMap::new(), is_made: false, last_n: 0 }
    }

    /// The same once the tenant is there.
    pub fn made(&self) -> Self {
        Self { is_made: true, ..self.clone() }
    }

    /// The next commit.
    pub fn draft(&self) -> Draft {
        let head = Head { commit: self.head.commit.next(), time_ms: self.head.time_ms + 1, ..self.head };
        Draft {
            expected: self.head.commit,
            expected_chain: self.head.chain,
            first: self.head.revision.next(),
            after: Self { head, ..self.clone() },
            rows: Vec::new(),
            changed: BTreeSet::new(),
            touched: BTreeSet::new(),
            outcomes: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Appends and steps over it.
    pub async fn append(&mut self, store: &dyn Store, draft: Draft) -> Append {
        let (append, after) = draft.build();
        assert_eq!(store.append(&self.tenant, &append).await.unwrap(), Appended::Yes);
        *self = after;
        append
    }

    /// Puts each id in a commit of its own.
    pub async fn put_each(&mut self, store: &dyn Store, ids: &[&str]) {
        for id in ids {
            let draft = self.draft().put(&note(id), id.as_bytes());
            self.append(store, draft).await;
        }
    }
}

/// A commit in the making.
#[derive(Debug, Clone)]
pub struct Draft {
    expected: CommitNumber,
    expected_chain: Digest,
    first: Revision,
    after: Log,
    rows: Vec<LogRow>,
    changed: BTreeSet<Key>,
    touched: BTreeSet<Cell>,
    outcomes: Vec<DotOutcome>,
    holds: Vec<(Revision, bool)>,
}

impl Draft {
    pub fn put(self, key: &Key, body: &[u8]) -> Self {
        let to = cell("default", key.kind.as_str(), None);
        self.put_in(&to, key, body)
    }

    pub fn put_in(self, to: &Cell, key: &Key, body: &[u8]) -> Self {
        self.place(key, to, Content::Live(body.to_vec().into()))
    }

    pub fn delete(self, key: &Key) -> Self {
        let to = self.after.pointers[key].cell.clone();
        self.place(key, &to, Content::Deleted)
    }

    /// Whether the log has had this record.
    pub fn has(&self, key: &Key) -> bool {
        self.after.pointers.contains_key(key)
    }

    /// Consumes a dot without effect.
    pub fn reject(mut self, detail: &str) -> Self {
        let outcome = Outcome::Rejected(Refusal::new(Reason::SchemaViolation, detail));
        self.consume(outcome);
        self
    }

    pub fn hold(mut self, revision: u64, hold: bool) -> Self {
        self.holds.push((Revision(revision), hold));
        self
    }

    pub fn open_conflict(mut self, key: &Key, path: &str, id: &str) -> Self {
        let pointer = self.after.pointers.get_mut(key).unwrap();
        pointer.open.push(OpenConflict { path: path.to_owned(), id: RecordId::new(id).unwrap() });
        self.changed.insert(key.clone());
        self
    }

    pub fn horizon(mut self, horizon: u64) -> Self {
        self.after.head.horizon = Revision(horizon);
        self
    }

    fn consume(&mut self, outcome: Outcome) -> (Dot, MutationId) {
        self.after.last_n += 1;
        let dot = Dot { writer: writer(1), n: self.after.last_n };
        let mut id = MutationId([1; 16]);
        id.0[8..].copy_from_slice(&dot.n.to_be_bytes());
        let digest = Digest([u8::try_from(dot.n % 251).unwrap(); 32]);
        self.outcomes.push(DotOutcome { dot, mutation: id, digest, outcome });
        (dot, id)
    }

    fn place(mut self, key: &Key, to: &Cell, content: Content) -> Self {
        let revision = self.after.head.revision.next();
        self.after.head.revision = revision;
        let (dot, id) = self.consume(Outcome::Applied { revision });
        let record = record(key, to, content, dot);
        let old = self.after.pointers.get(key).cloned();
        let mutation = mutation(&record, id, old.as_ref());
        let digest = digest::record_digest(&record);
        if let Some(old) = old.as_ref().filter(|old| !old.deleted) {
            self.after.cells.get_mut(&old.cell).unwrap().remove(&old.digest);
            self.touched.insert(old.cell.clone());
        }
        if !record.is_deleted() {
            self.after.cells.entry(to.clone()).or_default().add(&digest);
        }
        self.touched.insert(to.clone());
        let moved = old.as_ref().filter(|old| old.cell != *to);
        let pointer = Pointer {
            key: key.clone(),
            cell: to.clone(),
            since: old.as_ref().filter(|_| moved.is_none()).map_or(revision, |old| old.since),
            revision,
            deleted: record.is_deleted(),
            digest,
            open: old.as_ref().map(|old| old.open.clone()).unwrap_or_default(),
        };
        self.rows.push(LogRow {
            revision,
            previous: old.as_ref().map(|old| old.revision).unwrap_or_default(),
            commit: self.after.head.commit,
            cell: to.clone(),
            departed: moved.map(|old| Departed { cell: old.cell.clone(), since: old.since }),
            dot,
            mutation: Some(mutation),
            record,
            outcome: RowOutcome::Applied,
            rule_version: Revision::ZERO,
        });
        self.changed.insert(key.clone());
        self.after.pointers.insert(key.clone(), pointer);
        self
    }

    /// The append, and the log after it.
    pub fn build(mut self) -> (Append, Log) {
        let leaf = Digest([u8::try_from(self.after.head.commit.0 % 251).unwrap(); 32]);
        self.after.head.chain = digest::chain(&self.after.head.chain, &leaf);
        let head = self.after.head;
        let cells = &self.after.cells;
        let hash = |cell: &Cell| cells.get(cell).cloned().unwrap_or_default();
        let append = Append {
            expected: self.expected,
            expected_chain: self.expected_chain,
            head,
            commit: CommitRow {
                number: head.commit,
                first: self.first,
                last: head.revision,
                chain: head.chain,
                leaf,
                time_ms: head.time_ms,
                horizon: head.horizon,
                outcomes: self.outcomes,
            },
            rows: self.rows,
            pointers: self.changed.iter().map(|key| self.after.pointers[key].clone()).collect(),
            writers: vec![writer_row(writer(1), self.after.last_n, head.commit)],
            cells: self.touched.iter().map(|cell| CellRow { cell: cell.clone(), hash: hash(cell) }).collect(),
            holds: self.holds,
        };
        (append, self.after)
    }
}

pub fn writer_row(writer: Writer, last_n: u64, commit: CommitNumber) -> WriterRow {
    let answered = vec![AnsweredRange { first_n: 1, last_n, commit }];
    WriterRow { writer, last_n, last_digest: Digest([9; 32]), confirmed_n: 0, answered, closed: false }
}

fn record(key: &Key, to: &Cell, content: Content, dot: Dot) -> Record {
    let stamp = Stamp { time: HybridTime { ms: dot.n, counter: 0 }, dot };
    Record {
        key: key.clone(),
        placement: Placement { domain: to.domain.clone(), subject: None },
        placement_stamp: stamp,
        facet: to.facet.clone().filter(|_| content != Content::Deleted),
        incarnation: Incarnation::ZERO,
        version: Version::of(dot),
        stamp,
        author: dot.writer.node,
        key_id: KEY_ID_CLEAR,
        salt: Salt([3; 16]),
        content,
        fields: BTreeMap::new(),
        inputs: BTreeMap::new(),
    }
}

fn mutation(record: &Record, id: MutationId, old: Option<&Pointer>) -> Mutation {
    Mutation {
        id,
        dot: record.stamp.dot,
        group: None,
        key: record.key.clone(),
        op: record.body().map_or(Op::Delete, |body| Op::Put { body: body.to_vec().into() }),
        placement: Some(record.placement.clone()),
        incarnation: record.incarnation,
        base: Base { revision: old.map(|old| old.revision).unwrap_or_default(), ..Base::default() },
        time: record.stamp.time,
        written_ms: record.stamp.time.ms,
        author: record.author,
        key_id: KEY_ID_CLEAR,
        salt: record.salt,
        signature: None,
    }
}

/// Everything a store returns of a tenant, as text: equal texts are equal stores.
pub async fn snapshot(store: &dyn Store, tenant: &TenantId) -> String {
    let LogPage { head, entries, reaches_head, cells, .. } =
        store.log_page(tenant, &everything(Revision::ZERO)).await.unwrap();
    let pointers = store.pointer_page(tenant, &all_records()).await.unwrap();
    let commits = store.commits_after(tenant, CommitNumber::ZERO, 100_000).await.unwrap();
    let writers = store.writers(tenant, None, None, 100_000).await.unwrap();
    let asked = (0..=head.revision.0).map(Revision).collect();
    let held = store.held(tenant, &asked).await.unwrap();
    let mut text = format!("{head:?} {reaches_head}\n");
    entries.iter().for_each(|entry| writeln!(text, "{entry:?}").unwrap());
    cells.iter().for_each(|cell| writeln!(text, "{cell:?}").unwrap());
    pointers.rows.iter().for_each(|row| writeln!(text, "{row:?}").unwrap());
    writeln!(text, "{commits:?}\n{writers:?}\n{held:?}").unwrap();
    for (space, _) in Space::ALL {
        writeln!(text, "{:?}", store.plain_page(tenant, space, None, 100_000).await.unwrap()).unwrap();
    }
    text
}
