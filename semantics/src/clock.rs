//! Hybrid logical time (Kulkarni et al., "Logical Physical Clocks", 2014): wall milliseconds and a counter, in
//! one order. Time is always an argument; nothing here reads a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Dot;

/// How far a stamp may lie ahead of the hub's commit time, milliseconds.
pub const CLOCK_AHEAD_MS_MAX: u64 = 60_000;

/// How far a stamp may be ahead of what a spoke takes for the hub's time before it is made anew, milliseconds: half of
/// what the hub allows, because the spoke's idea of its time is as old as the last pong.
pub const RESTAMP_AHEAD_MS: u64 = CLOCK_AHEAD_MS_MAX / 2;

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

    /// The time under which a write of this time is sent: as it was written, or a new one where it is not after
    /// `floor`, the greatest time in its base, or lies more than [`RESTAMP_AHEAD_MS`] ahead of the hub's time. Always
    /// greater than `floor`, so that a clock that was set back makes no write unacceptable; never further ahead of the
    /// hub's time than that bound, unless the base is.
    #[must_use]
    pub fn at_send(self, floor: Self, hub_now_ms: u64) -> Self {
        let is_ahead = self.ms > hub_now_ms.saturating_add(RESTAMP_AHEAD_MS);
        if is_ahead || self <= floor { floor.tick(hub_now_ms) } else { self }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> HybridTime {
        HybridTime { ms, counter: 0 }
    }

    #[test]
    fn what_is_sent_is_stamped_after_its_base_and_within_the_bound_whatever_the_clocks_did() {
        const DAY_MS: u64 = 24 * 3_600_000;
        let hub_now_ms = 100 * DAY_MS;
        for written_ms in
            [0, hub_now_ms - DAY_MS, hub_now_ms - 1, hub_now_ms, hub_now_ms + 1, hub_now_ms + DAY_MS]
        {
            for floor_ms in [0, hub_now_ms - DAY_MS, hub_now_ms, hub_now_ms + CLOCK_AHEAD_MS_MAX] {
                let (written, floor) = (at(written_ms), at(floor_ms));
                let sent = written.at_send(floor, hub_now_ms);
                assert!(sent > floor, "{written} on {floor} was sent as {sent}");
                assert!(!sent.is_ahead_of(hub_now_ms), "{written} on {floor} was sent as {sent}");
            }
        }
    }

    #[test]
    fn a_time_that_is_after_its_base_and_not_far_ahead_is_sent_as_it_was_written() {
        let (floor, hub_now_ms) = (at(1_000), 100_000);
        for written in [at(1_001), at(hub_now_ms), at(hub_now_ms + RESTAMP_AHEAD_MS)] {
            assert_eq!(written.at_send(floor, hub_now_ms), written);
        }
        assert_eq!(at(hub_now_ms + RESTAMP_AHEAD_MS + 1).at_send(floor, hub_now_ms), at(hub_now_ms));
        assert_eq!(floor.at_send(floor, 0), HybridTime { ms: 1_000, counter: 1 });
    }
}
