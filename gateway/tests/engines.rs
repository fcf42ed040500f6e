//! What only the SQL engines have: tables, plans, settings, speed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a surprise is a failure, and a skipped engine is said aloud"
)]
#![allow(unreachable_pub, reason = "support is shared between test binaries")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway::store::postgres::PostgresStore;
use gateway::store::sqlite::{DATABASE_FILE, SqliteStore};
use gateway::store::{LogQuery, PointerQuery, Store, StoreError};
use semantics::ids::{CommitNumber, Revision};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use support::engine::Engine;
use support::postgres;
use support::rows::{Log, everything, note, tenant, wanted, writer};

/// Every column as (table, column, whether it may be null).
type Columns = BTreeSet<(String, String, bool)>;

async fn sqlite_columns() -> Columns {
    let folder = std::env::temp_dir().join(format!("hubward-schema-{}", std::process::id()));
    let store = SqliteStore::open(&folder).await.unwrap();
    store.close().await;
    let file = format!("sqlite:{}", folder.join(DATABASE_FILE).display());
    let mut connection = SqliteConnection::connect(&file).await.unwrap();
    let sql = "select m.name, p.name, p.\"notnull\" = 0 from sqlite_schema m join pragma_table_info(m.name) p \
               where m.type = 'table' and m.name not like '\\_%' escape '\\' and m.name not like 'sqlite\\_%' escape '\\'";
    let columns = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    columns.into_iter().collect()
}

async fn postgres_columns(url: &str) -> Columns {
    drop(PostgresStore::connect(url).await.unwrap());
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "select table_name::text, column_name::text, is_nullable = 'YES' from information_schema.columns \
               where table_schema = current_schema() and table_name not like '\\_%'";
    sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn both_engines_have_the_same_tables_columns_and_nullability() {
    let sqlite = sqlite_columns().await;
    assert!(sqlite.contains(&("log".to_owned(), "facet".to_owned(), true)));
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: no PostgreSQL here") };
    assert_eq!(sqlite, postgres_columns(&url).await);
}

#[tokio::test]
async fn a_server_that_does_not_wait_for_its_disk_is_refused() {
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: no PostgreSQL here") };
    let refused =
        PostgresStore::connect(&format!("{url}%20-c%20synchronous_commit%3Doff")).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Unsafe(detail) if detail.contains("synchronous_commit")),
        "{refused}"
    );
    PostgresStore::connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_as_unavailable() {
    let refused = PostgresStore::connect("postgres://nobody@127.0.0.1:1/none").await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn many_hubs_may_migrate_at_once() {
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: no PostgreSQL here") };
    let opened = futures::future::join_all((0..4).map(|_| PostgresStore::connect(&url))).await;
    assert!(opened.into_iter().all(|store| store.is_ok()));
}

/// Appends so many records of so many bytes, in commits of so many.
async fn fill(store: &dyn Store, log: &mut Log, records: usize, batch: usize, bytes: usize) {
    let body = vec![b'x'; bytes];
    for first in (0..records).step_by(batch) {
        let mut draft = log.draft();
        for n in first..first + batch {
            draft = draft.put(&note(&format!("{:05}", n * 7919 % records)), &body);
        }
        log.append(store, draft).await;
    }
}

/// What the server has read of the big tables by going through all of them.
async fn whole_reads(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "select coalesce(sum(seq_scan), 0)::bigint from pg_stat_user_tables \
               where schemaname = current_schema() and relname in ('log', 'records', 'commits', 'cells', 'held')";
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn no_look_up_and_no_page_reads_a_whole_table() {
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: no PostgreSQL here") };
    let store = PostgresStore::connect(&url).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    fill(&store, &mut log, 20_480, 1024, 16).await;
    let tenant = &log.tenant;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("analyze").execute(&mut connection).await.unwrap();
    let before = whole_reads(&url).await;
    for round in 0..8_u64 {
        let keys: Vec<_> = (0..64).map(|n| note(&format!("{:05}", n * 317 + round))).collect();
        let mut ask = wanted(&keys.iter().collect::<Vec<_>>());
        ask.writers.insert(writer(1));
        ask.cells.extend(log.cells.keys().cloned());
        assert_eq!(store.load(tenant, &ask).await.unwrap().current.len(), 64);
        let after = Revision(round * 2_000);
        let page = LogQuery { rows_max: 100, ..everything(after) };
        assert_eq!(store.log_page(tenant, &page).await.unwrap().entries.len(), 100);
        let pointers = PointerQuery {
            after: Some(keys[1].clone()),
            kind: Some(keys[1].kind.clone()),
            rows_max: 100,
            bytes_max: usize::MAX,
            ..PointerQuery::default()
        };
        assert_eq!(store.pointer_page(tenant, &pointers).await.unwrap().rows.len(), 100);
        let revisions: BTreeSet<_> = (0..50).map(|n| Revision(n * 400 + round + 1)).collect();
        assert_eq!(store.rows(tenant, &revisions).await.unwrap().len(), 50);
        store.held(tenant, &revisions).await.unwrap();
        assert_eq!(store.commits_after(tenant, CommitNumber(round), 10).await.unwrap().len(), 10);
    }
    // Counters arrive when their connections end.
    store.close().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(whole_reads(&url).await, before);
}

async fn speed(name: &str, engine: &Engine) {
    for (batch, commits) in [(1, 300), (64, 60), (256, 40)] {
        let store = engine.store();
        let mut log = Log::create(&*store, &format!("speed{batch}")).await;
        fill(&*store, &mut log, batch * 4, batch, 512).await;
        let mut took = std::time::Duration::ZERO;
        let body = vec![b'x'; 512];
        for n in 0..commits {
            let mut draft = log.draft();
            for row in 0..batch {
                draft = draft.put(&note(&format!("{:05}", (n * batch + row) * 7919 % 10_000)), &body);
            }
            let (append, after) = draft.build();
            #[allow(clippy::disallowed_methods, reason = "a measurement")]
            let start = std::time::Instant::now();
            store.append(&log.tenant, &append).await.unwrap();
            took += start.elapsed();
            log = after;
        }
        let rows = f64::from(u32::try_from(batch * commits).unwrap());
        eprintln!(
            "{name}: batches of {batch}: {:.0} rows/s, {:.2} ms a commit",
            rows / took.as_secs_f64(),
            took.as_secs_f64() * 1000.0 / f64::from(u32::try_from(commits).unwrap())
        );
    }
}

/// `cargo test --release -p gateway --test engines -- --ignored --nocapture append_speed`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn append_speed() {
    speed("memory", &support::engine::memory().await.unwrap()).await;
    speed("sqlite", &support::engine::sqlite().await.unwrap()).await;
    if let Some(engine) = support::engine::postgres().await {
        speed("postgres", &engine).await;
    }
}

/// A hub whose server went away and came back goes on without being told.
#[tokio::test]
async fn a_store_goes_on_after_its_connections_are_cut() {
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: no PostgreSQL here") };
    let named = format!("{url}&application_name=cut");
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&named).await.unwrap());
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a"]).await;
    assert!(store.load(&log.tenant, &wanted(&[])).await.unwrap().time_ms.is_some(), "the server has a clock");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'cut'";
    let ended: i64 = sqlx::query_scalar(cut).fetch_one(&mut connection).await.unwrap();
    assert!(ended > 0);
    let (append, after) = log.draft().put(&note("b"), b"1").build();
    for _ in 0..10 {
        match store.append(&log.tenant, &append).await {
            Ok(_) => break,
            Err(StoreError::Unknown(_) | StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // Connections for reads were cut too: each is found dead once.
    for _ in 0..10 {
        match store.head(&tenant("t")).await {
            Ok(head) => return assert_eq!(head, after.head),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no connection comes back");
}
