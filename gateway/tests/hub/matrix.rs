//! Conflicts of kinds with the policy `by_type`: how their sides came apart, and what the hub's arbiter makes of them.

use std::sync::Arc;

use gateway::hub::docket::Cases;
use gateway::hub::session::Session;
use semantics::conflict::Conflict;
use semantics::cursor::Cursor;
use semantics::identity::snapshot::state_hash;
use semantics::ids::{Key, Kind, NodeId, RecordId, Revision};
use semantics::kind::Policy;
use semantics::matrix::Cause;
use semantics::outcome::Outcome;
use semantics::resolution::{Choice, Chosen};
use semantics::session::{ClientMessage, Push, ServerMessage};
use serde_json::{Value, json};

use super::resolutions::{Quarrel, conflict, resolve, undo};
use crate::support::author::{Author, item, outcomes, put};
use crate::support::engine::Engine;
use crate::support::rows::key;
use crate::support::world::World;

/// A snapshot that holds what it says of itself.
fn state(name: &str, depth: u8, priority: f64) -> Value {
    let parameters = json!({"D": depth, "C": 0.5, "R": 1});
    let snapshot = json!({"context_state": {"conversation_summary": name},
        "stability_metrics": {"parameter_values": parameters}});
    let hash = state_hash(&snapshot).unwrap().to_string();
    let about = json!({"precedence_priority": priority, "state_hash": hash});
    json!({"sync_metadata": about, "identity_snapshot": snapshot})
}

/// One that was tampered with.
fn broken(name: &str) -> Value {
    let mut state = state(name, 6, 0.9);
    state["identity_snapshot"]["stability_metrics"]["parameter_values"]["C"] = json!(1);
    state
}

async fn here(world: &World) -> Cursor {
    let head = world.store.head(&world.tenant).await.unwrap();
    let (commit, revision) = (head.commit, head.revision);
    Cursor { log_id: head.log_id, commit, revision, chain: head.chain, view_revision: Revision::ZERO }
}

/// Two nodes that write on one record without each other.
struct Apart {
    one: Author,
    two: Author,
    subject: Key,
    cut: Cursor,
}

impl Apart {
    async fn new(world: &World, id: &str, base: &Value) -> Self {
        let mut one = world.author(&format!("one-{id}"), "default").await;
        let two = world.author(&format!("two-{id}"), "default").await;
        let subject = key("identity", id);
        one.put(&subject, &base.to_string()).await;
        Self { one, two, cut: here(world).await, subject }
    }

    /// The one writes, connected; the other, which is away, then comes back with what it wrote. `later_ms` is by how much
    /// the other's clock is later.
    async fn meet(&mut self, world: &World, ones: &[&Value], twos: &[&Value], later_ms: u64) {
        let seen = world.current(&self.subject).await;
        world.clock.advance(10);
        let mut written = Vec::new();
        for state in ones {
            self.one.put(&self.subject, &state.to_string()).await;
        }
        world.clock.advance(later_ms);
        for state in twos {
            let op = put(&state.to_string());
            written.push(match written.last() {
                None => self.two.write(&self.subject, seen.as_ref(), op),
                Some(previous) => self.two.write_on(previous, op),
            });
        }
        let back = self.two.n - u64::try_from(written.len()).unwrap();
        let stream = semantics::session::StreamState { last_n: back, ..self.two.stream() };
        let hello = crate::support::author::hello((back > 0).then_some(stream), Some(self.cut));
        let (mut session, welcome) = Session::open(&world.hub, self.two.who.clone(), &hello).await.unwrap();
        assert_eq!(welcome.writer, self.two.writer);
        let items = written.iter().map(item).collect();
        let push = Push { writer: self.two.writer, confirmed_n: self.two.confirmed_n, items };
        let told = session.on(ClientMessage::Push(push)).await.unwrap();
        let Some(ServerMessage::Results(results)) = told else { panic!("{told:?}") };
        let taken = outcomes(&results);
        assert!(matches!(taken[0], Outcome::Conflicted { .. }), "{taken:?}");
        self.two.confirmed_n = self.two.n;
    }

    async fn id(&self, world: &World) -> RecordId {
        let open = world.current(&self.subject).await.unwrap().pointer.open;
        assert_eq!(open.len(), 1, "{open:?}");
        open[0].id.clone()
    }

    async fn stands(&self, world: &World) -> Value {
        serde_json::from_str(&world.body(&self.subject).await.unwrap()).unwrap()
    }
}

async fn closed(world: &World, id: &RecordId) -> Conflict {
    let conflict = conflict(world, id).await.1;
    assert!(!conflict.open);
    conflict
}

/// Name; type and strategy; what the one writes, and the other; by how much the other is later, ms; what stands.
type Cell<'a> = (&'a str, (Cause, &'a str), &'a [&'a Value], &'a [&'a Value], u64, &'a Value);

pub async fn each_type_is_settled_its_way(engine: &Engine) {
    let world = World::new(engine).await;
    let (base, weak, strong) = (state("base", 4, 0.5), state("weak", 4, 0.5), state("strong", 6, 0.5));
    let (low, high, mid) = (state("low", 5, 0.1), state("high", 3, 0.9), state("mid", 4, 0.5));
    let bad = broken("bad");
    let version = (Cause::Version, "timestamp precedence");
    let cases: [Cell<'_>; 6] = [
        ("later", version, &[&strong], &[&weak], 5, &weak),
        ("healthier", (Cause::Version, "health"), &[&strong], &[&weak], 0, &strong),
        ("heavier", (Cause::Divergent, "weighted consensus"), &[&weak, &strong], &[&weak], 5, &strong),
        ("level", (Cause::Divergent, "rollback"), &[&weak], &[&mid, &mid], 0, &base),
        ("first", (Cause::SplitBrain, "precedence"), &[&mid, &high], &[&mid, &low], 5, &high),
        ("sound", (Cause::Corruption, "discard"), &[&weak], &[&bad], 5, &weak),
    ];
    for (name, (cause, strategy), ones, twos, later_ms, expected) in cases {
        let mut apart = Apart::new(&world, name, &base).await;
        apart.meet(&world, ones, twos, later_ms).await;
        let id = apart.id(&world).await;
        assert_eq!(conflict(&world, &id).await.1.cause, Some(cause), "{name}");
        let before = apart.stands(&world).await;
        assert_eq!(world.hub.arbitrate().await.unwrap(), 1, "{name}");
        assert_eq!(apart.stands(&world).await, *expected, "{name}");
        let account = closed(&world, &id).await.resolution.unwrap().account;
        let begins = format!("{}, {strategy}", cause.name());
        assert!(account.name == "by_type" && account.reason.starts_with(&begins), "{account:?}");
        // Whoever wants it otherwise takes it back, and is not overruled.
        undo(&world, &id).await.unwrap();
        assert_eq!(apart.stands(&world).await, before, "{name}");
        world.hub.docket().add(&world.tenant, Cases::All);
        assert_eq!(world.hub.arbitrate().await.unwrap(), 0, "{name}");
        resolve(&world, &id, Choice::Ancestor).await.unwrap();
        assert_eq!(apart.stands(&world).await, base, "{name}");
    }
    world.check().await;
}

pub async fn what_nobody_outweighs_waits_and_blocks_nothing(engine: &Engine) {
    let world = World::new(engine).await;
    let (base, ours, theirs) = (state("base", 4, 0.5), state("ours", 4, 0.5), state("theirs", 6, 0.5));
    let mut apart = Apart::new(&world, "me", &base).await;
    apart.meet(&world, &[&state("mine", 5, 0.5), &ours], &[&state("yours", 5, 0.5), &theirs], 5).await;
    let id = apart.id(&world).await;
    assert_eq!(conflict(&world, &id).await.1.type_name(), "split-brain");
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    // Others go on, and so does who writes over it; it waits for a person all the same.
    let mut other = Apart::new(&world, "other", &base).await;
    other.meet(&world, &[&ours], &[&theirs], 5).await;
    let others = other.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    closed(&world, &others).await;
    assert!(conflict(&world, &id).await.1.open);
    assert_eq!(apart.stands(&world).await, theirs);
    let lost = conflict(&world, &id).await.1.losers[0].stamp.dot;
    resolve(&world, &id, Choice::Side(lost)).await.unwrap();
    assert_eq!(apart.stands(&world).await, ours);
    undo(&world, &id).await.unwrap();
    assert_eq!(apart.stands(&world).await, theirs);
    world.check().await;
}

pub async fn a_state_that_does_not_hold_is_kept_and_a_sound_one_stands(engine: &Engine) {
    let world = World::new(engine).await;
    let (base, bad, worse) = (state("base", 4, 0.5), broken("bad"), broken("worse"));
    let mut apart = Apart::new(&world, "me", &base).await;
    // Written over what its author had seen: no other node is needed for it.
    let taken = apart.one.put(&apart.subject.clone(), &bad.to_string()).await;
    assert!(matches!(taken, Outcome::Conflicted { .. }), "{taken:?}");
    let id = apart.id(&world).await;
    assert_eq!(conflict(&world, &id).await.1.cause, Some(Cause::Corruption));
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(apart.stands(&world).await, base);
    // A person may have it so after all. What is then made of it by two nodes goes back to the last that held.
    undo(&world, &id).await.unwrap();
    resolve(&world, &id, Choice::Keep).await.unwrap();
    assert_eq!(apart.stands(&world).await, bad);
    apart.cut = here(&world).await;
    apart.meet(&world, &[&worse], &[&bad], 5).await;
    let id = apart.id(&world).await;
    assert_eq!(conflict(&world, &id).await.1.cause, Some(Cause::Corruption));
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(apart.stands(&world).await, base);
    let resolution = closed(&world, &id).await.resolution.unwrap();
    assert!(resolution.account.reason.starts_with("corruption, restore from history"), "{resolution:?}");
    assert_eq!(resolution.choice, Chosen::Value);
    // Who has never held anything sound has nothing to go back to.
    let mut never = Apart::new(&world, "never", &broken("first")).await;
    never.meet(&world, &[&worse], &[&bad], 5).await;
    let id = never.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &id).await.1.open);
    world.check().await;
}

pub async fn what_was_recorded_without_a_type_waits_for_a_person(engine: &Engine) {
    let world = World::new(engine).await;
    let kind = Kind::new("identity").unwrap();
    let set = |policy| world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, policy);
    set(Some(Policy::Branch)).await.unwrap();
    let ops = [state("early", 4, 0.5), state("late", 6, 0.5)].map(|state| put(&state.to_string()));
    let quarrel = Quarrel::of(&world, key("identity", "me"), "{}", ops).await;
    let id = quarrel.id(&world).await;
    set(None).await.unwrap();
    world.hub.docket().add(&world.tenant, Cases::All);
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    let (_, open) = conflict(&world, &id).await;
    assert!(open.open);
    assert_eq!((open.cause, open.type_name()), (None, "version"));
    world.check().await;
}

pub async fn who_wrote_over_a_conflict_is_not_overruled(engine: &Engine) {
    let world = World::new(engine).await;
    let (base, weak, strong) = (state("base", 4, 0.5), state("weak", 4, 0.5), state("strong", 6, 0.5));
    let mut apart = Apart::new(&world, "me", &base).await;
    apart.meet(&world, &[&weak], &[&strong], 5).await;
    let id = apart.id(&world).await;
    let both = state("both", 5, 0.5);
    apart.one.put(&apart.subject.clone(), &both.to_string()).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert_eq!(apart.stands(&world).await, both);
    assert!(conflict(&world, &id).await.1.open);
    let another = Arc::clone(&world.hub);
    another.docket().add(&world.tenant, Cases::All);
    assert_eq!(another.arbitrate().await.unwrap(), 0);
    world.check().await;
}
