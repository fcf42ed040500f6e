//! How two sides came apart, from what the log and the replica's cursor prove.
//!
//! - `each_side_one_write_on_is_a_version`
//! - `a_side_that_went_on_makes_it_divergent`: a write whose base holds one that the other side had not seen. Writes of
//!   several nodes that had not seen each other are no going on.
//! - `both_going_on_while_one_was_away_is_split_brain`: its replica came back with a cursor before the first of the
//!   other's writes, and the hub held the going on by then. Who wrote on while connected is divergent.
//! - `what_the_other_side_had_seen_is_no_going_on`

use crate::envelope::Mutation;
use crate::ids::{Dot, Revision};

use super::Cause;

/// Most rows of a record that are looked at; a side that lies further back proves nothing.
pub const CAUSE_ROWS_MAX: usize = 8;

/// A node's write that the newcomer had not seen.
#[derive(Debug, Clone, Copy)]
pub struct Unseen<'a> {
    /// Where it is in the log.
    pub revision: Revision,
    /// The write.
    pub mutation: &'a Mutation,
}

/// How far a replica had the log when it came back, and how far the log was by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Up to here it had it, as its hello said.
    pub had: Revision,
    /// Up to here there was something to have.
    pub found: Revision,
}

/// How a mutation came apart from the writes on its record that it had not seen. `away` is what its session opened with,
/// where that is known.
#[must_use]
pub fn came_apart(comes: &Mutation, unseen: &[Unseen<'_>], away: Option<Away>) -> Cause {
    let went_on = |later: &&Unseen<'_>| unseen.iter().any(|other| saw(later.mutation, other.mutation.dot));
    let first_on = unseen.iter().filter(went_on).map(|write| write.revision).min();
    let comes_on = comes.base.own.is_some_and(|own| !unseen.iter().any(|write| saw(write.mutation, own)));
    let first = unseen.iter().map(|write| write.revision).min();
    match (first.zip(first_on), comes_on) {
        (None, false) => Cause::Version,
        (Some((first, on)), true) if away.is_some_and(|away| away.had < first && on <= away.found) => {
            Cause::SplitBrain
        }
        (Some(_), _) | (None, true) => Cause::Divergent,
    }
}

fn saw(mutation: &Mutation, dot: Dot) -> bool {
    mutation.base.own == Some(dot) || mutation.base.version.contains(dot)
}
