//! Tenants beside each other, and reads beside appends.

use std::sync::Arc;

use gateway::store::{Prune, Space, Store, StoreError};
use semantics::ids::{CommitNumber, Revision};
use tokio::task::JoinHandle;

use crate::support::engine::Engine;
use crate::support::rows::{Log, all_records, cell, everything, key, note, snapshot, tenant, wanted, writer};

pub async fn tenants_are_apart(engine: &Engine) {
    let store = engine.store();
    let names = ["a", "a.b", "ab", "b"];
    let mut logs = Vec::new();
    for name in names {
        let mut log = Log::create(&*store, name).await;
        let draft = log.draft().put(&note("same"), name.as_bytes()).hold(1, true);
        log.append(&*store, draft).await;
        assert!(store.plain_put(&log.tenant, Space::Mark, b"same", name.as_bytes(), 0).await.unwrap());
        logs.push(log);
    }
    let before = snapshot(&*store, &tenant("b")).await;
    let draft = logs[0].draft().put(&note("same"), b"2").hold(1, false).put_in(
        &cell("x", "note", None),
        &note("n"),
        b"",
    );
    logs[0].append(&*store, draft).await;
    let prune = Prune { rows: vec![Revision(1)], tombstones: Vec::new(), commits_below: Revision(2) };
    store.prune(&tenant("a"), &prune).await.unwrap();
    let same = store.plain_get(&tenant("a"), Space::Mark, b"same").await.unwrap().unwrap();
    assert!(store.plain_delete(&tenant("a"), Space::Mark, &same).await.unwrap());
    assert_eq!(snapshot(&*store, &tenant("b")).await, before);
    for name in ["a.b", "ab", "b"] {
        let loaded = store.load(&tenant(name), &wanted(&[&note("same"), &note("n")])).await.unwrap();
        assert_eq!(loaded.current.len(), 1);
        assert_eq!(loaded.current[&note("same")].record.body(), Some(name.as_bytes()));
        let row = store.plain_get(&tenant(name), Space::Mark, b"same").await.unwrap().unwrap();
        assert_eq!(row.value, name.as_bytes());
    }
}

pub async fn an_unknown_tenant_is_told_as_such(engine: &Engine) {
    fn is_told<T>(result: Result<T, StoreError>) {
        assert!(matches!(result.err(), Some(StoreError::NoTenant(name)) if name == tenant("nobody")));
    }
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let nobody = tenant("nobody");
    let (append, _) = log.draft().put(&note("a"), b"1").build();
    is_told(store.head(&nobody).await);
    is_told(store.load(&nobody, &wanted(&[])).await);
    is_told(store.append(&nobody, &append).await);
    is_told(store.log_page(&nobody, &everything(Revision::ZERO)).await);
    is_told(store.pointer_page(&nobody, &all_records()).await);
    is_told(store.exclusive(&nobody).await);
    assert_eq!(store.tenants(None, 9).await.unwrap(), [tenant("t")]);
}

/// Commits in which two records, the writer and the cell always say the same number.
fn commit_in_step(store: Arc<dyn Store>, mut log: Log) -> JoinHandle<()> {
    tokio::spawn(async move {
        for n in 1..=150_u64 {
            let body = n.to_be_bytes();
            let draft = log.draft().put(&note("a"), &body).put(&key("entity", "b"), &body);
            log.append(&*store, draft).await;
            tokio::task::yield_now().await;
        }
    })
}

pub async fn load_is_one_moment(engine: &Engine) {
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let writing = commit_in_step(engine.reopen().await, log.clone());
    let mut ask = wanted(&[&note("a"), &key("entity", "b")]);
    ask.writers.insert(writer(1));
    ask.cells.insert(cell("default", "note", None));
    while !writing.is_finished() {
        let loaded = store.load(&log.tenant, &ask).await.unwrap();
        let n = loaded.head.commit.0;
        if n == 0 {
            assert!(loaded.current.is_empty() && loaded.writers.is_empty() && loaded.cells.is_empty());
            continue;
        }
        assert_eq!(loaded.head.revision, Revision(2 * n));
        assert!(loaded.current.values().all(|current| current.record.body() == Some(&n.to_be_bytes())));
        assert_eq!(loaded.writers[&writer(1)].last_n, 2 * n);
        let digest = &loaded.current[&note("a")].pointer.digest;
        let hash = &loaded.cells[&cell("default", "note", None)].hash;
        assert_eq!(*hash, std::iter::once(digest).collect());
    }
    writing.await.unwrap();
}

pub async fn log_page_is_one_moment(engine: &Engine) {
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let writing = commit_in_step(engine.reopen().await, log.clone());
    let mut query = everything(Revision::ZERO);
    query.keys.insert(note("a"));
    while !writing.is_finished() {
        let page = store.log_page(&log.tenant, &query).await.unwrap();
        assert!(page.reaches_head);
        let last = page.entries.last().map(|entry| entry.row.revision).unwrap_or_default();
        assert_eq!(last, page.head.revision);
        let latest = Revision(page.head.revision.0.saturating_sub(1));
        for entry in page.entries.iter().filter(|entry| entry.row.record.key == note("a")) {
            assert_eq!(entry.now.as_ref().unwrap().revision, latest);
        }
        if let Some(current) = page.current.get(&note("a")) {
            assert_eq!(current.pointer.revision, latest);
            let hash = page.cells.iter().find(|row| row.cell == cell("default", "note", None)).unwrap();
            assert_eq!(hash.hash, std::iter::once(&current.pointer.digest).collect());
        }
    }
    writing.await.unwrap();
}

pub async fn pointer_page_is_one_moment(engine: &Engine) {
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let writing = commit_in_step(engine.reopen().await, log.clone());
    while !writing.is_finished() {
        let page = store.pointer_page(&log.tenant, &all_records()).await.unwrap();
        assert!(page.is_last);
        let n = page.head.commit;
        assert_eq!(page.rows.len(), if n == CommitNumber::ZERO { 0 } else { 2 });
        assert!(page.rows.iter().all(|row| row.record.body() == Some(&n.0.to_be_bytes())));
    }
    writing.await.unwrap();
}
