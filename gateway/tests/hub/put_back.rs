//! A database that is put back to what it was under gateways that go on, as an old disk is: nobody is told.

use std::future::ready;
use std::sync::Arc;

use futures::future::BoxFuture;
use gateway::store::Store;
use gateway::store::memory::MemoryStore;
use semantics::reason::Reason;
use semantics::session::Hello;

use super::paging::{filled, id};
use crate::support::author::Author;
use crate::support::engine::Engine;
use crate::support::reader::{Reader, session};
use crate::support::world::World;

/// A store that can be put back to what it was, as an old disk is: nobody is told.
async fn put_back_under_a_catch_up(grows: usize) -> (World, Author, Reader) {
    let store = MemoryStore::new();
    let again: Arc<dyn Store> = Arc::new(store.clone());
    let reopened = Arc::clone(&again);
    let reopen = Box::new(move || -> BoxFuture<'static, _> { Box::pin(ready(Arc::clone(&reopened))) });
    let engine = Engine::new(again, reopen, ());
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
        let store = MemoryStore::new();
        let again: Arc<dyn Store> = Arc::new(store.clone());
        let reopened = Arc::clone(&again);
        let reopen = Box::new(move || -> BoxFuture<'static, _> { Box::pin(ready(Arc::clone(&reopened))) });
        let (world, mut mover, author) = filled(&Engine::new(again, reopen, ())).await;
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
