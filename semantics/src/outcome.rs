//! What became of a mutation.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Dot, MutationId, Revision};
use crate::reason::{Reason, Refusal};

/// Terminal: recorded by the hub, the dot is consumed, a repeat gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Took effect on exactly its base.
    Applied {
        /// Its revision.
        revision: Revision,
    },
    /// Took effect beside concurrent changes; nothing was lost.
    Merged {
        /// Its revision.
        revision: Revision,
    },
    /// Took effect, or lost, against a concurrent change; both sides are in the conflict record.
    Conflicted {
        /// Its revision.
        revision: Revision,
    },
    /// No effect.
    Rejected(Refusal),
    /// Taken back by its writer before it had an effect.
    Withdrawn,
}

impl Outcome {
    /// The revision, where it took one.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        match self {
            Self::Applied { revision } | Self::Merged { revision } | Self::Conflicted { revision } => {
                Some(*revision)
            }
            Self::Rejected(_) | Self::Withdrawn => None,
        }
    }
    /// Name in JSON and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Merged { .. } => "merged",
            Self::Conflicted { .. } => "conflicted",
            Self::Rejected(_) => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One consumed dot, as commits record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotOutcome {
    /// The dot.
    pub dot: Dot,
    /// The mutation that consumed it.
    pub mutation: MutationId,
    /// Digest of that mutation.
    pub digest: Digest,
    /// What became of it.
    pub outcome: Outcome,
}

/// Not recorded: nothing was consumed, the stream waits and the same may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transient {
    /// First counter that was not consumed.
    pub n: u64,
    /// Why.
    pub reason: Reason,
    /// For a person.
    pub detail: String,
    /// When to try again, milliseconds from now.
    pub retry_after_ms: u64,
}
