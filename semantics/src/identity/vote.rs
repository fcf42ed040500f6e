//! The vote over a conflict of states of one identity: each side is a candidate, the heaviest wins.
//!
//! - `the_heaviest_state_wins`: by [`weigh`](super::consensus::weigh).
//! - `what_a_state_weighs_comes_from_itself_its_stamp_and_its_node`: stability from its parameters (never from the
//!   score it states), health from how its node seems, recency from its stamp beside the newest, priority from its
//!   `sync_metadata.precedence_priority`. What it does not say weighs nothing.
//! - `a_tie_waits_for_a_person`, because nothing says whom to prefer.
//! - `a_collapsed_state_wins_only_over_collapsed_ones`, however new it is and whatever its priority.
//! - `a_side_that_nobody_can_read_leaves_it_to_a_person`: a delete, or a body sealed for its readers.

use serde_json::Value;

use super::consensus::{Candidate, Weight, weigh};
use super::summary::{self, Summary};
use crate::clock::Stamp;
use crate::health::Health;
use crate::ids::Dot;
use crate::reason::Refusal;

/// A state so much older than the newest weighs nothing for its recency, milliseconds: what a node that shares its
/// state every hour has missed at most.
pub const RECENCY_MS: u64 = 3_600_000;

/// A side of a conflict, as far as it is weighed.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Who wrote it, and when.
    pub stamp: Stamp,
    /// What it says; none = it cannot be read.
    pub body: Option<&'a Value>,
    /// How its node seems.
    pub health: Health,
}

/// What a vote comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// Whose state wins; none = a person has to say.
    pub winner: Option<Dot>,
    /// What each state weighs, heaviest first. A name is the dot of its mutation.
    pub weights: Vec<Weight>,
}

/// Has the sides of a conflict weighed.
///
/// # Errors
/// `MALFORMED` without a side; `TOO_LARGE` past [`CANDIDATES_MAX`](super::consensus::CANDIDATES_MAX).
pub fn vote(states: &[State<'_>]) -> Result<Vote, Refusal> {
    let newest_ms = states.iter().map(|state| state.stamp.time.ms).max().unwrap_or_default();
    let candidates: Vec<Candidate> = states.iter().map(|state| candidate(state, newest_ms)).collect();
    let weights = weigh(&candidates)?;
    let standing: Vec<&State<'_>> = states.iter().filter(|state| !is_collapsed(state)).collect();
    let may_win = |weight: &&Weight| {
        standing.is_empty() || standing.iter().any(|state| state.stamp.dot.to_string() == weight.id)
    };
    let mut heaviest = weights.iter().filter(may_win);
    let (first, second) = (heaviest.next(), heaviest.next());
    let is_tie = matches!((first, second), (Some(a), Some(b)) if a.score.total_cmp(&b.score).is_eq());
    let is_dark = states.iter().any(|state| state.body.is_none());
    let winner = first.filter(|_| !is_tie && !is_dark);
    let winner = winner.and_then(|weight| {
        states.iter().map(|state| state.stamp.dot).find(|dot| dot.to_string() == weight.id)
    });
    Ok(Vote { winner, weights })
}

fn candidate(state: &State<'_>, newest_ms: u64) -> Candidate {
    let behind_ms = newest_ms.saturating_sub(state.stamp.time.ms).min(RECENCY_MS);
    let whole = |ms: u64| u32::try_from(ms).map(f64::from).unwrap_or(f64::MAX);
    Candidate {
        id: state.stamp.dot.to_string(),
        stability: state.body.and_then(score).unwrap_or_default(),
        health: match state.health {
            Health::Healthy => 1.0,
            Health::Suspect => 0.5,
            Health::Offline => 0.0,
        },
        recency: 1.0 - whole(behind_ms) / whole(RECENCY_MS),
        priority: state.body.and_then(priority).unwrap_or_default(),
    }
}

/// The precedence that a state states, 0 to 1.
pub(crate) fn priority(body: &Value) -> Option<f64> {
    let priority = body.pointer("/sync_metadata/precedence_priority")?.as_f64()?;
    (0.0..=1.0).contains(&priority).then_some(priority)
}

/// The score that follows from a state's parameters.
pub(crate) fn score(body: &Value) -> Option<f64> {
    Summary::of(body).score
}

/// A state whose score cannot be read has not collapsed.
pub(crate) fn is_collapsed(state: &State<'_>) -> bool {
    state.body.is_some_and(summary::is_collapsed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::HybridTime;
    use crate::ids::{NodeId, Writer};

    fn stamp(node: u8, ms: u64) -> Stamp {
        let writer = Writer { node: NodeId([node; 16]), epoch: 1 };
        Stamp { time: HybridTime { ms, counter: 0 }, dot: Dot { writer, n: 1 } }
    }

    fn snapshot(depth: u8, retention: f64, coherence: f64, priority: f64) -> Value {
        json!({
            "sync_metadata": {"precedence_priority": priority},
            "identity_snapshot": {"stability_metrics": {
                "current_is_score": 7.0,
                "parameter_values": {"D": depth, "C": retention, "R": coherence},
            }},
        })
    }

    fn state(node: u8, ms: u64, body: &Value, health: Health) -> State<'_> {
        State { stamp: stamp(node, ms), body: Some(body), health }
    }

    #[test]
    fn the_heaviest_state_wins() {
        let (strong, weak) = (snapshot(6, 0.8, 0.8, 0.5), snapshot(3, 0.8, 0.8, 0.5));
        let healthy = Health::Healthy;
        let sides = [state(1, 1_000, &strong, healthy), state(2, 1_000, &weak, healthy)];
        let voted = vote(&sides).unwrap();
        assert_eq!(voted.winner, Some(stamp(1, 0).dot));
        let swapped = vote(&[sides[1], sides[0]]).unwrap();
        assert_eq!(swapped, voted);
    }

    #[test]
    fn what_a_state_weighs_comes_from_itself_its_stamp_and_its_node() {
        // 0.4 × min(1, 2/4) + 0.3 × 0.5 + 0.2 × (1 − 30 min / 60 min) + 0.1 × 0.5
        let (old, new) = (snapshot(4, 0.5, 1.0, 0.5), json!({"name": "says nothing of itself"}));
        let sides = [state(1, 0, &old, Health::Suspect), state(2, RECENCY_MS / 2, &new, Health::Offline)];
        let weights = vote(&sides).unwrap().weights;
        let scores: Vec<f64> = weights.iter().map(|weight| weight.score).collect();
        assert_eq!(scores, [0.5, 0.2]);
    }

    #[test]
    fn a_tie_waits_for_a_person() {
        let body = snapshot(4, 1.0, 1.0, 0.5);
        let sides = [state(1, 1_000, &body, Health::Healthy), state(2, 1_000, &body, Health::Healthy)];
        assert_eq!(vote(&sides).unwrap().winner, None);
    }

    #[test]
    fn a_collapsed_state_wins_only_over_collapsed_ones() {
        let (healthy, collapsed) = (snapshot(3, 0.9, 0.9, 0.0), snapshot(1, 0.9, 0.9, 1.0));
        let newer =
            [state(1, 0, &healthy, Health::Offline), state(2, 2 * RECENCY_MS, &collapsed, Health::Healthy)];
        let voted = vote(&newer).unwrap();
        assert_eq!(voted.weights.first().map(|weight| &weight.id), Some(&stamp(2, 0).dot.to_string()));
        assert_eq!(voted.winner, Some(stamp(1, 0).dot));
        let both = snapshot(1, 0.5, 0.5, 0.0);
        let collapsed = [state(1, 0, &both, Health::Offline), newer[1]];
        assert_eq!(vote(&collapsed).unwrap().winner, Some(stamp(2, 0).dot));
    }

    #[test]
    fn a_side_that_nobody_can_read_leaves_it_to_a_person() {
        let body = snapshot(6, 0.9, 0.9, 0.5);
        let dark = State { stamp: stamp(2, 5), body: None, health: Health::Healthy };
        assert_eq!(vote(&[state(1, 5, &body, Health::Healthy), dark]).unwrap().winner, None);
    }
}
