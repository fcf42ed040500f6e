//! When an agent's state is due to be shared: a decision over interactions and time, without a clock of its own.
//!
//! - `a_snapshot_is_due_after_so_many_interactions_or_so_long`, whichever comes first.
//! - `what_is_high_is_due_at_once_and_what_is_medium_soon`.
//! - `a_tally_keeps_the_most_urgent_change_and_since_when`.

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

/// What was told of an agent since its state was last shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    interactions: u64,
    shared_ms: u64,
    waiting: Option<(Priority, u64)>,
}

impl Tally {
    /// A state was shared at this time, milliseconds.
    #[must_use]
    pub const fn shared(now_ms: u64) -> Self {
        Self { interactions: 0, shared_ms: now_ms, waiting: None }
    }

    /// The agent had one more interaction, and its state changed so in it.
    #[must_use]
    pub fn interaction(self, priority: Priority) -> Self {
        let interactions = self.interactions.saturating_add(1);
        let is_more = self.waiting.is_none_or(|(waiting, _)| priority > waiting);
        let waiting = if is_more { Some((priority, interactions)) } else { self.waiting };
        Self { interactions, waiting, ..self }
    }

    /// Interactions since then.
    #[must_use]
    pub const fn interactions(&self) -> u64 {
        self.interactions
    }

    /// What the decision looks at.
    #[must_use]
    pub fn since(&self, now_ms: u64) -> Since {
        let waiting = self.waiting.map(|(priority, at)| (priority, self.interactions.saturating_sub(at)));
        Since { interactions: self.interactions, elapsed_ms: now_ms.saturating_sub(self.shared_ms), waiting }
    }
}

impl Cadence {
    /// When a state is due by time alone.
    #[must_use]
    pub const fn due_ms(&self, tally: &Tally) -> u64 {
        tally.shared_ms.saturating_add(self.every_ms)
    }

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

    #[test]
    fn a_tally_keeps_the_most_urgent_change_and_since_when() {
        let cadence = Cadence::default();
        let calm = (0..99).fold(Tally::shared(1_000), |tally, _| tally.interaction(Priority::Low));
        assert!(!cadence.is_due(&calm.since(1_000)));
        assert!(cadence.is_due(&calm.interaction(Priority::Low).since(1_000)));
        assert!(cadence.is_due(&calm.since(cadence.due_ms(&calm))));
        let worse = Tally::shared(0).interaction(Priority::Low).interaction(Priority::Medium);
        let later = (0..4).fold(worse, |tally, _| tally.interaction(Priority::Medium));
        assert_eq!(later.since(0).waiting, Some((Priority::Medium, 4)));
        assert!(!cadence.is_due(&later.since(0)));
        assert!(cadence.is_due(&later.interaction(Priority::Low).since(0)));
        assert!(cadence.is_due(&worse.interaction(Priority::High).since(0)));
    }
}
