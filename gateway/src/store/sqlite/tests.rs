use semantics::commit::Head;
use semantics::ids::LogId;

use super::*;
use crate::store::Store;

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hubward-sqlite-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn moves_between_threads<T: Send>(opening: T) -> T {
    opening
}

#[tokio::test]
async fn a_folder_belongs_to_one_store_at_a_time() {
    let folder = Folder::new("lock");
    let store = moves_between_threads(SqliteStore::open(&folder.0)).await.unwrap();
    let refused = SqliteStore::open(&folder.0).await.unwrap_err().to_string();
    assert!(refused.contains("another hub process has the data folder"), "{refused}");
    store.close().await;
    drop(store);
    SqliteStore::open(&folder.0).await.unwrap();
}

#[tokio::test]
async fn who_finds_all_connections_taken_is_told_to_come_again() {
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(20));
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let held = pool.begin().await.unwrap();
    let refused = busy(&pool, 1, &pool.begin().await.unwrap_err()).unwrap();
    let refused = crate::hub::error::HubError::from(refused);
    assert_eq!(refused.reason(), semantics::reason::Reason::Overloaded);
    assert!(refused.retry_after_ms.is_some());
    drop(held);
    pool.begin().await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let (tenant, head) = (TenantId::new("t").unwrap(), Head::empty(LogId([7; 16])));
    let store = SqliteStore::open(&folder.0).await.unwrap();
    assert!(store.create_tenant(&tenant, &head).await.unwrap());
    store.close().await;
    drop(store);
    let store = SqliteStore::open(&folder.0).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.head(&tenant).await.unwrap(), head);
}

#[tokio::test]
async fn settings_that_lose_commits_are_refused() {
    let folder = Folder::new("settings");
    std::fs::create_dir_all(&folder.0).unwrap();
    for (journal, synchronous, is_safe) in [
        (SqliteJournalMode::Wal, SqliteSynchronous::Full, true),
        (SqliteJournalMode::Wal, SqliteSynchronous::Extra, true),
        (SqliteJournalMode::Delete, SqliteSynchronous::Full, true),
        (SqliteJournalMode::Wal, SqliteSynchronous::Normal, false),
        (SqliteJournalMode::Wal, SqliteSynchronous::Off, false),
        (SqliteJournalMode::Off, SqliteSynchronous::Full, false),
        (SqliteJournalMode::Memory, SqliteSynchronous::Full, false),
    ] {
        let options = options(&folder.0).journal_mode(journal).synchronous(synchronous);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let checked = check_settings(&pool).await;
        assert_eq!(checked.is_ok(), is_safe, "{journal:?} {synchronous:?}");
        assert!(is_safe || matches!(checked, Err(StoreError::Unsafe(_))));
        pool.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_as_corrupt() {
    let folder = Folder::new("corrupt");
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join(DATABASE_FILE), "not a database ".repeat(500)).unwrap();
    assert!(matches!(SqliteStore::open(&folder.0).await, Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn a_full_disk_is_told_as_full() {
    let folder = Folder::new("full");
    let store = SqliteStore::open(&folder.0).await.unwrap();
    let pages: i64 = sqlx::query_scalar("pragma page_count").fetch_one(&store.inner.writer).await.unwrap();
    let limit = sqlx::AssertSqlSafe(format!("pragma max_page_count = {pages}"));
    sqlx::query(limit).execute(&store.inner.writer).await.unwrap();
    let mut told = None;
    for n in 0..1000 {
        let tenant = TenantId::new(format!("t{n}")).unwrap();
        if let Err(error) = store.create_tenant(&tenant, &Head::empty(LogId([7; 16]))).await {
            told = Some(error);
            break;
        }
    }
    assert!(matches!(told, Some(StoreError::Full(_))), "{told:?}");
    assert!(store.tenants(None, 1).await.is_ok());
}
