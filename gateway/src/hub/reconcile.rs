//! Opening an epoch for a replica that is a copy: first it learns what became of the node's dots above what it
//! had confirmed, in all epochs, so that nothing it still holds is applied twice.

use semantics::ids::CommitNumber;
use semantics::session::{Reconcile, Reconciliation};

use super::error::HubError;
use super::{Hub, Principal};

/// Commits scanned for one page.
const SCAN_COMMITS_MAX: usize = 256;

impl Hub {
    /// A page of outcomes in log order; the new epoch comes with the last one.
    ///
    /// A replica without a cursor is told what the commits that are still kept say.
    ///
    /// # Errors
    /// CURSOR_EXPIRED when the replica is older than the horizon: it cannot be reconciled; LOG_FORKED;
    /// NODE_REVOKED; store errors.
    pub async fn reconcile(&self, who: &Principal, ask: &Reconcile) -> Result<Reconciliation, HubError> {
        self.active_node(who).await?;
        if let Some(cursor) = &ask.cursor {
            self.check_cursor(who, cursor).await?;
        }
        let from = ask.cursor.map(|cursor| cursor.commit).unwrap_or_default().max(ask.after);
        let commits = self.store().commits_after(&who.tenant, from, SCAN_COMMITS_MAX).await?;
        let is_last = commits.len() < SCAN_COMMITS_MAX;
        let next: Option<CommitNumber> = commits.last().map(|commit| commit.number).filter(|_| !is_last);
        let outcomes = commits
            .into_iter()
            .flat_map(|commit| commit.outcomes)
            .filter(|outcome| outcome.dot.writer.node == who.node)
            .collect();
        let epoch = if is_last { Some(self.open_epoch(who).await?.writer.epoch) } else { None };
        Ok(Reconciliation { outcomes, next, epoch })
    }
}
