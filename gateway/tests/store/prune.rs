//! What pruning takes, and what it leaves.

use std::collections::BTreeSet;

use gateway::store::{PRUNE_COMMITS_MAX, Prune, Store};
use semantics::ids::{CommitNumber, Revision};

use crate::support::engine::Engine;
use crate::support::rows::{Log, all_records, everything, note, snapshot, wanted};

async fn revisions(store: &dyn Store, log: &Log) -> Vec<u64> {
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    page.entries.iter().map(|entry| entry.row.revision.0).collect()
}

pub async fn pruning_takes_rows_and_commits(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a", "b", "a", "a"]).await;
    let draft = log.draft().reject("no");
    log.append(&*store, draft).await;
    let prune =
        Prune { rows: vec![Revision(1), Revision(3)], commits_below: Revision(4), ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(revisions(&*store, &log).await, [2, 4]);
    let commits = store.commits_after(&log.tenant, CommitNumber::ZERO, 9).await.unwrap();
    // The commit of refusals ends at the same revision as the one before it.
    assert_eq!(commits.iter().map(|commit| commit.number.0).collect::<Vec<_>>(), [4, 5]);
    let page = store.pointer_page(&log.tenant, &all_records()).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.pointer.revision.0).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(page.head, log.head);
}

pub async fn pruning_takes_a_bounded_number_of_commits(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let most = u64::try_from(PRUNE_COMMITS_MAX).unwrap();
    for _ in 0..most + 3 {
        let draft = log.draft().reject("no");
        log.append(&*store, draft).await;
    }
    log.put_each(&*store, &["a"]).await;
    let left = async || {
        let commits = store.commits_after(&log.tenant, CommitNumber::ZERO, 9).await.unwrap();
        commits.into_iter().map(|commit| commit.number.0).collect::<Vec<_>>()
    };
    let prune = Prune { commits_below: Revision(1), ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(left().await, (most + 1..=most + 4).collect::<Vec<_>>());
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(left().await, [most + 4]);
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(left().await, [most + 4]);
}

pub async fn a_tombstone_goes_only_while_it_stands(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let (gone, reborn, live) = (note("gone"), note("reborn"), note("live"));
    let draft =
        log.draft().put(&gone, b"1").put(&reborn, b"1").put(&live, b"1").delete(&gone).delete(&reborn);
    log.append(&*store, draft).await;
    let draft = log.draft().put(&reborn, b"2");
    log.append(&*store, draft).await;
    let tombstones = vec![
        (gone.clone(), Revision(4)),
        (reborn.clone(), Revision(5)),
        (live.clone(), Revision(3)),
        (live.clone(), Revision(9)),
    ];
    let prune = Prune { tombstones, ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(revisions(&*store, &log).await, [1, 2, 3, 5, 6]);
    let loaded = store.load(&log.tenant, &wanted(&[&gone, &reborn, &live])).await.unwrap();
    assert_eq!(loaded.current.keys().collect::<Vec<_>>(), [&live, &reborn]);
    assert_eq!(loaded.current[&reborn].record.body(), Some(&b"2"[..]));
}

pub async fn a_row_without_a_pointer_says_so(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), b"1").put(&note("b"), b"1").delete(&note("a"));
    log.append(&*store, draft).await;
    let prune = Prune { tombstones: vec![(note("a"), Revision(3))], ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    let now: Vec<_> = page.entries.iter().map(|entry| entry.now.as_ref().map(|now| now.revision.0)).collect();
    assert_eq!(now, [None, Some(2)]);
    assert!(page.reaches_head);
}

pub async fn held_revisions_are_told(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let held = async || {
        let asked: BTreeSet<Revision> = (0..9).map(Revision).collect();
        let held = store.held(&tenant_of(), &asked).await.unwrap();
        held.into_iter().map(|revision| revision.0).collect::<Vec<_>>()
    };
    let draft = log.draft().put(&note("a"), b"1").hold(1, true).hold(2, true).hold(3, true);
    log.append(&*store, draft).await;
    assert_eq!(held().await, [1, 2, 3]);
    let draft = log.draft().put(&note("a"), b"2").hold(2, false).hold(3, true).hold(4, true).hold(7, false);
    log.append(&*store, draft).await;
    assert_eq!(held().await, [1, 3, 4]);
    assert!(store.held(&tenant_of(), &BTreeSet::from([Revision(2)])).await.unwrap().is_empty());
    assert!(store.held(&tenant_of(), &BTreeSet::new()).await.unwrap().is_empty());
}

fn tenant_of() -> semantics::ids::TenantId {
    crate::support::rows::tenant("t")
}

pub async fn pruning_what_is_not_there_is_no_error(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a"]).await;
    let before = snapshot(&*store, &log.tenant).await;
    let tombstones = vec![(note("a"), Revision(9)), (note("nothing"), Revision(1)), (note("a"), Revision(1))];
    let prune = Prune { rows: vec![Revision(5)], tombstones, commits_below: Revision(1) };
    store.prune(&log.tenant, &prune).await.unwrap();
    store.prune(&log.tenant, &Prune::default()).await.unwrap();
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
}
