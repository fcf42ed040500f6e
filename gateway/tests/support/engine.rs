//! Engines under test. Adding one is a function here and a line with `store_tests!` and `hub_tests!`.

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;
use gateway::store::Store;
use gateway::store::memory::MemoryStore;

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
