//! Versions of records that many nodes wrote, of which some are gone.

use std::sync::Arc;

use gateway::hub::limits::Bounds;
use semantics::ids::{Key, NodeId, Writer};
use semantics::outcome::Outcome;

use crate::support::author::{Author, patch, put};
use crate::support::engine::Engine;
use crate::support::rows::{key, note};
use crate::support::world::World;

/// Authors at a hub whose versions leave out who is gone as soon as they name more than two.
async fn authors(world: &World, names: &[&str]) -> Vec<Author> {
    let bounds = Bounds { version_writers_kept: 2, ..Bounds::default() };
    let hub = world.hub_bounded(Arc::clone(&world.store), bounds);
    let mut authors = Vec::new();
    for name in names {
        authors.push(world.author(name, "default").await.at(&hub));
    }
    authors
}

async fn revoke(world: &World, author: &Author) {
    author.hub.revoke_node(&world.tenant, NodeId::HUB, author.who.node).await.unwrap();
}

/// Who the version names, the hub's own merges aside.
async fn named(world: &World, subject: &Key) -> Vec<Writer> {
    let current = world.current(subject).await.unwrap();
    let writers = current.record.version.dots().map(|dot| dot.writer);
    writers.filter(|writer| *writer != Writer::HUB).collect()
}

fn sorted(authors: &[&Author]) -> Vec<Writer> {
    let mut writers: Vec<_> = authors.iter().map(|author| author.writer).collect();
    writers.sort();
    writers
}

pub async fn a_wide_version_leaves_out_the_writers_of_revoked_nodes(engine: &Engine) {
    let world = World::new(engine).await;
    let [mut a, mut b, mut c, mut d] =
        authors(&world, &["a", "b", "c", "d"]).await.try_into().unwrap_or_else(|_| unreachable!());
    let subject = note("shared");
    for author in [&mut a, &mut b, &mut c] {
        author.put(&subject, "{}").await;
    }
    a.put(&note("narrow"), "{}").await;
    d.put(&note("narrow"), "{}").await;
    revoke(&world, &b).await;
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &b, &c]), "nothing is written for it");
    let outcome = c.put(&subject, r#"{"n":1}"#).await;
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &c]));
    revoke(&world, &d).await;
    a.put(&note("narrow"), r#"{"n":1}"#).await;
    assert_eq!(named(&world, &note("narrow")).await, sorted(&[&a, &d]), "no more than are kept");
    world.check().await;
}

pub async fn what_was_made_on_a_writer_that_is_left_out_is_no_unknown_base(engine: &Engine) {
    let world = World::new(engine).await;
    let [mut a, mut b, mut c] =
        authors(&world, &["a", "b", "c"]).await.try_into().unwrap_or_else(|_| unreachable!());
    let subject = key("knowledge", "tides");
    for (author, body) in
        [(&mut a, r#"{"x":0,"y":0}"#), (&mut b, r#"{"x":1,"y":0}"#), (&mut c, r#"{"x":1,"y":1}"#)]
    {
        author.put(&subject, body).await;
    }
    let seen = world.current(&subject).await;
    revoke(&world, &b).await;
    c.put(&subject, r#"{"x":1,"y":2}"#).await;
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &c]));
    // Merged against what its author saw: a base that the record never held would have no ancestor.
    world.clock.advance(5);
    let late = a.write(&subject, seen.as_ref(), put(r#"{"x":2,"y":1}"#));
    let told = a.settle(&[late]).await.remove(0);
    assert!(matches!(told, Outcome::Merged { .. }), "{told:?}");
    assert_eq!(world.body(&subject).await.as_deref(), Some(r#"{"x":2,"y":2}"#));
    world.check().await;
}

pub async fn a_writer_of_which_something_stands_is_not_left_out(engine: &Engine) {
    let world = World::new(engine).await;
    let [mut a, mut b, mut c] =
        authors(&world, &["a", "b", "c"]).await.try_into().unwrap_or_else(|_| unreachable!());
    let subject = key("entity", "lamp");
    a.put(&subject, r#"{"name":"lamp","state":"on"}"#).await;
    for (author, change) in [(&mut b, r#"{"state":"off"}"#), (&mut c, r#"{"room":"hall"}"#)] {
        let seen = world.current(&subject).await;
        let change = author.write(&subject, seen.as_ref(), patch(change));
        author.settle(&[change]).await;
    }
    revoke(&world, &b).await;
    let seen = world.current(&subject).await;
    let change = c.write(&subject, seen.as_ref(), patch(r#"{"room":"attic"}"#));
    c.settle(&[change]).await;
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &b, &c]), "the state is still its own");
    // The one who created the record is named as long as it lies where that put it.
    let seen = world.current(&subject).await;
    let change = c.write(&subject, seen.as_ref(), patch(r#"{"name":"lantern","state":"on"}"#));
    c.settle(&[change]).await;
    revoke(&world, &a).await;
    let seen = world.current(&subject).await;
    let change = c.write(&subject, seen.as_ref(), patch(r#"{"state":"off"}"#));
    c.settle(&[change]).await;
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &c]));
    world.check().await;
}

pub async fn a_writer_whose_side_of_a_conflict_waits_is_not_left_out(engine: &Engine) {
    let world = World::new(engine).await;
    let [mut a, mut b, mut c] =
        authors(&world, &["a", "b", "c"]).await.try_into().unwrap_or_else(|_| unreachable!());
    let subject = note("torn");
    c.put(&subject, "{}").await;
    let seen = world.current(&subject).await;
    let one = a.write(&subject, seen.as_ref(), put(r#"{"by":"a"}"#));
    world.clock.advance(5);
    let two = b.write(&subject, seen.as_ref(), put(r#"{"by":"b"}"#));
    a.settle(&[one]).await;
    let told = b.settle(&[two]).await.remove(0);
    assert!(matches!(told, Outcome::Conflicted { .. }), "{told:?}");
    revoke(&world, &a).await;
    world.clock.advance(5);
    c.put(&subject, r#"{"by":"c"}"#).await;
    c.put(&subject, r#"{"by":"c","n":2}"#).await;
    assert_eq!(named(&world, &subject).await, sorted(&[&a, &b, &c]));
    world.check().await;
}
