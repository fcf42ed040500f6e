//! What a store cannot do.

use semantics::ids::TenantId;

/// A store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction was in the way; nothing was written.
    #[error("the store is contended")]
    Contended,
    /// The store did not answer; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Every connection was in use for too long; nothing was written.
    #[error("the store has too much to do: {0}")]
    Busy(String),
    /// The connection was lost during an append, which may or may not have happened.
    #[error("it is not known whether the append happened: {0}")]
    Unknown(String),
    /// What was written does not end within so many milliseconds: it may happen yet, at any time, or not at all.
    #[error(
        "the outcome is unknown: the database has not ended the commit within {0} ms; to ask again is safe"
    )]
    Hanging(u64),
    /// Stored data does not decode or fails its check.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// No room on the disk; nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store's settings cannot keep an acknowledgement.
    #[error("the store's settings are not safe: {0}")]
    Unsafe(String),
    /// The database is of a newer program: it has this migration, which this one does not know.
    #[error("the database is of a newer hubward: it has migration {0}, which this one does not know")]
    Newer(i64),
    /// No such tenant.
    #[error("no tenant {0}")]
    NoTenant(TenantId),
    /// A bug, or an error this engine does not expect.
    #[error("store error: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether an append that ended so has certainly not happened, and never will.
    #[must_use]
    pub const fn has_written_nothing(&self) -> bool {
        matches!(self, Self::Contended | Self::Unavailable(_) | Self::Busy(_) | Self::Full(_))
    }
}
