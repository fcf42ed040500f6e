//! The settings without which an answered commit may be lost. They change while the server runs: by a reload, or for
//! a role or a database from its next session on. So every write looks at those of its own session.

use std::collections::BTreeMap;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

use super::{CONNECTIONS_MAX, error};
use crate::store::StoreError;
use crate::store::relational::lender::Lender;

/// Whether a session's settings keep what is committed. Names no table: it stands in any statement.
pub(super) const ARE_SAFE: &str = "(current_setting('fsync') <> 'off' \
     and current_setting('full_page_writes') <> 'off' and current_setting('synchronous_commit') <> 'off')";
const WHICH_IS_OFF: &str = "select name from unnest(array['fsync', 'full_page_writes', 'synchronous_commit']) \
     as settings (name) where current_setting(name) = 'off' limit 1";

/// Whether this session's commits survive a crash of the server and a power cut.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StoreError> {
    let found: Option<String> = sqlx::query_scalar(WHICH_IS_OFF)
        .fetch_optional(connection)
        .await
        .map_err(|error| error::of(&error))?;
    found.map_or(Ok(()), |name| Err(StoreError::Unsafe(format!("PostgreSQL's {name} is off"))))
}

/// Ends a session that was found unsafe. It would keep what its role or database was set to when it began, also once
/// that is set right; the next one has what is set then.
pub(super) fn end_unsafe<T>(connection: &mut PoolConnection<Postgres>, done: &Result<T, StoreError>) {
    if matches!(done, Err(StoreError::Unsafe(_))) {
        connection.close_on_drop();
    }
}

/// The settings that are told.
const TOLD: [&str; 6] = [
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_level",
    "max_connections",
];
const ITS_VERSION: &str = "select current_setting('server_version')";
const ONE: &str = "select current_setting($1)";
const ITS_BYTES: &str = "select pg_database_size(current_database())::text";

/// What the server says of itself, and how much of it this hub uses.
pub(super) async fn told(
    pools: &[&Lender<Postgres>; 2],
) -> Result<BTreeMap<&'static str, String>, StoreError> {
    let in_use: u32 = pools.iter().map(|pool| pool.in_use()).sum();
    let [reading, _] = pools;
    let mut connection = reading.acquire().await.map_err(|error| error::of(&error))?;
    let mut told = BTreeMap::from([("engine", "postgresql".to_owned())]);
    for (name, sql) in [("version", ITS_VERSION), ("database_bytes", ITS_BYTES)] {
        let value: String =
            sqlx::query_scalar(sql).fetch_one(&mut *connection).await.map_err(|error| error::of(&error))?;
        told.insert(name, value);
    }
    for name in TOLD {
        let value: String = sqlx::query_scalar(ONE)
            .bind(name)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| error::of(&error))?;
        told.insert(name, value);
    }
    told.insert("connections_in_use", in_use.to_string());
    told.insert("connections_max", CONNECTIONS_MAX.to_string());
    Ok(told)
}
