//! Live sessions.

use std::sync::Arc;

use gateway::hub::limits::{DIGEST_MS, PROGRESS_MS};
use gateway::hub::session::{Outgoing, Session};
use semantics::cursor::{Cut, Next};
use semantics::session::{ClientMessage, Hello, ServerMessage};

use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::{Reader, session};
use crate::support::rows::note;
use crate::support::world::World;

async fn next_cut(session: &mut Session, reader: &mut Reader) -> Option<Cut> {
    let ServerMessage::Changes(page) = session.next().await.unwrap()?.into_message().unwrap() else {
        panic!("changes only")
    };
    assert!(matches!(page.next, Next::Cut(_)));
    reader.apply(page)
}

pub async fn quiet_view(engine: &Engine) {
    let world = World::new(engine).await;
    let quiet = world.author("quiet", "quiet").await;
    let mut busy = world.author("busy", "default").await;
    let mut reader = Reader::of(&quiet);
    let mut live = session(&world.hub, &quiet, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    for round in 0..5 {
        for n in 0..20 {
            busy.put(&note(&format!("{n}")), &format!(r#"{{"v":{round}}}"#)).await;
        }
        assert!(next_cut(&mut live, &mut reader).await.is_none(), "nothing of it is for this view");
        world.clock.advance(PROGRESS_MS);
        let cut = next_cut(&mut live, &mut reader).await.unwrap();
        assert_eq!((cut.cursor.revision, cut.view), (world.revision().await, None));
        assert!(reader.came.is_empty() && reader.departed.is_empty());
        live.on(ClientMessage::Ack { cursor: cut.cursor, answered_n: None, summed: None }).await.unwrap();
        live.flush_seen().await.unwrap();
        world.maintain().await;
        assert_eq!(world.store.head(&world.tenant).await.unwrap().horizon, cut.cursor.revision);
        // Not expired: it goes on from where it stands.
        let mut again = reader.clone();
        assert_eq!(again.catch_up(&world.another_hub()).await.unwrap(), 1);
    }
    world.clock.advance(10 * DIGEST_MS);
    while next_cut(&mut live, &mut reader).await.is_some() {}
    world.clock.advance(10 * DIGEST_MS);
    assert!(next_cut(&mut live, &mut reader).await.is_none(), "where nothing happens nothing is sent");
}

pub async fn live_changes_come_in_order_once(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut reader = Reader::of(&author);
    let mut live = session(&world.hub, &author, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    let mut written = Vec::new();
    for n in 0..30 {
        let id = note(&format!("{}", n % 4));
        if n % 7 == 6 {
            author.delete(&id).await
        } else {
            author.put(&id, &format!(r#"{{"v":{n}}}"#)).await
        };
        written.push(id);
        if n % 3 == 0 {
            reader.listen(&mut live).await.unwrap();
            assert_eq!(reader.at(), world.revision().await);
        }
    }
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.came, written);
    world.clock.advance(DIGEST_MS);
    // The digest is compared where it is applied.
    let cut = next_cut(&mut live, &mut reader).await.unwrap();
    assert_eq!(cut.digest, Some(world.hub.digest(&world.tenant, author.who.node).await.unwrap().1));
    world.check().await;
}

pub async fn readers_that_are_due_together_are_told_by_one_read(engine: &Engine) {
    let world = World::new(engine).await;
    let store = Arc::new(FaultStore::new(Arc::clone(&world.store)));
    let hub = world.hub_on(Arc::<FaultStore>::clone(&store));
    let mut author = world.author("laptop", "default").await.at(&hub);
    let mut readers = Vec::new();
    for n in 0..8 {
        let other = world.author(&format!("reader-{n}"), ["default", "elsewhere"][n % 2]).await;
        let reader = Reader::of(&other);
        let live = session(&hub, &other, &reader).await.unwrap();
        readers.push((other, reader, live));
    }
    for (_, reader, live) in &mut readers {
        reader.listen(live).await.unwrap();
    }
    author.put(&note("a"), "{}").await;
    for (_, reader, live) in &mut readers {
        reader.listen(live).await.unwrap();
    }
    world.clock.advance(DIGEST_MS);
    let before = store.log_pages();
    for (other, reader, live) in &mut readers {
        let is_theirs = reader.view.cells.iter().any(|cell| cell.domain.as_str() == "default");
        let cut = next_cut(live, reader).await.unwrap();
        let digest = hub.digest(&world.tenant, other.who.node).await.unwrap().1;
        assert_eq!(cut.digest, is_theirs.then_some(digest), "to whom nothing was sent nothing is summed up");
    }
    let own = u64::try_from(readers.len()).unwrap();
    assert_eq!(store.log_pages() - before, 1 + own, "one, and those of this test");
}

pub async fn a_reader_is_told_the_sum_of_exactly_its_cut(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let elsewhere = author.at(&world.another_hub());
    let mut reader = Reader::of(&author);
    let mut live = session(&world.hub, &author, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    author.put(&note("a"), "{}").await;
    reader.listen(&mut live).await.unwrap();
    world.clock.advance(DIGEST_MS);
    let node = author.who.node;
    let of_head = async || Some(world.hub.digest(&world.tenant, node).await.unwrap().1);
    // The sum is read while the reader has yet to be sent what another gateway committed.
    let written = author.write(&note("b"), None, put("{}"));
    elsewhere.push(&[written]).await.unwrap();
    assert!(live.next().await.unwrap().is_none());
    world.hub.poll(&world.tenant).await.unwrap();
    let cut = next_cut(&mut live, &mut reader).await.unwrap();
    assert_eq!(cut.digest, of_head().await, "it waits for its cut");
    world.clock.advance(DIGEST_MS);
    let written = author.write(&note("c"), None, put("{}"));
    elsewhere.push(&[written]).await.unwrap();
    assert!(live.next().await.unwrap().is_none());
    let written = author.write(&note("d"), None, put("{}"));
    elsewhere.push(&[written]).await.unwrap();
    // Both come as one: the reader goes past where it was summed up, and is brought a sum all the same.
    world.hub.poll(&world.tenant).await.unwrap();
    let cut = next_cut(&mut live, &mut reader).await.unwrap();
    assert_eq!(cut.digest, None);
    let cut = next_cut(&mut live, &mut reader).await.unwrap();
    assert_eq!(cut.digest, of_head().await);
    assert_eq!(cut.cursor.revision, world.revision().await);
}

pub async fn readers_of_one_view_share_a_batch(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let others = [world.author("one", "default").await, world.author("two", "default").await];
    let outside = world.author("three", "elsewhere").await;
    let mut sessions = Vec::new();
    for other in others.iter().chain([&outside]) {
        let mut reader = Reader::of(other);
        let mut live = session(&world.hub, other, &reader).await.unwrap();
        reader.listen(&mut live).await.unwrap();
        sessions.push(live);
    }
    author.put(&note("a"), "{}").await;
    let mut parts = Vec::new();
    for live in &mut sessions {
        parts.extend(live.next().await.unwrap().map(|Outgoing { part, .. }| part));
    }
    assert_eq!(parts.len(), 2);
    assert!(Arc::ptr_eq(&parts[0], &parts[1]));
}

pub async fn a_session_without_credit_is_sent_nothing(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    let mut reader = Reader::of(&author);
    let hello = Hello { credit_bytes: 0, ..author.hello(None) };
    let (mut live, _) = Session::open(&world.hub, author.who.clone(), &hello).await.unwrap();
    assert_eq!(reader.listen(&mut live).await.unwrap(), 0);
    live.on(ClientMessage::Credit { bytes: 1 }).await.unwrap();
    assert_eq!(reader.listen(&mut live).await.unwrap(), 1, "one page may pass the credit");
    author.put(&note("b"), "{}").await;
    assert_eq!(reader.listen(&mut live).await.unwrap(), 0);
    live.on(ClientMessage::Credit { bytes: 1_000_000 }).await.unwrap();
    assert_eq!(reader.listen(&mut live).await.unwrap(), 1);
    assert!(reader.holds(&note("a")) && reader.holds(&note("b")));
}

pub async fn a_view_change_reaches_a_live_session(engine: &Engine) {
    let world = World::new(engine).await;
    let watcher = world.author("watcher", "a").await;
    let mut author = world.author("laptop", "b").await;
    author.put(&note("old"), "{}").await;
    let other = world.another_hub();
    for hub in [&world.hub, &other] {
        let mut reader = Reader::of(&watcher);
        let mut live = session(hub, &watcher, &reader).await.unwrap();
        reader.listen(&mut live).await.unwrap();
        assert!(reader.records.is_empty());
        world.show(&watcher, &["a", "b"]).await;
        author.put(&note("new"), "{}").await;
        hub.poll(&world.tenant).await.unwrap();
        reader.listen(&mut live).await.unwrap();
        assert!(reader.holds(&note("old")) && reader.holds(&note("new")));
        world.show(&watcher, &["a"]).await;
        author.put(&note("new"), r#"{"v":2}"#).await;
        hub.poll(&world.tenant).await.unwrap();
        reader.listen(&mut live).await.unwrap();
        assert!(reader.records.is_empty());
        assert_eq!(reader.at(), world.revision().await);
    }
    world.check().await;
}

pub async fn credit_stays_level_for_who_grants_what_each_message_cost(engine: &Engine) {
    let world = World::new(engine).await;
    let mut mover = world.author("mover", "a").await;
    world.show(&mover, &["a", "b"]).await;
    let author = world.author("reader", "a").await;
    let mut reader = Reader::of(&author);
    let hello = Hello { credit_bytes: 4_000, ..author.hello(None) };
    let (mut live, _) = Session::open(&world.hub, author.who.clone(), &hello).await.unwrap();
    // Each record comes and leaves again: half of what is sent are departures.
    for n in 0..60 {
        let domain = if n % 2 == 0 { "a" } else { "b" };
        mover.put_in(domain, &note("moves"), &format!(r#"{{"n":{n}}}"#)).await;
        while let Some(outgoing) = live.next().await.unwrap() {
            let ServerMessage::Changes(page) = outgoing.into_message().unwrap() else {
                panic!("changes only")
            };
            let bytes = page.weight().try_into().unwrap();
            live.on(ClientMessage::Credit { bytes }).await.unwrap();
            reader.apply(page);
        }
        assert_eq!(reader.at(), world.revision().await, "nothing more comes after {n} moves");
        assert_eq!(reader.holds(&note("moves")), domain == "a");
    }
}
