//! Ordered policies at a hub, and policies set at run time.

use std::sync::Arc;

use gateway::hub::error::HubError;
use gateway::store::Current;
use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, NodeId, RecordId, Revision};
use semantics::kind::{Declaration, Policy};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::resolution::Choice;
use serde_json::{Value, json};

use super::resolutions::{conflict, resolve, undo};
use crate::support::author::{put, revision};
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::rows::key;
use crate::support::world::World;

async fn set(world: &World, kind: &str, policy: Option<Policy>) -> Result<Revision, HubError> {
    world.hub.set_policy(&world.tenant, NodeId::HUB, &Kind::new(kind).unwrap(), policy).await
}

async fn declare(world: &World, declaration: Value) -> Result<Revision, HubError> {
    let declaration: Declaration = serde_json::from_value(declaration).unwrap();
    world.hub.apply_kind(&world.tenant, NodeId::HUB, &declaration).await
}

async fn stands(world: &World, subject: &Key) -> Current {
    world.current(subject).await.unwrap()
}

async fn open_paths(world: &World, subject: &Key) -> Vec<String> {
    let open = stands(world, subject).await.pointer.open;
    open.into_iter().map(|open| open.path).collect()
}

/// Two nodes write on the same state; the second is later.
async fn clash(world: &World, subject: &Key, base: &str, one: &str, two: &str) -> [Outcome; 2] {
    let names = [1, 2].map(|n| format!("{}-{}-{n}", subject.kind, subject.id));
    let mut first = world.author(&names[0], "default").await;
    let mut second = world.author(&names[1], "default").await;
    first.put(subject, base).await;
    let seen = world.current(subject).await;
    let one = first.write(subject, seen.as_ref(), put(one));
    world.clock.advance(5);
    let two = second.write(subject, seen.as_ref(), put(two));
    [first.settle(&[one]).await.remove(0), second.settle(&[two]).await.remove(0)]
}

pub async fn concurrent_changes_are_merged_against_what_their_author_saw(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = key("knowledge", "tides");
    let told = clash(
        &world,
        &subject,
        r#"{"sources":["a"],"title":"Tides","unit":{"height":"ft","time":"h"}}"#,
        r#"{"sources":["a"],"title":"Tides","unit":{"height":"m","time":"h"}}"#,
        r#"{"sources":["a","b"],"title":"Ebb and flood","unit":{"height":"ft","time":"min"}}"#,
    );
    assert!(matches!(told.await, [Outcome::Applied { .. }, Outcome::Merged { .. }]));
    let merged = r#"{"sources":["a","b"],"title":"Ebb and flood","unit":{"height":"m","time":"min"}}"#;
    assert_eq!(world.body(&subject).await.as_deref(), Some(merged));
    assert_eq!(open_paths(&world, &subject).await, Vec::<String>::new());
    let current = stands(&world, &subject).await;
    let made = world.row(current.pointer.revision).await.unwrap();
    assert_eq!(current.record.version.get(&semantics::ids::Writer::HUB), made.revision.0);
    world.check().await;
}

pub async fn own_changes_without_an_answer_are_merged_one_by_one(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = key("knowledge", "a");
    let mut away = world.author("away", "default").await;
    let mut other = world.author("other", "default").await;
    away.put(&subject, r#"{"a":0,"b":0}"#).await;
    let seen = world.current(&subject).await;
    other.put(&subject, r#"{"a":0,"b":"other"}"#).await;
    world.clock.advance(5);
    let mut offline = vec![away.write(&subject, seen.as_ref(), put(r#"{"a":1,"b":0}"#))];
    for n in 2..=20 {
        let last = offline.last().unwrap();
        let next = away.write_on(last, put(&format!(r#"{{"a":{n},"b":0}}"#)));
        let mut version = last.base.version.clone();
        version.add(last.dot);
        offline.push(semantics::envelope::Mutation {
            base: semantics::envelope::Base { version, ..next.base.clone() },
            ..next
        });
    }
    // Some in one push, and some in another, between which somebody else writes.
    let (first, rest) = offline.split_at(10);
    let told = away.push(first).await.unwrap();
    assert_eq!(told.waits, None);
    other.put(&subject, r#"{"a":10,"b":"again"}"#).await;
    world.clock.advance(5);
    let told = away.settle(rest).await;
    assert!(told.iter().all(|outcome| outcome.revision().is_some()), "{told:?}");
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"a":20,"b":"again"}"#));
    assert_eq!(open_paths(&world, &subject).await, Vec::<String>::new());
    world.check().await;
}

pub async fn branches_are_kept_whole(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = key("identity", "ada");
    let told = clash(&world, &subject, r#"{"is":1}"#, r#"{"is":2}"#, r#"{"is":3}"#).await;
    assert!(matches!(told, [Outcome::Applied { .. }, Outcome::Conflicted { .. }]));
    assert_eq!(
        (world.body(&subject).await.as_deref(), open_paths(&world, &subject).await.len()),
        (Some(r#"{"is":3}"#), 1)
    );
    let open = stands(&world, &subject).await.pointer.open.remove(0);
    let conflict = stands(&world, &key("conflict", open.id.as_str())).await;
    let conflict: Conflict = serde_json::from_slice(conflict.record.body().unwrap()).unwrap();
    let lost = world.row(conflict.losers[0].revision).await.unwrap();
    assert_eq!(lost.record.body(), Some(r#"{"is":2}"#.as_bytes()));
    world.check().await;
}

pub async fn what_does_not_fit_the_schema_together_is_kept_whole(engine: &Engine) {
    let world = World::new(engine).await;
    // At most two members: each side adds one.
    let recipe = json!({"name": "recipe", "policy": "three_way", "schema": {"maxProperties": 2}});
    declare(&world, recipe).await.unwrap();
    let subject = key("recipe", "soup");
    let told = clash(&world, &subject, r#"{"a":1}"#, r#"{"a":1,"b":1}"#, r#"{"a":1,"c":1}"#).await;
    assert!(matches!(told, [Outcome::Applied { .. }, Outcome::Conflicted { .. }]));
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"a":1,"c":1}"#));
    assert_eq!(open_paths(&world, &subject).await, [""]);
    world.check().await;
}

pub async fn a_policy_applies_from_its_revision_on(engine: &Engine) {
    let world = World::new(engine).await;
    let (one, two) = (r#"{"a":1,"b":0}"#, r#"{"a":0,"b":1}"#);
    let before = clash(&world, &key("note", "1"), r#"{"a":0,"b":0}"#, one, two).await;
    assert!(matches!(before[1], Outcome::Conflicted { .. }));
    let at = set(&world, "note", Some(Policy::ThreeWay)).await.unwrap();
    assert_eq!(
        set(&world, "note", Some(Policy::ThreeWay)).await.unwrap(),
        at,
        "the same again changes nothing"
    );
    let after = clash(&world, &key("note", "2"), r#"{"a":0,"b":0}"#, one, two).await;
    assert!(matches!(after[1], Outcome::Merged { .. }));
    let row = world.row(revision(&after[1])).await.unwrap();
    assert_eq!(row.rule_version, at);
    // Another gateway, which has not written it, knows it as well.
    let other = world.another_hub();
    let policy = other.policy(&world.tenant, &Kind::new("note").unwrap()).await.unwrap();
    assert_eq!((policy.policy(), policy.set, policy.version), (Policy::ThreeWay, Some(Policy::ThreeWay), at));
    let reset = set(&world, "note", None).await.unwrap();
    let back = clash(&world, &key("note", "3"), r#"{"a":0,"b":0}"#, one, two).await;
    assert!(matches!(back[1], Outcome::Conflicted { .. }));
    let row = world.row(revision(&back[1])).await.unwrap();
    assert_eq!(row.rule_version, reset);
    world.check().await;
}

pub async fn rules_that_open_conflicts_could_not_be_read_under_are_refused(engine: &Engine) {
    let world = World::new(engine).await;
    let recipe = |policy: &str, schema: Value| json!({"name": "recipe", "policy": policy, "schema": schema});
    declare(&world, recipe("branch", json!(true))).await.unwrap();
    clash(&world, &key("recipe", "soup"), r#"{"a":0}"#, r#"{"a":"one"}"#, r#"{"a":2}"#).await;
    let refused = async |declaration| declare(&world, declaration).await.unwrap_err().reason();
    let numbers = json!({"properties": {"a": {"type": "number"}}});
    assert_eq!(refused(recipe("branch", numbers)).await, Reason::ConflictsOpen);
    assert_eq!(refused(recipe("fields", json!(true))).await, Reason::ConflictsOpen);
    let reason = set(&world, "recipe", Some(Policy::Fields)).await.unwrap_err().reason();
    assert_eq!(reason, Reason::ConflictsOpen);
    // What the sides fit, and policies that take bodies whole, are no trouble.
    declare(&world, recipe("branch", json!({"required": ["a"]}))).await.unwrap();
    set(&world, "recipe", Some(Policy::ThreeWay)).await.unwrap();
    let unknown = set(&world, "oven", Some(Policy::Branch)).await.unwrap_err().reason();
    assert_eq!(unknown, Reason::NotFound);
    world.check().await;
}

pub async fn a_conflict_is_shown_and_settled_by_the_policy_that_was_set(engine: &Engine) {
    let world = World::new(engine).await;
    set(&world, "entity", Some(Policy::ThreeWay)).await.unwrap();
    let subject = key("entity", "lamp");
    let [base, one, two] = [1, 2, 3].map(|n| format!(r#"{{"light":{{"hue":1,"level":{n}}}}}"#));
    let told = clash(&world, &subject, &base, &one, &two).await;
    assert!(matches!(told, [Outcome::Applied { .. }, Outcome::Conflicted { .. }]));
    assert_eq!(open_paths(&world, &subject).await, ["/light/level"]);
    let id = stands(&world, &subject).await.pointer.open.remove(0).id;
    let disputed = world.hub.disputed(&world.tenant, &id, None).await.unwrap();
    assert_eq!(disputed.kind.rule.policy, Policy::ThreeWay);
    resolve(&world, &id, Choice::Side(disputed.conflict.losers[0].stamp.dot)).await.unwrap();
    assert_eq!(world.body(&subject).await.as_deref(), Some(one.as_str()));
    assert_eq!(open_paths(&world, &subject).await, Vec::<String>::new());
    world.check().await;
}

pub async fn a_policy_is_not_set_over_a_conflict_that_opens_while_it_is(engine: &Engine) {
    let world = World::new(engine).await;
    declare(&world, json!({"name": "recipe", "policy": "branch"})).await.unwrap();
    let recipe = Kind::new("recipe").unwrap();
    let slow = Arc::new(FaultStore::new(Arc::clone(&world.store)));
    let other = world.hub_on(Arc::<FaultStore>::clone(&slow));
    let declaration = |policy: &str, schema: Value| {
        serde_json::from_value::<Declaration>(json!({"name": "recipe", "policy": policy, "schema": schema}))
            .unwrap()
    };
    let (fields, numbers) = (
        declaration("fields", json!(true)),
        declaration("branch", json!({"properties": {"a": {"type": "number"}}})),
    );
    for (n, (id, declared)) in
        [("soup", None), ("stew", Some(&fields)), ("cake", Some(&numbers))].into_iter().enumerate()
    {
        let tried = slow.tries_and_turns().0;
        slow.stand(true);
        let setting = async {
            match declared {
                None => other.set_policy(&world.tenant, NodeId::HUB, &recipe, Some(Policy::Fields)).await,
                Some(declared) => other.apply_kind(&world.tenant, NodeId::HUB, declared).await,
            }
        };
        // It has looked, and found none; its commit is under way.
        let opening = async {
            while slow.tries_and_turns().0 == tried {
                tokio::task::yield_now().await;
            }
            let told = clash(&world, &key("recipe", id), r#"{"a":0}"#, r#"{"a":"one"}"#, r#"{"a":2}"#).await;
            slow.stand(false);
            told
        };
        let (refused, told) = futures::join!(setting, opening);
        assert!(matches!(told[1], Outcome::Conflicted { .. }), "{told:?}");
        assert_eq!(refused.unwrap_err().reason(), Reason::ConflictsOpen, "{n}");
        let stands = other.policy(&world.tenant, &recipe).await.unwrap();
        assert_eq!((stands.policy(), stands.set), (Policy::Branch, None));
        let open = conflict_of(&world, &key("recipe", id)).await;
        settle(&world, &open).await;
    }
    // What opens and is settled again meanwhile, or is about another kind, is no reason.
    let tried = slow.tries_and_turns().0;
    slow.stand(true);
    let setting = other.set_policy(&world.tenant, NodeId::HUB, &recipe, Some(Policy::Fields));
    let opening = async {
        while slow.tries_and_turns().0 == tried {
            tokio::task::yield_now().await;
        }
        clash(&world, &key("recipe", "rice"), r#"{"a":0}"#, r#"{"a":"one"}"#, r#"{"a":2}"#).await;
        settle(&world, &conflict_of(&world, &key("recipe", "rice")).await).await;
        clash(&world, &key("note", "n"), r#"{"a":0}"#, r#"{"a":"one"}"#, r#"{"a":2}"#).await;
        slow.stand(false);
    };
    futures::join!(setting, opening).0.unwrap();
    assert_eq!(other.policy(&world.tenant, &recipe).await.unwrap().policy(), Policy::Fields);
    world.check().await;
}

pub async fn an_undo_under_a_policy_that_reads_its_path_otherwise_is_refused(engine: &Engine) {
    let world = World::new(engine).await;
    for (from, to, is_refused) in [
        (Policy::ThreeWay, Policy::Fields, true),
        (Policy::Fields, Policy::ThreeWay, true),
        (Policy::ThreeWay, Policy::Branch, false),
    ] {
        set(&world, "knowledge", Some(from)).await.unwrap();
        let subject = key("knowledge", &format!("{}-{}", from.name(), to.name()));
        let (base, early, late) = (r#"{"a":"0"}"#, r#"{"a":"early"}"#, r#"{"a":"late"}"#);
        clash(&world, &subject, base, early, late).await;
        let id = conflict_of(&world, &subject).await;
        let loser = conflict(&world, &id).await.1.losers[0].stamp.dot;
        resolve(&world, &id, Choice::Side(loser)).await.unwrap();
        assert_eq!(world.body(&subject).await.as_deref(), Some(early));
        set(&world, "knowledge", Some(to)).await.unwrap();
        let undone = undo(&world, &id).await;
        if is_refused {
            assert_eq!(undone.unwrap_err().reason(), Reason::Stale);
            assert_eq!(open_paths(&world, &subject).await, Vec::<String>::new());
            set(&world, "knowledge", Some(from)).await.unwrap();
            undo(&world, &id).await.unwrap();
        }
        assert_eq!(world.body(&subject).await.as_deref(), Some(late), "{from:?} {to:?}");
        settle(&world, &id).await;
    }
    world.check().await;
}

/// A rule declared as data says what may not be said twice; the kind's policy settles it.
pub async fn two_changes_that_follow_one_state_are_a_conflict_and_both_are_kept(engine: &Engine) {
    let world = World::new(engine).await;
    let change = |to: &str| format!(r#"{{"parent":"7","resource":"lamp","to":"{to}"}}"#);
    for (name, policy, stands) in [
        ("change", Policy::AppendOnly, "on"),
        ("branched", Policy::Branch, "off"),
        ("asked", Policy::Manual, "off"),
    ] {
        let rule = json!({"name": name, "policy": policy.name(), "id_of": ["resource", "parent"]});
        declare(&world, rule).await.unwrap();
        let mut one = world.author(&format!("one-{name}"), "default").await;
        let mut two = world.author(&format!("two-{name}"), "default").await;
        let subject = key(name, r#"["lamp","7"]"#);
        let first = one.write(&subject, None, put(&change("on")));
        world.clock.advance(5);
        let second = two.write(&subject, None, put(&change("off")));
        one.settle(&[first]).await;
        let told = two.settle(&[second]).await.remove(0);
        assert!(matches!(told, Outcome::Conflicted { .. }), "{told:?}");
        assert_eq!(world.body(&subject).await, Some(change(stands)));
        let id = conflict_of(&world, &subject).await;
        let disputed = world.hub.disputed(&world.tenant, &id, None).await.unwrap();
        for side in disputed.conflict.sides() {
            assert!(disputed.row(side.revision).is_some(), "both are kept");
        }
        // Nobody says it under another id, so nobody says it unseen.
        let elsewhere = one.put(&key(name, "mine"), &change("on")).await;
        assert!(
            matches!(&elsewhere, Outcome::Rejected(refusal) if refusal.reason == Reason::SchemaViolation)
        );
        one.put(&key(name, r#"["lamp",null]"#), r#"{"resource":"lamp","to":"new"}"#).await;
        settle(&world, &id).await;
    }
    world.check().await;
}

async fn conflict_of(world: &World, subject: &Key) -> RecordId {
    stands(world, subject).await.pointer.open[0].id.clone()
}

async fn settle(world: &World, id: &RecordId) {
    resolve(world, id, Choice::Keep).await.unwrap();
}

pub async fn what_a_newer_gateway_set_for_a_kind_decides_nothing_here(engine: &Engine) {
    let world = World::new(engine).await;
    let (hub, tenant, note) = (&world.hub, &world.tenant, Kind::new("note").unwrap());
    let mut author = world.author("laptop", "default").await;
    author.put(&key("note", "before"), "{}").await;
    let policy = Key { kind: Kind::new("policy").unwrap(), id: RecordId::new("note").unwrap() };
    let Value::Object(newer) = json!({"policy": "coin_toss"}) else { panic!() };
    hub.set_control(tenant, NodeId::HUB, policy, Some(newer), Revision::ZERO).await.unwrap();
    assert_eq!(hub.policy(tenant, &note).await.unwrap_err().reason(), Reason::ProtocolVersion);
    assert_eq!(hub.policy_told(tenant, &note).await.unwrap().1.as_deref(), Some("coin_toss"));
    let declared = declare(&world, json!({"name": "note", "policy": "fields"})).await;
    assert_eq!(declared.unwrap_err().reason(), Reason::ProtocolVersion);
    // It is not refused for good: a gateway that reads it takes it.
    let late = author.write(&key("note", "late"), None, put("{}"));
    let told = author.push(std::slice::from_ref(&late)).await.unwrap();
    let waits = told.waits.unwrap();
    assert!(told.outcomes.is_empty() && waits.retry_after_ms > 0);
    assert_eq!(waits.reason, Reason::ProtocolVersion);
    // Whoever sets it anew here knows what applies from then on.
    set(&world, "note", None).await.unwrap();
    assert_eq!(hub.policy(tenant, &note).await.unwrap().policy(), Policy::LastWriter);
    assert!(matches!(author.settle(&[late]).await[0], Outcome::Applied { .. }));
    world.check().await;
}
