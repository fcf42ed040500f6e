//! Who is on a database, as the server itself knows it.
//!
//! - A gateway that serves from a database shares a lock of its server, on the connection on which it looks whether the
//!   database has moved. With the connection, and so with the process, the lock is gone: nobody has to tidy up.
//! - A restore has the same lock for itself: it is refused while a gateway is there, and no gateway opens the database
//!   until it has ended. A gateway that lost its connection and finds a restore when it comes back begins anew.
//! - The lock is of the session, so a pooler between hub and server must keep sessions.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, Row as _};

use super::{KEEPALIVES, TCP_USER_TIMEOUT_MS, connected, error};
use crate::ambient::Stopwatch;
use crate::store::StoreError;

/// How long a restore waits for gateways that have just been stopped, milliseconds.
const RESERVE_MS_MAX: u64 = 2_000;
/// Between two looks whether they are gone, milliseconds.
const LOOK_AGAIN_MS: u64 = 100;
/// What a gateway is told while a restore goes on.
pub(super) const RESTORING: &str = "a restore into this database is under way: start again when it has ended";

/// Tables of another schema are another hub's.
const ENTER: &str = "select coalesce(pg_try_advisory_lock_shared(hashtextextended('hubward in ' || current_schema(), 0)), false)";
const RESERVE: &str =
    "select coalesce(pg_try_advisory_lock(hashtextextended('hubward in ' || current_schema(), 0)), false)";
/// Whether alone, and from where.
const HOLDERS: &str = "select l.mode = 'ExclusiveLock', coalesce(host(a.client_addr), 'its own machine') \
     from pg_locks l left join pg_stat_activity a on a.pid = l.pid \
     where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.pid <> pg_backend_pid() \
     and l.database = (select oid from pg_database where datname = current_database()) \
     and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('hubward in ' || current_schema(), 0) \
     order by 2";

/// Takes a gateway's place on the database; false while a restore has it for itself.
pub(super) async fn enter(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(ENTER).fetch_one(connection).await
}

/// A database that nobody serves from, until this is dropped.
#[derive(Debug)]
pub(in crate::store) struct Reserved(pub(in crate::store) PgConnection);

/// Has the database for itself; statements on this connection may take their time.
///
/// # Errors
/// [`StoreError::Unavailable`] names who is on it, or when the server does not answer.
pub(in crate::store) async fn reserve(options: PgConnectOptions) -> Result<Reserved, StoreError> {
    let options = options.options(KEEPALIVES).options([("tcp_user_timeout", TCP_USER_TIMEOUT_MS)]);
    let mut connection = connected(&options).await?;
    let since = Stopwatch::start();
    loop {
        let reserved: bool = sqlx::query_scalar(RESERVE)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| error::of(&error))?;
        if reserved {
            return Ok(Reserved(connection));
        }
        if since.elapsed() >= Duration::from_millis(RESERVE_MS_MAX) {
            return Err(StoreError::Unavailable(holders(&mut connection).await?));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

/// Who is on the database, and what to do.
async fn holders(connection: &mut PgConnection) -> Result<String, StoreError> {
    let rows = sqlx::query(HOLDERS).fetch_all(connection).await.map_err(|error| error::of(&error))?;
    if rows.iter().any(|row| row.try_get(0).unwrap_or(false)) {
        return Ok("another restore into this database is under way: wait for its end".to_owned());
    }
    let mut places: Vec<String> = rows.iter().filter_map(|row| row.try_get(1).ok()).collect();
    places.dedup();
    let count = rows.len().max(1);
    let gateways = if count == 1 { "gateway serves".to_owned() } else { "gateways serve".to_owned() };
    Ok(format!("{count} {gateways} from this database ({}): stop every gateway first", places.join(", ")))
}
