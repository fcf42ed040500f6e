//! How often one and the same may ask for what leaves something behind (an access token is an entry of the access log,
//! an assertion a mark until it has expired), on each gateway.
//!
//! - `so_many_are_given_at_once_and_then_one_as_each_is_gained_back`, for each who asks by itself.
//! - `what_came_to_nothing_is_given_back`.
//! - `a_clock_that_steps_back_takes_nothing_away`.
//! - `who_asks_no_more_is_forgotten`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use semantics::ids::TenantId;
use semantics::reason::Reason;

use crate::hub::error::HubError;

/// Most access tokens that an operator is given in a minute on one gateway; also the most at once, after a pause.
pub const ISSUES_PER_MINUTE: u64 = 30;
/// The same for a node: each of its replicas needs one in twelve minutes, a command without a daemon one each time.
pub const NODE_ISSUES_PER_MINUTE: u64 = 60;
/// Most joins that one and the same joiner may ask for in a minute on one gateway: one is enough, unless its answer was
/// lost.
pub const JOINS_PER_MINUTE: u64 = 30;
/// A minute, milliseconds.
const MINUTE_MS: u64 = 60_000;
/// Kept before those who have gained everything back are forgotten.
const KEPT_MAX: usize = 10_000;

/// Holds each to a rate.
#[derive(Debug, Clone)]
pub(super) struct Issues {
    per_minute: u64,
    /// What is refused past it.
    what: &'static str,
    /// When each has gained everything back, milliseconds since 1970-01-01 UTC.
    back: Arc<Mutex<BTreeMap<(TenantId, String), u64>>>,
}

impl Issues {
    pub(super) fn new(per_minute: u64, what: &'static str) -> Self {
        Self { per_minute: per_minute.max(1), what, back: Arc::default() }
    }

    /// What one of them takes to be gained back, milliseconds.
    fn each_ms(&self) -> u64 {
        MINUTE_MS / self.per_minute
    }

    /// Takes one. A refusal takes nothing.
    ///
    /// # Errors
    /// QUOTA_EXCEEDED with the time after which there is one again.
    pub(super) fn take(&self, tenant: &TenantId, who: &str, now_ms: u64) -> Result<(), HubError> {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        if back.len() >= KEPT_MAX {
            back.retain(|_, at_ms| *at_ms > now_ms);
        }
        let most_ms = now_ms.saturating_add(MINUTE_MS);
        let at_ms = back.entry((tenant.clone(), who.to_owned())).or_default();
        // Later than that none can be, but for a clock that stepped back.
        let taken_ms = (*at_ms).clamp(now_ms, most_ms).saturating_add(self.each_ms());
        if taken_ms > most_ms {
            *at_ms = most_ms.min(*at_ms);
            let detail = format!("{} {} a minute", self.what, self.per_minute);
            return Err(HubError::transient(Reason::QuotaExceeded, detail, taken_ms - most_ms));
        }
        *at_ms = taken_ms;
        Ok(())
    }

    /// Gives one back that left nothing behind.
    pub(super) fn give_back(&self, tenant: &TenantId, who: &str) {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at_ms) = back.get_mut(&(tenant.clone(), who.to_owned())) {
            *at_ms = at_ms.saturating_sub(self.each_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH_MS: u64 = MINUTE_MS / ISSUES_PER_MINUTE;

    fn issues() -> Issues {
        Issues::new(ISSUES_PER_MINUTE, "an operator is given access tokens:")
    }

    fn acme() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    fn given(issues: &Issues, name: &str, now_ms: u64) -> usize {
        (0..100).filter(|_| issues.take(&acme(), name, now_ms).is_ok()).count()
    }

    #[test]
    fn so_many_are_given_at_once_and_then_one_as_each_is_gained_back() {
        let issues = issues();
        assert_eq!(given(&issues, "ann", 1_000_000), 30);
        let refused = issues.take(&acme(), "ann", 1_000_000).unwrap_err();
        assert_eq!((refused.reason(), refused.retry_after_ms), (Reason::QuotaExceeded, Some(EACH_MS)));
        assert_eq!(given(&issues, "ben", 1_000_000), 30, "each by itself");
        assert_eq!(given(&issues, "ann", 1_000_000 + EACH_MS - 1), 0);
        assert_eq!(given(&issues, "ann", 1_000_000 + EACH_MS), 1);
        assert_eq!(given(&issues, "ann", 2_000_000), 30);
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let issues = issues();
        assert_eq!(given(&issues, "ann", 1_000_000), 30);
        issues.give_back(&acme(), "ann");
        assert_eq!(given(&issues, "ann", 1_000_000), 1);
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing_away() {
        let issues = issues();
        assert_eq!(given(&issues, "ann", 1_000_000), 30);
        assert_eq!(given(&issues, "ann", 1_000), 0);
        assert_eq!(given(&issues, "ann", 61_000), 30);
    }

    #[test]
    fn who_asks_no_more_is_forgotten() {
        let issues = issues();
        for n in 0..30_000 {
            issues.take(&acme(), &format!("n{n}"), n * 100).unwrap();
        }
        assert!(issues.back.lock().unwrap().len() <= KEPT_MAX);
    }
}
