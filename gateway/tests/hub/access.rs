//! The access log over every store.

use std::sync::Arc;

use gateway::access::{AccessLog, Filter, NotedPlace, Position, QUEUE_MAX, Verified, Who, page, verify};
use semantics::access::{Block, Entry, Event, Sample, chain};
use semantics::ids::{Digest, NodeId};
use semantics::reason::Reason;

use gateway::store::Space;

use crate::support::engine::Engine;
use crate::support::world::World;

const NODE: Who = Who::Node(NodeId([7; 16]));

async fn all(world: &World, filter: &Filter, max: usize) -> Vec<(u64, Entry)> {
    let (mut found, mut from) = (Vec::new(), Position::default());
    loop {
        let page = page(&world.hub, &world.tenant, filter, from, max).await.unwrap();
        assert!(page.entries.len() <= max);
        found.extend(page.entries);
        match page.next {
            Some(next) => from = next,
            None => return found,
        }
    }
}

/// Every block follows the one before it; gives how many there are.
async fn check_chain(world: &World) -> usize {
    let rows = world.store.plain_page(&world.tenant, Space::Access, None, 10_000).await.unwrap();
    let (mut before, mut first) = (Digest::default(), 1);
    for (number, row) in (1_u64..).zip(&rows) {
        assert_eq!(row.key, number.to_be_bytes(), "blocks are dense");
        let block: Block = serde_json::from_slice(&row.value).unwrap();
        assert_eq!((block.before, block.first), (before, first));
        before = chain(&before, &row.value);
        first += u64::try_from(block.entries.len()).unwrap();
    }
    rows.len()
}

pub async fn what_was_noted_before_a_flush_is_durable_after_it(engine: &Engine) {
    let world = World::new(engine).await;
    let log = AccessLog::start(Arc::clone(&world.hub));
    for epoch in 1..=5 {
        log.note(&world.tenant, &NODE, Event::SessionOpened { epoch });
    }
    log.flush().await;
    let found = all(&world, &Filter::default(), 2).await;
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(found[4].1.event, Event::SessionOpened { epoch: 5 });
    assert_eq!(found[4].1.who, NODE.to_string());
    assert_eq!(check_chain(&world).await, 1);
}

pub async fn a_flood_of_refusals_is_few_writes(engine: &Engine) {
    let world = World::new(engine).await;
    let log = AccessLog::start(Arc::clone(&world.hub));
    for n in 0..2_000 {
        let sample = Sample::new(&format!("r{n}"), "/hubward.v1.SyncService/Push", "not yours");
        log.refused(Some(world.tenant.clone()), &NODE, Reason::NotInView, sample);
        tokio::task::yield_now().await;
    }
    log.flush().await;
    let found = all(&world, &Filter::default(), 100).await;
    let counted: u64 = found
        .iter()
        .map(|(_, entry)| match &entry.event {
            Event::Refused { count, samples, .. } => {
                assert_eq!(samples.len(), 3);
                *count
            }
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(counted, 2_000);
    assert!(check_chain(&world).await <= 2, "one block a minute");
}

pub async fn a_note_never_waits(engine: &Engine) {
    let world = World::new(engine).await;
    let log = AccessLog::start(Arc::clone(&world.hub));
    let told = u64::try_from(QUEUE_MAX).unwrap() + 1_000;
    // Nothing else runs between these: the queue is full before anybody empties it.
    for _ in 0..told {
        log.note(&world.tenant, &NODE, Event::AccessTokenIssued);
    }
    log.flush().await;
    log.flush().await;
    let kept = u64::try_from(all(&world, &Filter::default(), 1_000).await.len()).unwrap();
    let hub = gateway::auth::hub_tenant().unwrap();
    let lost = match page(&world.hub, &hub, &Filter::default(), Position::default(), 10).await {
        Ok(page) => page
            .entries
            .into_iter()
            .filter_map(|(_, entry)| match entry.event {
                Event::NotKept { count } => Some(count),
                _ => None,
            })
            .sum(),
        // The world of these tests has no tenant of the hub's own.
        Err(_) => told - kept,
    };
    assert!(lost > 0 && kept + lost == told, "{kept} kept, {lost} lost of {told}");
    check_chain(&world).await;
}

pub async fn an_entry_of_a_newer_gateway_is_read_and_written_behind(engine: &Engine) {
    let world = World::new(engine).await;
    let now_ms = gateway::ambient::Clock::now_ms(&*world.clock);
    let newer = serde_json::json!({
        "first": 1, "before": Digest::default(),
        "entries": [
            {"time_ms": now_ms, "who": "hub", "event": "door_painted", "colour": "red", "coats": [1, 2]},
            {"time_ms": now_ms, "who": "hub", "event": "session_opened", "epoch": "first"},
        ],
    });
    let block = serde_json::to_vec(&newer).unwrap();
    assert!(
        world.store.plain_put(&world.tenant, Space::Access, &1_u64.to_be_bytes(), &block, 0).await.unwrap()
    );
    let log = AccessLog::start(Arc::clone(&world.hub));
    log.note(&world.tenant, &NODE, Event::SessionOpened { epoch: 1 });
    log.flush().await;
    let found = all(&world, &Filter::default(), 2).await;
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    let names: Vec<&str> = found.iter().map(|(_, entry)| entry.event.name()).collect();
    assert_eq!(names, ["door_painted", "session_opened", "session_opened"]);
    let painted = serde_json::to_value(&found[0].1).unwrap();
    assert_eq!(painted, newer["entries"][0], "nothing of it is lost");
    assert_eq!(check_chain(&world).await, 2);
    let walked = verify(&world.hub, &world.tenant, None, None).await.unwrap();
    assert!(walked.broken.is_none() && walked.blocks == 2, "{walked:?}");
}

pub async fn two_gateways_write_one_chain(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    let logs = [AccessLog::start(Arc::clone(&world.hub)), AccessLog::start(other)];
    for epoch in 1..=20 {
        for log in &logs {
            log.note(&world.tenant, &NODE, Event::SessionOpened { epoch });
        }
        let (a, b) = (logs[0].flush(), logs[1].flush());
        tokio::join!(a, b);
    }
    assert_eq!(all(&world, &Filter::default(), 7).await.len(), 40);
    assert_eq!(check_chain(&world).await, 40);
}

/// Walks the whole log.
async fn walk(world: &World, noted: Option<NotedPlace>) -> Verified {
    let (mut from, mut blocks) = (None, 0);
    loop {
        let done = verify(&world.hub, &world.tenant, from, noted).await.unwrap();
        blocks += done.blocks;
        if done.broken.is_some() || !done.has_more {
            return Verified { blocks, ..done };
        }
        from = done.at;
    }
}

pub async fn what_was_changed_shows(engine: &Engine) {
    let world = World::new(engine).await;
    assert!(walk(&world, None).await.at.is_none(), "an empty log is whole");
    let log = AccessLog::start(Arc::clone(&world.hub));
    for epoch in 1..=20 {
        log.note(&world.tenant, &NODE, Event::SessionOpened { epoch });
        log.flush().await;
    }
    let whole = walk(&world, None).await;
    let at = whole.at.unwrap();
    assert_eq!((whole.blocks, whole.broken, at.block, at.next_entry), (20, None, 20, 21));
    let noted = Some(NotedPlace { block: 18, chain: walk_to(&world, 18).await });
    assert_eq!(walk(&world, noted).await.broken, None);

    let row = async |block: u64| {
        let key = block.to_be_bytes();
        (key, world.store.plain_get(&world.tenant, Space::Access, &key).await.unwrap().unwrap())
    };
    // Somebody who can write to the store says that another node came.
    let (key, held) = row(18).await;
    let text = String::from_utf8(held.value.clone()).unwrap().replace("node/07", "node/08");
    let put = async |key: [u8; 8], value: &[u8]| {
        let version = row(u64::from_be_bytes(key)).await.1.version;
        assert!(world.store.plain_put(&world.tenant, Space::Access, &key, value, version).await.unwrap());
    };
    put(key, text.as_bytes()).await;
    let broken = walk(&world, None).await.broken.unwrap();
    assert_eq!((broken.block, broken.entry), (19, 19), "{broken:?}");
    // Cut off behind the change, only the place that was noted tells.
    for block in [19_u64, 20] {
        take_away(&world, block).await;
    }
    assert_eq!(walk(&world, None).await.broken, None);
    assert_eq!(walk(&world, noted).await.broken.unwrap().block, 18);
    put(key, &held.value).await;
    assert_eq!(walk(&world, noted).await.broken, None);
    let further = noted.map(|noted| NotedPlace { block: 19, ..noted });
    assert!(walk(&world, further).await.broken.unwrap().detail.contains("ends with block 18"));
    take_away(&world, 7).await;
    let broken = walk(&world, None).await.broken.unwrap();
    assert_eq!((broken.block, broken.entry), (8, 7), "{broken:?}");
    // What went past the bound is no gap.
    for block in 1..7_u64 {
        take_away(&world, block).await;
    }
    assert_eq!(walk(&world, None).await.broken, None);
}

async fn take_away(world: &World, block: u64) {
    let row = world.store.plain_get(&world.tenant, Space::Access, &block.to_be_bytes()).await.unwrap();
    assert!(world.store.plain_delete(&world.tenant, Space::Access, &row.unwrap()).await.unwrap());
}

/// The chain after a block.
async fn walk_to(world: &World, block: usize) -> Digest {
    let rows = world.store.plain_page(&world.tenant, Space::Access, None, block).await.unwrap();
    rows.iter().fold(Digest::default(), |before, row| chain(&before, &row.value))
}

pub async fn filters_choose_by_time_principal_event_and_reason(engine: &Engine) {
    let world = World::new(engine).await;
    let log = AccessLog::start(Arc::clone(&world.hub));
    let cut = |reason: Reason| Event::SessionCut {
        epoch: 1,
        reason: reason.as_str().to_owned(),
        acknowledged: 3,
        lasted_ms: 4,
    };
    let start = gateway::ambient::Clock::now_ms(&*world.clock);
    log.note(&world.tenant, &NODE, cut(Reason::Draining));
    world.clock.advance(10);
    log.note(&world.tenant, &Who::Address(None), cut(Reason::NodeRevoked));
    log.flush().await;
    let count = async |filter: Filter| all(&world, &filter, 10).await.len();
    assert_eq!(count(Filter { since_ms: Some(start + 1), ..Filter::default() }).await, 1);
    assert_eq!(count(Filter { until_ms: Some(start + 10), ..Filter::default() }).await, 1);
    assert_eq!(count(Filter { who: Some(["node/".to_owned()].into()), ..Filter::default() }).await, 1);
    assert_eq!(
        count(Filter { who: Some(["address/unknown".to_owned()].into()), ..Filter::default() }).await,
        1
    );
    assert_eq!(
        count(Filter { who: Some(["address/unkno".to_owned()].into()), ..Filter::default() }).await,
        0
    );
    assert_eq!(count(Filter { event: Some("session_cut".to_owned()), ..Filter::default() }).await, 2);
    assert_eq!(count(Filter { event: Some("refused".to_owned()), ..Filter::default() }).await, 0);
    assert_eq!(count(Filter { reason: Some("NODE_REVOKED".to_owned()), ..Filter::default() }).await, 1);
}
