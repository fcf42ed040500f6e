//! What only a database server can do to a store: change its settings, be of another program, grow large.

use std::collections::BTreeMap;

use futures::future::join_all;
use gateway::store::postgres::{CONNECTIONS_MAX, PostgresStore};
use gateway::store::{Appended, PointerQuery, Prune, Space, Store, StoreError};
use semantics::commit::Head;
use semantics::ids::{CommitNumber, Kind, LogId, Revision};
use semantics::recovery::Restored;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::postgres::{self, Own};
use crate::support::rows::{Log, everything, key, note, snapshot, wanted};

fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}: PostgreSQL is not available here");
}

/// `reload` applies to sessions that are open; it takes the server a moment.
async fn set(server: &Own, setting: &str, value: &str) {
    server.run(&[&format!("alter system set {setting} = {value}"), "select pg_reload_conf()"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_stop_when_the_settings_no_longer_keep_them() {
    let Some(server) = Own::start("settings-").await else { return skipped("settings") };
    let store = PostgresStore::connect(server.url()).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        set(&server, setting, "off").await;
        while store.check().await.is_ok() {
            tokio::task::yield_now().await;
        }
        // Every connection of the pool has been told by then, or is told before it writes.
        let refused = async || {
            let (append, _) = log.draft().put(&note("a"), b"lost").build();
            let appended = store.append(&log.tenant, &append).await;
            let put = store.plain_put(&log.tenant, Space::Node, b"n", b"lost", 0).await;
            let section = store.exclusive(&log.tenant).await.map(drop);
            [appended.map(drop), put.map(drop), section]
        };
        let before = snapshot(&store, &log.tenant).await;
        for answer in refused().await {
            let Err(StoreError::Unsafe(detail)) = &answer else { panic!("{setting}: {answer:?}") };
            assert!(detail.contains(setting), "{detail}");
        }
        assert_eq!(snapshot(&store, &log.tenant).await, before);
        assert!(matches!(PostgresStore::connect(server.url()).await, Err(StoreError::Unsafe(_))));
        set(&server, setting, "on").await;
        while store.check().await.is_err() {
            tokio::task::yield_now().await;
        }
        log.put_each(&store, &["a"]).await;
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_whose_commits_may_be_lost_does_not_write() {
    let Some(server) = Own::start("role-").await else { return skipped("settings of a role") };
    let store = PostgresStore::connect(server.url()).await.unwrap();
    let log = Log::create(&store, "t").await;
    server.run(&["alter role hubward set synchronous_commit = off"]).await;
    // New sessions take the role's settings: as after a restart of the server, the hub goes on with new ones.
    server
        .run(&["select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hubward'"])
        .await;
    let (append, _) = log.draft().put(&note("a"), b"1").build();
    let told = loop {
        match store.append(&log.tenant, &append).await {
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => tokio::task::yield_now().await,
            told => break told,
        }
    };
    assert!(matches!(told, Err(StoreError::Unsafe(_))), "{told:?}");
    // Reads have connections of their own, which were ended too.
    let head = loop {
        match store.head(&log.tenant).await {
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            head => break head.unwrap(),
        }
    };
    assert_eq!(head, log.head);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_by_themselves_when_the_setting_of_a_role_is_back() {
    let Some(server) = Own::start("role-back-").await else {
        return skipped("settings of a role that are back");
    };
    let store = PostgresStore::connect(server.url()).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    server.run(&["alter role hubward set synchronous_commit = off"]).await;
    server
        .run(&["select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hubward'"])
        .await;
    while !matches!(store.check().await, Err(StoreError::Unsafe(_))) {
        tokio::task::yield_now().await;
    }
    join_all((0..CONNECTIONS_MAX).map(|_| store.check())).await;
    server.run(&["alter role hubward reset synchronous_commit"]).await;
    // Of the sessions that began before, each is found once at most, and ended by that.
    let mut refused = 0_u32;
    while store.exclusive(&log.tenant).await.map(drop).is_err() || store.check().await.is_err() {
        refused += 1;
        assert!(refused <= 2 * CONNECTIONS_MAX, "sessions with the old setting are not ended");
    }
    log.put_each(&store, &["a"]).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_that_start_together_migrate_once() {
    let Some(url) = postgres::url().await else { return skipped("migrations") };
    let stores = join_all((0..4).map(|_| PostgresStore::connect(&url))).await;
    for store in stores {
        let store = store.unwrap();
        assert!(store.tenants(None, 1).await.unwrap().is_empty());
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_broken_off_is_run_again() {
    let Some(url) = postgres::url().await else { return skipped("a broken migration") };
    // A table of the same name stands in the way of the first migration's last one.
    postgres::run(&url, &["create table plain (x bigint)"]).await;
    assert!(matches!(PostgresStore::connect(&url).await, Err(StoreError::Internal(_))));
    postgres::run(&url, &["drop table plain"]).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    Log::create(&store, "t").await.put_each(&store, &["a"]).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_program_is_left_alone() {
    let Some(url) = postgres::url().await else { return skipped("a newer schema") };
    PostgresStore::connect(&url).await.unwrap().close().await;
    postgres::run(
        &url,
        &["insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
           values (9999, 'later', true, '', 0)"],
    )
    .await;
    let told = PostgresStore::connect(&url).await.unwrap_err();
    assert!(matches!(told, StoreError::Newer(9999)), "{told}");
}

/// One commit more; whether the database has ended it.
async fn ends(store: &PostgresStore, log: &mut Log) -> bool {
    let (append, after) = log.draft().put(&note("a"), b"1").build();
    match store.append(&log.tenant, &append).await {
        Ok(Appended::Yes) => {
            *log = after;
            true
        }
        Err(StoreError::Hanging(_)) => false,
        told => panic!("{told:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_end_is_hanging_and_stops_other_writes_until_it_does() {
    let Some(server) = Own::start("standby-").await else { return skipped("a standby that is gone") };
    let store = PostgresStore::connect(server.url()).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    let others = Log::create(&store, "u").await;
    set(&server, "synchronous_standby_names", "'nobody'").await;
    // The setting takes hold a moment later; the last one is left waiting.
    while ends(&store, &mut log).await {}
    let before = store.head(&log.tenant).await.unwrap();
    assert_eq!(before, log.head, "reads go on, and show nothing that is not kept");
    let is_refused = |told: &StoreError| matches!(told, StoreError::Unavailable(why) if why.contains("nothing was written"));
    for _ in 0..30 {
        let (append, _) = others.draft().put(&note("b"), b"1").build();
        let put = store.plain_put(&others.tenant, Space::Lease, b"x", b"1", 0);
        let section = async { store.exclusive(&others.tenant).await.map(drop) };
        let refused = [
            store.append(&others.tenant, &append).await.err(),
            put.await.err(),
            section.await.err(),
            store.check().await.err(),
        ];
        assert!(refused.iter().flatten().filter(|told| is_refused(told)).count() == 4, "{refused:?}");
        assert_eq!(store.head(&others.tenant).await.unwrap(), others.head);
    }
    let mut connection = PgConnection::connect(server.url()).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap();
    assert_eq!(waiting, 1, "no session more is left waiting with each try");
    connection.close().await.unwrap();
    set(&server, "synchronous_standby_names", "''").await;
    while store.check().await.is_err() {
        tokio::task::yield_now().await;
    }
    // What had no outcome has happened: to ask again finds it.
    let (append, after) = log.draft().put(&note("a"), b"1").build();
    assert_eq!(store.append(&log.tenant, &append).await.unwrap(), Appended::HeadMoved);
    log = after;
    assert_eq!(store.head(&log.tenant).await.unwrap(), log.head);
    assert!(ends(&store, &mut log).await);
    store.close().await;
}

/// Rows that stand before what the calls below look for: a scan of their index reads some 200 blocks.
const MANY: u64 = 30_000;
/// Rounds of calls once they are there.
const ROUNDS: i64 = 6;
/// Blocks of one index, or rows of one table without an index, that one round reads, with room to spare.
const READ_MAX: i64 = 150;

/// Plans are made while the tables are empty and kept: what they look at must not grow with the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_looks_at_more_than_it_asks_for() {
    let Some(url) = postgres::url().await else { return skipped("plans") };
    let store = PostgresStore::connect(&url).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    for round in 0..24 {
        calls(&store, &mut log, &format!("a{round}")).await;
    }
    fill(&url, &mut log).await;
    let before = read_so_far(&url).await;
    for round in 0..ROUNDS {
        calls(&store, &mut log, &format!("z{round}")).await;
    }
    // A session tells what it has counted at the latest when it ends.
    store.close().await;
    for (name, count) in read_so_far(&url).await {
        let count = count - before.get(&name).copied().unwrap_or_default();

        assert!(count < READ_MAX * ROUNDS, "{name}: {count}");
    }
}

/// What has been read of each index, blocks, and of each table without one, rows.
async fn read_so_far(url: &str) -> BTreeMap<String, i64> {
    let counted = "select indexrelname::text, idx_blks_read + idx_blks_hit from pg_statio_user_indexes \
         where schemaname = current_schema() union all \
         select relname::text, coalesce(seq_tup_read, 0) from pg_stat_user_tables \
         where schemaname = current_schema()";
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query(counted).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Every call of the hot paths, on what was written last.
async fn calls(store: &PostgresStore, log: &mut Log, id: &str) {
    let draft = log.draft().put(&note(id), b"1").delete(&note(id)).hold(1, true);
    log.append(store, draft).await;
    let draft = log.draft().put(&note(&format!("{id}-live")), b"1").hold(1, false);
    log.append(store, draft).await;
    let last = log.head.revision.0;
    store.load(&log.tenant, &wanted(&[&note(id), &note("none")])).await.unwrap();
    store.log_page(&log.tenant, &everything(Revision(last - 2))).await.unwrap();
    let query =
        PointerQuery { after: Some(note(id)), rows_max: 1, bytes_max: 1 << 20, ..PointerQuery::default() };
    assert_eq!(store.pointer_page(&log.tenant, &query).await.unwrap().rows.len(), 1);
    let query = PointerQuery { kind: Some(Kind::new("note").unwrap()), prefix: Some(id.to_owned()), ..query };
    assert_eq!(store.pointer_page(&log.tenant, &query).await.unwrap().rows.len(), 1);
    store.rows(&log.tenant, &[Revision(last)].into()).await.unwrap();
    store.held(&log.tenant, &[Revision(last), Revision(1)].into()).await.unwrap();
    let commit = CommitNumber(log.head.commit.0 - 1);
    assert_eq!(store.commits_after(&log.tenant, commit, 1).await.unwrap().len(), 1);
    store.writers(&log.tenant, None, None, 9).await.unwrap();
    let tombstones = vec![(note(id), Revision(last - 1)), (key("none", id), Revision(1))];
    let prune = Prune { rows: vec![Revision(last - 2)], tombstones, commits_below: Revision(1) };
    store.prune(&log.tenant, &prune).await.unwrap();
}

/// Grows the tables beside the store, after what is there and before what comes.
async fn fill(url: &str, log: &mut Log) {
    let (at, commit) = (log.head.revision.0, log.head.commit.0);
    let of_log = format!(
        "insert into log select l.tenant, {at} + i, 0, 1, l.kind, convert_to('b' || i, 'UTF8'), l.domain, l.facet, \
         null, null, null, null, l.node, l.epoch, i, l.outcome, 0, l.weight, l.body_in_mutation, l.mutation, l.record \
         from log l cross join generate_series(1, {MANY}) i where l.revision = {at}"
    );
    let of_records = format!(
        "insert into records select 't', 'note', convert_to('b' || i, 'UTF8'), 'default', null, 1, {at} + i, 0, \
         sha256('x'), '' from generate_series(1, {MANY}) i"
    );
    let of_commits = format!(
        "insert into commits (tenant, number, first_revision, last_revision, chain, leaf, time_ms, outcomes, horizon) \
         select 't', {commit} + i, 1, {at} + i, sha256('x'), sha256('x'), 1, '', 0 from generate_series(1, {MANY}) i"
    );
    log.head.revision = Revision(at + MANY);
    log.head.commit = CommitNumber(commit + MANY);
    let (revision, number) = (log.head.revision.0, log.head.commit.0);
    let of_head =
        format!("update heads set revision = {revision}, commit_number = {number} where tenant = 't'");
    postgres::run(url, &[&of_log, &of_records, &of_commits, &of_head]).await;
}

/// As if hubs had last written before the latest promotion.
async fn promoted_since(url: &str, is_synchronous: bool) {
    let earlier = format!(
        "update plain set value = convert_to(jsonb_set(jsonb_set(convert_from(value, 'utf8')::jsonb, \
         '{{timeline}}', '0'), '{{is_synchronous}}', '{is_synchronous}')::text, 'utf8') where key = 'database-line'"
    );
    postgres::run(url, &[&earlier]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_renews_the_logs_unless_a_standby_held_every_commit() {
    let Some(url) = postgres::url().await else { return skipped("promotions") };
    let store = PostgresStore::connect(&url).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    log.put_each(&store, &["a"]).await;
    let before = store.head(&log.tenant).await.unwrap();
    let settle = async || {
        let mut store = PostgresStore::connect(&url).await.unwrap();
        let renewed = store.settle(1, || LogId([9; 16])).await.unwrap();
        store.close().await;
        renewed
    };
    assert_eq!(settle().await, [], "nothing is known of a promotion");
    promoted_since(&url, true).await;
    assert_eq!(settle().await, [], "a standby held every commit");
    assert_eq!(store.head(&log.tenant).await.unwrap(), before);
    promoted_since(&url, false).await;
    assert_eq!(settle().await, [(log.tenant.clone(), before.log_id)]);
    assert_eq!(settle().await, [], "once");
    let after = store.head(&log.tenant).await.unwrap();
    assert_eq!(after, Head { log_id: LogId([9; 16]), ..before });
    let restored = store.plain_get(&log.tenant, Space::Mark, b"restored").await.unwrap().unwrap();
    let restored: Restored = serde_json::from_slice(&restored.value).unwrap();
    assert_eq!((restored.predecessor, restored.chain), (before.log_id, before.chain));
    // Whoever decided against the old log finds that its head is gone.
    let (append, _) = log.draft().put(&note("b"), b"late").build();
    assert_eq!(store.append(&log.tenant, &append).await.unwrap(), Appended::HeadMoved);
    store.close().await;
}
