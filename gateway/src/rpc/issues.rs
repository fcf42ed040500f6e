//! How often an operator may ask for an access token, on each gateway: every one given is an entry of the access log.
//!
//! - `so_many_are_given_at_once_and_then_one_as_each_is_gained_back`, for each operator by itself.
//! - `a_clock_that_steps_back_takes_nothing_away`.
//! - `who_asks_no_more_is_forgotten`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use semantics::ids::TenantId;
use semantics::reason::Reason;

use crate::auth::Operator;
use crate::hub::error::HubError;

/// Most access tokens that an operator is given in a minute on one gateway; also the most at once, after a pause.
pub const ISSUES_PER_MINUTE: u64 = 30;
/// What one of them takes to be gained back, milliseconds.
const EACH_MS: u64 = 60_000 / ISSUES_PER_MINUTE;
/// Operators kept before those who have gained everything back are forgotten.
const OPERATORS_MAX: usize = 10_000;

/// Holds operators to their rate.
#[derive(Debug, Clone, Default)]
pub struct Issues {
    /// When each has gained everything back, milliseconds since 1970-01-01 UTC.
    back: Arc<Mutex<BTreeMap<(TenantId, String), u64>>>,
}

impl Issues {
    /// Takes one. A refusal takes nothing.
    ///
    /// # Errors
    /// QUOTA_EXCEEDED with the time after which there is one again.
    pub fn take(&self, operator: &Operator, now_ms: u64) -> Result<(), HubError> {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        if back.len() >= OPERATORS_MAX {
            back.retain(|_, at_ms| *at_ms > now_ms);
        }
        let most_ms = now_ms.saturating_add(60_000);
        let at_ms = back.entry((operator.tenant.clone(), operator.name.clone())).or_default();
        // Later than that none can be, but for a clock that stepped back.
        let taken_ms = (*at_ms).clamp(now_ms, most_ms).saturating_add(EACH_MS);
        if taken_ms > most_ms {
            *at_ms = most_ms.min(*at_ms);
            let detail = format!("an operator is given {ISSUES_PER_MINUTE} access tokens a minute");
            return Err(HubError::transient(Reason::QuotaExceeded, detail, taken_ms - most_ms));
        }
        *at_ms = taken_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use semantics::role::Role;

    use super::*;

    fn operator(name: &str) -> Operator {
        Operator { tenant: TenantId::new("acme").unwrap(), name: name.to_owned(), role: Role::Viewer }
    }

    fn given(issues: &Issues, name: &str, now_ms: u64) -> usize {
        (0..100).filter(|_| issues.take(&operator(name), now_ms).is_ok()).count()
    }

    #[test]
    fn so_many_are_given_at_once_and_then_one_as_each_is_gained_back() {
        let issues = Issues::default();
        assert_eq!(given(&issues, "ann", 1_000_000), 30);
        let refused = issues.take(&operator("ann"), 1_000_000).unwrap_err();
        assert_eq!((refused.reason(), refused.retry_after_ms), (Reason::QuotaExceeded, Some(EACH_MS)));
        assert_eq!(given(&issues, "ben", 1_000_000), 30, "each by itself");
        assert_eq!(given(&issues, "ann", 1_000_000 + EACH_MS - 1), 0);
        assert_eq!(given(&issues, "ann", 1_000_000 + EACH_MS), 1);
        assert_eq!(given(&issues, "ann", 2_000_000), 30);
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing_away() {
        let issues = Issues::default();
        assert_eq!(given(&issues, "ann", 1_000_000), 30);
        assert_eq!(given(&issues, "ann", 1_000), 0);
        assert_eq!(given(&issues, "ann", 61_000), 30);
    }

    #[test]
    fn who_asks_no_more_is_forgotten() {
        let issues = Issues::default();
        for n in 0..30_000 {
            issues.take(&operator(&format!("n{n}")), n * 100).unwrap();
        }
        assert!(issues.back.lock().unwrap().len() <= OPERATORS_MAX);
    }
}
