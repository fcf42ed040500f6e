//! What a use case of the hub cannot do.

use semantics::reason::{Reason, Refusal};

use crate::store::StoreError;

/// A refusal, and when to come again where that helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct HubError {
    /// Why, from the closed list.
    pub refusal: Refusal,
    /// When to try again, milliseconds; `None` = trying the same again does not help.
    pub retry_after_ms: Option<u64>,
}

impl HubError {
    /// For good.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { refusal: Refusal::new(reason, detail), retry_after_ms: None }
    }
    /// For now.
    #[must_use]
    pub fn transient(reason: Reason, detail: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { refusal: Refusal::new(reason, detail), retry_after_ms: Some(retry_after_ms) }
    }
    /// A bug.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(Reason::Internal, detail)
    }
    /// Its reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.refusal.reason
    }
}

impl From<Refusal> for HubError {
    fn from(refusal: Refusal) -> Self {
        let retry_after_ms = refusal.reason.is_transient().then_some(500);
        Self { refusal, retry_after_ms }
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Contended => Self::transient(Reason::Overloaded, detail, 50),
            StoreError::Busy(_) => Self::transient(Reason::Overloaded, detail, 1_000),
            StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Hanging(_) => {
                Self::transient(Reason::StoreUnavailable, detail, 500)
            }
            StoreError::Corrupt(_) => Self::new(Reason::StoreCorrupt, detail),
            StoreError::Full(_) => Self::transient(Reason::StoreFull, detail, 5_000),
            StoreError::Unsafe(_) => Self::new(Reason::StoreUnsafe, detail),
            StoreError::Newer(_) => Self::new(Reason::ProtocolVersion, detail),
            StoreError::NoTenant(_) => Self::new(Reason::NotFound, detail),
            StoreError::Internal(_) => Self::internal(detail),
        }
    }
}
