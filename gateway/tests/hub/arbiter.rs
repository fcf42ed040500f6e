//! Conflicts that the hub settles by a rule: precedents, and votes.

use std::sync::Arc;

use gateway::hub::error::HubError;
use gateway::hub::work::{Settled, Settler};
use semantics::conflict::Conflict;
use semantics::envelope::Op;
use semantics::ids::{Kind, NodeId, RecordId, Revision};
use semantics::kind::Policy;
use semantics::outcome::Outcome;
use semantics::precedent::{Binding, Precedent};
use semantics::reason::Reason;
use semantics::resolution::{Choice, Chosen, Wanted};
use serde_json::json;

use super::resolutions::{Quarrel, conflict, resolve, undo};
use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::faults::{Fault, FaultStore};
use crate::support::rows::key;
use crate::support::world::World;

fn deciding() -> Settler {
    let (name, reason) = ("acme/ann".to_owned(), "the first word counts".to_owned());
    Settler { author: NodeId([9; 16]), name, is_node: false, reason, binds: true }
}

async fn decide(world: &World, id: &RecordId, choice: Choice) -> Result<Settled, HubError> {
    let at = conflict(world, id).await.0;
    world.hub.resolve(&world.tenant, (id, at), &choice, deciding()).await
}

fn texts(early: &str, late: &str) -> [Op; 2] {
    [early, late].map(|text| put(&json!({ "t": text }).to_string()))
}

async fn notes(world: &World, id: &str, early: &str, late: &str) -> Quarrel {
    Quarrel::of(world, key("note", id), r#"{"t":"0"}"#, texts(early, late)).await
}

/// The precedent that the world's only decision set.
async fn precedent(world: &World, signature: &RecordId) -> Option<Precedent> {
    let current = world.current(&key("precedent", signature.as_str())).await?;
    current.record.body().map(|body| serde_json::from_slice(body).unwrap())
}

async fn signature(world: &World, id: &RecordId) -> RecordId {
    world.hub.disputed(&world.tenant, id, None).await.unwrap().signature().unwrap().id()
}

pub async fn a_like_conflict_is_settled_by_its_precedent(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    let binding = signature(&world, &id).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let set = precedent(&world, &binding).await.unwrap();
    assert_eq!((set.binding, set.uses, &set.conflict), (Binding::Earlier, 0, &id));
    assert_eq!(
        (set.account.name.as_str(), set.account.reason.as_str()),
        ("acme/ann", "the first word counts")
    );
    world.hub.arbitrate().await.unwrap();

    let mut settled = Vec::new();
    for name in ["second", "third"] {
        let like = notes(&world, name, "other", "words").await;
        let id = like.id(&world).await;
        assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"words"}"#));
        assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
        assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"other"}"#));
        let (_, closed) = conflict(&world, &id).await;
        let resolution = closed.resolution.unwrap();
        assert!(!closed.open);
        assert_eq!(resolution.account.name, format!("precedent/{binding}"));
        assert!(resolution.account.reason.contains("acme/ann"), "{}", resolution.account.reason);
        assert_eq!(resolution.choice, Chosen::Side(like.early.dot));
        settled.push(id);
    }
    assert_eq!(precedent(&world, &binding).await.unwrap().uses, 2);
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0, "nothing waits twice");
    world.check().await;
}

pub async fn a_near_miss_waits_for_a_person(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let others = [
        ("entity", texts("other", "words")),
        ("note", [Op::Delete, put(r#"{"t":"words"}"#)]),
        ("note", [put(r#"{"t":"other"}"#), Op::Delete]),
    ];
    for (n, (kind, ops)) in others.into_iter().enumerate() {
        let other = Quarrel::of(&world, key(kind, &format!("other-{n}")), r#"{"t":"0"}"#, ops).await;
        let id = other.id(&world).await;
        assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
        assert!(conflict(&world, &id).await.1.open, "{kind} {n}");
    }
    world.check().await;
}

pub async fn a_precedent_binds_in_its_own_tenant_alone(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    let binding = signature(&world, &id).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    // The other tenant has a rule too, so that its conflicts are judged.
    let other = world.beside("globex").await;
    let edge = Kind::new("edge").unwrap();
    other.hub.set_policy(&other.tenant, NodeId::HUB, &edge, Some(Policy::Consensus)).await.unwrap();
    let like = notes(&other, "second", "other", "words").await;
    let like = like.id(&other).await;
    assert_eq!(signature(&other, &like).await, binding);
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&other, &like).await.1.open);
    assert_eq!(precedent(&other, &binding).await, None);
    assert_eq!(precedent(&world, &binding).await.unwrap().uses, 0);
    let revoked = other.hub.revoke_precedent(&other.tenant, NodeId([9; 16]), &binding).await.unwrap_err();
    assert_eq!(revoked.reason(), Reason::NotFound);
    world.check().await;
    other.check().await;
}

pub async fn a_precedent_that_is_revoked_settles_nothing_more(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    let binding = signature(&world, &id).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let like = notes(&world, "second", "other", "words").await;
    let author = NodeId([9; 16]);
    world.hub.revoke_precedent(&world.tenant, author, &binding).await.unwrap();
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &like.id(&world).await).await.1.open);
    let again = world.hub.revoke_precedent(&world.tenant, author, &binding).await.unwrap_err();
    assert_eq!(again.reason(), Reason::NotFound);
    assert!(!conflict(&world, &id).await.1.open, "what was decided stays so");
    world.check().await;
}

/// The call that led its commit went away while the store was about to say that it had happened.
pub async fn what_a_commit_opened_that_nobody_was_told_of_is_judged_all_the_same(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let faulty = Arc::new(FaultStore::new(engine.store()));
    let hub = world.hub_on(Arc::<FaultStore>::clone(&faulty));
    let subject = key("note", "second");
    let mut one = world.author("one", "default").await;
    let mut two = world.author("two", "default").await.at(&hub);
    one.put(&subject, r#"{"t":"0"}"#).await;
    let seen = world.current(&subject).await;
    let [early, late] = texts("other", "words");
    let early = one.write(&subject, seen.as_ref(), early);
    world.clock.advance(10);
    let late = [two.write(&subject, seen.as_ref(), late)];
    one.settle(&[early]).await;
    faulty.fail(&[Fault::HangsAfter]);
    tokio::select! {
        answered = two.push(&late) => panic!("{answered:?}"),
        () = faulty.hung() => {}
    }
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"t":"words"}"#));
    assert_eq!(hub.arbitrate().await.unwrap(), 1);
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"t":"other"}"#));
    world.check().await;
}

pub async fn who_took_a_resolution_back_is_not_overruled(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let like = notes(&world, "second", "other", "words").await;
    let like_id = like.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    undo(&world, &like_id).await.unwrap();
    world.hub.docket().add(&world.tenant, gateway::hub::docket::Cases::All);
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &like_id).await.1.open);
    assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"words"}"#));
    world.check().await;
}

pub async fn what_stood_before_a_decision_is_not_bound_by_it(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let before = notes(&world, "before", "other", "words").await;
    let id = first.id(&world).await;
    decide(&world, &id, Choice::Side(first.early.dot)).await.unwrap();
    let other = world.another_hub();
    other.docket().first(&world.tenant);
    assert_eq!(other.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &before.id(&world).await).await.1.open);
    // What came up in another gateway's commits is found by who looks after the tenant for the first time.
    let after = notes(&world, "after", "other", "words").await;
    let after = after.id(&world).await;
    let third = world.another_hub();
    third.docket().first(&world.tenant);
    assert_eq!(third.arbitrate().await.unwrap(), 1);
    assert!(!conflict(&world, &after).await.1.open);
    world.check().await;
}

pub async fn only_what_is_said_of_any_two_sides_becomes_a_precedent(engine: &Engine) {
    let world = World::new(engine).await;
    let first = notes(&world, "first", "early", "late").await;
    let id = first.id(&world).await;
    let before = world.revision().await;
    let value = decide(&world, &id, Choice::Value(Some(json!({"t": "both"})))).await.unwrap_err();
    assert_eq!((value.reason(), world.revision().await), (Reason::Malformed, before));
    decide(&world, &id, Choice::Policy(Policy::AppendOnly)).await.unwrap();
    let (_, closed): (Revision, Conflict) = conflict(&world, &id).await;
    assert!(!closed.open);
    let like = notes(&world, "second", "other", "words").await;
    let like_id = like.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"other"}"#));
    assert_eq!(resolve(&world, &like_id, Choice::Keep).await.unwrap_err().reason(), Reason::Stale);
    world.check().await;
}

fn snapshot(depth: u8, priority: f64) -> String {
    let metrics = json!({"current_is_score": 1, "parameter_values": {"D": depth, "C": 0.8, "R": 0.9}});
    json!({
        "sync_metadata": {"precedence_priority": priority},
        "identity_snapshot": {"stability_metrics": metrics},
    })
    .to_string()
}

async fn identities(world: &World, bodies: [String; 2]) -> Quarrel {
    let kind = Kind::new("identity").unwrap();
    let policy = Some(Policy::Consensus);
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, policy).await.unwrap();
    Quarrel::of(world, key("identity", "me"), &snapshot(5, 0.5), bodies.map(|body| put(&body))).await
}

pub async fn states_of_a_consensus_kind_vote(engine: &Engine) {
    let world = World::new(engine).await;
    // The later state stands until they have voted; it is the weaker one.
    let quarrel = identities(&world, [snapshot(6, 0.5), snapshot(2, 0.5)]).await;
    let id = quarrel.id(&world).await;
    assert_eq!(world.body(&quarrel.subject).await, Some(snapshot(2, 0.5)));
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(world.body(&quarrel.subject).await, Some(snapshot(6, 0.5)));
    let (_, closed) = conflict(&world, &id).await;
    let account = closed.resolution.unwrap().account;
    assert_eq!(account.name, "consensus");
    assert!(account.reason.contains(&quarrel.early.dot.to_string()), "{}", account.reason);
    undo(&world, &id).await.unwrap();
    world.hub.docket().add(&world.tenant, gateway::hub::docket::Cases::All);
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0, "a person took it back");
    world.check().await;
}

fn sound((depth, retention, coherence): (u8, f64, f64)) -> String {
    let values = json!({"D": depth, "C": retention, "R": coherence});
    json!({"identity_snapshot": {"stability_metrics": {"parameter_values": values}}}).to_string()
}

/// Two sides of `base`, in a record of this name.
async fn states(world: &World, id: &str, base: &str, sides: &[String; 2]) -> Quarrel {
    let sides = sides.each_ref().map(|body| put(body));
    Quarrel::of(world, key("identity", id), base, sides).await
}

pub async fn what_weighs_or_judges_is_asked_as_if_the_policy_were_set(engine: &Engine) {
    let world = World::new(engine).await;
    let kind = Kind::new("identity").unwrap();
    let set = async |policy| {
        world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(policy)).await.unwrap();
    };
    let base = sound((5, 0.8, 0.8));
    for (n, sides) in [
        [(6, 0.8, 0.9), (2, 0.8, 0.9)],
        // The later one has collapsed; then each holds, and what both changed would not.
        [(4, 0.8, 0.8), (1, 0.5, 0.5)],
        [(2, 0.8, 0.8), (5, 0.4, 0.8)],
    ]
    .into_iter()
    .enumerate()
    {
        let sides = sides.map(sound);
        set(Policy::Branch).await;
        let id = states(&world, &format!("past-{n}"), &base, &sides).await.id(&world).await;
        let disputed = world.hub.disputed(&world.tenant, &id, None).await.unwrap();
        resolve(&world, &id, Choice::Keep).await.unwrap();
        for policy in [
            Policy::LastWriter,
            Policy::Fields,
            Policy::ThreeWay,
            Policy::Branch,
            Policy::Consensus,
            Policy::Manual,
            Policy::Resolver,
            Policy::ByType,
        ] {
            let before = world.revision().await;
            let told = world.hub.foreseen(&world.tenant, &disputed, policy).await.unwrap();
            assert_eq!(world.revision().await, before, "nothing is changed");
            set(policy).await;
            let again = states(&world, &format!("{}-{n}", policy.name()), &base, &sides).await;
            world.hub.arbitrate().await.unwrap();
            let Ok(Wanted::Value(would)) = told.would else { panic!("{policy:?} {n}: {:?}", told.would) };
            assert_eq!(world.body(&again.subject).await, Some(would.to_string()), "{policy:?} {n}");
            let open = world.current(&again.subject).await.unwrap().pointer.open;
            assert_eq!(!open.is_empty(), told.waits, "{policy:?} {n}");
            for open in open {
                resolve(&world, &open.id, Choice::Keep).await.unwrap();
            }
        }
    }
    world.check().await;
}

pub async fn a_rule_that_is_set_speaks_of_what_is_open(engine: &Engine) {
    let world = World::new(engine).await;
    let kind = Kind::new("identity").unwrap();
    let set = async |policy| {
        world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(policy)).await.unwrap();
    };
    set(Policy::Branch).await;
    let sides = [(6, 0.8, 0.9), (2, 0.8, 0.9)].map(sound);
    let quarrel = states(&world, "me", &sound((5, 0.8, 0.8)), &sides).await;
    let id = quarrel.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    // How its sides came apart was not looked for, so that the matrix leaves it to a person; a vote needs no type.
    set(Policy::ByType).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &id).await.1.open);
    set(Policy::Consensus).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(world.body(&quarrel.subject).await.as_ref(), Some(&sides[0]));
    world.check().await;
}

/// Decides a conflict as a precedent, and gives what comes of one like it whose sides are these.
async fn like(
    world: &World,
    base: &str,
    decided: [String; 2],
    choice: Choice,
    sides: [String; 2],
) -> Quarrel {
    let first = states(world, "first", base, &decided).await;
    let id = first.id(world).await;
    decide(world, &id, choice).await.unwrap();
    let second = states(world, "second", base, &sides).await;
    assert_eq!(signature(world, &second.id(world).await).await, signature(world, &id).await);
    second
}

pub async fn no_rule_lets_a_collapsed_state_stand_over_a_healthy_one(engine: &Engine) {
    let world = World::new(engine).await;
    let kind = Kind::new("identity").unwrap();
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(Policy::Branch)).await.unwrap();
    let base = sound((5, 0.8, 0.8));
    // Each holds; put together they have collapsed.
    let sides = [(2, 0.8, 0.8), (5, 0.4, 0.8)].map(sound);
    let harmless = [(6, 0.8, 0.8), (5, 0.9, 0.8)].map(sound);
    let both = Choice::Policy(Policy::ThreeWay);
    let second = like(&world, &base, harmless, both, sides.clone()).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &second.id(&world).await).await.1.open, "it waits for a person");
    assert_eq!(world.body(&second.subject).await.as_ref(), Some(&sides[1]));
    // A person may say so.
    resolve(&world, &second.id(&world).await, Choice::Policy(Policy::ThreeWay)).await.unwrap();
    assert_eq!(world.body(&second.subject).await, Some(sound((2, 0.4, 0.8))));
    world.check().await;
}

pub async fn a_collapsed_state_does_not_overwrite_a_healthy_one(engine: &Engine) {
    let world = World::new(engine).await;
    let (subject, mut agent) = (key("identity", "me"), world.author("agent", "default").await);
    let (healthy, collapsed) = (snapshot(5, 0.5), snapshot(1, 0.9));
    agent.put(&subject, &healthy).await;
    for priority in [0.9, 0.8, 0.7] {
        world.clock.advance(10);
        let seen = world.current(&subject).await;
        let write = agent.write(&subject, seen.as_ref(), put(&snapshot(1, priority)));
        let taken = agent.settle(std::slice::from_ref(&write)).await;
        assert!(matches!(taken[0], Outcome::Conflicted { .. }), "{taken:?}");
        assert_eq!(world.body(&subject).await.as_deref(), Some(healthy.as_str()));
    }
    // What its writer has itself written over is no side any more: one conflict with one side beside what stands.
    let open = world.current(&subject).await.unwrap().pointer.open;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(conflict(&world, &open[0].id).await.1.losers.len(), 1);
    // A person may say that it is so; the state of before is then one more decision away.
    let loser = conflict(&world, &open[0].id).await.1.losers[0].stamp.dot;
    resolve(&world, &open[0].id, Choice::Side(loser)).await.unwrap();
    assert_ne!(world.body(&subject).await.as_deref(), Some(healthy.as_str()));
    undo(&world, &open[0].id).await.unwrap();
    assert_eq!(world.body(&subject).await.as_deref(), Some(healthy.as_str()));
    resolve(&world, &open[0].id, Choice::Keep).await.unwrap();
    // Under the stamp alone it is another body.
    let kind = Kind::new("identity").unwrap();
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(Policy::LastWriter)).await.unwrap();
    world.clock.advance(10);
    agent.put(&subject, &collapsed).await;
    assert_eq!(world.body(&subject).await, Some(collapsed));
    world.check().await;
}

pub async fn a_side_that_nobody_can_read_leaves_it_to_a_person(engine: &Engine) {
    let world = World::new(engine).await;
    let (kind, policy) = (Kind::new("identity").unwrap(), Some(Policy::Consensus));
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, policy).await.unwrap();
    let ops = [Op::Delete, put(&snapshot(6, 0.2))];
    let quarrel = Quarrel::of(&world, key("identity", "me"), &snapshot(5, 0.5), ops).await;
    let id = quarrel.id(&world).await;
    assert_eq!(world.hub.arbitrate().await.unwrap(), 0);
    assert!(conflict(&world, &id).await.1.open);
    world.check().await;
}
