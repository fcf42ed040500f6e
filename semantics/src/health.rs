//! Whether a node lives, by how long it has been silent.

use crate::reason::{Reason, Refusal};

/// Between two signs of life of a node in session, milliseconds.
pub const HEARTBEAT_MS: u64 = 15_000;
/// A sign of life is written down no more often than this, milliseconds.
pub const SEEN_WRITE_MS: u64 = 30_000;
/// A node silent for so long is suspect, milliseconds: a sign of life may be this old in the store while the next one
/// is on its way, and one may be lost.
pub const SUSPECT_MS: u64 = SEEN_WRITE_MS + 2 * HEARTBEAT_MS;
/// A node silent for so long is offline, milliseconds: three rounds of the schedule that syncs every five minutes.
pub const OFFLINE_MS: u64 = 3 * crate::schedule::EVERY_MS;
/// Longest name of a program, bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;

/// How a node seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It was heard within [`SUSPECT_MS`].
    Healthy,
    /// Within [`OFFLINE_MS`].
    Suspect,
    /// Not for longer, or never.
    Offline,
}

impl Health {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Suspect, Self::Offline];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Offline => "offline",
        }
    }

    /// By name.
    ///
    /// # Errors
    /// `MALFORMED` for another name.
    pub fn from_name(name: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::new(Reason::Malformed, "health: not one of healthy, suspect, offline");
        Self::ALL.into_iter().find(|health| health.as_str() == name).ok_or_else(malformed)
    }

    /// Of a node that was last heard at `seen_ms` (`None` = never). A clock that was set back makes nobody offline:
    /// what was heard in the future was heard just now.
    #[must_use]
    pub const fn of(seen_ms: Option<u64>, now_ms: u64) -> Self {
        match seen_ms {
            Some(seen_ms) if now_ms.saturating_sub(seen_ms) < SUSPECT_MS => Self::Healthy,
            Some(seen_ms) if now_ms.saturating_sub(seen_ms) < OFFLINE_MS => Self::Suspect,
            Some(_) | None => Self::Offline,
        }
    }
}

/// How far a node's clock is ahead of the hub's (negative = behind), milliseconds. The message that told its time was
/// on its way for a while: by that much the clock seems behind.
#[must_use]
pub fn clock_offset_ms(node_ms: u64, hub_ms: u64) -> i64 {
    let apart = i64::try_from(node_ms.abs_diff(hub_ms)).unwrap_or(i64::MAX);
    if node_ms < hub_ms { -apart } else { apart }
}

/// Offsets that are looked at together.
pub const OFFSETS_KEPT: usize = 4;

/// The latest offsets of a clock. Each seems behind by what its message waited on its way, so the largest of them is
/// the nearest to the truth. A clock that is set back is told so once all of them are of after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offsets {
    kept: [Option<i64>; OFFSETS_KEPT],
    next: usize,
}

impl Offsets {
    /// Takes one in, and gives the one that counts.
    pub fn take(&mut self, offset_ms: i64) -> i64 {
        if let Some(oldest) = self.kept.get_mut(self.next) {
            *oldest = Some(offset_ms);
        }
        self.next = (self.next + 1) % OFFSETS_KEPT;
        self.kept.iter().flatten().copied().max().unwrap_or(offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_how_long_a_node_has_been_silent() {
        let now = 10_000_000;
        let table = [
            (None, Health::Offline),
            (Some(now), Health::Healthy),
            (Some(now + 3_600_000), Health::Healthy),
            (Some(now - SUSPECT_MS + 1), Health::Healthy),
            (Some(now - SUSPECT_MS), Health::Suspect),
            (Some(now - OFFLINE_MS + 1), Health::Suspect),
            (Some(now - OFFLINE_MS), Health::Offline),
            (Some(0), Health::Offline),
        ];
        for (seen_ms, expected) in table {
            assert_eq!(Health::of(seen_ms, now), expected, "{seen_ms:?}");
        }
        assert_eq!((SUSPECT_MS, OFFLINE_MS), (60_000, 900_000));
    }

    #[test]
    fn health_is_read_back_by_name() {
        for health in Health::ALL {
            assert_eq!(Health::from_name(health.as_str()), Ok(health));
        }
        assert_eq!(Health::from_name("well").unwrap_err().reason, Reason::Malformed);
    }

    #[test]
    fn the_offset_that_waited_least_counts() {
        let mut offsets = Offsets::default();
        let told =
            [-3_629, -2, -900, -4, -70, -5_000, -5_001, -5_002, -5_003].map(|offset| offsets.take(offset));
        assert_eq!(told, [-3_629, -2, -2, -2, -2, -4, -4, -70, -5_000]);
        assert_eq!(offsets.take(60_000), 60_000, "a clock that is set forward is told at once");
    }

    #[test]
    fn an_offset_is_positive_for_a_clock_that_is_ahead() {
        assert_eq!(clock_offset_ms(1_500, 1_000), 500);
        assert_eq!(clock_offset_ms(1_000, 1_500), -500);
        assert_eq!(clock_offset_ms(0, u64::MAX), -i64::MAX);
        assert_eq!(clock_offset_ms(u64::MAX, 0), i64::MAX);
    }
}
