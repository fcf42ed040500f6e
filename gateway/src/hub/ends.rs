//! Whether the log still holds where it once ended. A database that was put back to an older copy under a gateway that
//! goes on has the same log id, and may have grown past what it had been: the chain tells.

use semantics::commit::Head;
use semantics::ids::{CommitNumber, TenantId};

use super::Hub;
use super::error::HubError;

impl Hub {
    /// Whether the log that ends at `head` came out of the log as it was at an earlier head; no, too, where the commit
    /// that would tell was pruned.
    pub(super) async fn still_holds(
        &self,
        tenant: &TenantId,
        before: &Head,
        head: &Head,
    ) -> Result<bool, HubError> {
        let at = before.commit;
        if before.log_id != head.log_id || at > head.commit {
            return Ok(false);
        }
        if at == CommitNumber::ZERO || at == head.commit {
            return Ok(at == CommitNumber::ZERO || before.chain == head.chain);
        }
        let found = self.store().commits_after(tenant, CommitNumber(at.0 - 1), 1).await?;
        Ok(found.first().is_some_and(|commit| commit.number == at && commit.chain == before.chain))
    }
}
