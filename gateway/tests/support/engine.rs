//! Engines under test. Adding one is a function here and a line with `store_tests!` and `hub_tests!`.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use gateway::store::Store;
use gateway::store::memory::MemoryStore;
use gateway::store::postgres::PostgresStore;
use gateway::store::sqlite::SqliteStore;

use crate::support::postgres;

type Reopen = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>;

/// An empty store, and what it needs to live: a folder, a server.
pub struct Engine {
    store: Arc<dyn Store>,
    reopen: Reopen,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Engine {
    pub fn new(store: Arc<dyn Store>, reopen: Reopen, guard: impl Any + Send + Sync) -> Self {
        Self { store, reopen, _guard: Box::new(guard) }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The same data through another handle: another gateway's, or this one's after a restart.
    pub async fn reopen(&self) -> Arc<dyn Store> {
        (self.reopen)().await
    }
}

/// The model store. `None` would mean that this engine is not available here, which skips its cases aloud.
#[allow(clippy::unused_async, reason = "opening a real engine waits")]
pub async fn memory() -> Option<Engine> {
    let store = MemoryStore::new();
    let again = store.clone();
    let reopen: Reopen = Box::new(move || {
        let again: Arc<dyn Store> = Arc::new(again.clone());
        Box::pin(std::future::ready(again))
    });
    Some(Engine::new(Arc::new(store), reopen, ()))
}

/// A folder of its own, deleted with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("hubward-store-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The embedded store. A folder belongs to one process, so another handle is a clone.
pub async fn sqlite() -> Option<Engine> {
    let folder = Folder::new();
    let store = SqliteStore::open(&folder.0).await.unwrap();
    let again = store.clone();
    let reopen: Reopen = Box::new(move || {
        let again: Arc<dyn Store> = Arc::new(again.clone());
        Box::pin(std::future::ready(again))
    });
    Some(Engine::new(Arc::new(store), reopen, folder))
}

/// PostgreSQL, a schema for each engine. Another handle is another hub's: connections of its own.
pub async fn postgres() -> Option<Engine> {
    Some(postgres_at(postgres::url().await?).await)
}

/// PostgreSQL for cases that set the clock themselves.
pub async fn postgres_without_clock() -> Option<Engine> {
    Some(postgres_at(postgres::url_without_clock().await?).await)
}

async fn postgres_at(url: String) -> Engine {
    let store = PostgresStore::connect(&url).await.unwrap();
    let reopen: Reopen = Box::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let again: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url).await.unwrap());
            again
        })
    });
    Engine::new(Arc::new(store), reopen, ())
}
