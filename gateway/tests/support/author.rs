//! A node's stream as its replica would write it.

use std::sync::Arc;

use gateway::ambient::Clock as _;
use gateway::hub::error::HubError;
use gateway::hub::{Hub, Principal};
use gateway::store::Current;
use semantics::clock::{HybridTime, Stamp};
use semantics::cursor::Cursor;
use semantics::digest::mutation_digest;
use semantics::envelope::{Base, GroupPlace, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use semantics::ids::{Digest, Domain, Dot, GroupId, Incarnation, Key, MutationId, Revision, Salt, Writer};
use semantics::outcome::Outcome;
use semantics::session::{About, Hello, PROTOCOL_VERSION, Push, PushItem, Results, StreamState};

use super::ambient::TestClock;
use super::world::World;

/// One writer.
#[derive(Debug, Clone)]
pub struct Author {
    pub hub: Arc<Hub>,
    pub who: Principal,
    pub writer: Writer,
    /// Last counter given out.
    pub n: u64,
    /// Outcomes are confirmed up to here.
    pub confirmed_n: u64,
    pub time: HybridTime,
    last_digest: Option<Digest>,
    clock: Arc<TestClock>,
}

impl Author {
    pub async fn open(world: &World, who: Principal) -> Self {
        let (welcome, _) = world.hub.hello(&who, &hello(None, None)).await.unwrap();
        let (hub, clock) = (Arc::clone(&world.hub), Arc::clone(&world.clock));
        let writer = welcome.writer;
        Self { hub, who, writer, n: 0, confirmed_n: 0, time: HybridTime::ZERO, last_digest: None, clock }
    }

    /// The same replica, connected elsewhere.
    pub fn at(&self, hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), ..self.clone() }
    }

    /// Writes on what this author sees of the record, and gives the mutation its dot.
    pub fn write(&mut self, key: &Key, seen: Option<&Current>, op: Op) -> Mutation {
        let record = seen.map(|seen| &seen.record);
        let stamps = record.into_iter().flat_map(stamps).map(|stamp| stamp.time).max();
        self.time = self.time.max(stamps.unwrap_or(HybridTime::ZERO)).tick(self.clock.now_ms());
        let reborn = record.is_some_and(Record::is_deleted) && matches!(op, Op::Put { .. });
        let incarnation = record.map_or(Incarnation::ZERO, |record| record.incarnation);
        let base = Base {
            version: record.map(|record| record.version.clone()).unwrap_or_default(),
            revision: seen.map(|seen| seen.pointer.revision).unwrap_or_default(),
            own: None,
        };
        self.n += 1;
        let mut id = self.who.node.0;
        id[0] = self.writer.epoch.to_be_bytes()[3];
        id[1..9].copy_from_slice(&self.n.to_be_bytes());
        let mutation = Mutation {
            id: MutationId(id),
            dot: Dot { writer: self.writer, n: self.n },
            group: None,
            key: key.clone(),
            op,
            placement: None,
            incarnation: if reborn { incarnation.next() } else { incarnation },
            base,
            time: self.time,
            written_ms: self.time.ms,
            author: self.who.node,
            key_id: KEY_ID_CLEAR,
            salt: Salt(id),
            signature: None,
        };
        self.last_digest = Some(mutation_digest(&mutation));
        mutation
    }

    /// Writes on this author's own mutation, which it has no answer to yet.
    pub fn write_on(&mut self, previous: &Mutation, op: Op) -> Mutation {
        let mutation = self.write(&previous.key, None, op);
        let base = Base { own: Some(previous.dot), ..previous.base.clone() };
        let mutation = Mutation { base, incarnation: previous.incarnation, ..mutation };
        self.last_digest = Some(mutation_digest(&mutation));
        mutation
    }

    /// Writes with the record placed in a domain.
    pub fn write_in(&mut self, domain: &str, key: &Key, seen: Option<&Current>, op: Op) -> Mutation {
        let placement = Some(Placement { domain: Domain::new(domain).unwrap(), subject: None });
        let mutation = Mutation { placement, ..self.write(key, seen, op) };
        self.last_digest = Some(mutation_digest(&mutation));
        mutation
    }

    pub async fn push(&self, mutations: &[Mutation]) -> Result<Results, HubError> {
        self.push_items(mutations.iter().map(item).collect()).await
    }

    pub async fn push_items(&self, items: Vec<PushItem>) -> Result<Results, HubError> {
        let push = Push { writer: self.writer, confirmed_n: self.confirmed_n, items };
        self.hub.push(&self.who, push).await
    }

    /// Pushes, and notes the outcomes as received.
    pub async fn settle(&mut self, mutations: &[Mutation]) -> Vec<Outcome> {
        let results = self.push(mutations).await.unwrap();
        assert_eq!(results.waits, None);
        self.confirmed_n = self.n;
        outcomes(&results)
    }

    /// Puts on what stands at the hub.
    pub async fn put(&mut self, key: &Key, body: &str) -> Outcome {
        let seen = self.hub.record(&self.who.tenant, key).await.unwrap();
        let mutation = self.write(key, seen.as_ref(), put(body));
        self.settle(&[mutation]).await.remove(0)
    }

    pub async fn put_in(&mut self, domain: &str, key: &Key, body: &str) -> Outcome {
        let seen = self.hub.record(&self.who.tenant, key).await.unwrap();
        let mutation = self.write_in(domain, key, seen.as_ref(), put(body));
        self.settle(&[mutation]).await.remove(0)
    }

    pub async fn delete(&mut self, key: &Key) -> Outcome {
        let seen = self.hub.record(&self.who.tenant, key).await.unwrap();
        let mutation = self.write(key, seen.as_ref(), Op::Delete);
        self.settle(&[mutation]).await.remove(0)
    }

    /// What its replica says of the stream.
    pub fn stream(&self) -> StreamState {
        StreamState {
            epoch: self.writer.epoch,
            last_n: self.n,
            last_digest: self.last_digest,
            answered_n: self.confirmed_n,
        }
    }

    pub fn hello(&self, cursor: Option<Cursor>) -> Hello {
        hello(Some(self.stream()), cursor)
    }
}

pub fn hello(stream: Option<StreamState>, cursor: Option<Cursor>) -> Hello {
    let about = About::default();
    let credit_bytes = 64 * 1024 * 1024;
    let lineage = Vec::new();
    Hello { protocol: PROTOCOL_VERSION, stream, cursor, resume: None, credit_bytes, about, lineage }
}

pub fn item(mutation: &Mutation) -> PushItem {
    PushItem::Mutation(Box::new(mutation.clone()))
}

pub fn withdrawal(mutation: &Mutation) -> PushItem {
    PushItem::Withdraw { n: mutation.dot.n, mutation: mutation.id, digest: mutation_digest(mutation) }
}

/// Makes the mutations one group.
pub fn group(mut mutations: Vec<Mutation>) -> Vec<Mutation> {
    let size = u32::try_from(mutations.len()).unwrap();
    let id = GroupId(mutations[0].id.0);
    for (mutation, index) in mutations.iter_mut().zip(0..) {
        mutation.group = Some(GroupPlace { id, index, size });
    }
    mutations
}

/// The outcomes, all of which must be there.
pub fn outcomes(results: &Results) -> Vec<Outcome> {
    results.outcomes.iter().map(|result| result.outcome.clone().unwrap()).collect()
}

pub fn revision(outcome: &Outcome) -> Revision {
    outcome.revision().unwrap_or_else(|| panic!("{outcome:?}"))
}

pub fn put(body: &str) -> Op {
    Op::Put { body: body.as_bytes().to_vec().into() }
}

pub fn patch(set: &str) -> Op {
    Op::Patch { set: set.as_bytes().to_vec().into(), remove: Vec::new() }
}

fn stamps(record: &Record) -> impl Iterator<Item = Stamp> + '_ {
    let fields = record.fields.values().map(|field| field.stamp);
    fields.chain([record.stamp, record.placement_stamp])
}
