//! A database that is put back to what it was under gateways that go on, as an old disk is: nobody is told.

use std::future::ready;
use std::sync::Arc;

use futures::future::BoxFuture;
use gateway::ambient::Clock as _;
use gateway::store::Store;
use gateway::store::memory::MemoryStore;
use semantics::ids::LogId;
use semantics::reason::Reason;
use semantics::session::Hello;

use super::paging::{filled, id};
use crate::support::author::Author;
use crate::support::engine::Engine;
use crate::support::reader::{Reader, session};
use crate::support::world::World;

fn memory() -> (MemoryStore, Engine) {
    let store = MemoryStore::new();
    let again: Arc<dyn Store> = Arc::new(store.clone());
    let reopened = Arc::clone(&again);
    let reopen = Box::new(move || -> BoxFuture<'static, _> { Box::pin(ready(Arc::clone(&reopened))) });
    (store, Engine::new(again, reopen, ()))
}

/// A store that can be put back to what it was, as an old disk is: nobody is told.
async fn put_back_under_a_catch_up(grows: usize) -> (World, Author, Reader) {
    let (store, engine) = memory();
    let (world, mut mover, author) = filled(&engine).await;
    // The key that seals positions is older than the backup.
    assert!(Reader::of(&author).page(&world.hub).await.unwrap().is_none());
    let backup = store.backup();
    let before = mover.clone();
    mover.put_in("a", &id(3), r#"{"lost":1}"#).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    store.restore(&backup);
    let mut mover = before.at(&world.another_hub());
    for n in 0..grows {
        mover.put_in("a", &id(4), &format!(r#"{{"instead":{n}}}"#)).await;
    }
    (world, author, reader)
}

#[tokio::test]
async fn a_log_put_back_under_a_catch_up_is_another_log() {
    for grows in [0, 1, 3] {
        let (world, author, mut reader) = put_back_under_a_catch_up(grows).await;
        let gateway = world.another_hub();
        let hello = Hello { resume: reader.resume.clone(), ..author.hello(None) };
        let refused = gateway.hello(&author.who, &hello).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::LogForked, "{grows}");
        assert_eq!(reader.page(&gateway).await.unwrap_err().reason(), Reason::LogForked, "{grows}");
    }
}

#[tokio::test]
async fn a_live_reader_is_told_nothing_of_a_log_that_was_put_back() {
    for grows in [0, 1, 3] {
        let (store, engine) = memory();
        let (world, mut mover, author) = filled(&engine).await;
        let [mut lags, mut ahead] = [Reader::of(&author), Reader::of(&author)];
        for reader in [&mut lags, &mut ahead] {
            reader.catch_up(&world.hub).await.unwrap();
        }
        let mut late = session(&world.hub, &author, &lags).await.unwrap();
        let mut early = session(&world.hub, &author, &ahead).await.unwrap();
        lags.listen(&mut late).await.unwrap();
        ahead.listen(&mut early).await.unwrap();
        let (backup, before) = (store.backup(), mover.clone());
        mover.put_in("a", &id(3), r#"{"lost":1}"#).await;
        ahead.listen(&mut early).await.unwrap();
        assert!(ahead.body(&id(3)).is_some_and(|body| body.contains("lost")));
        store.restore(&backup);
        let mut mover = before.at(&world.another_hub());
        for n in 0..grows {
            mover.put_in("a", &id(4), &format!(r#"{{"instead":{n}}}"#)).await;
        }
        world.hub.poll(&world.tenant).await.unwrap();
        lags.listen(&mut late).await.unwrap();
        assert_eq!(lags.at(), world.revision().await, "{grows}");
        assert!(lags.body(&id(3)).is_some_and(|body| !body.contains("lost")), "{grows}");
        let refused = ahead.listen(&mut early).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::LogForked, "{grows}");
        assert_eq!(lags.digest(), world.hub.digest(&world.tenant, author.who.node).await.unwrap().1);
    }
}

#[tokio::test]
async fn what_was_read_of_a_log_that_was_put_back_is_given_to_nobody() {
    for grows in [1, 3] {
        let (world, author, _) = put_back_under_a_catch_up(grows).await;
        let mut reader = Reader::of(&author);
        reader.catch_up(&world.hub).await.unwrap();
        assert_eq!(reader.at(), world.revision().await);
        assert!(reader.body(&id(3)).is_some_and(|body| !body.contains("lost")), "{grows}");
        assert_eq!(reader.digest(), world.hub.digest(&world.tenant, author.who.node).await.unwrap().1);
    }
}

/// Nothing of what it was sent was ever shown, so that there is nothing to stop for; who stands at a cut stops.
#[tokio::test]
async fn who_stands_nowhere_begins_anew_in_a_log_that_goes_on_from_a_backup() {
    let (store, engine) = memory();
    let (world, mut mover, author) = filled(&engine).await;
    let mut stands = Reader::of(&author);
    stands.catch_up(&world.hub).await.unwrap();
    let cursor = stands.cursor;
    for n in 0..25 {
        mover.put_in("a", &id(n), r#"{"more":1}"#).await;
    }
    let mut began = Reader::of(&author);
    for reader in [&mut began, &mut stands] {
        assert!(reader.page(&world.hub).await.unwrap().is_none());
    }
    store.renew(world.clock.now_ms(), || LogId([5; 16]));
    let gateway = world.another_hub();
    let refused = async |resume: &Option<Vec<u8>>, cursor| {
        let hello = Hello { resume: resume.clone(), ..author.hello(cursor) };
        gateway.hello(&author.who, &hello).await.unwrap_err().reason()
    };
    assert_eq!(refused(&began.resume, None).await, Reason::BadToken);
    assert_eq!(refused(&stands.resume, cursor).await, Reason::LogForked);
    assert_eq!(stands.page(&gateway).await.unwrap_err().reason(), Reason::LogForked);
    gateway.hello(&author.who, &author.hello(None)).await.unwrap();
    let mut anew = Reader::of(&author);
    anew.catch_up(&gateway).await.unwrap();
    assert_eq!(anew.digest(), gateway.digest(&world.tenant, author.who.node).await.unwrap().1);
}
