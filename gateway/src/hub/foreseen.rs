//! What policies would make of a conflict, as it is shown and tried on past ones.
//!
//! - `what_weighs_or_judges_is_asked_as_if_the_policy_were_set`: `consensus` and `by_type` say whom they would let stand, by
//!   the nodes' health as it is now; where they would leave it to a person the later side stands and waits.
//! - `by_type` goes by how the sides came apart as it was found, or where another policy was in force, as their own writes
//!   tell it.

use semantics::ids::TenantId;
use semantics::kind::Policy;
use semantics::preview::{Preview, cause, preview};

use super::Hub;
use super::error::HubError;
use super::settle::Disputed;

impl Hub {
    /// What a policy would make of a conflict. Nothing is changed.
    ///
    /// # Errors
    /// Store errors.
    pub async fn foreseen(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
        policy: Policy,
    ) -> Result<Preview, HubError> {
        let outcome =
            preview(&disputed.conflict, policy, &disputed.kind.rule, |revision| disputed.row(revision));
        let verdict = match policy {
            Policy::Consensus => self.by_vote(tenant, disputed).await,
            Policy::ByType => {
                let cause = cause(&disputed.conflict, |revision| disputed.row(revision));
                self.ruled(tenant, disputed, cause).await
            }
            _ => Ok(None),
        };
        match verdict {
            Ok(Some(verdict)) => {
                Ok(Preview { would: disputed.wanted(&verdict.choice), waits: false, ..outcome })
            }
            Ok(None) => Ok(outcome),
            // What cannot be weighed waits for a person; what is not read now may be read another time.
            Err(error) if error.retry_after_ms.is_none() => Ok(outcome),
            Err(error) => Err(error),
        }
    }
}
