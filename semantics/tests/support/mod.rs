//! Authors who write mutations as a spoke does, for the tests of the rules.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use semantics::clock::{HybridTime, Stamp};
use semantics::conflict::{self, Conflict, Side};
use semantics::decide::{Context, Decision, Parsed, decide, needs_ancestor, parse};
use semantics::envelope::{Base, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use semantics::ids::{
    Domain, Dot, Incarnation, Key, Kind, MutationId, NodeId, RecordId, Revision, Salt, Writer,
};
use semantics::kind::{Policy, Rule};
use semantics::version::Version;

pub const POLICIES: [Policy; 3] = [Policy::LastWriter, Policy::Fields, Policy::AppendOnly];
pub const ORDERED: [Policy; 6] =
    [Policy::ThreeWay, Policy::Branch, Policy::Consensus, Policy::Manual, Policy::Resolver, Policy::ByType];

pub fn rule(policy: Policy) -> Rule {
    Rule { policy, facet_field: Some("a".to_owned()), version: Revision::ZERO }
}

pub fn placement(domain: &str) -> Placement {
    Placement { domain: Domain::new(domain).unwrap(), subject: None }
}

pub fn context() -> Context {
    Context::new(placement("default"))
}

pub fn key() -> Key {
    Key { kind: Kind::new("thing").unwrap(), id: RecordId::new("one").unwrap() }
}

pub fn put(body: &str) -> Op {
    Op::Put { body: body.as_bytes().to_vec().into() }
}

pub fn patch(set: &str, remove: &[&str]) -> Op {
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    Op::Patch { set: set.as_bytes().to_vec().into(), remove }
}

pub fn parsed(mutation: &Mutation) -> Parsed {
    parse(mutation.clone()).unwrap()
}

/// Every stamp that a record still holds.
pub fn stamps(record: &Record) -> impl Iterator<Item = Stamp> + '_ {
    let fields = record.fields.values().map(|field| field.stamp);
    fields.chain([record.stamp, record.placement_stamp])
}

/// One writer: counts its dots, and ticks past what it has seen.
#[derive(Debug, Clone)]
pub struct Author {
    pub writer: Writer,
    pub n: u64,
    pub time: HybridTime,
}

impl Author {
    pub fn new(name: u8) -> Self {
        let writer = Writer { node: NodeId([name; 16]), epoch: 1 };
        Self { writer, n: 0, time: HybridTime::ZERO }
    }

    /// Writes on the record as this author sees it; a put on a tombstone begins the next incarnation.
    pub fn write(&mut self, view: Option<&Record>, op: Op, now_ms: u64) -> Mutation {
        self.n += 1;
        let seen = view.into_iter().flat_map(stamps).map(|stamp| stamp.time).max();
        self.time = self.time.max(seen.unwrap_or(HybridTime::ZERO)).tick(now_ms);
        let creates_again = view.is_some_and(Record::is_deleted) && matches!(op, Op::Put { .. });
        let incarnation = view.map_or(Incarnation::ZERO, |record| record.incarnation);
        let mut bytes = [0; 16];
        bytes[0] = self.writer.node.0[0];
        bytes[8..].copy_from_slice(&self.n.to_be_bytes());
        Mutation {
            id: MutationId(bytes),
            dot: Dot { writer: self.writer, n: self.n },
            group: None,
            key: key(),
            op,
            placement: None,
            incarnation: if creates_again { incarnation.next() } else { incarnation },
            base: Base {
                version: view.map(|record| record.version.clone()).unwrap_or_default(),
                revision: Revision::ZERO,
                own: None,
            },
            time: self.time,
            written_ms: now_ms,
            author: self.writer.node,
            key_id: KEY_ID_CLEAR,
            salt: Salt(bytes),
            signature: None,
        }
    }
}

/// One record at the hub, with its open conflicts by path.
#[derive(Debug, Clone)]
pub struct Hub {
    pub rule: Rule,
    pub record: Option<Record>,
    pub conflicts: BTreeMap<String, (RecordId, Conflict)>,
    pub last: Revision,
    pub revisions: BTreeMap<Stamp, Revision>,
    /// What stood at each version, and what each mutation wrote.
    pub bodies: Vec<(Version, Vec<u8>)>,
    pub written: BTreeMap<Dot, Vec<u8>>,
    /// Each mutation that took effect, with the record from there on.
    pub rows: BTreeMap<Revision, (Mutation, Record)>,
}

impl Hub {
    pub fn new(policy: Policy) -> Self {
        Self {
            rule: rule(policy),
            record: None,
            conflicts: BTreeMap::new(),
            last: Revision::ZERO,
            revisions: BTreeMap::new(),
            bodies: Vec::new(),
            written: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }

    /// The body that a mutation was made on.
    pub fn ancestor(&self, mutation: &Mutation) -> Option<Vec<u8>> {
        match mutation.base.own {
            Some(own) => self.written.get(&own).cloned(),
            None => {
                let mut bodies = self.bodies.iter();
                bodies.find(|(version, _)| *version == mutation.base.version).map(|(_, body)| body.clone())
            }
        }
    }

    /// A hub that has taken these, in this order.
    pub fn after(policy: Policy, mutations: &[&Mutation]) -> Self {
        let mut hub = Self::new(policy);
        for mutation in mutations {
            hub.take(mutation);
        }
        hub
    }

    pub fn view(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub fn body(&self) -> Option<&str> {
        self.view()?.body().map(|body| std::str::from_utf8(body).unwrap())
    }

    pub fn take(&mut self, mutation: &Mutation) -> Decision {
        let around = Context { revision: Some(self.last.next()), ..context() };
        let needs = needs_ancestor(self.view(), mutation, &self.rule, &around.retired);
        let around = Context { ancestor: self.ancestor(mutation).filter(|_| needs), ..around };
        let decision = decide(self.record.as_ref(), &parsed(mutation), &self.rule, &around);
        if let Some(record) = decision.record() {
            assert!(record.version.contains(mutation.dot));
            self.last = self.last.next();
            self.bodies.extend(record.body().map(|body| (record.version.clone(), body.to_vec())));
            if let Op::Put { body } = &mutation.op {
                self.written.insert(mutation.dot, body.to_vec());
            }
            self.revisions.insert(mutation.stamp(), self.last);
            self.rows.insert(self.last, (mutation.clone(), record.clone()));
            self.record = Some(record.clone());
        }
        for clash in decision.clashes() {
            let side = |stamp| Side { stamp, revision: self.revisions[&stamp] };
            let open = self.conflicts.remove(&clash.path);
            let sides = (side(clash.winner), side(clash.loser));
            let base = &mutation.base;
            let folded = conflict::fold(open, &mutation.key, clash, sides, base.revision, &base.version);
            self.conflicts.insert(clash.path.clone(), folded);
        }
        decision
    }
}
