//! Gateways that are on a database, and restores that must not meet them.

use gateway::serve;
use gateway::store::archive;
use gateway::store::postgres::PostgresStore;
use gateway::store::{Store, StoreError};
use semantics::ids::LogId;
use semantics::reason::Reason;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::backup::{Place, clock, restore};
use crate::support::postgres::{self, Own};
use crate::support::rows::Log;

/// The lock that gateways share and a restore has for itself.
const KEY: &str = "hashtextextended('hubward in ' || current_schema(), 0)";
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted";

fn skipped() {
    eprintln!("SKIPPED: PostgreSQL is not available here");
}

async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

/// A store as a gateway has it.
async fn serving(url: &str) -> PostgresStore {
    let mut store = PostgresStore::connect(url).await.unwrap();
    assert_eq!(store.settle(1, || LogId([9; 16])).await.unwrap(), []);
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_refused_while_a_gateway_serves_from_the_database() {
    let Some(url) = postgres::url().await else { return skipped() };
    let place = Place::new();
    let (near, far) = (place.config("near", Some(&url)), place.config("far", Some(&url)));
    let first = serve::open(&near).await.unwrap();
    std::fs::create_dir_all(far.data.join("keys")).unwrap();
    for key in std::fs::read_dir(near.data.join("keys")).unwrap() {
        let key = key.unwrap();
        std::fs::copy(key.path(), far.data.join("keys").join(key.file_name())).unwrap();
    }
    let gateways = [first, serve::open(&far).await.unwrap()];
    let store = PostgresStore::connect(&url).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    gateway::backup::create(&near, &place.at("b"), &clock()).await.unwrap();
    log.put_each(&store, &["after"]).await;
    for (gateway, told) in gateways.into_iter().zip(["2 gateways serve", "1 gateway serves"]) {
        for replace in [false, true] {
            let refused = restore(&near, &place.at("b"), replace).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::StoreUnavailable, "{refused:?}");
            let detail = &refused.refusal.detail;
            assert!(detail.contains(told) && detail.contains("stop every gateway first"), "{detail}");
            assert_eq!(store.head(&log.tenant).await.unwrap(), log.head, "nothing has changed");
        }
        gateway.close().await;
    }
    restore(&near, &place.at("b"), true).await.unwrap();
    assert_ne!(store.head(&log.tenant).await.unwrap().log_id, log.head.log_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_gateway_and_no_other_restore_begins_while_one_is_under_way() {
    let Some(url) = postgres::url().await else { return skipped() };
    let place = Place::new();
    let config = place.config("hub", Some(&url));
    serve::open(&config).await.unwrap().close().await;
    gateway::backup::create(&config, &place.at("b"), &clock()).await.unwrap();
    let reserved = archive::reserve(&url).await.unwrap();
    let refused = serve::open(&config).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreUnavailable);
    assert!(refused.refusal.detail.contains("a restore into this database is under way"), "{refused:?}");
    let refused = restore(&place.config("other", Some(&url)), &place.at("b"), true).await.unwrap_err();
    assert!(refused.refusal.detail.contains("another restore"), "{refused:?}");
    drop(reserved);
    let opened = loop {
        // The server notices in its own time that the connection is gone.
        match serve::open(&config).await {
            Err(error) if error.reason() == Reason::StoreUnavailable => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    opened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lost_its_place_says_so_and_takes_it_again() {
    let Some(server) = Own::start("place-").await else { return skipped() };
    let store = serving(server.url()).await;
    let mut beside = PgConnection::connect(server.url()).await.unwrap();
    // Nobody may connect: the place is lost, and the store's other connections stand.
    run(&mut beside, "alter role hubward nologin".to_owned()).await;
    run(&mut beside, TERMINATE.to_owned()).await;
    // A pool that would grow is refused as well.
    let is_lost =
        |told| matches!(told, Err(StoreError::Unavailable(why)) if why.contains("keeps restores away"));
    while !is_lost(store.check().await) {
        tokio::task::yield_now().await;
    }
    run(&mut beside, "alter role hubward login".to_owned()).await;
    while store.check().await.is_err() {
        tokio::task::yield_now().await;
    }
    let refused = archive::reserve(server.url()).await.unwrap_err().to_string();
    assert!(refused.contains("1 gateway serves"), "{refused}");
    assert!(!store.moved().is_cancelled());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_finds_a_restore_in_its_place_begins_anew() {
    let Some(server) = Own::start("place-lost-").await else { return skipped() };
    let store = serving(server.url()).await;
    let mut restoring = PgConnection::connect(server.url()).await.unwrap();
    let waits = tokio::spawn(async move {
        run(&mut restoring, format!("select pg_advisory_lock({KEY})")).await;
        restoring
    });
    let mut beside = PgConnection::connect(server.url()).await.unwrap();
    let is_waiting = "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted";
    while !sqlx::query_scalar::<_, bool>(is_waiting).fetch_one(&mut beside).await.unwrap() {
        tokio::task::yield_now().await;
    }
    run(&mut beside, TERMINATE.to_owned()).await;
    let restoring = waits.await.unwrap();
    store.moved().cancelled().await;
    restoring.close().await.unwrap();
    store.close().await;
    serving(server.url()).await.close().await;
}
