//! Opening an epoch for a replica that is a copy: first it learns what became of the node's dots above what it
//! had confirmed, in all epochs, so that nothing it still holds is applied twice.

use semantics::ids::CommitNumber;
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::Reason;
use semantics::session::{Reconcile, Reconciliation};

use super::error::HubError;
use super::hello::WRITERS_MAX;
use super::{Hub, Principal};
use crate::store::CommitRow;

/// Commits scanned for one page.
const SCAN_COMMITS_MAX: usize = 128;
/// Weight at which a page ends, bytes; one commit's outcomes may pass it.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// What an outcome takes in a message beside its refusal, bytes.
const OUTCOME_BYTES: usize = 160;

impl Hub {
    /// A page of outcomes in log order; the new epoch comes with the last one. A node that never used a dot is
    /// given its epoch at once, and so is one that asks from beyond the log's end.
    ///
    /// # Errors
    /// CURSOR_EXPIRED when the replica is older than what is kept: it cannot be reconciled; LOG_FORKED;
    /// NODE_REVOKED; store errors.
    pub async fn reconcile(&self, who: &Principal, ask: &Reconcile) -> Result<Reconciliation, HubError> {
        self.active_node(who).await?;
        if let Some(cursor) = &ask.cursor {
            self.check_cursor(who, cursor).await?;
        }
        let commits =
            if self.is_unused(who).await? { Vec::new() } else { self.commits_from(who, ask.after).await? };
        let mut is_last = commits.len() < SCAN_COMMITS_MAX;
        let (mut outcomes, mut bytes, mut read_to) = (Vec::new(), 0, None);
        for commit in commits {
            if bytes >= PAGE_BYTES_MAX {
                is_last = false;
                break;
            }
            read_to = Some(commit.number);
            let own = commit.outcomes.into_iter().filter(|outcome| outcome.dot.writer.node == who.node);
            for outcome in own {
                bytes += weight(&outcome);
                outcomes.push(outcome);
            }
        }
        let next: Option<CommitNumber> = read_to.filter(|_| !is_last);
        let epoch = if is_last { Some(self.open_epoch(who).await?.writer.epoch) } else { None };
        Ok(Reconciliation { outcomes, next, epoch })
    }

    async fn is_unused(&self, who: &Principal) -> Result<bool, HubError> {
        let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
        Ok(rows.iter().all(|row| row.last_n == 0))
    }

    /// The commits right after a number; those must still be kept.
    async fn commits_from(&self, who: &Principal, after: CommitNumber) -> Result<Vec<CommitRow>, HubError> {
        let head = self.store().head(&who.tenant).await?;
        let commits = self.store().commits_after(&who.tenant, after, SCAN_COMMITS_MAX).await?;
        let is_kept = commits.first().is_none_or(|first| first.number == after.next());
        if after < head.commit && (commits.is_empty() || !is_kept) {
            return Err(HubError::new(Reason::CursorExpired, format!("the commits after {after} are gone")));
        }
        Ok(commits)
    }
}

fn weight(outcome: &DotOutcome) -> usize {
    let detail = match &outcome.outcome {
        Outcome::Rejected(refusal) => refusal.detail.len(),
        _ => 0,
    };
    OUTCOME_BYTES + detail
}
