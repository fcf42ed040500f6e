//! Live sessions.

use std::sync::Arc;

use gateway::hub::limits::{DIGEST_MS, PROGRESS_MS};
use gateway::hub::session::{Outgoing, Session};
use semantics::cursor::{Cut, Next};
use semantics::session::{ClientMessage, Hello, ServerMessage};

use crate::support::engine::Engine;
use crate::support::reader::{Reader, session};
use crate::support::rows::note;
use crate::support::world::World;

async fn next_cut(session: &mut Session, reader: &mut Reader) -> Option<Cut> {
    let ServerMessage::Changes(page) = session.next().await.unwrap()?.into_message() else {
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
    live.next().await.unwrap();
    let cut = next_cut(&mut live, &mut reader).await.unwrap();
    assert_eq!(cut.digest, Some(world.hub.digest(&world.tenant, author.who.node).await.unwrap().1));
    world.check().await;
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
            let ServerMessage::Changes(page) = outgoing.into_message() else { panic!("changes only") };
            let bytes = page.weight().try_into().unwrap();
            live.on(ClientMessage::Credit { bytes }).await.unwrap();
            reader.apply(page);
        }
        assert_eq!(reader.at(), world.revision().await, "nothing more comes after {n} moves");
        assert_eq!(reader.holds(&note("moves")), domain == "a");
    }
}
