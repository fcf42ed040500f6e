//! A hub small enough to read: one tenant, one view, everything in memory, the rules of `semantics`.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "support of tests")]

pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use semantics::builtin;
use semantics::cursor::{Change, Cursor, Cut, Departure, Next, Page};
use semantics::decide::{Context, Decision, decide, parse};
use semantics::digest::{mutation_digest, record_digest};
use semantics::envelope::{Mutation, Placement, Record};
use semantics::ids::{
    CommitNumber, Digest, Domain, Dot, Key, Kind, LogId, NodeId, RecordId, Revision, Writer,
};
use semantics::lthash::LtHash;
use semantics::outcome::{DotOutcome, Outcome, Transient};
use semantics::reason::{Reason, Refusal};
use semantics::recovery::Recovery;
use semantics::session::{
    DotResult, Hello, Limits, PROTOCOL_VERSION, Push, PushItem, Reconcile, Reconciliation, Results, Welcome,
};
use semantics::view::View;
use serde_json::{Map, Value};
use spoke::replica::{Entropy, Greeting, Identity, Replica, WelcomeTaken, Write, WriteOp};
use spoke::sync::Settled;

pub(crate) use self::store::TestStore;

pub(crate) const NODE: NodeId = NodeId([7; 16]);
pub(crate) const NOW: u64 = 1_000_000;

/// Counts instead of guessing.
#[derive(Debug, Default)]
pub(crate) struct Counting(pub(crate) AtomicU64);

impl Entropy for Counting {
    fn bytes16(&self) -> [u8; 16] {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes()
    }
}

pub(crate) fn key(kind: &str, id: &str) -> Key {
    Key { kind: Kind::new(kind).unwrap(), id: RecordId::new(id).unwrap() }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(crate) fn put(kind: &str, id: &str, body: Value) -> Write {
    Write { key: key(kind, id), op: WriteOp::Put(object(body)), placement: None }
}

pub(crate) fn identity(node: NodeId, place: &str) -> Identity {
    Identity { node, domain: Domain::default_domain(), place: place.to_owned() }
}

/// As after a kill.
pub(crate) async fn open(store: &Arc<TestStore>, place: &str, seed: u64) -> Replica {
    store.reopen().await;
    let store = Arc::clone(store);
    let entropy = Arc::new(Counting(AtomicU64::new(seed)));
    Replica::open(store, identity(NODE, place), entropy).await.unwrap()
}

pub(crate) async fn fresh() -> (Arc<TestStore>, Replica) {
    let store = Arc::new(TestStore::new().await);
    let replica = open(&store, "here", 0).await;
    (store, replica)
}

pub(crate) async fn body(replica: &Replica, kind: &str, id: &str) -> Option<Value> {
    let item = replica.get(&key(kind, id)).await.unwrap()?;
    item.body().unwrap().map(Value::Object)
}

#[derive(Clone)]
pub(crate) struct Row {
    commit: CommitNumber,
    revision: Revision,
    record: Record,
}

#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) log_id: LogId,
    pub(crate) commit: CommitNumber,
    pub(crate) revision: Revision,
    pub(crate) now_ms: u64,
    pub(crate) records: BTreeMap<Key, (Revision, Record)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) outcomes: Vec<(CommitNumber, DotOutcome)>,
    pub(crate) streams: BTreeMap<Writer, (u64, Option<Digest>)>,
    pub(crate) view: View,
    /// Refuses what touches this record.
    pub(crate) refuses: Option<Key>,
    /// Makes streams wait.
    pub(crate) waits: Option<Transient>,
    /// Up to where backups hold its log.
    pub(crate) backed_up: Option<Revision>,
    /// That its log went on from a backup and takes back what it lost.
    pub(crate) recovery: Option<Recovery>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            log_id: LogId([1; 16]),
            commit: CommitNumber::ZERO,
            revision: Revision::ZERO,
            now_ms: NOW,
            records: BTreeMap::new(),
            rows: Vec::new(),
            outcomes: Vec::new(),
            streams: BTreeMap::new(),
            view: View::of_domain(Domain::default_domain()),
            refuses: None,
            waits: None,
            backed_up: None,
            recovery: None,
        }
    }
}

impl Hub {
    pub(crate) fn hello(&mut self, node: NodeId, hello: &Hello) -> Result<Welcome, Refusal> {
        let writer = match hello.stream {
            None => self.open_epoch(node),
            Some(stream) => Writer { node, epoch: stream.epoch },
        };
        let (last_n, digest) = self.streams.get(&writer).copied().unwrap_or_default();
        if let Some(stream) = hello.stream {
            let differs = last_n == stream.last_n && last_n > 0 && digest != stream.last_digest;
            let is_returning = self.recovery.is_some_and(|recovery| {
                hello.cursor.is_some_and(|cursor| cursor.log_id == recovery.predecessor)
                    || hello.lineage.iter().any(|before| before.predecessor == recovery.predecessor)
            });
            if last_n < stream.answered_n && !is_returning {
                return Err(Refusal::new(Reason::LogForked, "lost commits"));
            }
            if last_n > stream.last_n || differs {
                return Err(Refusal::new(Reason::NodeForked, "a copy"));
            }
        }
        let limits = Limits {
            body_bytes_max: 1,
            message_bytes_max: 1,
            push_bytes_max: 1,
            unanswered_max: 256,
            group_mutations_max: 64,
            group_bytes_max: 1,
            clock_ahead_ms_max: 60_000,
        };
        Ok(Welcome {
            protocol: PROTOCOL_VERSION,
            log_id: self.log_id,
            writer,
            last_n,
            hub_time_ms: self.now_ms,
            limits,
            backup_watermark: self.backed_up,
            recovery: self.recovery,
            origin: self.recovery,
        })
    }

    pub(crate) fn open_epoch(&mut self, node: NodeId) -> Writer {
        let epoch = u32::try_from(self.streams.len()).unwrap() + 1;
        let writer = Writer { node, epoch };
        self.streams.insert(writer, (0, None));
        writer
    }

    /// One commit for each element or group.
    pub(crate) fn push(&mut self, push: &Push) -> Results {
        let mut outcomes = Vec::new();
        let group = |item: &PushItem| match item {
            PushItem::Mutation(mutation) => mutation.group.map(|group| group.id),
            PushItem::Withdraw { .. } => None,
        };
        for unit in push.items.chunk_by(|a, b| group(a).is_some() && group(a) == group(b)) {
            if let Some(waits) = self.wait_for(unit) {
                return Results { writer: push.writer, outcomes, waits: Some(waits) };
            }
            outcomes.extend(self.take(push.writer, unit));
        }
        Results { writer: push.writer, outcomes, waits: None }
    }

    fn wait_for(&self, unit: &[PushItem]) -> Option<Transient> {
        let (n, time) = match unit.first()? {
            PushItem::Mutation(mutation) => (mutation.dot.n, mutation.time),
            PushItem::Withdraw { .. } => return None,
        };
        let ahead = Transient { n, reason: Reason::ClockAhead, detail: String::new(), retry_after_ms: 1000 };
        let waits = self.waits.clone().map(|waits| Transient { n, ..waits });
        waits.or_else(|| time.is_ahead_of(self.now_ms).then_some(ahead))
    }

    fn take(&mut self, writer: Writer, unit: &[PushItem]) -> Vec<DotResult> {
        let known: Vec<Option<Outcome>> =
            unit.iter().map(|item| self.outcome(Dot { writer, n: number(item) })).collect();
        if known.iter().all(Option::is_some) {
            return known
                .into_iter()
                .zip(unit)
                .map(|(outcome, item)| result(item, outcome.unwrap()))
                .collect();
        }
        let before = (self.records.clone(), self.revision, self.rows.len());
        self.commit = self.commit.next();
        let mut outcomes: Vec<Outcome> = unit.iter().map(|item| self.one(item)).collect();
        let refused = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Rejected(_))).cloned();
        if refused.is_some() && unit.len() > 1 {
            (self.records, self.revision) = (before.0, before.1);
            self.rows.truncate(before.2);
            let group = Outcome::Rejected(Refusal::new(Reason::GroupRejected, "group"));
            for outcome in &mut outcomes {
                if outcome.revision().is_some() {
                    *outcome = group.clone();
                }
            }
        }
        for (item, outcome) in unit.iter().zip(&outcomes) {
            let (mutation, digest) = match item {
                PushItem::Mutation(mutation) => (mutation.id, mutation_digest(mutation)),
                PushItem::Withdraw { mutation, digest, .. } => (*mutation, *digest),
            };
            let dot = Dot { writer, n: number(item) };
            let (last_n, last_digest) = self.streams.get_mut(&writer).unwrap();
            assert_eq!(*last_n + 1, dot.n, "a writer's stream is dense");
            (*last_n, *last_digest) = (dot.n, Some(digest));
            self.outcomes.push((self.commit, DotOutcome { dot, mutation, digest, outcome: outcome.clone() }));
        }
        outcomes.into_iter().zip(unit).map(|(outcome, item)| result(item, outcome)).collect()
    }

    fn one(&mut self, item: &PushItem) -> Outcome {
        let PushItem::Mutation(mutation) = item else { return Outcome::Withdrawn };
        if self.refuses.as_ref() == Some(&mutation.key) {
            return Outcome::Rejected(Refusal::new(Reason::SchemaViolation, "refused here"));
        }
        self.decide(Mutation::clone(mutation))
    }

    pub(crate) fn decide(&mut self, mutation: Mutation) -> Outcome {
        let key = mutation.key.clone();
        let rule = builtin::builtin(&key.kind).unwrap().rule(Revision::ZERO);
        let context = Context::new(Placement { domain: Domain::default_domain(), subject: None });
        let parsed = match parse(mutation) {
            Ok(parsed) => parsed,
            Err(refusal) => return Outcome::Rejected(refusal),
        };
        let current = self.records.get(&key).map(|(_, record)| record);
        let decision = decide(current, &parsed, &rule, &context);
        let Some(record) = decision.record().cloned() else {
            let Decision::Rejected(refusal) = decision else { unreachable!() };
            return Outcome::Rejected(refusal);
        };
        self.revision = self.revision.next();
        let revision = self.revision;
        self.rows.push(Row { commit: self.commit, revision, record: record.clone() });
        self.records.insert(key, (revision, record));
        match decision {
            Decision::Applied(_) => Outcome::Applied { revision },
            Decision::Merged(_) => Outcome::Merged { revision },
            _ => Outcome::Conflicted { revision },
        }
    }

    pub(crate) fn outcome(&self, dot: Dot) -> Option<Outcome> {
        self.outcomes.iter().find(|(_, told)| told.dot == dot).map(|(_, told)| told.outcome.clone())
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            log_id: self.log_id,
            commit: self.commit,
            revision: self.revision,
            chain: Digest::default(),
            view_revision: Revision::ZERO,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut sum = LtHash::empty();
        for (_, record) in self.records.values() {
            if !record.is_deleted() && self.view.contains(&record.cell()) {
                sum.add(&record_digest(record));
            }
        }
        sum.finish()
    }

    /// Everything after a cursor in one cut.
    pub(crate) fn cut(&self, from: Option<Cursor>) -> Page {
        let after = from.map_or(Revision::ZERO, |cursor| cursor.revision);
        let changes = self
            .records
            .values()
            .filter(|(revision, record)| *revision > after && self.view.contains(&record.cell()))
            .map(|(revision, record)| Change { revision: *revision, record: record.clone() })
            .collect();
        let view = from.is_none().then(|| self.view.clone());
        let cut = Cut { cursor: self.cursor(), view, digest: Some(self.digest()) };
        Page { changes, departures: Vec::new(), next: Next::Cut(cut) }
    }

    pub(crate) fn reconcile(&mut self, node: NodeId, ask: &Reconcile) -> Reconciliation {
        let outcomes = self
            .outcomes
            .iter()
            .filter(|(commit, told)| *commit > ask.after && told.dot.writer.node == node)
            .map(|(_, told)| told.clone())
            .collect();
        let epoch = Some(self.open_epoch(node).epoch);
        Reconciliation { outcomes, next: None, epoch, told_to: Some(self.commit) }
    }
}

fn number(item: &PushItem) -> u64 {
    match item {
        PushItem::Mutation(mutation) => mutation.dot.n,
        PushItem::Withdraw { n, .. } => *n,
    }
}

fn result(item: &PushItem, outcome: Outcome) -> DotResult {
    DotResult { n: number(item), outcome: Some(outcome) }
}

pub(crate) fn cut_of(page: &Page) -> Cut {
    match &page.next {
        Next::Cut(cut) => cut.clone(),
        Next::Resume(_) => panic!("no cut"),
    }
}

pub(crate) fn page(changes: Vec<Change>, departures: Vec<Departure>, cut: Cut) -> Page {
    Page { changes, departures, next: Next::Cut(cut) }
}

/// Greets; the replica must be welcome.
pub(crate) async fn greet(replica: &Replica, hub: &mut Hub) {
    if replica.status().await.unwrap().writer.is_none() {
        reconcile(replica, hub).await;
    }
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!("no hello") };
    let welcome = hub.hello(replica.identity().node, &hello).unwrap();
    let taken = replica.take_welcome(&welcome, NOW).await.unwrap();
    assert!(matches!(taken, WelcomeTaken::Ready(_)), "{taken:?}");
}

/// Pushes once and settles the answer.
pub(crate) async fn push(replica: &Replica, hub: &mut Hub) -> Option<Settled> {
    let push = replica.next_push(NOW).await.unwrap()?;
    let results = hub.push(&push);
    replica.settle(&results, NOW).await.unwrap()
}

/// Applies everything the hub has; the digests must agree.
pub(crate) async fn pull(replica: &Replica, hub: &Hub) {
    let cursor = replica.status().await.unwrap().cursor;
    let page = hub.cut(cursor);
    let cut = cut_of(&page);
    let applied = replica.apply_cut(page, &cut).await.unwrap().unwrap();
    assert_ne!(applied.digest_matches, Some(false));
    assert_eq!(replica.confirmed_digest().await.unwrap(), (hub.revision, hub.digest()));
}

/// Pushes until nothing is left, then pulls.
pub(crate) async fn sync(replica: &Replica, hub: &mut Hub) {
    greet(replica, hub).await;
    while push(replica, hub).await.is_some() {}
    pull(replica, hub).await;
}

/// Opens an epoch by reconciliation.
pub(crate) async fn reconcile(replica: &Replica, hub: &mut Hub) {
    let ask = replica.prepare_reconcile().await.unwrap();
    let page = hub.reconcile(replica.identity().node, &ask);
    assert_eq!(replica.settle_reconciliation(&page).await.unwrap(), None);
}
