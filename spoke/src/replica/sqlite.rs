//! The store in a SQLite file: write-ahead log, every commit forced to the disk, one writer and a few readers.

mod batch;
mod changes;
mod codec;
mod error;
mod kept;
mod layers;
mod outbox;
mod seal;
mod txn;
mod wal;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use semantics::fault::Fault;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr, SqliteConnection, SqlitePool};

use self::error::{damaged, failed};
use self::txn::Txn;
use super::store::{FINDINGS_MAX, Mode, ROWS_MAX, ReplicaStore, ReplicaTxn};
use crate::error::StoreError;

/// Read transactions that may be open at once; more wait.
const READERS_MAX: u32 = 8;
/// How long a transaction waits for its turn. The longest writer is an import.
const TURN_MAX: Duration = Duration::from_secs(600);
/// How long a statement waits for another process, such as a backup tool.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Prepared statements kept for each connection: the statements of this module, in every size.
const STATEMENTS_MAX: usize = 256;
/// Longest log file that is left so after much was written at once, bytes.
const LOG_BYTES_FOLDED: u64 = 16 * 1024 * 1024;
/// The log file is cut back to this after a large transaction, bytes.
const LOG_BYTES_KEPT: &str = "67108864";
/// Page cache of the writer, KiB (SQLite wants them negative).
const CACHE_KIB: &str = "-32768";

/// A replica's store in a file. One process at a time: the folder's lock sees to that.
#[derive(Debug)]
pub struct SqliteReplica {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteReplica {
    /// Opens the file, or makes it (readable by its owner alone), and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the file is no replica, or its write-ahead log is damaged before its last commit:
    /// nothing was changed then; [`StoreError::Newer`] when a newer program has migrated it;
    /// [`StoreError::Unavailable`] when it cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        wal::check(path)?;
        create_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if Fault::NoFsync.is_planted() {
                SqliteSynchronous::Off
            } else {
                SqliteSynchronous::Full
            })
            .busy_timeout(BUSY_MAX)
            .statement_cache_capacity(STATEMENTS_MAX)
            .row_buffer_size(ROWS_MAX)
            .pragma("journal_size_limit", LOG_BYTES_KEPT)
            .pragma("cell_size_check", "on")
            .pragma("temp_store", "memory");
        let writer = pool(1).connect_with(options.clone().pragma("cache_size", CACHE_KIB));
        let writer = writer.await.map_err(failed)?;
        migrations().run(&writer).await.map_err(not_migrated)?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Self { path: path.to_owned(), writer, readers })
    }

    /// Waits for open transactions, empties the log into the file, and closes it. Dropping the store instead loses
    /// nothing that was committed.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl ReplicaStore for SqliteReplica {
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        let begun = match mode {
            Mode::Write => self.writer.begin_with("begin immediate").await,
            Mode::Read => self.readers.begin().await,
        };
        let mut inner = begun.map_err(failed)?;
        if mode == Mode::Read {
            // SQLite fixes what a reader sees at its first read.
            sqlx::query("select 1 from meta limit 1").fetch_optional(&mut *inner).await.map_err(failed)?;
        }
        Ok(Box::new(Txn::new(inner, mode)))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        let sql = format!("pragma integrity_check({FINDINGS_MAX})");
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
        let mut found = query.fetch_all(&self.readers).await.map_err(failed)?;
        found.retain(|finding| finding != "ok");
        let mut txn = self.readers.begin().await.map_err(failed)?;
        found.extend(outbox::check(&mut txn, FINDINGS_MAX).await?);
        if let Err(error) = wal::check(&self.path) {
            found.push(error.to_string());
        }
        found.truncate(FINDINGS_MAX);
        Ok(found)
    }

    async fn fold(&self) -> Result<(), StoreError> {
        if wal::bytes(&self.path) <= LOG_BYTES_FOLDED {
            return Ok(());
        }
        let mut writer = self.writer.acquire().await.map_err(failed)?;
        // Readers are not waited for: what they still need stays in the log, and goes with a later commit.
        set_busy(&mut writer, Duration::ZERO).await?;
        let folded = sqlx::query("pragma wal_checkpoint(truncate)").fetch_all(&mut *writer).await;
        set_busy(&mut writer, BUSY_MAX).await?;
        folded.map(|_| ()).map_err(failed)
    }
}

/// How long statements of a connection wait for another one.
async fn set_busy(connection: &mut SqliteConnection, wait: Duration) -> Result<(), StoreError> {
    let sql = format!("pragma busy_timeout = {}", wait.as_millis());
    sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.map(|_| ()).map_err(failed)
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    // The file is local: there is nothing to test or to renew.
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(TURN_MAX)
        .test_before_acquire(false)
        // A commit that found the disk full was rolled back by SQLite itself, which the driver does not notice:
        // it would refuse every transaction from then on. That connection is closed and another is opened.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .idle_timeout(None)
        .max_lifetime(None)
}

fn migrations() -> Migrator {
    let files = [
        (1, "init", include_str!("../../../migrations/replica/0001_init.sql")),
        (2, "kept", include_str!("../../../migrations/replica/0002_kept.sql")),
        (3, "sealed", include_str!("../../../migrations/replica/0003_sealed.sql")),
        (4, "arrived", include_str!("../../../migrations/replica/0004_arrived.sql")),
    ];
    let migration = |(number, name, text): (i64, &'static str, &'static str)| {
        Migration::new(number, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(files.into_iter().map(migration).collect())
}

fn not_migrated(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        MigrateError::VersionMissing(version) => StoreError::Newer(version),
        error => damaged("file", error),
    }
}

/// SQLite gives its log and its index file the mode of the file itself.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path);
    opened.map(|_| ()).map_err(|e| StoreError::Unavailable(format!("{}: {e}", path.display())))
}
