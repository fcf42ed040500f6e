//! What is given up while everything goes on: gateways die, nodes stay away past every lease and come back.

use std::sync::Arc;

use gateway::hub::{Hub, Retention};
use semantics::ids::Revision;
use semantics::outcome::Outcome;
use semantics::reason::Reason;

use crate::support::author::{Author, put};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

/// Records that are there before anything is deleted.
const RECORDS: u64 = 24;

/// A record comes, another goes, and two gateways collect at the same time. The gateway that wrote dies of it.
async fn round(world: &World, hub: &mut Arc<Hub>, busy: &mut Author, n: u64) {
    *hub = world.another_hub();
    *busy = busy.at(hub);
    busy.delete(&note(&format!("old{n}"))).await;
    // What is pruned below was replayed before.
    world.check().await;
    let late = note(&format!("late{n}"));
    let ((), one, two) = futures::join!(
        async { drop(busy.put(&late, "{}").await) },
        hub.maintain(&world.tenant),
        world.hub.maintain(&world.tenant),
    );
    one.and(two).unwrap();
    world.hub.note_seen(&busy.who, busy.writer, None).await.unwrap();
    world.check().await;
}

async fn horizon(world: &World) -> Revision {
    world.store.head(&world.tenant).await.unwrap().horizon
}

async fn is_level(world: &World, reader: &Reader, gone: u64) {
    assert_eq!(reader.digest(), world.hub.digest(&world.tenant, reader.who.node).await.unwrap().1);
    for n in 0..RECORDS {
        assert_eq!(reader.holds(&note(&format!("old{n}"))), n >= gone, "old{n} of {gone} deleted");
    }
}

pub async fn nothing_deleted_comes_back_while_retention_runs_under_load(engine: &Engine) {
    let world = World::with(engine, Settings::paged(5)).await;
    let mut hub = world.another_hub();
    let mut busy = world.author("busy", "default").await.at(&hub);
    let absent = world.author("absent", "default").await;
    for n in 0..RECORDS {
        busy.put(&note(&format!("old{n}")), r#"{"v":0}"#).await;
    }
    // A catch-up of which the gateway dies after the first page; the lease of its position outlives it.
    let mut reader = Reader::of(&absent);
    let starts_at = horizon(&world).await;
    assert!(reader.page(&hub).await.unwrap().is_none(), "it takes more than a page");
    for n in 0..4 {
        round(&world, &mut hub, &mut busy, n).await;
    }
    reader.catch_up(&hub).await.unwrap();
    is_level(&world, &reader, 4).await;
    world.hub.note_seen(&absent.who, absent.writer, reader.cursor.as_ref()).await.unwrap();
    let held_at = reader.at();
    let seen = world.current(&note("old5")).await;
    // Away, but not for too long: what it has not acknowledged is kept for it.
    for n in 4..8 {
        round(&world, &mut hub, &mut busy, n).await;
    }
    assert!(starts_at <= horizon(&world).await && horizon(&world).await <= held_at);
    reader.catch_up(&hub).await.unwrap();
    is_level(&world, &reader, 8).await;
    // Away past its lease, in the middle of a catch-up.
    round(&world, &mut hub, &mut busy, 8).await;
    let mut late_reader = Reader::of(&absent);
    assert!(late_reader.page(&hub).await.unwrap().is_none());
    world.clock.advance(Retention::default().expiry_ms + 1);
    world.hub.note_seen(&busy.who, busy.writer, None).await.unwrap();
    for n in 9..14 {
        round(&world, &mut hub, &mut busy, n).await;
    }
    assert!(horizon(&world).await > held_at, "nobody waits for it any more");
    for reader in [&mut reader, &mut late_reader] {
        let refused = reader.page(&hub).await.unwrap_err().reason();
        assert!([Reason::CursorExpired, Reason::BadToken].contains(&refused), "{refused:?}");
    }
    // What it had written on a record that is gone brings nothing back, in its old epoch or a new one.
    let mut absent = absent.at(&hub);
    let write = absent.write(&note("old5"), seen.as_ref(), put(r#"{"v":"back"}"#));
    assert_eq!(absent.push(&[write]).await.unwrap_err().reason(), Reason::NodeForked);
    let mut back = Author::open(&world, absent.who.clone()).await.at(&hub);
    let write = back.write(&note("old5"), seen.as_ref(), put(r#"{"v":"back"}"#));
    let outcomes = back.settle(&[write]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(refusal) if refusal.reason == Reason::RecordGone),
        "{outcomes:?}"
    );
    let mut fresh = Reader::of(&back);
    fresh.catch_up(&hub).await.unwrap();
    is_level(&world, &fresh, 14).await;
    world.check().await;
}
