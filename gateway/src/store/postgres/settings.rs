//! The settings without which an answered commit may be lost. They change while the server runs: by a reload, or for
//! a role or a database from its next session on. So every write looks at those of its own session.

use sqlx::PgConnection;

use super::error;
use crate::store::StoreError;

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
