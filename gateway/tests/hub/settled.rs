//! How long the accounts of settled conflicts stay.

use gateway::hub::Retention;
use gateway::hub::settled::LOOKED_THROUGH_MAX;
use gateway::store::PointerQuery;
use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, RecordId};
use semantics::kind;
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::resolution::Choice;

use super::resolutions::{resolve, undo};
use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::rows::{all_records, note};
use crate::support::world::{Settings, World};

const SETTLED_MS: u64 = 60_000;

async fn world(engine: &Engine) -> World {
    let retention = Retention { settled_ms: SETTLED_MS, ..Retention::default() };
    World::with(engine, Settings { retention, ..Settings::default() }).await
}

/// Two nodes write over the same states; the second is later.
async fn clash(world: &World, subjects: &[Key]) {
    let mut first = world.author("first", "default").await;
    let mut second = world.author("second", "default").await;
    let one: Vec<_> = subjects.iter().map(|subject| first.write(subject, None, put(r#"{"by":1}"#))).collect();
    world.clock.advance(5);
    let two: Vec<_> =
        subjects.iter().map(|subject| second.write(subject, None, put(r#"{"by":2}"#))).collect();
    first.settle(&one).await;
    let told = second.settle(&two).await;
    assert!(told.iter().all(|outcome| matches!(outcome, Outcome::Conflicted { .. })), "{told:?}");
}

/// The conflicts that there are, by the record that they are about.
async fn conflicts(world: &World) -> Vec<(RecordId, Conflict)> {
    let kind = Kind::new(kind::CONFLICT).ok();
    let query = PointerQuery { kind, ..all_records() };
    let rows = world.store.pointer_page(&world.tenant, &query).await.unwrap().rows;
    let live = rows.into_iter().filter(|row| !row.pointer.deleted);
    let read = |body: &[u8]| serde_json::from_slice::<Conflict>(body).unwrap();
    live.map(|row| (row.pointer.key.id.clone(), read(row.record.body().unwrap()))).collect()
}

pub async fn a_settled_conflict_goes_after_its_time_and_an_open_one_never(engine: &Engine) {
    let world = world(engine).await;
    clash(&world, &[note("a"), note("b"), note("c")]).await;
    let found = conflicts(&world).await;
    let of = |subject: Key| found.iter().find(|(_, found)| found.subject == subject).unwrap().0.clone();
    let (a, b) = (of(note("a")), of(note("b")));
    let loser = Choice::Side(found.iter().find(|(id, _)| *id == a).unwrap().1.losers[0].stamp.dot);
    resolve(&world, &a, loser).await.unwrap();
    world.clock.advance(SETTLED_MS);
    resolve(&world, &b, Choice::Keep).await.unwrap();
    world.clock.advance(1);
    world.maintain().await;
    let left: Vec<_> =
        conflicts(&world).await.into_iter().map(|(_, left)| (left.subject, left.open)).collect();
    assert!(left.contains(&(note("b"), false)) && left.contains(&(note("c"), true)), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(world.body(&note("a")).await.as_deref(), Some(r#"{"by":1}"#), "what it decided stands");
    let at = semantics::ids::Revision(1);
    let gone = world.hub.undo_resolution(&world.tenant, (&a, at), super::resolutions::operator()).await;
    assert_eq!(gone.unwrap_err().reason(), Reason::NotFound);
    undo(&world, &b).await.unwrap();
    world.clock.advance(100 * SETTLED_MS);
    world.maintain().await;
    assert_eq!(conflicts(&world).await.len(), 2, "open again, and open still");
}

pub async fn a_round_looks_through_a_bounded_number_of_conflicts(engine: &Engine) {
    let world = world(engine).await;
    let subjects: Vec<Key> = (0..=LOOKED_THROUGH_MAX).map(|n| note(&format!("n{n}"))).collect();
    clash(&world, &subjects).await;
    for (id, _) in conflicts(&world).await {
        resolve(&world, &id, Choice::Keep).await.unwrap();
    }
    world.clock.advance(SETTLED_MS + 1);
    world.maintain().await;
    assert_eq!(conflicts(&world).await.len(), 1);
    world.maintain().await;
    assert_eq!(conflicts(&world).await, []);
    // The round after the last begins anew.
    clash(&world, &[note("late")]).await;
    resolve(&world, &conflicts(&world).await[0].0, Choice::Keep).await.unwrap();
    world.clock.advance(SETTLED_MS + 1);
    world.maintain().await;
    assert_eq!(conflicts(&world).await, []);
}
