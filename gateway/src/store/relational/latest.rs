//! Where the records of a log stand, read at once.

use std::collections::BTreeSet;

use semantics::commit::Head;
use semantics::ids::{Revision, TenantId};

use super::Connection;
use super::read::{head, limit};
use crate::store::codec::{Cursor, Value};
use crate::store::{LATEST_BEHIND_MAX, Latest, StoreError};

const SUPERSEDED: &str =
    "select previous from log where tenant = $1 and revision > $2 order by revision limit $3";

/// The latest revision of each record; none where there are more records than asked for.
pub(super) async fn latest<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    records_max: usize,
) -> Result<Option<Latest>, StoreError> {
    let (head, _) = head(connection, tenant).await?;
    let bounds = vec![Value::text(tenant.as_str()), Value::Int(Some(limit(records_max.saturating_add(1))))];
    let rows = connection.fetch(C::LATEST, bounds).await?;
    let broken = || StoreError::Corrupt("table records: its revisions".to_owned());
    let mut at = Cursor::new(rows.first().ok_or_else(broken)?, "records");
    let count = usize::try_from(at.number()?).unwrap_or(usize::MAX);
    if count > records_max {
        return Ok(None);
    }
    let list = std::str::from_utf8(at.bytes()?).map_err(|_| broken())?;
    let listed = list.split_terminator(',').map(|revision| revision.parse().map(Revision));
    let mut revisions = listed.collect::<Result<Vec<_>, _>>().map_err(|_| broken())?;
    revisions.sort_unstable();
    Ok(Some(Latest { head, revisions }))
}

/// Those of them that were superseded since, up to a head.
pub(super) async fn superseded<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    latest: &Latest,
    head: &Head,
) -> Result<BTreeSet<Revision>, StoreError> {
    let since = latest.head.revision;
    if head.revision <= since {
        return Ok(BTreeSet::new());
    }
    let most = i64::try_from(LATEST_BEHIND_MAX).unwrap_or(i64::MAX);
    let bounds = vec![Value::text(tenant.as_str()), Value::number(since.0), Value::Int(Some(most))];
    let rows = connection.fetch(SUPERSEDED, bounds).await?;
    rows.iter().map(|row| Ok(Revision(Cursor::new(row, "log").number()?))).collect()
}
