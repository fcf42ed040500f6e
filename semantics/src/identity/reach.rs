//! Whether a node has the state of an identity that stands.
//!
//! - `who_acknowledged_it_is_in_sync`, silent or not.
//! - `who_lives_and_did_not_is_behind`: it is on its way.
//! - `who_is_silent_and_did_not_is_possibly_desynchronised`, until it acknowledges.

use serde::Serialize;

use crate::health::Health;

/// How a node stands to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// One of its replicas has acknowledged it.
    InSync,
    /// None has, and the node was heard of late.
    Behind,
    /// None has, and the node has been silent.
    PossiblyDesynchronised,
}

impl Reach {
    /// Of a node that has acknowledged the state or not, and seems so.
    #[must_use]
    pub const fn of(has: bool, health: Health) -> Self {
        match (has, health) {
            (true, _) => Self::InSync,
            (false, Health::Healthy) => Self::Behind,
            (false, Health::Suspect | Health::Offline) => Self::PossiblyDesynchronised,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Behind => "behind",
            Self::PossiblyDesynchronised => "possibly_desynchronised",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acknowledged_it_is_in_sync() {
        assert!(Health::ALL.into_iter().all(|health| Reach::of(true, health) == Reach::InSync));
    }

    #[test]
    fn who_lives_and_did_not_is_behind() {
        assert_eq!(Reach::of(false, Health::Healthy), Reach::Behind);
    }

    #[test]
    fn who_is_silent_and_did_not_is_possibly_desynchronised() {
        for health in [Health::Suspect, Health::Offline] {
            assert_eq!(Reach::of(false, health), Reach::PossiblyDesynchronised);
        }
    }
}
