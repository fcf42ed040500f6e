//! The matrix: how the sides of a conflict came apart decides how it is settled, and how far a person has a say.
//!
//! | type | first | then | a person's say |
//! |---|---|---|---|
//! | version | the later write | the healthier state | always |
//! | divergent | the heaviest state | the common ancestor | recommended |
//! | split-brain | the greatest precedence | a person | required |
//! | corruption | the state that holds | the newest one in history that holds | optional |
//!
//! - `each_type_has_its_strategies`, and what neither decides waits for a person.
//! - `a_collapsed_state_wins_only_over_collapsed_ones`: what would let it win decides nothing, be it a side, the ancestor
//!   or a state of history.
//! - `a_side_that_nobody_can_read_leaves_it_to_a_person`: a delete, or a body sealed for its readers.
//! - How a type is told from the others: [`came_apart`].

mod evidence;
mod strategy;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use evidence::{Away, CAUSE_ROWS_MAX, Unseen, came_apart};
pub use strategy::{Case, Ruled, Ruling, may_come_back, rule_on};

/// How the sides of a conflict came apart. What is known later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Each side is one write past what both knew.
    #[serde(rename = "version")]
    Version,
    /// A side went on before they met: a write on a write that the other had not seen.
    #[serde(rename = "divergent")]
    Divergent,
    /// Both went on, while the hub knows that one was away.
    #[serde(rename = "split-brain")]
    SplitBrain,
    /// A state that does not hold what it says of itself.
    #[serde(rename = "corruption")]
    Corruption,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The later write, to the millisecond.
    Timestamp,
    /// The state of the healthier node, and of equal ones the one with the greater score.
    Health,
    /// The heaviest state, see [`crate::identity::vote`].
    Consensus,
    /// What the sides were made on.
    Ancestor,
    /// The state with the greatest `sync_metadata.precedence_priority`.
    Precedence,
    /// Nothing but a person.
    Person,
    /// The one that holds what it says of itself; of several, as for a version.
    Discard,
    /// The newest state in history that holds what it says of itself.
    Restore,
}

impl Strategy {
    /// Its name in reasons.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp precedence",
            Self::Health => "health",
            Self::Consensus => "weighted consensus",
            Self::Ancestor => "rollback to the common ancestor",
            Self::Precedence => "precedence",
            Self::Person => "a person",
            Self::Discard => "discard",
            Self::Restore => "restore from history",
        }
    }
}

/// How far a person has a say in what is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manual {
    /// It is settled; who wants it otherwise takes it back.
    Always,
    /// It is settled, and a person should look at it.
    Recommended,
    /// Only precedence settles it, otherwise a person must.
    Required,
    /// It is settled; nobody need look.
    Optional,
}

impl Manual {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Recommended => "recommended",
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl Cause {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Version, Self::Divergent, Self::SplitBrain, Self::Corruption];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Divergent => "divergent",
            Self::SplitBrain => "split-brain",
            Self::Corruption => "corruption",
        }
    }

    /// What is tried first, and where that decides nothing.
    #[must_use]
    pub const fn strategies(self) -> [Strategy; 2] {
        match self {
            Self::Version => [Strategy::Timestamp, Strategy::Health],
            Self::Divergent => [Strategy::Consensus, Strategy::Ancestor],
            Self::SplitBrain => [Strategy::Precedence, Strategy::Person],
            Self::Corruption => [Strategy::Discard, Strategy::Restore],
        }
    }

    /// How far a person has a say.
    #[must_use]
    pub const fn manual(self) -> Manual {
        match self {
            Self::Version => Manual::Always,
            Self::Divergent => Manual::Recommended,
            Self::SplitBrain => Manual::Required,
            Self::Corruption => Manual::Optional,
        }
    }
}

/// Whether a state holds what it says of itself: see [`crate::identity::validate::disproved`].
#[must_use]
pub fn holds(state: &Value) -> bool {
    crate::identity::validate::disproved(state).is_none()
}

#[cfg(test)]
mod tests;
