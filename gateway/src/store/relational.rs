//! What both SQL engines do alike. An engine brings connections that run statements; what is read, in which order
//! and what it means stands here once. Statements use `$1` parameters, which both engines take.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use semantics::ids::TenantId;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Transaction};

use super::codec::write::{AppendRows, Keys};
use super::codec::{Columns, Value};
use super::{Appended, StoreError};

mod exclusive;
mod latest;
pub(super) mod lender;
pub(super) mod plain;
pub(super) mod read;
mod shown;
mod store;
mod tail;

/// What it means that no connection came free in time: while there are as many as there may be, all are in use. Else none
/// could be made.
pub(super) fn busy<Db: Database>(
    pool: &sqlx::Pool<Db>,
    most: u32,
    error: &sqlx::Error,
) -> Option<StoreError> {
    let is_busy = matches!(error, sqlx::Error::PoolTimedOut) && pool.size() >= most;
    is_busy.then(|| StoreError::Busy("none of its connections came free in time".to_owned()))
}

/// A statement that is run for each of many keys. The tenant is `$1`.
#[derive(Debug)]
pub(super) struct PerKey {
    /// For one key: its columns are `$2` and on.
    pub(super) one: &'static str,
    /// For many keys: the columns' arrays are `$2` and on.
    pub(super) many: &'static str,
    /// For as many keys as each says, the fewest first: their columns in turn, the tenant behind them. A key whose columns
    /// are null finds nothing.
    pub(super) in_turn: Option<[(usize, &'static str); KEYS_IN_TURN.len()]>,
}

/// For how many keys there is a statement that takes them in turn.
pub(super) const KEYS_IN_TURN: [usize; 4] = [4, 16, 64, KEYS_IN_TURN_MAX];
/// For how many at most.
pub(super) const KEYS_IN_TURN_MAX: usize = 256;

/// A connection of either engine.
pub(super) trait Connection: Send {
    /// Its rows.
    type Row: Columns;
    /// An append as it is sent.
    type Written: Send + 'static;
    /// Reads the head, its columns in the order of [`super::codec::write::head`], and the store's clock.
    const HEAD: &'static str;
    /// Reads how many records there are, up to a limit, and their revisions as decimals, each but the last with a comma behind it.
    const LATEST: &'static str;
    /// Most keys whose rows one statement finds.
    const KEYS_AT_ONCE: usize;
    /// Its statements that join.
    fn pages() -> &'static read::Pages;
    /// Runs a query.
    fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;
    /// Runs a query for each key.
    fn fetch_each(
        &mut self,
        sql: &PerKey,
        tenant: &TenantId,
        keys: Keys,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;
    /// Runs a statement; tells how many rows it changed.
    fn run(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Writes an append down; that needs no connection.
    fn written(rows: AppendRows) -> Self::Written;
    /// Appends if the head is where it is expected. The caller sees to it that all of it is written or
    /// nothing.
    fn append(
        &mut self,
        tenant: &TenantId,
        append: Self::Written,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send;
}

/// An append as an engine sends it.
pub(super) type Written<E> = <<<E as Engine>::Db as Database>::Connection as Connection>::Written;

/// An engine: how its transactions begin and end.
pub(super) trait Engine: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its database.
    type Db: Database<Connection: Connection>;

    /// A connection on which a single statement reads, at one moment.
    fn statement(&self) -> impl Future<Output = Result<PoolConnection<Self::Db>, StoreError>> + Send;
    /// Takes it when that went well.
    fn keep(&self, connection: PoolConnection<Self::Db>);
    /// A transaction that reads at one moment.
    fn read(&self) -> impl Future<Output = Result<Transaction<'static, Self::Db>, StoreError>> + Send;
    /// Whether what is committed now is kept.
    fn check(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// What it says of itself.
    fn settings(&self) -> impl Future<Output = Result<BTreeMap<&'static str, String>, StoreError>> + Send;
    /// A transaction that writes.
    fn write(&self) -> impl Future<Output = Result<Transaction<'static, Self::Db>, StoreError>> + Send;
    /// A transaction that holds a tenant's head.
    fn lock(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<Transaction<'static, Self::Db>, StoreError>> + Send;
    /// Appends, whole or not at all.
    fn append_whole(
        &self,
        tenant: &TenantId,
        append: Written<Self>,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send;
    /// Commits.
    fn commit(
        &self,
        transaction: Transaction<'static, Self::Db>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
