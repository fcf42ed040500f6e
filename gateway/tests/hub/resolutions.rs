//! Conflicts settled and opened again.

use std::collections::BTreeSet;

use gateway::hub::Principal;
use gateway::hub::error::HubError;
use gateway::hub::work::{Settled, Settler};
use gateway::store::{LogRow, RowOutcome, Space};
use semantics::conflict::Conflict;
use semantics::envelope::{Mutation, Op};
use semantics::ids::{Dot, Incarnation, Key, NodeId, RecordId, Revision, Writer};
use semantics::kind::{Declaration, Policy};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::resolution::{Choice, Chosen, REASON_BYTES_MAX};
use serde_json::json;

use crate::support::author::{Author, patch, put, revision};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::{key, note};
use crate::support::world::World;

/// Two authors who disagree about a record: the one who stamps later stands.
pub struct Quarrel {
    one: Author,
    two: Author,
    pub subject: Key,
    pub early: Mutation,
    late: Mutation,
}

impl Quarrel {
    /// Both write on what `first` left; `ops` are what the earlier and the later write.
    pub async fn of(world: &World, subject: Key, first: &str, ops: [Op; 2]) -> Self {
        let name = |who: &str| format!("{who}-{}", subject.id);
        let mut one = world.author(&name("one"), "default").await;
        let mut two = world.author(&name("two"), "default").await;
        one.put(&subject, first).await;
        let seen = world.current(&subject).await;
        let [early, late] = ops;
        let early = one.write(&subject, seen.as_ref(), early);
        world.clock.advance(10);
        let late = two.write(&subject, seen.as_ref(), late);
        one.settle(std::slice::from_ref(&early)).await;
        let taken = two.settle(std::slice::from_ref(&late)).await;
        assert!(matches!(taken[0], Outcome::Conflicted { .. }), "{taken:?}");
        Self { one, two, subject, early, late }
    }

    async fn of_bodies(world: &World, kind: &str) -> Self {
        let subject = key(kind, "a");
        let ops = [put(r#"{"t":"early"}"#), put(r#"{"t":"late"}"#)];
        Self::of(world, subject, r#"{"t":"0","u":"0"}"#, ops).await
    }

    pub async fn id(&self, world: &World) -> RecordId {
        let open = world.current(&self.subject).await.unwrap().pointer.open;
        assert_eq!(open.len(), 1, "{open:?}");
        open[0].id.clone()
    }
}

/// A conflict as it stands.
pub async fn conflict(world: &World, id: &RecordId) -> (Revision, Conflict) {
    let current = world.current(&key("conflict", id.as_str())).await.unwrap();
    (current.pointer.revision, serde_json::from_slice(current.record.body().unwrap()).unwrap())
}

pub fn operator() -> Settler {
    Settler {
        author: NodeId([9; 16]),
        name: "acme/ann".to_owned(),
        is_node: false,
        reason: "asked them".to_owned(),
        binds: false,
    }
}

pub async fn resolve(world: &World, id: &RecordId, choice: Choice) -> Result<Settled, HubError> {
    let at = conflict(world, id).await.0;
    world.hub.resolve(&world.tenant, (id, at), &choice, operator()).await
}

pub async fn undo(world: &World, id: &RecordId) -> Result<Settled, HubError> {
    let at = conflict(world, id).await.0;
    world.hub.undo_resolution(&world.tenant, (id, at), operator()).await
}

fn reason<T: std::fmt::Debug>(answer: Result<T, HubError>) -> Reason {
    answer.unwrap_err().reason()
}

async fn held(world: &World) -> BTreeSet<Revision> {
    let all = (1..=world.revision().await.0).map(Revision).collect();
    world.store.held(&world.tenant, &all).await.unwrap()
}

async fn row(world: &World, revision: Revision) -> LogRow {
    world.row(revision).await.unwrap()
}

/// A reader that is at the head holds what the hub shows.
async fn shown_to(world: &World, reader: &mut Reader, subject: &Key) -> Option<String> {
    reader.catch_up(&world.hub).await.unwrap();
    let record = &reader.records.get(subject)?.record;
    record.body().map(|body| String::from_utf8(body.to_vec()).unwrap())
}

/// Every choice, on a kind of whole bodies and on one of fields: what stands afterwards, and that the commit holds the
/// record's row, right behind it the conflict's, and both say why.
pub async fn a_resolution_is_one_commit_that_says_why(engine: &Engine) {
    let world = World::new(engine).await;
    let kinds = [
        ("note", r#"{"t":"early"}"#, r#"{"t":"0","u":"0"}"#),
        ("entity", r#"{"t":"early","u":"0"}"#, r#"{"t":"0","u":"0"}"#),
    ];
    for (kind, early, ancestor) in kinds {
        for (name, expected) in
            [("side", early), ("ancestor", ancestor), ("value", r#"{"t":"both"}"#), ("append_only", early)]
        {
            let ops = if kind == "note" {
                [put(r#"{"t":"early"}"#), put(r#"{"t":"late"}"#)]
            } else {
                [patch(r#"{"t":"early"}"#), patch(r#"{"t":"late"}"#)]
            };
            let quarrel = Quarrel::of(&world, key(kind, name), r#"{"t":"0","u":"0"}"#, ops).await;
            let id = quarrel.id(&world).await;
            let before = world.current(&quarrel.subject).await.unwrap().pointer.revision;
            let is_field = kind == "entity";
            let both = if is_field { json!("both") } else { json!({"t": "both"}) };
            let choice = match name {
                "side" => Choice::Side(quarrel.early.dot),
                "ancestor" => Choice::Ancestor,
                "value" => Choice::Value(Some(both)),
                _ => Choice::Policy(Policy::AppendOnly),
            };
            let settled = resolve(&world, &id, choice.clone()).await.unwrap();
            let expected = if name == "value" && is_field { r#"{"t":"both","u":"0"}"# } else { expected };
            assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(expected), "{kind} {name}");
            let (at, closed) = conflict(&world, &id).await;
            assert_eq!((at, settled.conflict), (settled.subject.next(), at), "right behind it");
            let resolution = closed.resolution.unwrap();
            assert!(!closed.open && !resolution.account.name.is_empty());
            assert_eq!((resolution.before, resolution.account.revision), (before, settled.subject));
            assert_eq!((resolution.choice, resolution.account.by), (Chosen::from(&choice), NodeId([9; 16])));
            assert_eq!(resolution.account.reason, "asked them");
            let written = row(&world, settled.subject).await;
            assert_eq!(written.commit, row(&world, at).await.commit, "in one commit");
            assert_eq!((written.outcome, written.dot.writer), (RowOutcome::Control, Writer::HUB));
            assert_eq!(written.record.author, NodeId([9; 16]));
            assert_eq!(written.mutation.unwrap().base.revision, before);
            assert_eq!(world.current(&quarrel.subject).await.unwrap().pointer.open, []);
            assert!(
                row(&world, closed.losers[0].revision).await.mutation.is_some(),
                "what lost is in history"
            );
            assert_eq!(held(&world).await, BTreeSet::new());
            world.check().await;
        }
    }
}

pub async fn what_stands_is_kept_without_a_row(engine: &Engine) {
    let world = World::new(engine).await;
    let quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    let before = world.current(&quarrel.subject).await.unwrap();
    for choice in [Choice::Keep, Choice::Side(quarrel.late.dot), Choice::Policy(Policy::LastWriter)] {
        let settled = resolve(&world, &id, choice).await.unwrap();
        assert_eq!(settled.subject, before.pointer.revision);
        let after = world.current(&quarrel.subject).await.unwrap();
        assert_eq!((after.record, after.pointer.open), (before.record.clone(), Vec::new()));
        let reopened = undo(&world, &id).await.unwrap();
        assert_eq!(reopened.subject, before.pointer.revision);
        assert_eq!(quarrel.id(&world).await, id);
    }
    world.check().await;
}

pub async fn a_resolution_of_a_conflict_that_moved_is_stale(engine: &Engine) {
    let world = World::new(engine).await;
    let mut quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    let (seen_at, _) = conflict(&world, &id).await;
    // A third side comes while somebody thinks.
    let mut third = world.author("third", "default").await;
    let ancestor = row(&world, Revision(seen_at.0)).await;
    assert!(ancestor.record.key.kind.as_str() == "conflict");
    let mutation = third.write(&quarrel.subject, None, put(r#"{"t":"third"}"#));
    let mutation =
        Mutation { base: quarrel.early.base.clone(), incarnation: quarrel.early.incarnation, ..mutation };
    assert!(matches!(third.settle(&[mutation]).await[0], Outcome::Conflicted { .. }));
    let choose = async |at| world.hub.resolve(&world.tenant, (&id, at), &Choice::Keep, operator()).await;
    assert_eq!(reason(choose(seen_at).await), Reason::Stale);
    let (now, grown) = conflict(&world, &id).await;
    assert_eq!(grown.losers.len(), 2);
    let other = world.another_hub();
    let done =
        other.resolve(&world.tenant, (&id, now), &Choice::Side(quarrel.early.dot), operator()).await.unwrap();
    for at in [now, done.conflict] {
        assert_eq!(reason(choose(at).await), Reason::Stale, "settled by another gateway");
    }
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    // A settled conflict is not the one that comes next.
    let late = Mutation {
        base: quarrel.late.base.clone(),
        ..quarrel.two.write(&quarrel.subject, None, put(r#"{"t":"again"}"#))
    };
    assert!(matches!(quarrel.two.settle(&[late]).await[0], Outcome::Conflicted { .. }));
    assert_ne!(quarrel.id(&world).await, id);
    assert!(!conflict(&world, &id).await.1.open);
    world.check().await;
}

pub async fn an_undo_brings_the_state_before_back_as_a_new_revision(engine: &Engine) {
    let world = World::new(engine).await;
    let mut named = BTreeSet::new();
    for (id, kind, ops) in [
        ("a", "note", [put(r#"{"t":"early"}"#), put(r#"{"t":"late"}"#)]),
        ("b", "entity", [patch(r#"{"t":"early"}"#), patch(r#"{"t":"late"}"#)]),
        ("c", "entity", [patch(r#"{"t":"early"}"#), Op::Delete]),
        ("d", "note", [put(r#"{"t":"early"}"#), Op::Delete]),
    ] {
        let is_deleted = ops[1] == Op::Delete;
        let quarrel = Quarrel::of(&world, key(kind, id), r#"{"t":"0","u":"0"}"#, ops).await;
        let id = quarrel.id(&world).await;
        let before = world.body(&quarrel.subject).await;
        assert_eq!(before.is_none(), is_deleted);
        let (_, was) = conflict(&world, &id).await;
        let first = resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
        let early = world.current(&quarrel.subject).await.unwrap();
        assert_eq!(
            early.record.incarnation,
            Incarnation(u64::from(is_deleted)),
            "what was deleted is created anew"
        );
        let undone = undo(&world, &id).await.unwrap();
        assert!(undone.subject > first.conflict, "a new revision");
        assert_eq!(world.body(&quarrel.subject).await, before, "{kind}");
        let (_, open) = conflict(&world, &id).await;
        assert!(open.open);
        assert_eq!((&open.primary, &open.losers, open.ancestor), (&was.primary, &was.losers, was.ancestor));
        named.extend(was.named());
        assert_eq!(held(&world).await, named);
        let resolution = open.resolution.unwrap();
        assert_eq!(
            resolution.account_of(undone.subject).map(|(by, is_undo)| (by.name.as_str(), is_undo)),
            Some(("acme/ann", true))
        );
        assert_eq!(reason(undo(&world, &id).await), Reason::Stale, "it is open");
        // It can be settled again, and that undone too.
        resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
        undo(&world, &id).await.unwrap();
        assert_eq!(world.body(&quarrel.subject).await, before);
        world.check().await;
    }
}

pub async fn an_undo_is_refused_once_others_have_gone_on(engine: &Engine) {
    let world = World::new(engine).await;
    let ops = [patch(r#"{"t":"early"}"#), patch(r#"{"t":"late"}"#)];
    let mut quarrel = Quarrel::of(&world, key("entity", "a"), r#"{"t":"0","u":"0"}"#, ops).await;
    let id = quarrel.id(&world).await;
    resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    // Another field does not matter, the same one does.
    let subject = quarrel.subject.clone();
    let seen = world.current(&subject).await;
    let elsewhere = quarrel.one.write(&subject, seen.as_ref(), patch(r#"{"u":"1"}"#));
    quarrel.one.settle(&[elsewhere]).await;
    undo(&world, &id).await.unwrap();
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"t":"late","u":"1"}"#));
    resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    let seen = world.current(&subject).await;
    let over = quarrel.one.write(&subject, seen.as_ref(), patch(r#"{"t":"2"}"#));
    quarrel.one.settle(&[over]).await;
    assert_eq!(reason(undo(&world, &id).await), Reason::Stale);
    // Once history no longer reaches back, there is nothing to bring back.
    let whole =
        Quarrel::of(&world, note("b"), r#"{"t":"0"}"#, [put(r#"{"t":"early"}"#), put(r#"{"t":"late"}"#)])
            .await;
    let id = whole.id(&world).await;
    resolve(&world, &id, Choice::Keep).await.unwrap();
    for _ in 0..2 {
        world.maintain().await;
    }
    assert_eq!(reason(undo(&world, &id).await), Reason::RecordGone);
    world.check().await;
}

pub async fn a_path_in_conflict_again_is_not_opened_twice(engine: &Engine) {
    let world = World::new(engine).await;
    let mut quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    resolve(&world, &id, Choice::Keep).await.unwrap();
    let again = quarrel.one.write(&quarrel.subject, None, put(r#"{"t":"again"}"#));
    let again = Mutation { base: quarrel.early.base.clone(), ..again };
    assert!(matches!(quarrel.one.settle(&[again]).await[0], Outcome::Conflicted { .. }));
    assert_eq!(reason(undo(&world, &id).await), Reason::Stale);
    world.check().await;
}

/// Settled, the conflict holds nothing: what had been written over long ago goes before the resolution does.
pub async fn an_undo_is_refused_once_a_side_is_pruned(engine: &Engine) {
    let world = World::new(engine).await;
    for kind in ["note", "knowledge"] {
        let mut quarrel = Quarrel::of_bodies(&world, kind).await;
        let id = quarrel.id(&world).await;
        let subject = quarrel.subject.clone();
        quarrel.one.put(&subject, r#"{"t":"over"}"#).await;
        let was = conflict(&world, &id).await.1;
        // Of one conflict the state that both had seen, of the other the side that lost.
        let gone = if kind == "note" { was.ancestor } else { was.losers[0].revision };
        resolve(&world, &id, Choice::Keep).await.unwrap();
        let prune = gateway::store::Prune { rows: vec![gone], ..Default::default() };
        world.store.prune(&world.tenant, &prune).await.unwrap();
        let refused = undo(&world, &id).await.unwrap_err();
        let said = format!("revision {gone}, which the conflict names, is not kept any more");
        assert_eq!((refused.reason(), refused.refusal.detail), (Reason::RecordGone, said));
        assert!(!conflict(&world, &id).await.1.open);
    }
}

/// Settled, the conflict holds nothing, and pruning is no commit: what it may take is as good as gone, though it is
/// stored when the undo is looked at.
pub async fn an_undo_is_refused_once_pruning_may_take_a_side(engine: &Engine) {
    let world = World::new(engine).await;
    let mut quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    quarrel.one.put(&quarrel.subject, r#"{"t":"over"}"#).await;
    let was = conflict(&world, &id).await.1;
    let far = serde_json::to_vec(&Revision(1_000_000)).unwrap();
    assert!(world.store.plain_put(&world.tenant, Space::Mark, b"pruned-to", &far, 0).await.unwrap());
    for _ in 0..2 {
        world.maintain().await;
    }
    resolve(&world, &id, Choice::Keep).await.unwrap();
    let sides: BTreeSet<Revision> = was.sides().map(|side| side.revision).collect();
    let stored = world.store.rows(&world.tenant, &sides).await.unwrap();
    assert_eq!(stored.len(), sides.len(), "all are still there");
    let refused = undo(&world, &id).await.unwrap_err();
    let said = format!("revision {}, a side of the conflict, is not kept any more", was.losers[0].revision);
    assert_eq!((refused.reason(), refused.refusal.detail), (Reason::RecordGone, said));
    assert!(!conflict(&world, &id).await.1.open);
    world.check().await;
}

/// Somebody who saw both sides writes over them: the conflict stays for whoever settles it, with both sides.
pub async fn a_write_over_a_conflict_leaves_it_open_with_its_sides(engine: &Engine) {
    let world = World::new(engine).await;
    let mut quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    let (_, was) = conflict(&world, &id).await;
    let over = quarrel.one.put(&quarrel.subject, r#"{"t":"over"}"#).await;
    assert!(matches!(over, Outcome::Applied { .. }), "a conflict that waits blocks nobody");
    assert_eq!(conflict(&world, &id).await.1, was);
    assert_eq!(quarrel.id(&world).await, id);
    let settled = resolve(&world, &id, Choice::Keep).await.unwrap();
    assert_eq!(settled.subject, revision(&over));
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"over"}"#));
    undo(&world, &id).await.unwrap();
    let settled = resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    assert_eq!(
        row(&world, settled.subject).await.previous,
        revision(&over),
        "what it wrote over is in history"
    );
    undo(&world, &id).await.unwrap();
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"over"}"#));
    world.check().await;
}

pub async fn the_records_own_rule_decides_what_may_stand(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    let moment = key("moment", "a");
    one.put(&moment, r#"{"name":"one"}"#).await;
    let second = two.write(&moment, None, put(r#"{"name":"two"}"#));
    assert!(matches!(two.settle(std::slice::from_ref(&second)).await[0], Outcome::Conflicted { .. }));
    let id = world.current(&moment).await.unwrap().pointer.open[0].id.clone();
    let refusal = resolve(&world, &id, Choice::Side(second.dot)).await.unwrap_err().refusal;
    assert_eq!(refusal.reason, Reason::AppendOnly);
    assert!(refusal.detail.contains("keep what stands"), "{refusal}");
    resolve(&world, &id, Choice::Keep).await.unwrap();
    assert_eq!(world.body(&moment).await.as_deref(), Some(r#"{"name":"one"}"#));

    let declaration: Declaration =
        serde_json::from_value(json!({"name": "recipe", "policy": "fields", "schema": {"required": ["t"]}}))
            .unwrap();
    world.hub.apply_kind(&world.tenant, NodeId::HUB, &declaration).await.unwrap();
    let ops = [patch(r#"{"t":"early"}"#), patch(r#"{"t":"late"}"#)];
    let quarrel = Quarrel::of(&world, key("recipe", "a"), r#"{"t":"0"}"#, ops).await;
    let id = quarrel.id(&world).await;
    let before = world.revision().await;
    assert_eq!(reason(resolve(&world, &id, Choice::Value(None)).await), Reason::SchemaViolation);
    assert_eq!(
        reason(resolve(&world, &id, Choice::Value(Some(json!(u64::MAX)))).await),
        Reason::UnsafeNumber
    );
    let nobody = Dot { writer: Writer { node: NodeId([3; 16]), epoch: 1 }, n: 1 };
    assert_eq!(reason(resolve(&world, &id, Choice::Side(nobody)).await), Reason::NotFound);
    assert_eq!(reason(resolve(&world, &id, Choice::Policy(Policy::Fields)).await), Reason::Malformed);
    let long = Settler { reason: "x".repeat(REASON_BYTES_MAX + 1), ..operator() };
    let at = conflict(&world, &id).await.0;
    assert_eq!(
        reason(world.hub.resolve(&world.tenant, (&id, at), &Choice::Keep, long).await),
        Reason::TooLarge
    );
    let unknown = RecordId::new("0".repeat(64)).unwrap();
    assert_eq!(
        reason(world.hub.resolve(&world.tenant, (&unknown, at), &Choice::Keep, operator()).await),
        Reason::NotFound
    );
    assert_eq!(world.revision().await, before, "nothing was written");
    let settled = resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    assert_ne!(row(&world, settled.subject).await.rule_version, Revision::ZERO);
    world.check().await;
}

pub async fn a_node_settles_what_its_view_shows_and_nothing_else(engine: &Engine) {
    let world = World::new(engine).await;
    let quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    let at = conflict(&world, &id).await.0;
    let by = |author: &Author| Settler {
        author: author.who.node,
        name: "laptop".to_owned(),
        is_node: true,
        reason: String::new(),
        binds: false,
    };
    let outside = world.author("outside", "elsewhere").await;
    let asked = async |who: &Author, choice: Choice| {
        world.hub.resolve(&world.tenant, (&id, at), &choice, by(who)).await
    };
    assert_eq!(reason(asked(&outside, Choice::Keep).await), Reason::NotFound);
    let principal = Principal { tenant: world.tenant.clone(), node: outside.who.node };
    assert_eq!(reason(world.hub.disputed(&world.tenant, &id, Some(&principal)).await), Reason::NotFound);
    let settled = asked(&quarrel.one, Choice::Side(quarrel.early.dot)).await.unwrap();
    assert_eq!(row(&world, settled.subject).await.record.author, quarrel.one.who.node);
    let undone =
        world.hub.undo_resolution(&world.tenant, (&id, settled.conflict), by(&quarrel.two)).await.unwrap();
    world.hub.revoke_node(&world.tenant, NodeId::HUB, quarrel.one.who.node).await.unwrap();
    let late =
        world.hub.resolve(&world.tenant, (&id, undone.conflict), &Choice::Keep, by(&quarrel.one)).await;
    assert_eq!(reason(late), Reason::NodeRevoked);
    world.check().await;
}

/// Readers at the head hold the same as the hub, and what was settled lets go of what it held.
pub async fn a_settled_conflict_converges_and_its_sides_are_pruned(engine: &Engine) {
    let world = World::new(engine).await;
    let reader = world.author("reader", "default").await;
    let mut reader = Reader::of(&reader);
    let quarrel = Quarrel::of_bodies(&world, "note").await;
    let id = quarrel.id(&world).await;
    let (_, was) = conflict(&world, &id).await;
    let late = shown_to(&world, &mut reader, &quarrel.subject).await;
    assert_eq!(late.as_deref(), Some(r#"{"t":"late"}"#));
    resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    assert_eq!(shown_to(&world, &mut reader, &quarrel.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    undo(&world, &id).await.unwrap();
    assert_eq!(shown_to(&world, &mut reader, &quarrel.subject).await, late);
    for _ in 0..2 {
        world.maintain().await;
    }
    assert_eq!(held(&world).await, was.named(), "it is open again");
    for revision in was.named() {
        assert!(world.row(revision).await.is_some());
    }
    resolve(&world, &id, Choice::Keep).await.unwrap();
    let stands = world.current(&quarrel.subject).await.unwrap().pointer.revision;
    for _ in 0..2 {
        world.maintain().await;
    }
    for revision in was.named() {
        assert_eq!(world.row(revision).await, None, "{revision}");
    }
    assert!(world.row(stands).await.is_some());
    assert_eq!(world.body(&quarrel.subject).await, late);
    world.check().await;
}
