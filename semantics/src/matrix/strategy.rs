//! What the strategies make of a conflict.

use std::cmp::Reverse;

use serde_json::Value;

use super::{Cause, Strategy, holds};
use crate::health::Health;
use crate::identity::summary;
use crate::identity::vote::{State, is_collapsed, priority, score, vote};
use crate::ids::{Dot, Revision};

/// A conflict, as far as the matrix looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// How its sides came apart.
    pub cause: Cause,
    /// Every side.
    pub sides: &'a [State<'a>],
    /// What the sides were made on, where it is kept and can be read.
    pub ancestor: Option<&'a Value>,
    /// The newest state of the record in history that [`may_come_back`], if one is kept.
    pub sound: Option<Revision>,
}

/// What is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// What this side wrote.
    Side(Dot),
    /// What the sides were made on.
    Ancestor,
    /// What stood at this revision.
    Stood(Revision),
}

/// What a strategy decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// What is to stand.
    pub ruling: Ruling,
    /// The type, the strategy, and what it went by.
    pub reason: String,
}

/// What the matrix decides; `None` = a person has to say.
#[must_use]
pub fn rule_on(case: &Case<'_>) -> Option<Ruled> {
    if case.sides.iter().any(|side| side.body.is_none()) {
        return None;
    }
    case.cause.strategies().into_iter().find_map(|strategy| {
        let (ruling, by) = apply(strategy, case)?;
        let reason = format!("{}, {}: {by}", case.cause.name(), strategy.name());
        Some(Ruled { ruling, reason })
    })
}

fn apply(strategy: Strategy, case: &Case<'_>) -> Option<(Ruling, String)> {
    let sides: Vec<&State<'_>> = case.sides.iter().collect();
    let side = |(dot, by): (Dot, String)| (Ruling::Side(dot), by);
    match strategy {
        Strategy::Timestamp => timestamp(&sides).map(side),
        Strategy::Health => health(&sides).map(side),
        Strategy::Precedence => precedence(&sides).map(side),
        Strategy::Person => None,
        Strategy::Consensus => {
            let voted = vote(case.sides).ok()?;
            let weighed = voted.weights.iter().map(|weight| format!("{} {:.3}", weight.id, weight.score));
            let by = weighed.collect::<Vec<_>>().join(", ");
            voted.winner.map(|dot| (Ruling::Side(dot), by))
        }
        Strategy::Ancestor => {
            let may_stand = case.ancestor.is_some_and(|ancestor| may_come_back(ancestor, case.sides));
            may_stand.then(|| (Ruling::Ancestor, "neither side outweighs the other".to_owned()))
        }
        Strategy::Discard => {
            let sound: Vec<&State<'_>> =
                sides.into_iter().filter(|side| side.body.is_some_and(holds)).collect();
            let (dot, by) = match sound.as_slice() {
                [only] => (only.stamp.dot, "the only side that holds".to_owned()),
                _ => timestamp(&sound).or_else(|| health(&sound))?,
            };
            let body = sound.iter().find(|side| side.stamp.dot == dot)?.body?;
            stands_over(body, case.sides).then(|| side((dot, by)))
        }
        Strategy::Restore => case.sound.map(|revision| {
            let by = format!(
                "no side that holds may stand over the others; what stood at revision {revision} may"
            );
            (Ruling::Stood(revision), by)
        }),
    }
}

/// Whether a state of a record's history may stand in the place of these sides: it holds what it says of itself, and has
/// not collapsed, unless they all have.
#[must_use]
pub fn may_come_back(state: &Value, sides: &[State<'_>]) -> bool {
    holds(state) && stands_over(state, sides)
}

fn stands_over(state: &Value, sides: &[State<'_>]) -> bool {
    !summary::is_collapsed(state) || sides.iter().all(is_collapsed)
}

/// The one side that comes before all others, unless it has collapsed and another has not.
fn first<'a, K: PartialOrd>(sides: &[&State<'a>], key: impl Fn(&State<'a>) -> K) -> Option<(Dot, K)> {
    let is_first = |side: &&&State<'a>| {
        sides.iter().all(|other| other.stamp.dot == side.stamp.dot || key(side) > key(other))
    };
    let winner = sides.iter().find(is_first)?;
    let loses = is_collapsed(winner) && sides.iter().any(|side| !is_collapsed(side));
    (!loses).then(|| (winner.stamp.dot, key(winner)))
}

fn timestamp(sides: &[&State<'_>]) -> Option<(Dot, String)> {
    let (dot, ms) = first(sides, |side| side.stamp.time.ms)?;
    Some((dot, format!("{dot} wrote last, at {ms} ms")))
}

/// A collapsed state comes after every other one.
fn health(sides: &[&State<'_>]) -> Option<(Dot, String)> {
    let score = |side: &State<'_>| side.body.and_then(score).unwrap_or_default();
    let (dot, (_, Reverse(node), score)) =
        first(sides, |side| (!is_collapsed(side), Reverse::<Health>(side.health), score(side)))?;
    Some((dot, format!("{dot} has a {} node and the score {score}", node.as_str())))
}

/// A side that states no precedence comes after every one that does.
fn precedence(sides: &[&State<'_>]) -> Option<(Dot, String)> {
    let stated = |side: &State<'_>| side.body.and_then(|body: &Value| priority(body));
    let (dot, precedence) = first(sides, stated)?;
    precedence.map(|precedence| (dot, format!("{dot} states {precedence}")))
}
