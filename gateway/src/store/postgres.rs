//! The store on PostgreSQL: any number of hubs on one database. An append is one statement in autocommit that moves
//! the head by compare-and-set; everything else of it selects from the moved head, so that a lost race writes
//! nothing and raises nothing. Reads and writes have connections of their own: writes that wait for a standby leave
//! reads alone.

use std::collections::BTreeMap;
use std::time::Duration;

use semantics::ids::TenantId;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

pub use self::commits::COMMIT_MS_MAX;
use self::commits::Commits;
use self::connection::Bound;
use self::failover::{Present, Watch};
use self::primary::{Servers, Standing};

use super::codec::Value;
use super::relational::lender::{Lender, begun};
use super::relational::{Connection as _, Engine, busy};
use super::{Appended, EXCLUSIVE_MS_MAX, StoreError, migrate};

mod append;
mod commits;
mod connection;
pub(super) mod error;
pub(super) mod failover;
pub(super) mod presence;
pub(super) mod primary;
mod settings;

/// Most connections of one hub, beside the one on which it has its place and looks whether the database has moved.
pub const CONNECTIONS_MAX: u32 = READING.most + WRITING.most;
/// For reads.
const READING: Connections = Connections { least: 2, most: 8 };
/// For writes: an exclusive section that had to connect first would come late.
const WRITING: Connections = Connections { least: 3, most: 8 };
/// Longest wait for a connection, milliseconds.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// Longest time that sent bytes stay unacknowledged before a connection counts as lost, milliseconds.
pub const TCP_USER_TIMEOUT_MS: u64 = 5_000;
/// When a server takes a client for gone that says nothing: seconds, seconds, times.
const KEEPALIVES: [(&str, u64); 3] =
    [("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 2), ("tcp_keepalives_count", 3)];
/// Of a session whose statements may take their time.
pub(super) const UNBOUNDED: [(&str, u64); 3] =
    [("statement_timeout", 0), ("lock_timeout", 0), ("idle_in_transaction_session_timeout", 0)];
/// A connection that was idle for so long is tried before it is used, milliseconds.
const TRY_AFTER_IDLE_MS: u64 = 1_000;

const READ: &str = "begin isolation level repeatable read, read only";
const LOCK: &str = "select revision from heads where tenant = $1 for update";

/// The store. Clones share its connections.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    reading: Lender<Postgres>,
    writing: Lender<Postgres>,
    commits: Commits,
    servers: Servers,
    standing: Standing,
    moved: CancellationToken,
    present: Present,
    watch: Option<Watch>,
}

impl PostgresStore {
    /// Connects to the server that takes writes, of those that the URL names; runs the migrations that have not run,
    /// and checks that the server's settings can keep an acknowledgement.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no server answers and takes writes, [`StoreError::Unsafe`] names a setting,
    /// [`StoreError::Newer`] when a newer program has migrated the database,
    /// [`StoreError::Internal`] when the URL does not parse or a migration does not go through.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let servers = Servers::parse(url)?;
        let (options, standing) = servers.find().await?;
        migrate_with(&options).await?;
        let moved = CancellationToken::new();
        let writing = Lender::new(pool(options.clone(), WRITING, standing, moved.clone()).await?);
        let reading = Lender::new(pool(options, READING, standing, moved.clone()).await?);
        let commits = Commits::default();
        let present = Present::default();
        let store = Self { reading, writing, commits, servers, standing, moved, present, watch: None };
        store.check_settings().await?;
        Ok(store)
    }

    /// Runs the migrations that have not run, under an advisory lock.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when one does not go through.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrate_with(&self.writing.pool().connect_options()).await
    }

    /// Checks that a commit which was answered survives a crash of the server and a power cut.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] names the setting that does not keep it.
    pub async fn check_settings(&self) -> Result<(), StoreError> {
        self.safe().await.map(drop)
    }

    /// A connection for writes whose settings keep what it commits.
    async fn safe(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let mut connection = self.writing.acquire().await.map_err(|error| error::of(&error))?;
        let checked = settings::check(&mut connection).await;
        settings::end_unsafe(&mut connection, &checked);
        checked.map(|()| connection)
    }

    /// Why there is no connection that reads.
    fn none_reads(&self, error: &sqlx::Error) -> StoreError {
        busy(self.reading.pool(), READING.most, error).unwrap_or_else(|| error::of(error))
    }

    /// Closes the connections in order; who waits for one is refused at once, and who waits for the end of a commit
    /// is told that its outcome is unknown.
    pub async fn close(&self) {
        self.commits.end();
        tokio::join!(self.reading.close(), self.writing.close());
    }
}

/// How many connections are kept open, and how many there are at most.
#[derive(Debug, Clone, Copy)]
struct Connections {
    least: u32,
    most: u32,
}

/// Connections to one server on one line of its history.
async fn pool(
    options: PgConnectOptions,
    connections: Connections,
    standing: Standing,
    moved: CancellationToken,
) -> Result<PgPool, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections.most)
        .min_connections(connections.least)
        .acquire_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let moved = moved.clone();
            Box::pin(async move {
                match primary::standing(connection).await? {
                    Some(found) if found.line == standing.line => return Ok(()),
                    Some(_) => moved.cancel(),
                    None => {}
                }
                Err(sqlx::Error::Io(std::io::Error::other("the database has moved")))
            })
        })
        .before_acquire(|connection, seen| {
            Box::pin(async move {
                if seen.idle_for >= Duration::from_millis(TRY_AFTER_IDLE_MS) {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(bounded(options));
    pool.await.map_err(|error| error::of(&error))
}

/// Bounds on everything a connection may wait for, and plans that look rows up by their keys, whatever the
/// planner knows of the tables: a plan that was made while a table was empty is used when it is large.
fn bounded(options: PgConnectOptions) -> PgConnectOptions {
    let times = [
        ("statement_timeout", EXCLUSIVE_MS_MAX),
        ("lock_timeout", EXCLUSIVE_MS_MAX),
        ("idle_in_transaction_session_timeout", EXCLUSIVE_MS_MAX),
        ("tcp_user_timeout", TCP_USER_TIMEOUT_MS),
    ];
    options
        .options(times)
        .options(KEEPALIVES)
        .options(
            ["enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit"].map(off),
        )
        .options([("max_parallel_workers_per_gather", 0)])
        // Planning an append anew each time takes longer than writing a small one.
        .options([("plan_cache_mode", "force_generic_plan")])
        .statement_cache_capacity(256)
}

fn off(name: &str) -> (&str, &str) {
    (name, "off")
}

/// Whether a URL names servers as [`PostgresStore`] reads it; else what is wrong with it, without repeating it.
///
/// # Errors
/// What it is or does that it should not.
pub fn check_url(url: &str) -> Result<(), String> {
    Servers::read(url).map(drop)
}

pub(super) async fn migrate_url(url: &str) -> Result<(), StoreError> {
    migrate_with(&Servers::parse(url)?.primary().await?).await
}

/// One connection.
pub(super) async fn connected(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let limit = Duration::from_millis(CONNECT_MS_MAX);
    match tokio::time::timeout(limit, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|error| error::of(&error)),
        Err(_) => Err(StoreError::Unavailable("the database did not answer in time".to_owned())),
    }
}

/// On a connection of its own: migrations may take longer than a hub's statements, and wait for another's.
async fn migrate_with(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = connected(&options.clone().options(UNBOUNDED)).await?;
    // The driver's future cannot move between threads, so it stays on one.
    let runtime = tokio::runtime::Handle::current();
    let migrated = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            let done = migrate::migrator(migrate::POSTGRES).run(&mut connection).await;
            let _ = connection.close().await;
            done
        })
    });
    let done = migrated.await.map_err(|error| StoreError::Internal(error.to_string()))?;
    done.map_err(|error| migrate::failed(&error, error::of))
}

impl Engine for PostgresStore {
    type Db = Postgres;

    async fn read(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.reading.begin(READ).await.map_err(|error| self.none_reads(&error))
    }

    async fn statement(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.reading.statement().await.map_err(|error| self.none_reads(&error))
    }

    fn keep(&self, connection: PoolConnection<Postgres>) {
        self.reading.keep(connection);
    }

    async fn write(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.commits.check()?;
        begun(self.safe().await?, None).await.map_err(|error| error::of(&error))
    }

    async fn lock(&self, tenant: &TenantId) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.write().await?;
        let heads = transaction.fetch(LOCK, vec![Value::text(tenant.as_str())]).await?;
        if heads.is_empty() {
            return Err(StoreError::NoTenant(tenant.clone()));
        }
        Ok(transaction)
    }

    async fn append_whole(&self, tenant: &TenantId, append: Bound) -> Result<Appended, StoreError> {
        self.commits.check()?;
        let writing = self.writing.clone();
        let mut connection = writing.statement().await.map_err(|error| error::of(&error))?;
        let tenant = tenant.clone();
        let appending = async move {
            let appended = connection.append(&tenant, append).await;
            settings::end_unsafe(&mut connection, &appended);
            if appended.is_ok() {
                writing.keep(connection);
            }
            appended
        };
        self.commits.run(appending).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.commits.check()?;
        self.present.check()?;
        self.check_settings().await
    }

    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        settings::told(&[&self.reading, &self.writing]).await
    }

    async fn commit(&self, transaction: Transaction<'static, Postgres>) -> Result<(), StoreError> {
        let commit = async move { transaction.commit().await.map_err(|error| error::of_commit(&error)) };
        self.commits.run(commit).await
    }
}
