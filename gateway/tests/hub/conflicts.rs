//! Conflict records, and what they keep alive.

use std::collections::BTreeSet;

use gateway::store::{Current, LogRow, OpenConflict, Space};
use semantics::conflict::{Conflict, ConflictType, Side};
use semantics::envelope::{Base, Mutation, Op};
use semantics::ids::{Key, NodeId, Revision};
use semantics::kind::Declaration;
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use serde_json::{Map, Value, json};

use crate::support::author::{Author, patch, put, revision};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::{key, note};
use crate::support::world::World;

async fn open_conflicts(world: &World, subject: &Key) -> Vec<(OpenConflict, Current, Conflict)> {
    let mut found = Vec::new();
    for open in world.current(subject).await.unwrap().pointer.open {
        let current = world.current(&key("conflict", open.id.as_str())).await.unwrap();
        let conflict = serde_json::from_slice(current.record.body().unwrap()).unwrap();
        found.push((open, current, conflict));
    }
    found
}

async fn only_conflict(world: &World, subject: &Key) -> Conflict {
    let mut all = open_conflicts(world, subject).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).2
}

/// The value a side stands for: in its own mutation, or in the record that the row left.
async fn value(world: &World, side: &Side, path: &str) -> Value {
    let row: LogRow = world.row(side.revision).await.expect("what an open conflict names is kept");
    let of = |bytes: &[u8]| -> Value {
        let fields: Map<String, Value> = serde_json::from_slice(bytes).unwrap();
        if path.is_empty() { Value::Object(fields) } else { fields[path].clone() }
    };
    match row.mutation.filter(|mutation| mutation.stamp() == side.stamp).map(|mutation| mutation.op) {
        Some(Op::Put { body: bytes } | Op::Patch { set: bytes, .. }) => of(&bytes),
        Some(Op::Delete) => Value::Null,
        None => {
            let stamp = row.record.fields.get(path).map_or(row.record.stamp, |field| field.stamp);
            assert_eq!(stamp, side.stamp, "the row shows the value of the mutation it is named for");
            of(row.record.body().unwrap())
        }
    }
}

async fn held(world: &World) -> BTreeSet<Revision> {
    let all = (1..=world.revision().await.0).map(Revision).collect();
    world.store.held(&world.tenant, &all).await.unwrap()
}

fn named(conflict: &Conflict) -> BTreeSet<Revision> {
    let sides = conflict.losers.iter().map(|side| side.revision);
    sides.chain([conflict.primary.revision, conflict.ancestor]).filter(|r| *r != Revision::ZERO).collect()
}

/// Two authors change what both have seen; the one who stamps later arrives first or last.
async fn disagree(
    world: &World,
    subject: &Key,
    later_first: bool,
) -> (Vec<Mutation>, Vec<Outcome>, Revision) {
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    let ancestor = revision(&one.put(subject, r#"{"t":"0"}"#).await);
    let seen = world.current(subject).await;
    let early = one.write(subject, seen.as_ref(), put(r#"{"t":"early"}"#));
    world.clock.advance(10);
    let late = two.write(subject, seen.as_ref(), put(r#"{"t":"late"}"#));
    let (first, second) = if later_first { (late, early) } else { (early, late) };
    let mut taken = Vec::new();
    for mutation in [&first, &second] {
        let author = if mutation.dot.writer == one.writer { &mut one } else { &mut two };
        taken.extend(author.settle(std::slice::from_ref(mutation)).await);
    }
    (vec![first, second], taken, ancestor)
}

pub async fn a_conflict_names_both_sides_and_their_ancestor(engine: &Engine) {
    let world = World::new(engine).await;
    for (n, later_first) in [true, false].into_iter().enumerate() {
        for (kind, path) in [("note", ""), ("entity", "t")] {
            let subject = key(kind, &format!("{n}"));
            let (mutations, taken, ancestor) = disagree(&world, &subject, later_first).await;
            assert!(matches!(taken[0], Outcome::Applied { .. }));
            assert!(matches!(taken[1], Outcome::Conflicted { .. }), "{taken:?}");
            let (open, current, conflict) = open_conflicts(&world, &subject).await.remove(0);
            assert_eq!((open.path.as_str(), conflict.path.as_str()), (path, path));
            assert_eq!((&conflict.subject, conflict.conflict_type), (&subject, ConflictType::Version));
            let (winner, loser) = if later_first { (0, 1) } else { (1, 0) };
            let side = |n: usize| Side { stamp: mutations[n].stamp(), revision: revision(&taken[n]) };
            assert_eq!(conflict.primary, side(winner));
            assert_eq!(conflict.losers, [side(loser)]);
            assert_eq!((conflict.ancestor, conflict.dropped, conflict.open), (ancestor, 0, true));
            let row = world.row(current.pointer.revision).await.unwrap();
            assert_eq!(
                row.commit,
                world.row(revision(&taken[1])).await.unwrap().commit,
                "in the same commit"
            );
            assert_eq!(current.pointer.cell.domain.as_str(), "default");
            assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"t":"late"}"#));
        }
    }
    let reader = world.author("reader", "default").await;
    let mut reader = Reader::of(&reader);
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.records.keys().filter(|key| key.kind.as_str() == "conflict").count(), 4);
    world.check().await;
}

/// An author names as its base a revision that is another record's, one that it cannot have seen, or none at all.
pub async fn an_ancestor_is_a_state_of_the_record_that_its_author_had_seen(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    let foreign = revision(&one.put(&note("foreign"), "{}").await);
    for (n, name) in ["another record's", "not seen", "in the future"].into_iter().enumerate() {
        let subject = note(&format!("subject{n}"));
        one.put(&subject, r#"{"t":"0"}"#).await;
        let seen = world.current(&subject).await;
        let honest = two.write(&subject, seen.as_ref(), put(r#"{"t":"two"}"#));
        let unseen = revision(&one.put(&subject, r#"{"t":"1"}"#).await);
        one.put(&subject, r#"{"t":"2"}"#).await;
        let named = [foreign, unseen, Revision(1_000_000)][n];
        let base = Base { revision: named, ..honest.base.clone() };
        let taken = two.settle(&[Mutation { base, ..honest }]).await;
        assert!(matches!(taken[0], Outcome::Conflicted { .. }), "{name}: {taken:?}");
        assert_eq!(only_conflict(&world, &subject).await.ancestor, Revision::ZERO, "{name}");
    }
    world.check().await;
}

/// The horizon has passed what superseded the base; the round of pruning that takes the base away has still to come.
pub async fn an_ancestor_that_pruning_may_take_at_any_moment_is_not_named(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    let (gone, kept) = (note("gone"), note("kept"));
    let mut late = Vec::new();
    for subject in [&gone, &kept] {
        one.put(subject, r#"{"t":"0"}"#).await;
        let seen = world.current(subject).await;
        late.push(two.write(subject, seen.as_ref(), put(r#"{"t":"two"}"#)));
    }
    one.put(&gone, r#"{"t":"1"}"#).await;
    let far = serde_json::to_vec(&Revision(1_000_000)).unwrap();
    assert!(world.store.plain_put(&world.tenant, Space::Mark, b"pruned-to", &far, 0).await.unwrap());
    for _ in 0..2 {
        world.maintain().await;
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap().horizon, world.revision().await);
    one.put(&kept, r#"{"t":"1"}"#).await;
    one.put(&kept, r#"{"t":"2"}"#).await;
    let bases: Vec<Revision> = late.iter().map(|late| late.base.revision).collect();
    let stored = world.store.rows(&world.tenant, &bases.iter().copied().collect()).await.unwrap();
    assert_eq!(stored.len(), 2, "both are still there");
    let taken = two.settle(&late).await;
    assert!(taken.iter().all(|outcome| matches!(outcome, Outcome::Conflicted { .. })), "{taken:?}");
    assert_eq!(only_conflict(&world, &gone).await.ancestor, Revision::ZERO);
    assert_eq!(only_conflict(&world, &kept).await.ancestor, bases[1]);
    world.check().await;
}

pub async fn a_conflict_goes_where_its_record_goes(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = note("moves");
    disagree(&world, &subject, false).await;
    let before = only_conflict(&world, &subject).await;
    let readers = [world.author("stays", "default").await, world.author("there", "elsewhere").await];
    let mut readers = readers.map(|author| Reader::of(&author));
    let mut mover = world.author("mover", "default").await;
    world.show(&mover, &["default", "elsewhere"]).await;
    let sees = |reader: &Reader| reader.records.keys().any(|key| key.kind.as_str() == "conflict");
    for (domain, seen_by) in [("default", 0), ("elsewhere", 1), ("default", 0)] {
        mover.put_in(domain, &subject, r#"{"t":"moved"}"#).await;
        for (n, reader) in readers.iter_mut().enumerate() {
            reader.catch_up(&world.hub).await.unwrap();
            assert_eq!((reader.holds(&subject), sees(reader)), (n == seen_by, n == seen_by), "{domain} {n}");
        }
        assert_eq!(only_conflict(&world, &subject).await, before);
    }
    world.check().await;
}

pub async fn what_an_open_conflict_names_survives_pruning(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = note("a");
    disagree(&world, &subject, true).await;
    let mut third = world.author("third", "default").await;
    third.put(&subject, r#"{"t":"settled"}"#).await;
    for _ in 0..2 {
        world.maintain().await;
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap().horizon, world.revision().await);
    let conflict = only_conflict(&world, &subject).await;
    assert_eq!(value(&world, &conflict.primary, "").await, json!({"t": "late"}));
    assert_eq!(value(&world, &conflict.losers[0], "").await, json!({"t": "early"}));
    let ancestor = world.row(conflict.ancestor).await.unwrap();
    assert_eq!(ancestor.record.body(), Some(&br#"{"t":"0"}"#[..]));
    assert_eq!(held(&world).await, named(&conflict));
}

/// Offline edits of one author on one base, the remote edit already taken; whoever wins, one conflict.
async fn storm(world: &World, edits: usize, wins: bool) {
    let subject = key("entity", "a");
    let (mut offline, mut remote) =
        (world.author("offline", "default").await, world.author("remote", "default").await);
    let ancestor = revision(&remote.put(&subject, r#"{"t":"0","u":"0"}"#).await);
    let seen = world.current(&subject).await;
    world.clock.advance(if wins { 0 } else { 30_000 });
    let edit = remote.write(&subject, seen.as_ref(), patch(r#"{"t":"remote"}"#));
    let remote_revision = revision(&remote.settle(std::slice::from_ref(&edit)).await[0]);
    world.clock.set(crate::support::ambient::START_MS + if wins { 30_000 } else { 10 });
    let mut previous = offline.write(&subject, seen.as_ref(), patch(r#"{"t":"edit0"}"#));
    let mut waiting = vec![previous.clone()];
    for n in 1..edits {
        let field = if n % 10 == 0 { "u" } else { "t" };
        previous = offline.write_on(&previous, patch(&format!(r#"{{"{field}":"edit{n}"}}"#)));
        waiting.push(previous.clone());
    }
    world.clock.set(crate::support::ambient::START_MS + 60_000);
    let mut conflicted = 0;
    for batch in waiting.chunks(250) {
        offline.confirmed_n = batch[0].dot.n - 1;
        let taken = crate::support::author::outcomes(&offline.push(batch).await.unwrap());
        assert!(taken.iter().all(|outcome| outcome.revision().is_some()));
        conflicted += taken.iter().filter(|outcome| matches!(outcome, Outcome::Conflicted { .. })).count();
    }
    let conflict = only_conflict(world, &subject).await;
    assert_eq!((conflict.path.as_str(), conflict.ancestor, conflict.dropped), ("t", ancestor, 0));
    assert_eq!(conflict.losers.len(), 1, "{conflict:?}");
    let (ours, theirs) = if wins {
        (&conflict.primary, &conflict.losers[0])
    } else {
        (&conflict.losers[0], &conflict.primary)
    };
    assert_eq!(theirs.stamp, edit.stamp());
    assert_eq!(value(world, theirs, "t").await, json!("remote"));
    assert_eq!(ours.stamp.dot.writer, offline.writer);
    if wins {
        assert_eq!((conflicted, theirs.revision), (1, remote_revision));
    } else {
        let last = edits - 1 - usize::from((edits - 1).is_multiple_of(10));
        assert_eq!(value(world, ours, "t").await, json!(format!("edit{last}")));
    }
    assert_eq!(held(world).await, named(&conflict), "holds do not grow");
    world.check().await;
    let conflict_key = key("conflict", world.current(&subject).await.unwrap().pointer.open[0].id.as_str());
    let versions = world.hub.history(&world.tenant, &conflict_key, None, 1_000).await.unwrap().rows;
    assert!(versions.len() <= edits.div_ceil(250));
    // A round looks through a bounded part of the log.
    for _ in 0..=edits / 1_000 + 1 {
        world.hub.maintain(&world.tenant).await.unwrap();
    }
    let kept =
        world.store.log_page(&world.tenant, &crate::support::rows::everything(Revision::ZERO)).await.unwrap();
    assert!(kept.entries.len() < 20, "{} rows are kept", kept.entries.len());
}

pub async fn offline_storm(engine: &Engine) {
    let world = World::new(engine).await;
    storm(&world, 10_000, true).await;
}

pub async fn offline_storm_that_loses(engine: &Engine) {
    let world = World::new(engine).await;
    storm(&world, 900, false).await;
}

pub async fn a_field_conflict_names_the_mutation_that_stands(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = key("entity", "a");
    let mut authors = Vec::new();
    for name in ["one", "two", "three", "four"] {
        authors.push(world.author(name, "default").await);
    }
    authors[0].put(&subject, r#"{"t":"0","u":"0"}"#).await;
    let seen = world.current(&subject).await;
    let bodies = [r#"{"t":"one"}"#, r#"{"u":"two"}"#, r#"{"t":"three"}"#, r#"{"t":"four","u":"four"}"#];
    let mut mutations = Vec::new();
    for (author, body) in authors.iter_mut().zip(bodies) {
        world.clock.advance(1);
        mutations.push(author.write(&subject, seen.as_ref(), patch(body)));
    }
    for (author, mutation) in authors.iter_mut().zip(&mutations) {
        let author: &mut Author = author;
        assert!(author.settle(std::slice::from_ref(mutation)).await[0].revision().is_some());
    }
    for _ in 0..2 {
        world.maintain().await;
    }
    let all = open_conflicts(&world, &subject).await;
    assert_eq!(all.len(), 2);
    for (_, _, conflict) in all {
        assert_eq!(value(&world, &conflict.primary, &conflict.path).await, json!("four"));
        let mut losers = Vec::new();
        for side in &conflict.losers {
            losers.push(value(&world, side, &conflict.path).await);
        }
        let expected =
            if conflict.path == "t" { vec![json!("one"), json!("three")] } else { vec![json!("two")] };
        assert_eq!(losers, expected);
    }
}

pub async fn rules_of_a_declared_kind_apply_from_its_revision_on(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    let mut author = world.author("laptop", "default").await;
    let declare = async |more: Value| {
        let mut body = json!({"name": "recipe", "policy": "fields"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let declaration: Declaration = serde_json::from_value(body).unwrap();
        world.hub.apply_kind(&world.tenant, NodeId::HUB, &declaration).await.unwrap()
    };
    let refused = |outcome: &Outcome| match outcome {
        Outcome::Rejected(refusal) => Some(refusal.reason),
        _ => None,
    };
    let recipe = key("recipe", "a");
    assert_eq!(refused(&author.put(&recipe, "{}").await), Some(Reason::KindUndeclared));
    let first = declare(json!({})).await;
    let row = world.row(revision(&author.put(&recipe, r#"{"v":1}"#).await)).await.unwrap();
    assert_eq!(row.rule_version, first);
    let mut there = author.at(&other);
    there.put(&recipe, r#"{"v":2}"#).await;
    let second = declare(json!({"schema": {"required": ["title"]}, "facet_field": "course"})).await;
    assert_eq!(declare(json!({"schema": {"required": ["title"]}, "facet_field": "course"})).await, second);
    assert_eq!(refused(&there.put(&recipe, r#"{"v":3}"#).await), Some(Reason::SchemaViolation));
    let seen = world.current(&recipe).await;
    let good = there.write(&recipe, seen.as_ref(), patch(r#"{"course":"dinner","title":"x"}"#));
    let row = world.row(revision(&there.settle(&[good]).await[0])).await.unwrap();
    assert_eq!((row.rule_version, row.cell.facet.unwrap().as_str()), (second, "dinner"));
    assert!(row.departed.is_some_and(|departed| departed.cell.facet.is_none()));
    world.check().await;
}
