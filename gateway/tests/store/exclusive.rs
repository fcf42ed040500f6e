//! Exclusive sections.

use std::time::Duration;

use gateway::store::{Appended, EXCLUSIVE_MS_MAX};
use semantics::ids::CommitNumber;
use tokio::time::timeout;

use crate::support::engine::Engine;
use crate::support::rows::{Log, note, snapshot, wanted};

/// Long enough to see that something waits, far below the end of a section.
const A_MOMENT: Duration = Duration::from_millis(100);

pub async fn exclusive_shuts_out_other_appends(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let log = Log::create(&*store, "t").await;
    let (mine, _) = log.draft().put(&note("a"), b"mine").build();
    let (theirs, _) = log.draft().put(&note("a"), b"theirs").build();
    let mut section = store.exclusive(&log.tenant).await.unwrap();
    let outside = {
        let tenant = log.tenant.clone();
        tokio::spawn(async move { other.append(&tenant, &theirs).await })
    };
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(store.head(&log.tenant).await.unwrap().commit, CommitNumber::ZERO);
    assert_eq!(section.append(&mine).await.unwrap(), Appended::Yes);
    drop(section);
    // It waited, or was told to come again; it did not get in.
    assert!(!matches!(outside.await.unwrap(), Ok(Appended::Yes)));
    assert_eq!(store.head(&log.tenant).await.unwrap().commit, CommitNumber(1));
}

pub async fn exclusive_ends_by_itself_when_its_holder_stops(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let log = Log::create(&*store, "t").await;
    let (mine, _) = log.draft().put(&note("a"), b"mine").build();
    let (theirs, _) = log.draft().put(&note("b"), b"theirs").build();
    let mut stopped = store.exclusive(&log.tenant).await.unwrap();
    let patience = Duration::from_millis(2 * EXCLUSIVE_MS_MAX);
    let appended = timeout(patience, async {
        loop {
            if let Ok(appended) = other.append(&log.tenant, &theirs).await {
                return appended;
            }
        }
    });
    assert_eq!(appended.await.expect("the section must end by itself"), Appended::Yes);
    let before = snapshot(&*store, &log.tenant).await;
    assert!(!matches!(stopped.append(&mine).await, Ok(Appended::Yes)));
    drop(stopped);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
    drop(timeout(patience, store.exclusive(&log.tenant)).await.expect("free again").unwrap());
}

pub async fn exclusive_is_released_on_drop(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let mut log = Log::create(&*store, "t").await;
    for _ in 0..3 {
        let mut section = store.exclusive(&log.tenant).await.unwrap();
        section.load(&wanted(&[&note("a")])).await.unwrap();
        drop(section);
        let draft = log.draft().put(&note("a"), b"1");
        timeout(Duration::from_millis(EXCLUSIVE_MS_MAX / 2), log.append(&*other, draft)).await.expect("free");
    }
}

pub async fn exclusive_is_released_by_its_append(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let mut log = Log::create(&*store, "t").await;
    let (append, after) = log.draft().put(&note("a"), b"1").build();
    let mut section = store.exclusive(&log.tenant).await.unwrap();
    assert_eq!(section.append(&append).await.unwrap(), Appended::Yes);
    log = after;
    let draft = log.draft().put(&note("b"), b"1");
    timeout(Duration::from_millis(EXCLUSIVE_MS_MAX / 2), log.append(&*other, draft)).await.expect("free");
    drop(section);
}

pub async fn exclusive_reads_and_appends(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a", "b"]).await;
    let mut section = store.exclusive(&log.tenant).await.unwrap();
    let loaded = section.load(&wanted(&[&note("a"), &note("z")])).await.unwrap();
    assert_eq!(loaded.head, log.head);
    assert_eq!(loaded.current.keys().collect::<Vec<_>>(), [&note("a")]);
    let commits = section.commits(&[CommitNumber(2), CommitNumber(5)].into()).await.unwrap();
    assert_eq!(commits.iter().map(|commit| commit.number).collect::<Vec<_>>(), [CommitNumber(2)]);
    let (append, after) = log.draft().put(&note("c"), b"1").build();
    assert_eq!(section.append(&append).await.unwrap(), Appended::Yes);
    drop(section);
    assert_eq!(store.head(&log.tenant).await.unwrap(), after.head);
}

pub async fn an_exclusive_append_at_an_old_commit_number_writes_nothing(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let (stale, _) = log.draft().put(&note("z"), b"1").build();
    log.put_each(&*store, &["a"]).await;
    let before = snapshot(&*store, &log.tenant).await;
    let mut section = store.exclusive(&log.tenant).await.unwrap();
    assert_eq!(section.append(&stale).await.unwrap(), Appended::HeadMoved);
    drop(section);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
}

/// An engine with one writer for all tenants may let them wait, but not past the bound; others do not wait at all.
pub async fn exclusive_sections_of_two_tenants_do_not_wait_for_each_other(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let (one, two) = (Log::create(&*store, "one").await, Log::create(&*store, "two").await);
    let section = store.exclusive(&one.tenant).await.unwrap();
    let patience = Duration::from_millis(2 * EXCLUSIVE_MS_MAX);
    drop(timeout(patience, other.exclusive(&two.tenant)).await.expect("another tenant"));
    drop(section);
}
