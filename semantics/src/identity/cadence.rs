//! When an agent's state is due to be shared: a decision over interactions and time, without a clock of its own.
//!
//! - `a_snapshot_is_due_after_so_many_interactions_or_so_long`, whichever comes first.
//! - `what_is_high_is_due_at_once_and_what_is_medium_soon`.

use super::event::Priority;
use crate::reason::{Reason, Refusal};

/// So many interactions make a snapshot due when nothing else is said.
pub const EVERY_INTERACTIONS: u64 = 100;
/// Most interactions between two snapshots.
pub const EVERY_INTERACTIONS_MAX: u64 = 100_000;
/// So long after the last snapshot another is due when nothing else is said, milliseconds.
pub const EVERY_MS: u64 = 3_600_000;
/// Longest time between two snapshots, milliseconds.
pub const EVERY_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// A change of medium priority waits for at most so many interactions.
pub const SOON_INTERACTIONS: u64 = 5;

/// How often a state is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// After so many interactions.
    pub every_interactions: u64,
    /// After so long, milliseconds.
    pub every_ms: u64,
    /// What is of medium priority, after so many interactions.
    pub soon_interactions: u64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            every_interactions: EVERY_INTERACTIONS,
            every_ms: EVERY_MS,
            soon_interactions: SOON_INTERACTIONS,
        }
    }
}

/// What the decision looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Since {
    /// Interactions since the last snapshot.
    pub interactions: u64,
    /// Time since then, milliseconds of a clock that never goes back.
    pub elapsed_ms: u64,
    /// The most urgent change since then, and how many interactions ago it came up.
    pub waiting: Option<(Priority, u64)>,
}

impl Cadence {
    /// This cadence, if its numbers are within their bounds.
    ///
    /// # Errors
    /// `MALFORMED`, with the bound.
    pub fn checked(self) -> Result<Self, Refusal> {
        let within = |what: &str, found: u64, max: u64| match (1..=max).contains(&found) {
            true => Ok(()),
            false => Err(Refusal::new(Reason::Malformed, format!("{what}: {found}: give 1 to {max}"))),
        };
        within("every_interactions", self.every_interactions, EVERY_INTERACTIONS_MAX)?;
        within("every_ms", self.every_ms, EVERY_MS_MAX)?;
        within("soon_interactions", self.soon_interactions, self.every_interactions)?;
        Ok(self)
    }

    /// Whether a snapshot is due now.
    #[must_use]
    pub fn is_due(&self, since: &Since) -> bool {
        let is_urgent = match since.waiting {
            Some((Priority::High, _)) => true,
            Some((Priority::Medium, interactions)) => interactions >= self.soon_interactions,
            Some((Priority::Low, _)) | None => false,
        };
        is_urgent || since.interactions >= self.every_interactions || since.elapsed_ms >= self.every_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(interactions: u64, elapsed_ms: u64, waiting: Option<(Priority, u64)>) -> Since {
        Since { interactions, elapsed_ms, waiting }
    }

    #[test]
    fn a_snapshot_is_due_after_so_many_interactions_or_so_long() {
        let cadence = Cadence::default();
        for (since, expected) in [
            (since(0, 0, None), false),
            (since(99, 3_599_999, None), false),
            (since(100, 0, None), true),
            (since(0, 3_600_000, None), true),
            (since(99, 0, Some((Priority::Low, 99))), false),
        ] {
            assert_eq!(cadence.is_due(&since), expected, "{since:?}");
        }
        let own = Cadence { every_interactions: 10, every_ms: 1_000, ..cadence }.checked().unwrap();
        assert!(own.is_due(&since(10, 0, None)) && own.is_due(&since(0, 1_000, None)));
        for wrong in [
            Cadence { every_interactions: 0, ..cadence },
            Cadence { every_ms: EVERY_MS_MAX + 1, ..cadence },
            Cadence { soon_interactions: 101, ..cadence },
        ] {
            assert_eq!(wrong.checked().unwrap_err().reason, Reason::Malformed);
        }
    }

    #[test]
    fn what_is_high_is_due_at_once_and_what_is_medium_soon() {
        let cadence = Cadence::default();
        assert!(cadence.is_due(&since(0, 0, Some((Priority::High, 0)))));
        assert!(!cadence.is_due(&since(4, 0, Some((Priority::Medium, 4)))));
        assert!(cadence.is_due(&since(5, 0, Some((Priority::Medium, 5)))));
    }
}
