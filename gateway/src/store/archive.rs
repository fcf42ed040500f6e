//! A whole store as one SQLite file, with the tables of the embedded store: taken from a store in use, and put into
//! an empty one.
//!
//! - `take` reads everything at one moment, while hubs go on: one read transaction (repeatable read on PostgreSQL).
//!   A file that it did not finish is no archive; the caller takes it away. It has not been synced to the disk.
//! - `open` changes nothing but brings the tables of an older program up to date; give it a copy.
//! - `put` is one transaction: all of it is there afterwards, durably, or nothing. A store that holds a tenant is
//!   refused unless it is to be replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use semantics::commit::Head;
use semantics::ids::{LogId, TenantId};
use semantics::recovery::BackedUp;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection};

use super::codec::Columns as _;
use super::relational::{Connection, plain};
use super::sqlite::DATABASE_FILE;
use super::{PlainRow, Space, StoreError, copy, migrate, postgres, sqlite};

mod beside;

pub use self::beside::Beside;

/// Longest wait for a lock of a store's file, milliseconds.
const BUSY_MS_MAX: u64 = 10_000;
const LEVEL: &str = "select cast(max(version) as bigint) from _sqlx_migrations";

/// Where a store is.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// The embedded store of this data folder.
    Folder(&'a Path),
    /// PostgreSQL at this URL.
    Postgres(&'a str),
}

impl std::fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.write_str(match self {
            Self::Folder(_) => "Folder",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// Every tenant and where its log ends, in byte order of their names.
pub type Heads = Vec<(TenantId, Head)>;

/// Writes a store's tables as of one moment into a new file.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Unsafe`] when the store's tables are of another program; what the engines
/// refuse.
pub async fn take(from: Origin<'_>, file: &Path) -> Result<Heads, StoreError> {
    let mut to = file_options(file).create_if_missing(true);
    // Half a file is none: until the caller has synced it, nothing rests on it.
    to = to.journal_mode(SqliteJournalMode::Off).synchronous(SqliteSynchronous::Off);
    let mut to = connect_file(&to).await?;
    migrate_file(&mut to).await?;
    let heads = match from {
        Origin::Folder(folder) => {
            let mut from = folder_connection(folder).await?;
            level(&mut from, migrate::SQLITE).await?;
            from.run("begin", Vec::new()).await?;
            let heads = filled(&mut from, &mut to).await?;
            from.run("rollback", Vec::new()).await?;
            drop(from.close().await);
            heads
        }
        Origin::Postgres(url) => {
            let mut from = server_connection(url).await?;
            level(&mut from, migrate::POSTGRES).await?;
            from.run("begin isolation level repeatable read, read only", Vec::new()).await?;
            let heads = filled(&mut from, &mut to).await?;
            drop(from.close().await);
            heads
        }
    };
    to.close().await.map_err(|error| sqlite::error::of(&error))?;
    Ok(heads)
}

async fn filled<C: Connection>(from: &mut C, to: &mut SqliteConnection) -> Result<Heads, StoreError> {
    let heads = copy::heads(from).await?;
    to.run("begin", Vec::new()).await?;
    copy::all(from, to, &heads).await?;
    to.run("commit", Vec::new()).await?;
    Ok(heads)
}

/// Reads the heads of an archive, whose pages must all be whole.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not one, or damaged; [`StoreError::Newer`].
pub async fn open(file: &Path) -> Result<Heads, StoreError> {
    let mut archive = connect_file(&file_options(file)).await?;
    let checked =
        archive.fetch("select cast(integrity_check as blob) from pragma_integrity_check limit 1", Vec::new());
    let checked = checked.await?;
    let said = checked.first().map(|row| row.bytes(0)).transpose()?.flatten();
    if said != Some(b"ok") {
        return Err(StoreError::Corrupt(String::from_utf8_lossy(said.unwrap_or_default()).into_owned()));
    }
    migrate_file(&mut archive).await?;
    let heads = copy::heads(&mut archive).await?;
    archive.close().await.map_err(|error| sqlite::error::of(&error))?;
    Ok(heads)
}

/// A plain value in an archive.
///
/// # Errors
/// What the engine refuses.
pub async fn value(
    file: &Path,
    tenant: &TenantId,
    space: Space,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut archive = connect_file(&file_options(file)).await?;
    let row = plain::get(&mut archive, tenant, space, key).await?;
    archive.close().await.map_err(|error| sqlite::error::of(&error))?;
    Ok(row.map(|row| row.value))
}

/// Makes every log of an archive a new one that remembers the old one, and what of it is backed up. The facts of the
/// hub become what `fact` gives for them; `None` = as they are.
///
/// # Errors
/// What the engine refuses.
pub async fn renew(
    file: &Path,
    now_ms: u64,
    mut log_id: impl FnMut() -> LogId + Send,
    fact: &(dyn Fn(&PlainRow) -> Option<Vec<u8>> + Sync),
) -> Result<Heads, StoreError> {
    let mut archive = connect_file(&file_options(file)).await?;
    archive.run("begin", Vec::new()).await?;
    for (tenant, head) in copy::heads(&mut archive).await? {
        copy::note_backup(&mut archive, &tenant, BackedUp { revision: head.revision, time_ms: now_ms })
            .await?;
        copy::new_log(&mut archive, &tenant, log_id(), now_ms).await?;
        copy::rewrite(&mut archive, &tenant, Space::Hub, fact).await?;
    }
    // Where it comes to be is another database's history.
    copy::forget(&mut archive, Space::Hub, postgres::failover::MARK).await?;
    archive.run("commit", Vec::new()).await?;
    let heads = copy::heads(&mut archive).await?;
    archive.close().await.map_err(|error| sqlite::error::of(&error))?;
    Ok(heads)
}

/// Brings what the log of a data folder's file holds into the file, as far as that can be read. Nobody else has it open.
pub async fn settle(folder: &Path) {
    if let Ok(mut store) = folder_connection(folder).await {
        drop(store.run("pragma wal_checkpoint(truncate)", Vec::new()).await);
        drop(store.close().await);
    }
}

/// Whether a store holds no tenant.
///
/// # Errors
/// What the engines refuse.
pub async fn is_empty(at: Origin<'_>) -> Result<bool, StoreError> {
    match at {
        Origin::Folder(folder) if !folder.join(DATABASE_FILE).exists() => Ok(true),
        Origin::Folder(folder) => {
            let mut store = folder_connection(folder).await?;
            let tables = store.fetch("select 1 from sqlite_master where name = 'heads'", Vec::new()).await?;
            let is_empty = tables.is_empty() || has_none(&mut store).await?;
            drop(store.close().await);
            Ok(is_empty)
        }
        Origin::Postgres(url) => {
            postgres::migrate_url(url).await?;
            has_none(&mut server_connection(url).await?).await
        }
    }
}

async fn has_none<C: Connection>(store: &mut C) -> Result<bool, StoreError> {
    Ok(store.fetch("select commit_number from heads limit 1", Vec::new()).await?.is_empty())
}

/// A database that no gateway serves from, and that none opens until this is dropped.
#[derive(Debug)]
pub struct Reserved(postgres::presence::Reserved);

/// Has a database for itself.
///
/// # Errors
/// [`StoreError::Unavailable`] when a gateway serves from it, or another restore has it; what the engine refuses.
pub async fn reserve(url: &str) -> Result<Reserved, StoreError> {
    Ok(Reserved(postgres::presence::reserve(server_options(url).await?).await?))
}

/// Puts an archive into PostgreSQL. Into a data folder it is put by its name.
///
/// # Errors
/// [`StoreError::Unsafe`] when the store holds a tenant and is not to be replaced; what the engine refuses.
pub async fn put(file: &Path, url: &str, reserved: Reserved, replace: bool) -> Result<(), StoreError> {
    postgres::migrate_url(url).await?;
    let mut from = connect_file(&file_options(file)).await?;
    let heads = copy::heads(&mut from).await?;
    let Reserved(postgres::presence::Reserved(mut to)) = reserved;
    to.run("begin", Vec::new()).await?;
    // Until the end nobody makes a tenant there, and no commit is appended.
    to.run("lock table heads in exclusive mode", Vec::new()).await?;
    if !has_none(&mut to).await? {
        if !replace {
            return Err(StoreError::Unsafe("the store is not empty".to_owned()));
        }
        copy::clear(&mut to).await?;
    }
    copy::all(&mut from, &mut to, &heads).await?;
    to.run("commit", Vec::new()).await?;
    drop(to.close().await);
    drop(from.close().await);
    Ok(())
}

/// Remembers in a store in use what backups hold of it; never less than before. Of a log that has become another one
/// since (the store was restored, or its database failed over), nothing is remembered: its revisions say nothing of
/// the one that is there.
///
/// # Errors
/// What the engines refuse.
pub async fn note(at: Origin<'_>, held: &[(TenantId, LogId, BackedUp)]) -> Result<(), StoreError> {
    async fn note<C: Connection>(
        store: &mut C,
        held: &[(TenantId, LogId, BackedUp)],
    ) -> Result<(), StoreError> {
        let there = copy::heads(store).await?;
        for (tenant, log_id, held) in held {
            if there.iter().any(|(name, head)| name == tenant && head.log_id == *log_id) {
                copy::note_backup(store, tenant, *held).await?;
            }
        }
        Ok(())
    }
    match at {
        Origin::Folder(folder) => {
            let mut store = folder_connection(folder).await?;
            note(&mut store, held).await?;
            drop(store.close().await);
            Ok(())
        }
        Origin::Postgres(url) => note(&mut server_connection(url).await?, held).await,
    }
}

/// The tenants of a store in use, and where their logs end.
///
/// # Errors
/// What the engines refuse.
pub async fn heads(at: Origin<'_>) -> Result<Heads, StoreError> {
    match at {
        Origin::Folder(folder) => {
            let mut store = folder_connection(folder).await?;
            let heads = copy::heads(&mut store).await?;
            drop(store.close().await);
            Ok(heads)
        }
        Origin::Postgres(url) => copy::heads(&mut server_connection(url).await?).await,
    }
}

/// The plain rows of a space of a tenant in a store, which may be in use, in key order.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Unsafe`] when the store's tables are of another program; what the engines
/// refuse.
pub async fn rows(at: Origin<'_>, tenant: &TenantId, space: Space) -> Result<Vec<PlainRow>, StoreError> {
    let mut store = Beside::open(at).await?;
    let rows = store.rows(tenant, space).await?;
    store.close().await;
    Ok(rows)
}

/// Writes a plain row, name and value, in a store that may be in use, if its version is as expected; durable when it
/// returns. False: it was not, and nothing has changed.
///
/// # Errors
/// As [`rows`].
pub async fn put_row(
    at: Origin<'_>,
    tenant: &TenantId,
    space: Space,
    row: (&[u8], &[u8]),
    expected: u64,
) -> Result<bool, StoreError> {
    let mut store = Beside::open(at).await?;
    let is_put = store.put(tenant, space, row, expected).await?;
    store.close().await;
    Ok(is_put)
}

fn file_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .busy_timeout(Duration::from_millis(BUSY_MS_MAX))
        .pragma("temp_store", "memory")
        .optimize_on_close(false, None)
}

async fn connect_file(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(options).await.map_err(|error| sqlite::error::of(&error))
}

/// The file of a data folder whose hub may be running: in its own mode, and as durable as the hub's own commits.
async fn folder_connection(folder: &Path) -> Result<SqliteConnection, StoreError> {
    let file: PathBuf = folder.join(DATABASE_FILE);
    if !file.exists() {
        return Err(StoreError::Unavailable(format!("there is no store in {}", folder.display())));
    }
    connect_file(&file_options(&file).synchronous(SqliteSynchronous::Full)).await
}

/// A connection that may take its time.
async fn server_connection(url: &str) -> Result<PgConnection, StoreError> {
    postgres::connected(&server_options(url).await?).await
}

async fn server_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = postgres::primary::Servers::parse(url)?.primary().await?;
    Ok(options.options(postgres::UNBOUNDED))
}

async fn migrate_file(file: &mut SqliteConnection) -> Result<(), StoreError> {
    let migrator = migrate::migrator(migrate::SQLITE);
    migrator.run(file).await.map_err(|error| migrate::failed(&error, sqlite::error::of))
}

/// Whether a store has the tables of this program.
async fn level<C: Connection>(store: &mut C, files: &[migrate::File]) -> Result<(), StoreError> {
    let found = store.fetch(LEVEL, Vec::new()).await?.first().map(|row| row.int(0)).transpose()?.flatten();
    let own = files.last().map_or(0, |(number, _, _)| *number);
    match found.unwrap_or(0) {
        found if found > own => Err(StoreError::Newer(found)),
        found if found < own => Err(StoreError::Unsafe(
            "its tables are of an older hubward: run `hubward migrate` first".to_owned(),
        )),
        _ => Ok(()),
    }
}
