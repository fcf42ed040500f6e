//! The embedded store: one SQLite file in the hub's data folder. One connection writes, for all tenants; readers
//! see the last commit meanwhile (write-ahead log). A commit is on the disk before it is answered
//! (`synchronous = FULL`).

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use semantics::fault::Fault;
use semantics::ids::TenantId;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, Transaction};

use super::codec::write::AppendRows;
use super::relational::lender::Lender;
use super::relational::{Connection as _, Engine, busy, read};
use super::{Appended, EXCLUSIVE_MS_MAX, StoreError, migrate};
use crate::place;

mod connection;
pub(super) mod error;
mod settings;

/// The database file in the data folder.
pub const DATABASE_FILE: &str = "hub.sqlite";
/// The file whose lock says that a hub runs on this folder.
pub const LOCK_FILE: &str = "hub.lock";
/// Most connections that read at once.
pub const READERS_MAX: u32 = 4;
/// Most pages that the connection that writes keeps, KiB. A commit that has more of them goes to the disk in parts, some
/// of them twice.
const WRITER_CACHE_KIB: u32 = 16 * 1_024;
/// Longest wait for the connection that writes, milliseconds: an exclusive section and what queued before it.
pub const WRITER_WAIT_MS_MAX: u64 = 3 * EXCLUSIVE_MS_MAX;
/// Longest wait for a lock of the file, milliseconds; only a process other than the hub would hold one.
const BUSY_MS_MAX: u64 = EXCLUSIVE_MS_MAX;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    writer: SqlitePool,
    readers: Lender<Sqlite>,
    _lock: File,
}

impl SqliteStore {
    /// Opens the store of a data folder, makes what is missing, and checks that its settings can keep an
    /// acknowledgement. The folder belongs to one hub process at a time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the folder cannot be used or another process has it,
    /// [`StoreError::Corrupt`] when the file is not a database, [`StoreError::Newer`] when a newer program made it.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        let options = options(folder);
        let wait = Duration::from_millis(WRITER_WAIT_MS_MAX);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(wait)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                // A commit that found the disk full was rolled back by SQLite itself, which the driver does not notice:
                // it would refuse every transaction from then on. That connection is closed and another is opened.
                .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        };
        let writer = pool()
            .max_connections(1)
            .connect_with(options.clone().pragma("cache_size", format!("-{WRITER_CACHE_KIB}")))
            .await
            .map_err(|error| error::of(&error))?;
        // A page's rows wait in the driver: its thread does not stop for each few of them.
        let options = options.read_only(true).row_buffer_size(read::ROWS_PER_READ + 1);
        let readers = pool().max_connections(READERS_MAX).connect_lazy_with(options);
        let readers = Lender::new(readers);
        let inner = Inner { folder: folder.to_path_buf(), writer, readers, _lock: lock };
        let store = Self { inner: Arc::new(inner) };
        store.migrate().await?;
        store.check_settings().await?;
        Ok(store)
    }

    /// Runs the migrations that have not run. The folder's lock keeps others out.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when one does not go through.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrator = migrate::migrator(migrate::SQLITE);
        migrator.run(&self.inner.writer).await.map_err(|error| migrate::failed(&error, error::of))
    }

    /// Checks that a commit which was answered survives a power cut.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] names the setting that does not keep it.
    pub async fn check_settings(&self) -> Result<(), StoreError> {
        check_settings(&self.inner.writer).await
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Closes the connections in order; the folder is free when the last clone is gone.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }
}

/// Takes a data folder for one process; dropping the file gives it back.
///
/// # Errors
/// [`StoreError::Unavailable`] when another process has it.
pub fn lock(folder: &Path) -> Result<File, StoreError> {
    let at = folder.display();
    std::fs::create_dir_all(folder)
        .map_err(|error| StoreError::Unavailable(format!("could not make the folder {at}: {error}")))?;
    let file = place::open_private(&folder.join(LOCK_FILE))
        .map_err(|error| StoreError::Unavailable(format!("could not open {LOCK_FILE} in {at}: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another hub process has the data folder {at}: stop it, or give this one another --data"
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Unavailable(format!("could not lock the data folder {at}: {error}")))
        }
    }
}

fn options(folder: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(folder.join(DATABASE_FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if Fault::NoFsync.is_planted() {
            SqliteSynchronous::Off
        } else {
            SqliteSynchronous::Full
        })
        .busy_timeout(Duration::from_millis(BUSY_MS_MAX))
        .statement_cache_capacity(256)
        // What a statement may have to take back would else go to a file in /tmp, which a hub need not be able to write.
        .pragma("temp_store", "memory")
        .optimize_on_close(false, None)
}

async fn check_settings(pool: &SqlitePool) -> Result<(), StoreError> {
    let unread = |error: sqlx::Error| error::of(&error);
    let journal: String = sqlx::query_scalar("pragma journal_mode").fetch_one(pool).await.map_err(unread)?;
    let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(pool).await.map_err(unread)?;
    if synchronous < 2 && !Fault::NoFsync.is_planted() {
        return Err(StoreError::Unsafe(format!("pragma synchronous is {synchronous}, below FULL (2)")));
    }
    if !["wal", "delete", "truncate", "persist"].contains(&journal.as_str()) {
        return Err(StoreError::Unsafe(format!("pragma journal_mode is {journal}, which a crash may break")));
    }
    Ok(())
}

/// The connection that writes, for a transaction of which the driver knows nothing. Unless it went well the connection is
/// closed, and what stands open on it ends with it.
struct Whole {
    writer: PoolConnection<Sqlite>,
    is_done: bool,
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.is_done {
            self.writer.close_on_drop();
        }
    }
}

/// Why there is no connection that writes.
fn none_writes(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::Contended,
        error => error::of(error),
    }
}

/// Why there is no connection that reads.
fn none_read(readers: &Lender<Sqlite>, error: &sqlx::Error) -> StoreError {
    busy(readers.pool(), READERS_MAX, error).unwrap_or_else(|| error::of(error))
}

impl Engine for SqliteStore {
    type Db = Sqlite;

    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let readers = &self.inner.readers;
        readers.begin("BEGIN").await.map_err(|error| none_read(readers, &error))
    }

    async fn statement(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        let readers = &self.inner.readers;
        readers.statement().await.map_err(|error| none_read(readers, &error))
    }

    fn keep(&self, connection: PoolConnection<Sqlite>) {
        self.inner.readers.keep(connection);
    }

    async fn check(&self) -> Result<(), StoreError> {
        // Its settings are of the connection, and nobody else's to change; what fails is told by who writes.
        Ok(())
    }

    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        settings::told(&self.inner.readers, &self.inner.folder).await
    }

    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.inner.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| none_writes(&error))
    }

    async fn lock(&self, tenant: &TenantId) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let mut transaction = self.write().await?;
        read::head(&mut *transaction, tenant).await?;
        Ok(transaction)
    }

    async fn append_whole(&self, tenant: &TenantId, rows: AppendRows) -> Result<Appended, StoreError> {
        if rows.is_single() {
            let writer = self.inner.writer.acquire().await.map_err(|error| none_writes(&error))?;
            let mut whole = Whole { writer, is_done: false };
            let appended = connection::append_single(&mut whole.writer, tenant, &rows).await?;
            whole.is_done = true;
            return Ok(appended);
        }
        let (store, tenant) = (self.clone(), tenant.clone());
        // A task of its own: what its caller does beside it does not keep the one writer.
        let appending = tokio::spawn(async move {
            let mut transaction = store.write().await?;
            let appended = transaction.append(&tenant, rows).await?;
            if appended == Appended::Yes {
                store.commit(transaction).await?;
            }
            Ok(appended)
        });
        appending.await.unwrap_or_else(|error| Err(StoreError::Unknown(error.to_string())))
    }

    async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        transaction.commit().await.map_err(|error| error::of_commit(&error))
    }
}

#[cfg(test)]
mod tests;
