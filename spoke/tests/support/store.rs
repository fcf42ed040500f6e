//! The store under test: in memory, or in a file for the test binaries whose name ends in `_sqlite`. The same cases
//! run on both.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use semantics::ids::Key;
use spoke::error::StoreError;
use spoke::replica::memory::MemoryStore;
use spoke::replica::sqlite::SqliteReplica;
use spoke::replica::store::{ConfirmedRow, Mode, ReplicaStore, ReplicaTxn};

static SCRATCHES: AtomicU64 = AtomicU64::new(0);

/// A folder that goes with the test.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = SCRATCHES.fetch_add(1, Ordering::Relaxed);
        let name = format!("spoke-{}-{}-{number}", env!("CARGO_CRATE_NAME"), std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("replica.sqlite")
    }
    /// A copy as a kill would leave it: file and log, nothing flushed.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let copy = Self::new();
        for name in ["replica.sqlite", "replica.sqlite-wal"] {
            if other.0.join(name).exists() {
                std::fs::copy(other.0.join(name), copy.0.join(name)).unwrap();
            }
        }
        copy
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
pub(crate) enum TestStore {
    Memory(MemoryStore),
    Sqlite(Mutex<(Arc<SqliteReplica>, Scratch)>),
}

pub(crate) enum Snapshot {
    Memory(spoke::replica::memory::Snapshot),
    Sqlite(Scratch),
}

async fn sqlite(file: &Path) -> Arc<SqliteReplica> {
    Arc::new(SqliteReplica::open(file).await.unwrap())
}

impl TestStore {
    pub(crate) async fn new() -> Self {
        if env!("CARGO_CRATE_NAME").ends_with("_sqlite") {
            let scratch = Scratch::new();
            let store = sqlite(&scratch.file()).await;
            return Self::Sqlite(Mutex::new((store, scratch)));
        }
        Self::Memory(MemoryStore::new())
    }

    /// As after a kill: nothing is closed, the file is opened anew.
    pub(crate) async fn reopen(&self) {
        if let Self::Sqlite(held) = self {
            let file = held.lock().unwrap().1.file();
            let store = sqlite(&file).await;
            held.lock().unwrap().0 = store;
        }
    }

    /// A copy of everything committed.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self {
            Self::Memory(store) => Snapshot::Memory(store.snapshot()),
            Self::Sqlite(held) => Snapshot::Sqlite(Scratch::copy_of(&held.lock().unwrap().1)),
        }
    }

    /// Puts a copy in place of everything.
    pub(crate) async fn restore(&self, snapshot: &Snapshot) {
        match (self, snapshot) {
            (Self::Memory(store), Snapshot::Memory(snapshot)) => store.restore(snapshot),
            (Self::Sqlite(held), Snapshot::Sqlite(snapshot)) => {
                let scratch = Scratch::copy_of(snapshot);
                let store = sqlite(&scratch.file()).await;
                *held.lock().unwrap() = (store, scratch);
            }
            _ => panic!("a snapshot of another kind of store"),
        }
    }

    /// Changes one confirmed row behind everyone's back, as a damaged disk would. Whether there was one.
    pub(crate) async fn damage(&self, key: &Key, change: impl FnOnce(&mut ConfirmedRow)) -> bool {
        let mut txn = self.begin(Mode::Write).await.unwrap();
        let Some(mut row) = txn.confirmed_get(std::slice::from_ref(key)).await.unwrap().remove(key) else {
            return false;
        };
        change(&mut row);
        txn.confirmed_put(&[row]).await.unwrap();
        txn.commit().await.unwrap();
        true
    }
}

#[async_trait]
impl ReplicaStore for TestStore {
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        match self {
            Self::Memory(store) => store.begin(mode).await,
            Self::Sqlite(held) => {
                let store = Arc::clone(&held.lock().unwrap().0);
                store.begin(mode).await
            }
        }
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Memory(store) => store.check().await,
            Self::Sqlite(held) => {
                let store = Arc::clone(&held.lock().unwrap().0);
                store.check().await
            }
        }
    }
}
