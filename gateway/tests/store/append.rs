//! What an append does, and what it does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use gateway::store::memory::MemoryStore;
use gateway::store::{Appended, Prune, Space, Store as _, StoreError};
use semantics::commit::Head;
use semantics::envelope::BODY_BYTES_MAX;
use semantics::ids::{CommitNumber, Digest, LogId, Revision};

use crate::support::engine::Engine;
use crate::support::rows::{Log, everything, note, snapshot, tenant, wanted, writer};

pub async fn append_is_atomic(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), b"1").put(&note("b"), b"2").hold(1, true).reject("no");
    let append = log.append(&*store, draft).await;

    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    assert_eq!(page.head, append.head);
    assert_eq!(page.entries.into_iter().map(|entry| entry.row).collect::<Vec<_>>(), append.rows);
    assert_eq!(page.cells, append.cells);
    assert_eq!(store.commits_after(&log.tenant, CommitNumber::ZERO, 9).await.unwrap(), [append.commit]);
    assert_eq!(store.writers(&log.tenant, None, None, 9).await.unwrap(), append.writers);
    let loaded = store.load(&log.tenant, &wanted(&[&note("a"), &note("b")])).await.unwrap();
    let pointers: Vec<_> = loaded.current.into_values().map(|current| current.pointer).collect();
    assert_eq!(pointers, append.pointers);
    let held = store.held(&log.tenant, &[Revision(1), Revision(2)].into()).await.unwrap();
    assert_eq!(held, BTreeSet::from([Revision(1)]));
}

pub async fn an_append_of_any_number_of_rows_is_whole(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    // Rows that go out 256, 64, 16, 4 and one at a time, and those of one small push.
    for count in [1, 5, 2 * 256 + 64 + 16 + 3 * 4 + 3] {
        let before = log.head.revision;
        let mut draft = log.draft();
        for n in 0..count {
            let body = format!("{count}-{n}");
            draft = draft.put(&note(&format!("n{n}")), body.as_bytes()).hold(before.0 + 1 + n, true);
        }
        let append = log.append(&*store, draft).await;

        let page = store.log_page(&log.tenant, &everything(before)).await.unwrap();
        assert_eq!(page.entries.into_iter().map(|entry| entry.row).collect::<Vec<_>>(), append.rows);
        assert_eq!(page.cells, append.cells);
        let keys: Vec<_> = append.pointers.iter().map(|pointer| &pointer.key).collect();
        let mut loaded = store.load(&log.tenant, &wanted(&keys)).await.unwrap().current;
        assert!(
            append.pointers.iter().all(|p| loaded.remove(&p.key).is_some_and(|found| found.pointer == *p))
        );
        let revisions: BTreeSet<_> = append.rows.iter().map(|row| row.revision).collect();
        assert_eq!(store.held(&log.tenant, &revisions).await.unwrap(), revisions);
        let draft = revisions.iter().fold(log.draft(), |draft, revision| draft.hold(revision.0, false));
        log.append(&*store, draft.put(&note("n0"), b"released")).await;
        assert!(store.held(&log.tenant, &revisions).await.unwrap().is_empty());
    }
}

pub async fn append_is_durable(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a", "b", "c"]).await;
    let draft = log.draft().delete(&note("b")).hold(2, true);
    log.append(&*store, draft).await;
    let before = snapshot(&*store, &log.tenant).await;
    let again = engine.reopen().await;
    assert_eq!(snapshot(&*again, &log.tenant).await, before);
}

pub async fn append_moves_the_head_by_compare_and_set(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    for round in 0..16 {
        let log = Log::create(&*store, &format!("raced{round}")).await;
        let (one, _) = log.draft().put(&note("a"), b"1").put(&note("c"), b"1").hold(1, true).build();
        let (two, _) = log.draft().put(&note("b"), b"2").reject("no").build();
        let raced = futures::join!(store.append(&log.tenant, &one), other.append(&log.tenant, &two),);
        let winner = match (raced.0.unwrap(), raced.1.unwrap()) {
            (Appended::Yes, Appended::HeadMoved) => one,
            (Appended::HeadMoved, Appended::Yes) => two,
            both => panic!("{both:?}"),
        };
        let alone = Log::create(&*store, &format!("alone{round}")).await;
        assert_eq!(store.append(&alone.tenant, &winner).await.unwrap(), Appended::Yes);
        assert_eq!(snapshot(&*store, &log.tenant).await, snapshot(&*store, &alone.tenant).await);
    }
}

pub async fn append_follows_its_chain(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    // What was made on another log of as many commits, under the same id: one of them was put back under its writer.
    let mut elsewhere = log.clone();
    log.put_each(&*store, &["a"]).await;
    let (_, other) = elsewhere.draft().put(&note("b"), b"lost").build();
    elsewhere = other;
    elsewhere.head.chain = Digest([9; 32]);
    let (stale, _) = elsewhere.draft().put(&note("c"), b"late").hold(1, true).build();
    let before = snapshot(&*store, &log.tenant).await;
    assert_eq!(store.append(&log.tenant, &stale).await.unwrap(), Appended::HeadMoved);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
    log.put_each(&*store, &["c"]).await;
}

pub async fn a_prepared_append_is_as_any_other(engine: &Engine) {
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let model = MemoryStore::new();
    assert!(model.create_tenant(&log.tenant, &log.head).await.unwrap());
    let (one, after) = log.draft().put(&note("a"), b"1").build();
    let (many, after) = after.draft().put(&note("a"), b"2").put(&note("b"), b"1").build();
    let (holding, after) = after.draft().put(&note("c"), b"1").hold(1, true).build();
    let (last, _) = after.draft().put(&note("c"), b"2").put(&note("d"), b"1").build();
    let appends = [&one, &many, &holding, &last];
    // All before the first is appended; the last gets what was made of another.
    let mut prepared = appends.map(|append| store.prepare(&log.tenant, append));
    prepared[3] = store.prepare(&log.tenant, &many);
    for (append, prepared) in appends.into_iter().zip(prepared) {
        let appended = store.append_prepared(&log.tenant, append, prepared).await.unwrap();
        assert_eq!(appended, Appended::Yes);
        assert_eq!(model.append(&log.tenant, append).await.unwrap(), Appended::Yes);
        assert_eq!(snapshot(&*store, &log.tenant).await, snapshot(&model, &log.tenant).await);
    }
    let before = snapshot(&*store, &log.tenant).await;
    for append in appends {
        let prepared = store.prepare(&log.tenant, append);
        let appended = store.append_prepared(&log.tenant, append, prepared).await.unwrap();
        assert_eq!(appended, Appended::HeadMoved);
    }
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
    let other = Log::create(&*store, "u").await;
    let (theirs, _) = other.draft().put(&note("a"), b"u").build();
    let ours = store.prepare(&log.tenant, &theirs);
    assert_eq!(store.append_prepared(&other.tenant, &theirs, ours).await.unwrap(), Appended::Yes);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
}

pub async fn an_append_at_an_old_commit_number_writes_nothing(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let (stale, _) = log.draft().put(&note("a"), b"late").put(&note("z"), b"late").hold(1, true).build();
    let draft = log.draft().put(&note("a"), b"1").reject("no");
    log.append(&*store, draft).await;
    let before = snapshot(&*store, &log.tenant).await;
    assert_eq!(store.append(&log.tenant, &stale).await.unwrap(), Appended::HeadMoved);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
    let (mut ahead, _) = log.draft().put(&note("z"), b"1").build();
    ahead.expected = CommitNumber(7);
    assert_eq!(store.append(&log.tenant, &ahead).await.unwrap(), Appended::HeadMoved);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
}

pub async fn append_refuses_another_log(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a"]).await;
    let before = snapshot(&*store, &log.tenant).await;
    let (mut append, _) = log.draft().put(&note("b"), b"1").build();
    append.head.log_id = LogId([8; 16]);
    assert_eq!(store.append(&log.tenant, &append).await.unwrap(), Appended::HeadMoved);
    assert_eq!(snapshot(&*store, &log.tenant).await, before);
}

pub async fn append_is_the_only_way_the_log_changes(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a", "a"]).await;
    assert!(store.plain_put(&log.tenant, Space::Mark, b"m", b"1", 0).await.unwrap());
    let mark = store.plain_get(&log.tenant, Space::Mark, b"m").await.unwrap().unwrap();
    assert!(store.plain_delete(&log.tenant, Space::Mark, &mark).await.unwrap());
    let prune = Prune { rows: vec![Revision(1)], tombstones: Vec::new(), commits_below: Revision(2) };
    store.prune(&log.tenant, &prune).await.unwrap();
    drop(store.exclusive(&log.tenant).await.unwrap());
    assert_eq!(store.head(&log.tenant).await.unwrap(), log.head);
    log.put_each(&*store, &["b"]).await;
}

pub async fn an_append_of_refusals_only_moves_the_head(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let (stale, _) = log.draft().put(&note("a"), b"1").build();
    let draft = log.draft().reject("one").reject("two");
    let append = log.append(&*store, draft).await;
    assert!(append.commit.first > append.commit.last);
    let head = store.head(&log.tenant).await.unwrap();
    assert_eq!((head.commit, head.revision), (CommitNumber(1), Revision::ZERO));
    assert_eq!(store.commits_after(&log.tenant, CommitNumber::ZERO, 9).await.unwrap(), [append.commit]);
    assert_eq!(store.append(&log.tenant, &stale).await.unwrap(), Appended::HeadMoved);
}

pub async fn an_append_replaces_pointers_writers_and_cells(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a"]).await;
    let draft = log.draft().put(&note("a"), b"2").open_conflict(&note("a"), "x", "c1");
    log.append(&*store, draft).await;
    let draft = log.draft().delete(&note("a"));
    let last = log.append(&*store, draft).await;
    let mut ask = wanted(&[&note("a")]);
    ask.writers.insert(writer(1));
    ask.cells.extend(log.cells.keys().cloned());
    let loaded = store.load(&log.tenant, &ask).await.unwrap();
    assert_eq!(loaded.current[&note("a")].pointer, log.pointers[&note("a")]);
    assert_eq!(loaded.current[&note("a")].record, last.rows[0].record);
    assert_eq!(loaded.writers[&writer(1)], last.writers[0]);
    assert!(loaded.cells.values().all(|cell| cell.hash.is_empty()));
    assert_eq!(
        store.pointer_page(&log.tenant, &crate::support::rows::all_records()).await.unwrap().rows.len(),
        1
    );
}

/// As many rows as a commit may bring, and as many conflict records beside them.
pub async fn a_full_commit_is_taken(engine: &Engine) {
    const ROWS: usize = 2 * gateway::hub::limits::COMMIT_MUTATIONS_MAX;
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let mut draft = log.draft();
    for n in 0..ROWS {
        draft = draft.put(&note(&format!("{n}")), b"{}").hold(n.try_into().unwrap(), n % 2 == 0);
    }
    let append = log.append(&*store, draft).await;
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    assert_eq!(page.entries.into_iter().map(|entry| entry.row).collect::<Vec<_>>(), append.rows);
}

pub async fn bodies_are_any_bytes(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let bodies: [Vec<u8>; 5] =
        [Vec::new(), vec![0], (0..=255).collect(), vec![0xff, 0xfe, 0x00, 0xc3], "é\u{0}\\x00'\"$1".into()];
    for (n, body) in bodies.iter().enumerate() {
        let id = note(&format!("{n}"));
        let draft = log.draft().put(&id, body);
        let append = log.append(&*store, draft).await;
        let loaded = store.load(&log.tenant, &wanted(&[&id])).await.unwrap();
        assert_eq!(loaded.current[&id].record.body(), Some(body.as_slice()));
        let rows = store.rows(&log.tenant, &[append.head.revision].into()).await.unwrap();
        assert_eq!(rows, append.rows);
    }
}

pub async fn large_bodies_come_back(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let body: Vec<u8> = (0..BODY_BYTES_MAX).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
    let draft = log.draft().put(&note("a"), &body).put(&note("b"), &body);
    let append = log.append(&*store, draft).await;
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    assert_eq!(page.entries.into_iter().map(|entry| entry.row).collect::<Vec<_>>(), append.rows);
}

/// Without a lost connection nothing is unknown: what was answered is exactly what is there.
pub async fn unknown_means_maybe(engine: &Engine) {
    const RACERS: u8 = 8;
    let store = engine.store();
    let log = Log::create(&*store, "t").await;
    let racers = (0..RACERS).map(|racer| {
        let (store, mut log) = (Arc::clone(&store), log.clone());
        async move {
            let mut taken = 0_u64;
            for _ in 0..20 {
                log.head = store.head(&log.tenant).await.unwrap();
                let (append, _) = log.draft().put(&note(&format!("{racer}")), b"x").build();
                match store.append(&log.tenant, &append).await {
                    Ok(Appended::Yes) => taken += 1,
                    Ok(Appended::HeadMoved) | Err(StoreError::Contended) => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
            taken
        }
    });
    let taken: u64 = join_all(racers.map(tokio::spawn)).await.into_iter().map(Result::unwrap).sum();
    let head = store.head(&log.tenant).await.unwrap();
    assert!(taken > 0);
    assert_eq!((head.commit, head.revision), (CommitNumber(taken), Revision(taken)));
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    assert_eq!(page.entries.len(), usize::try_from(taken).unwrap());
}

pub async fn a_tenant_is_made_once(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a"]).await;
    assert!(!store.create_tenant(&log.tenant, &Head::empty(LogId([1; 16]))).await.unwrap());
    assert_eq!(store.head(&log.tenant).await.unwrap(), log.head);
    assert_eq!(store.tenants(None, 9).await.unwrap(), [tenant("t")]);
}
