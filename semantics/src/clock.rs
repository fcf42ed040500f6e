//! Hybrid logical time (Kulkarni et al., "Logical Physical Clocks", 2014): wall milliseconds and a counter, in
//! one order. Time is always an argument; nothing here reads a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Dot;

/// How far a stamp may lie ahead of the hub's commit time, milliseconds.
pub const CLOCK_AHEAD_MS_MAX: u64 = 60_000;

/// Wall-clock milliseconds since 1970-01-01 UTC, and a counter for what happened inside one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct HybridTime {
    /// Milliseconds since 1970-01-01 UTC.
    pub ms: u64,
    /// Position inside the millisecond.
    pub counter: u32,
}

impl HybridTime {
    /// Before everything.
    pub const ZERO: Self = Self { ms: 0, counter: 0 };

    /// The time of an event that happens at wall time `now_ms` after everything up to `self`: never less than
    /// the wall clock, always greater than `self`.
    #[must_use]
    pub fn tick(self, now_ms: u64) -> Self {
        if now_ms > self.ms {
            return Self { ms: now_ms, counter: 0 };
        }
        match self.counter.checked_add(1) {
            Some(counter) => Self { ms: self.ms, counter },
            None => Self { ms: self.ms.saturating_add(1), counter: 0 },
        }
    }

    /// Whether this time is further ahead of `now_ms` than [`CLOCK_AHEAD_MS_MAX`].
    #[must_use]
    pub fn is_ahead_of(self, now_ms: u64) -> bool {
        self.ms > now_ms.saturating_add(CLOCK_AHEAD_MS_MAX)
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms, self.counter)
    }
}

/// When a mutation was written and by whom: hybrid time, then the writer, then its counter. A total order, so
/// ties between concurrent writes fall the same way on every replica, never by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid time of the write.
    pub time: HybridTime,
    /// The mutation's dot; its writer settles equal times.
    pub dot: Dot,
}
