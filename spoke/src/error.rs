//! What can go wrong in a replica.

use semantics::reason::{Reason, Refusal};

/// Where records lie that came and are not shown yet, for a person.
pub(crate) const STAGED: &str = "staging area";

/// Why a replica store did not do what was asked. Absence is never an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer; the transaction had no effect.
    #[error("the replica's store did not answer: {0}")]
    Unavailable(String),
    /// Something stored could not be read back as what it was.
    #[error("the replica's {what} is damaged: {detail}")]
    Corrupt {
        /// Which part of the replica.
        what: &'static str,
        /// What was found.
        detail: String,
    },
    /// The file is of a newer program: it has this migration, which this one does not know. Nothing was changed.
    #[error("the replica is of a newer spoke: it has migration {0}, which this one does not know")]
    Newer(i64),
    /// No room on the disk; the transaction had no effect.
    #[error("the disk below the replica is full")]
    Full,
}

/// Why a replica did not do what was asked. In every case nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// The request was refused, by the same rules as the hub's.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was staged is not what came, or cannot be read: the hub can send it again.
    #[error(transparent)]
    Staged(StoreError),
}

impl ReplicaError {
    /// An error met while what was staged is read, be it still in its own place or in that of the confirmed layer.
    pub(crate) fn of_staged(error: StoreError) -> Self {
        if let StoreError::Corrupt { detail, .. } = error {
            return Self::Staged(StoreError::Corrupt { what: STAGED, detail });
        }
        Self::Store(error)
    }

    /// The error as a refusal, for reports and exit codes.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Store(error) | Self::Staged(error) => {
                let reason = match error {
                    StoreError::Unavailable(_) => Reason::StoreUnavailable,
                    StoreError::Corrupt { .. } => Reason::StoreCorrupt,
                    StoreError::Newer(_) => Reason::ProtocolVersion,
                    StoreError::Full => Reason::StoreFull,
                };
                Refusal::new(reason, error.to_string())
            }
        }
    }
}

pub(crate) fn refused<T>(reason: Reason, detail: impl Into<String>) -> Result<T, ReplicaError> {
    Err(ReplicaError::Refused(Refusal::new(reason, detail)))
}

impl From<ReplicaError> for Refusal {
    fn from(error: ReplicaError) -> Self {
        error.refusal()
    }
}
