//! Clocks that are wrong.

use std::sync::Arc;

use gateway::ambient::Clock as _;
use gateway::hub::limits::PROGRESS_MS;
use gateway::hub::session::Session;
use semantics::clock::{CLOCK_AHEAD_MS_MAX, HybridTime};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, ServerMessage};

use crate::support::ambient::START_MS;
use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::{Reader, session};
use crate::support::rows::note;
use crate::support::world::World;

const HOUR_MS: u64 = 3_600_000;

pub async fn clock_ratchet(engine: &Engine) {
    let world = World::new(engine).await;
    let mut fast = world.author("fast", "default").await;
    let mut honest = world.author("honest", "default").await;
    for n in 0..50 {
        // As far ahead as the hub's own time allows, each time.
        let head = world.store.head(&world.tenant).await.unwrap();
        fast.time =
            HybridTime { ms: head.time_ms.max(world.clock.now_ms()) + CLOCK_AHEAD_MS_MAX - 1, counter: n };
        let taken = fast.put(&note("a"), "{}").await;
        assert!(matches!(taken, Outcome::Applied { .. }));
        world.clock.advance(10);
    }
    let head = world.store.head(&world.tenant).await.unwrap();
    assert!(head.time_ms <= world.clock.now_ms(), "the tenant's time ran ahead");
    assert!(matches!(honest.put(&note("b"), "{}").await, Outcome::Applied { .. }));
    world.check().await;
}

pub async fn clock_back(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), r#"{"v":1}"#).await;
    let before = world.store.head(&world.tenant).await.unwrap();
    let first = author.write(&note("b"), None, put("{}"));
    world.clock.set(START_MS - HOUR_MS);
    // The fleet's clocks are right; the gateway's is not.
    for hub in [&world.hub, &world.another_hub()] {
        let mut there = author.at(hub);
        there.time = HybridTime { ms: START_MS + 1_000, counter: 0 };
        let (welcome, _) = hub.hello(&there.who, &there.hello(None)).await.unwrap_or_else(|e| panic!("{e}"));
        assert!(welcome.hub_time_ms >= START_MS);
    }
    assert!(matches!(author.settle(&[first]).await[..], [Outcome::Applied { .. }]));
    author.time = HybridTime { ms: START_MS + 30_000, counter: 0 };
    assert!(matches!(author.put(&note("a"), r#"{"v":2}"#).await, Outcome::Applied { .. }));
    let after = world.store.head(&world.tenant).await.unwrap();
    assert!(after.time_ms >= before.time_ms && after.commit > before.commit);
    world.check().await;
}

pub async fn clock_ahead(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let two_days_ms = 48 * HOUR_MS;
    author.put(&note("before"), "{}").await;
    let time = author.time;
    author.time = HybridTime { ms: START_MS + two_days_ms, counter: 0 };
    let ahead = author.write(&note("a"), None, put("{}"));
    let before = world.store.head(&world.tenant).await.unwrap();
    for hub in [&world.hub, &world.another_hub()] {
        let waits = author.at(hub).push(std::slice::from_ref(&ahead)).await.unwrap().waits.unwrap();
        assert_eq!((waits.reason, waits.n), (Reason::ClockAhead, ahead.dot.n));
        assert!(waits.retry_after_ms > 0);
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    // Welcome brings the hub's time; the mutation is stamped anew under the dot that nobody has consumed.
    let (welcome, _) = world.hub.hello(&author.who, &author.hello(None)).await.unwrap();
    assert_eq!(welcome.hub_time_ms, world.clock.now_ms());
    author.n -= 1;
    author.time = time;
    let again = author.write(&note("a"), None, put("{}"));
    assert_eq!(again.dot, ahead.dot);
    assert!(matches!(author.settle(&[again]).await[..], [Outcome::Applied { .. }]));
    // The bound itself is allowed.
    author.time = HybridTime { ms: world.clock.now_ms() + CLOCK_AHEAD_MS_MAX, counter: 0 };
    assert!(matches!(author.put(&note("b"), "{}").await, Outcome::Applied { .. }));
    world.check().await;
}

pub async fn a_session_goes_on_when_the_clock_steps_back(engine: &Engine) {
    let world = World::new(engine).await;
    let watcher = world.author("watcher", "quiet").await;
    let mut author = world.author("laptop", "default").await;
    let mut reader = Reader::of(&watcher);
    let mut live = session(&world.hub, &watcher, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    world.clock.set(START_MS - HOUR_MS);
    author.put(&note("a"), "{}").await;
    for _ in 0..2 {
        reader.listen(&mut live).await.unwrap();
        world.clock.advance(PROGRESS_MS);
    }
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.at(), world.revision().await, "progress comes within its time all the same");
}

pub async fn a_session_never_tells_a_time_before_what_it_told_or_committed(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let (mut session, welcome) =
        Session::open(&world.hub, author.who.clone(), &author.hello(None)).await.unwrap();
    world.clock.set(START_MS - HOUR_MS);
    let told_ms = time_told(&mut session).await;
    assert!(told_ms >= welcome.hub_time_ms, "{told_ms} and before {}", welcome.hub_time_ms);
    // What another write was stamped after must not be what the next one is stamped before.
    world.clock.set(START_MS + HOUR_MS);
    author.put(&note("a"), "{}").await;
    world.clock.set(START_MS);
    assert_eq!(time_told(&mut session).await, START_MS + HOUR_MS);
}

async fn time_told(session: &mut Session) -> u64 {
    match session.on(ClientMessage::Ping { nonce: 1, time_ms: None }).await.unwrap() {
        Some(ServerMessage::Pong { hub_time_ms, .. }) => hub_time_ms,
        other => panic!("{other:?}"),
    }
}

/// Of gateway and store the clock that is ahead counts.
pub async fn a_gateway_behind_its_store_goes_by_the_stores_time(engine: &Engine) {
    let world = World::new(engine).await;
    let store = Arc::new(FaultStore::new(engine.store()));
    store.set_time(START_MS + 2 * HOUR_MS);
    let mut author =
        world.author("laptop", "default").await.at(&world.hub_on(Arc::<FaultStore>::clone(&store)));
    author.time = HybridTime { ms: START_MS + 2 * HOUR_MS + CLOCK_AHEAD_MS_MAX - 1, counter: 0 };
    assert!(matches!(author.put(&note("a"), "{}").await, Outcome::Applied { .. }));
    assert_eq!(world.store.head(&world.tenant).await.unwrap().time_ms, START_MS + 2 * HOUR_MS);
    let (welcome, _) = world.another_hub().hello(&author.who, &author.hello(None)).await.unwrap();
    assert_eq!(welcome.hub_time_ms, START_MS + 2 * HOUR_MS);
    world.check().await;
}
