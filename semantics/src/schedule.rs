//! When a spoke syncs by itself: a decision over what waits and when it last synced, without a clock of its own.

use serde::{Deserialize, Serialize};

/// Between two rounds of a periodic schedule when nothing else is said, milliseconds.
pub const EVERY_MS: u64 = 5 * 60 * 1000;
/// Longest time between two rounds, milliseconds.
pub const EVERY_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// So many waiting changes begin a round at once when nothing else is said.
pub const BATCH_CHANGES: u64 = 100;
/// Most changes a batch may wait for.
pub const BATCH_CHANGES_MAX: u64 = 100_000;
/// A change waits at most so long when nothing else is said, milliseconds.
pub const BATCH_WAIT_MS: u64 = 60 * 1000;
/// Longest time a change may wait for others, milliseconds.
pub const BATCH_WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// What begins a round. A round pushes and pulls until nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every change, here or at the hub: one session stands, and each change travels as it happens.
    #[default]
    OnEvent,
    /// Enough waiting changes, or the first of them having waited long enough, whichever comes first; and the period,
    /// so that what others wrote arrives too.
    Batch,
    /// The period alone, and what is urgent at once.
    Periodic,
    /// Somebody asking for it.
    OnDemand,
}

/// A schedule. The bounds of its numbers are checked where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// What begins a round.
    pub mode: Mode,
    /// From the end of a round to the next by period, milliseconds.
    pub every_ms: u64,
    /// So many waiting changes begin a round.
    pub batch_changes: u64,
    /// A change waits at most so long for others; after a round that failed, nothing is tried for so long,
    /// milliseconds.
    pub batch_wait_ms: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            every_ms: EVERY_MS,
            batch_changes: BATCH_CHANGES,
            batch_wait_ms: BATCH_WAIT_MS,
        }
    }
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at_ms: u64,
    /// Whether it was cut short by trouble.
    pub has_failed: bool,
}

/// What the decision looks at. All times are milliseconds of one clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Local changes that wait to be pushed.
    pub changes: u64,
    /// Since when some have waited without a break.
    pub waiting_since_ms: Option<u64>,
    /// Since when something waits that others should have before its turn comes.
    pub urgent_since_ms: Option<u64>,
    /// The last round; `None` = none yet.
    pub last: Option<Ended>,
}

/// When the next round begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A session stands all the time: there are no rounds.
    Standing,
    /// At this time, or at once where it has passed; sooner when something changes that [`Seen`] tells of.
    At(u64),
    /// Not before somebody asks.
    WhenAsked,
}

impl Schedule {
    /// When the next round begins.
    #[must_use]
    pub fn due(&self, seen: &Seen) -> Due {
        let by_period = seen.last.map_or(0, |last| last.at_ms.saturating_add(self.every_ms));
        match self.mode {
            Mode::OnEvent => Due::Standing,
            Mode::OnDemand => Due::WhenAsked,
            Mode::Periodic => Due::At(by_period.min(self.by_urgency(seen))),
            Mode::Batch => {
                let by_batch = self.by_batch(seen).unwrap_or(u64::MAX);
                Due::At(by_period.min(by_batch).min(self.by_urgency(seen)))
            }
        }
    }

    /// At once, but after a round that failed not before the next may be tried.
    fn by_urgency(&self, seen: &Seen) -> u64 {
        seen.urgent_since_ms.map_or(u64::MAX, |since_ms| since_ms.max(self.not_before(seen)))
    }

    fn not_before(&self, seen: &Seen) -> u64 {
        let failed = seen.last.filter(|last| last.has_failed);
        failed.map_or(0, |last| last.at_ms.saturating_add(self.batch_wait_ms))
    }

    fn by_batch(&self, seen: &Seen) -> Option<u64> {
        let since_ms = seen.waiting_since_ms.filter(|_| seen.changes > 0)?;
        let is_full = seen.changes >= self.batch_changes;
        let due = if is_full { since_ms } else { since_ms.saturating_add(self.batch_wait_ms) };
        Some(due.max(self.not_before(seen)))
    }
}

#[cfg(test)]
mod tests;
