//! Connections of a pool, for transactions and for single statements.
//!
//! - A pool tries each connection that comes back, and lends the one that has waited longest. To a single statement that
//!   is as dear as the statement is, and the session it meets has little at hand. So a statement's connection stays out
//!   for the next statement.
//! - It stays out only while nobody can be waiting for it, and for a bounded time.
//! - A transaction is begun whole, or not: see [`begun`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlSafeStr, Transaction};

use crate::ambient::Stopwatch;

/// A connection that was out for so long without use goes back, and is tried, milliseconds.
const UNUSED_MS_MAX: u64 = 1_000;
/// One that is used all the time goes back so often, milliseconds: the pool ends old ones.
const OUT_MS_MAX: u64 = 60_000;

/// Lends connections. Clones share them.
#[derive(Debug)]
pub(in crate::store) struct Lender<Db: Database> {
    pool: Pool<Db>,
    out: Arc<Mutex<Out<Db>>>,
}

/// Begins a transaction, also where nobody waits for it any more: left half-way, its connection would come back with a transaction
/// open that the driver does not know of, and who is lent it next would read in that one's moment, and write what is never
/// committed.
pub(in crate::store) async fn begun<Db: Database>(
    connection: PoolConnection<Db>,
    sql: Option<&'static str>,
) -> Result<Transaction<'static, Db>, sqlx::Error> {
    let beginning = tokio::spawn(Transaction::begin(connection, sql.map(SqlSafeStr::into_sql_str)));
    beginning.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// The connection that is out without use, and since when one is.
#[derive(Debug)]
struct Out<Db: Database> {
    unused: Option<(PoolConnection<Db>, Stopwatch)>,
    since: Stopwatch,
}

impl<Db: Database> Clone for Lender<Db> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), out: Arc::clone(&self.out) }
    }
}

impl<Db: Database> Lender<Db> {
    /// Of a pool that nobody else takes from.
    pub(in crate::store) fn new(pool: Pool<Db>) -> Self {
        Self { pool, out: Arc::new(Mutex::new(Out { unused: None, since: Stopwatch::start() })) }
    }

    /// Its pool.
    pub(in crate::store) fn pool(&self) -> &Pool<Db> {
        &self.pool
    }

    /// A transaction, as [`begun`] begins it.
    pub(in crate::store) async fn begin(
        &self,
        sql: &'static str,
    ) -> Result<Transaction<'static, Db>, sqlx::Error> {
        begun(self.acquire().await?, Some(sql)).await
    }

    /// A connection for more than one statement; dropped, it goes back.
    pub(in crate::store) async fn acquire(&self) -> Result<PoolConnection<Db>, sqlx::Error> {
        if self.is_used_up() { self.statement().await } else { self.pool.acquire().await }
    }

    /// A connection for a single statement; [`Self::keep`] takes it when that went well.
    pub(in crate::store) async fn statement(&self) -> Result<PoolConnection<Db>, sqlx::Error> {
        let unused = self.lock().unused.take();
        match unused {
            Some((connection, since)) if since.elapsed() < Duration::from_millis(UNUSED_MS_MAX) => {
                Ok(connection)
            }
            stale => {
                drop(stale);
                self.pool.acquire().await
            }
        }
    }

    /// Has the next statement use the connection of one that went well.
    pub(in crate::store) fn keep(&self, connection: PoolConnection<Db>) {
        let mut out = self.lock();
        let is_due = out.since.elapsed() >= Duration::from_millis(OUT_MS_MAX);
        if is_due || out.unused.is_some() || self.is_used_up() || self.pool.is_closed() {
            out.since = Stopwatch::start();
            return;
        }
        out.unused = Some((connection, Stopwatch::start()));
    }

    /// Whether all connections are out: then some may wait for one.
    fn is_used_up(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    /// How many are in use.
    pub(in crate::store) fn in_use(&self) -> u32 {
        let unused = self.pool.num_idle() + usize::from(self.lock().unused.is_some());
        self.pool.size().saturating_sub(u32::try_from(unused).unwrap_or(u32::MAX))
    }

    /// Closes the connections in order; who waits for one is refused at once.
    pub(in crate::store) async fn close(&self) {
        let closing = self.pool.close();
        // From here on nothing stays out.
        let unused = self.lock().unused.take();
        drop(unused);
        closing.await;
    }

    fn lock(&self) -> MutexGuard<'_, Out<Db>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Sqlite;
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    async fn lender(most: u32) -> Lender<Sqlite> {
        let options = SqlitePoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(5));
        Lender::new(options.connect("sqlite::memory:").await.unwrap())
    }

    #[tokio::test]
    async fn a_statement_gets_the_connection_of_the_one_before() {
        let lender = lender(2).await;
        for _ in 0..3 {
            let connection = lender.statement().await.unwrap();
            assert_eq!((lender.in_use(), lender.pool.size()), (1, 1));
            lender.keep(connection);
            assert_eq!((lender.in_use(), lender.pool.num_idle()), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_connection_that_others_may_wait_for_is_not_kept_from_them() {
        let lender = lender(2).await;
        let statement = lender.statement().await.unwrap();
        lender.keep(statement);
        let first = lender.begin("begin").await.unwrap();
        let second = lender.begin("begin").await.unwrap();
        assert_eq!(lender.in_use(), 2);
        drop(first);
        let statement = lender.statement().await.unwrap();
        lender.keep(statement);
        lender.acquire().await.unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn the_end_waits_for_no_connection_that_is_out_without_use() {
        let lender = lender(2).await;
        let (kept, used) = (lender.statement().await.unwrap(), lender.statement().await.unwrap());
        lender.keep(kept);
        let closing = lender.close();
        let late = async {
            tokio::task::yield_now().await;
            lender.keep(used);
        };
        tokio::join!(closing, late);
        assert!(lender.statement().await.is_err());
    }
}
