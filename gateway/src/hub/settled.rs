//! How long the account of a settled conflict stays: [`Retention::settled_ms`](super::Retention::settled_ms). Else a tenant's
//! conflicts would grow in number with everything that was ever settled.
//!
//! - `a_settled_conflict_goes_after_its_time_and_an_open_one_never`: a tombstone takes its place, as of any record, and
//!   what it decided stands. The log and its commits tell of it as long as they are kept.
//! - `a_round_looks_through_a_bounded_number_of_conflicts`, and the next one goes on after them.

use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, NodeId, RecordId, Salt, TenantId};
use semantics::kind;
use semantics::reason::Reason;

use super::Hub;
use super::error::HubError;
use super::known::control_body;
use super::work::ControlWork;
use crate::store::{Current, PointerQuery, Space};

/// Conflicts that one round looks through.
pub const LOOKED_THROUGH_MAX: usize = 100;
/// Weight at which they end, bytes.
const LOOKED_THROUGH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Name of the mark at the conflict after which the next round begins.
const LOOKED_TO: &[u8] = b"settled-looked-to";

impl Hub {
    /// Deletes the conflict records whose time is over, of those that this round looks through.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn forget_settled(&self, tenant: &TenantId, now_ms: u64) -> Result<(), HubError> {
        let Ok(kind) = Kind::new(kind::CONFLICT) else { return Ok(()) };
        let mark = self.store().plain_get(tenant, Space::Mark, LOOKED_TO).await?;
        let (version, before) = mark.map_or((0, Vec::new()), |row| (row.version, row.value));
        let after = std::str::from_utf8(&before).ok().and_then(|id| RecordId::new(id).ok());
        let query = PointerQuery {
            after: after.map(|id| Key { kind: kind.clone(), id }),
            kind: Some(kind),
            prefix: None,
            rows_max: LOOKED_THROUGH_MAX,
            bytes_max: LOOKED_THROUGH_BYTES_MAX,
        };
        let page = self.store().pointer_page(tenant, &query).await?;
        let until_ms = now_ms.saturating_sub(self.parts().retention.settled_ms);
        for over in page.rows.iter().filter(|row| is_over(row, until_ms)) {
            self.forget(tenant, over).await?;
        }
        let last = page.rows.last().filter(|_| !page.is_last);
        let value = last.map(|row| row.pointer.key.id.as_str().as_bytes()).unwrap_or_default();
        if value != before {
            // A lost race means that another gateway has looked through them.
            self.store().plain_put(tenant, Space::Mark, LOOKED_TO, value, version).await?;
        }
        Ok(())
    }

    async fn forget(&self, tenant: &TenantId, over: &Current) -> Result<(), HubError> {
        let work = ControlWork {
            key: over.pointer.key.clone(),
            body: None,
            expected: over.pointer.revision,
            only_if: None,
            author: NodeId::HUB,
            salt: Salt(self.entropy().bytes16()),
        };
        match self.change_control(tenant, work).await {
            // Its resolution was undone, or another gateway was first.
            Err(error) if error.reason() == Reason::Stale => Ok(()),
            done => done.map(drop),
        }
    }
}

/// Whether a conflict was settled before then. The hub stamped it when it was.
fn is_over(row: &Current, until_ms: u64) -> bool {
    let conflict: Option<Conflict> = control_body(Some(row)).filter(|_| !row.pointer.deleted);
    conflict.is_some_and(|conflict| !conflict.open) && row.record.stamp.time.ms < until_ms
}
