//! Where a mutation and the record clash: a value lost that the winner's author had not seen.

use std::cmp::Ordering;

use serde_json::Value;

use super::Parsed;
use crate::clock::Stamp;
use crate::conflict::{Clash, ConflictType};
use crate::envelope::{KEY_ID_CLEAR, Op, Record};
use crate::fault::Fault;
use crate::ids::Writer;
use crate::join::life::{Fields, Life, State, Whole};
use crate::kind::Policy;
use crate::matrix;
use crate::version::Version;

/// Clashes between a record's life and a mutation's, whose author had seen `seen`.
pub(super) fn find(before: &Life, mutation: &Life, seen: &Version, policy: Policy) -> Vec<Clash> {
    match before.rank().cmp(&mutation.rank()) {
        // Two deletes want the same, and a delete of an earlier incarnation has what it wants.
        Ordering::Greater if mutation.is_deleted() => Vec::new(),
        Ordering::Greater => vec![whole(ConflictType::Deletion, before.stamp, mutation.stamp)],
        Ordering::Less if before.is_deleted() => Vec::new(),
        Ordering::Less => {
            let unseen = before.stamps().filter(|stamp| !seen.contains(stamp.dot)).max();
            unseen.map(|loser| whole(ConflictType::Deletion, mutation.stamp, loser)).into_iter().collect()
        }
        Ordering::Equal => between_equals(before, mutation, seen, policy),
    }
}

/// A node's put of a state that does not hold what it says of itself, over one of the same life that does and that its
/// author had seen: it is taken, and clashes with that one, so that neither is lost and it can be brought back, also where
/// the author had seen more than the record ever held. What settles a conflict is taken as is.
pub(super) fn disproved(current: &Record, parsed: &Parsed) -> Option<Clash> {
    let mutation = &parsed.mutation;
    let is_nodes = matches!(mutation.op, Op::Put { .. }) && mutation.dot.writer != Writer::HUB;
    let is_read = is_nodes && mutation.key_id == KEY_ID_CLEAR && mutation.incarnation == current.incarnation;
    let stood = current.body().filter(|_| is_read && current.key_id == KEY_ID_CLEAR)?;
    let stood: Value = serde_json::from_slice(stood).ok()?;
    let is_worse = !matrix::holds(&Value::Object(parsed.fields().clone())) && matrix::holds(&stood);
    let is_worse = is_worse && !Fault::UnsoundOverSound.is_planted();
    is_worse.then(|| whole(ConflictType::Version, mutation.stamp(), current.stamp))
}

fn between_equals(before: &Life, mutation: &Life, seen: &Version, policy: Policy) -> Vec<Clash> {
    let (earlier, later) = ordered(before.stamp, mutation.stamp);
    match (&before.state, &mutation.state) {
        (State::Fields(theirs), State::Fields(mine)) => in_fields(theirs, mine, seen),
        (State::Whole(theirs), State::Whole(mine)) => {
            if seen.contains(before.stamp.dot) || is_same(theirs, mine) {
                Vec::new()
            } else if policy != Policy::AppendOnly {
                vec![whole(ConflictType::Version, later, earlier)]
            } else if before.author == mutation.author {
                vec![whole(ConflictType::Equivocation, earlier, later)]
            } else {
                vec![whole(ConflictType::Collision, earlier, later)]
            }
        }
        _ => Vec::new(),
    }
}

fn in_fields(before: &Fields, mutation: &Fields, seen: &Version) -> Vec<Clash> {
    let clash = |name: &String, entry: &crate::join::life::Entry| {
        let held = before.entries.get(name)?;
        if seen.contains(held.stamp.dot) || held.value == entry.value {
            return None;
        }
        let (loser, winner) = ordered(held.stamp, entry.stamp);
        Some(Clash {
            path: name.clone(),
            conflict_type: ConflictType::Version,
            winner,
            loser,
            is_collapse: false,
        })
    };
    mutation.entries.iter().filter_map(|(name, entry)| clash(name, entry)).collect()
}

/// Sealed bodies are compared as they are: nobody here can look inside.
fn is_same(a: &Whole, b: &Whole) -> bool {
    a.key_id == b.key_id && a.body == b.body
}

fn ordered(a: Stamp, b: Stamp) -> (Stamp, Stamp) {
    if a <= b { (a, b) } else { (b, a) }
}

fn whole(conflict_type: ConflictType, winner: Stamp, loser: Stamp) -> Clash {
    Clash { path: String::new(), conflict_type, winner, loser, is_collapse: false }
}
