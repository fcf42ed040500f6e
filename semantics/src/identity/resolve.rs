//! Two states of one identity that both claim to be it, and the state that they were made of.
//!
//! - `a_collapsed_state_gives_way_to_a_healthy_one`, however new it is.
//! - `two_collapsed_states_go_back_to_their_ancestor`, the last known good, where it is healthy.
//! - `changes_that_do_not_touch_are_both_kept`; score and metadata are those of the preferred state, whole, and the hash is
//!   made anew.
//! - `where_they_clash_precedence_decides_and_then_the_score`; no clock is asked, because two machines have two.
//! - `equals_that_clash_wait_for_a_person`, and so do two collapsed states without a healthy ancestor.
//! - `the_sides_may_be_swapped`.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::snapshot::state_hash;
use super::summary::{Summary, is_collapsed, is_healthy};
use crate::canonical::to_canonical;
use crate::merge::{self, Prefer};

/// Where the score and what it follows from stand.
const METRICS: &str = "/identity_snapshot/stability_metrics";
/// What is about a state and not of it.
const METADATA: &str = "/sync_metadata";

/// What is made to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The first state.
    Ours,
    /// The second.
    Theirs,
    /// What both made of their ancestor.
    Merged,
    /// Their ancestor: what both made of it is given up.
    Ancestor,
}

/// What two states come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What stands; none = a person has to say.
    pub choice: Option<Choice>,
    /// The state that stands.
    pub state: Option<Value>,
    /// JSON pointers to where both had changed the same.
    pub clashes: Vec<String>,
}

/// Settles two states of one identity; `ancestor` is the state that both were made of, where it is known.
#[must_use]
pub fn resolve(ours: &Value, theirs: &Value, ancestor: Option<&Value>) -> Resolved {
    let taken = |choice, state: &Value| Resolved {
        choice: Some(choice),
        state: Some(state.clone()),
        clashes: Vec::new(),
    };
    if ours == theirs {
        return taken(Choice::Ours, ours);
    }
    match (is_collapsed(ours), is_collapsed(theirs)) {
        (true, true) => match ancestor.filter(|ancestor| is_healthy(ancestor)) {
            Some(ancestor) => taken(Choice::Ancestor, ancestor),
            None => Resolved { choice: None, state: None, clashes: Vec::new() },
        },
        (true, false) if is_healthy(theirs) => taken(Choice::Theirs, theirs),
        (false, true) if is_healthy(ours) => taken(Choice::Ours, ours),
        _ => merged(ours, theirs, ancestor),
    }
}

fn merged(ours: &Value, theirs: &Value, ancestor: Option<&Value>) -> Resolved {
    let weight = weighed(ours).partial_cmp(&weighed(theirs)).unwrap_or(Ordering::Equal);
    // Where nothing else tells them apart, what both agree to be the first is the same on every machine.
    let is_ours = weight.then_with(|| to_canonical(ours).ok().cmp(&to_canonical(theirs).ok())).is_ge();
    let (preferred, choice) = if is_ours { (ours, Choice::Ours) } else { (theirs, Choice::Theirs) };
    let (Some(ancestor), Some(first), Some(second)) =
        (ancestor.and_then(Value::as_object), ours.as_object(), theirs.as_object())
    else {
        let is_known = weight != Ordering::Equal;
        return Resolved {
            choice: is_known.then_some(choice),
            state: is_known.then(|| preferred.clone()),
            clashes: vec![String::new()],
        };
    };
    let prefer = if is_ours { Prefer::First } else { Prefer::Second };
    let (body, mut clashes) = merge::objects(Some(ancestor), first, second, prefer);
    clashes.retain(|path| !path.starts_with(METRICS) && !path.starts_with(METADATA));
    if !clashes.is_empty() && weight == Ordering::Equal {
        return Resolved { choice: None, state: None, clashes };
    }
    Resolved { choice: Some(Choice::Merged), state: Some(sealed(body, preferred)), clashes }
}

/// How much a state is to be preferred: by the precedence that it states, then by its score.
fn weighed(state: &Value) -> (f64, f64) {
    let precedence = state.pointer("/sync_metadata/precedence_priority").and_then(Value::as_f64);
    let precedence = precedence.filter(|precedence| (0.0..=1.0).contains(precedence));
    (precedence.unwrap_or_default(), Summary::of(state).score.unwrap_or_default())
}

/// A merged state with score and metadata of one side, and its own hash.
fn sealed(body: Map<String, Value>, preferred: &Value) -> Value {
    let mut state = Value::Object(body);
    for path in [METRICS, METADATA] {
        if let (Some(place), Some(own)) = (state.pointer_mut(path), preferred.pointer(path)) {
            *place = own.clone();
        }
    }
    let hash = state.get("identity_snapshot").and_then(|snapshot| state_hash(snapshot).ok());
    if let (Some(hash), Some(stated)) = (hash, state.pointer_mut("/sync_metadata/state_hash")) {
        *stated = json!(hash.to_string());
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(depth: u8, precedence: f64, context: &[(&str, &str)]) -> Value {
        let context: Map<String, Value> =
            context.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "sync_metadata": {"precedence_priority": precedence, "state_hash": "stale"},
            "identity_snapshot": {
                "stability_metrics": {"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}},
                "context_state": context,
            },
        })
    }

    fn choice(ours: &Value, theirs: &Value, ancestor: Option<&Value>) -> Option<Choice> {
        resolve(ours, theirs, ancestor).choice
    }

    #[test]
    fn a_collapsed_state_gives_way_to_a_healthy_one() {
        let (healthy, collapsed) = (state(4, 0.1, &[]), state(1, 1.0, &[]));
        assert_eq!(choice(&healthy, &collapsed, Some(&collapsed)), Some(Choice::Ours));
        assert_eq!(choice(&collapsed, &healthy, None), Some(Choice::Theirs));
    }

    #[test]
    fn two_collapsed_states_go_back_to_their_ancestor() {
        let (a, b, good) = (state(1, 0.1, &[]), state(1, 0.2, &[]), state(5, 0.0, &[]));
        let resolved = resolve(&a, &b, Some(&good));
        assert_eq!((resolved.choice, resolved.state), (Some(Choice::Ancestor), Some(good)));
        assert_eq!(choice(&a, &b, Some(&a)), None);
        assert_eq!(choice(&a, &b, None), None);
    }

    #[test]
    fn changes_that_do_not_touch_are_both_kept() {
        let base = state(4, 0.5, &[("x", "0"), ("y", "0")]);
        let (a, b) = (state(5, 0.5, &[("x", "1"), ("y", "0")]), state(4, 0.9, &[("x", "0"), ("y", "1")]));
        let resolved = resolve(&a, &b, Some(&base));
        assert_eq!((resolved.choice, resolved.clashes.len()), (Some(Choice::Merged), 0));
        let merged = resolved.state.unwrap();
        assert_eq!(merged.pointer("/identity_snapshot/context_state"), Some(&json!({"x": "1", "y": "1"})));
        assert_eq!(merged.pointer("/sync_metadata/precedence_priority"), Some(&json!(0.9)));
        assert_eq!(merged.pointer(METRICS), b.pointer(METRICS));
        let hash = state_hash(&merged["identity_snapshot"]).unwrap().to_string();
        assert_eq!(merged.pointer("/sync_metadata/state_hash"), Some(&json!(hash)));
    }

    #[test]
    fn where_they_clash_precedence_decides_and_then_the_score() {
        let base = state(4, 0.5, &[("x", "0")]);
        let context =
            |resolved: Resolved| resolved.state.unwrap()["identity_snapshot"]["context_state"]["x"].clone();
        let (a, b) = (state(4, 0.9, &[("x", "1")]), state(6, 0.5, &[("x", "2")]));
        let by_precedence = resolve(&a, &b, Some(&base));
        assert_eq!(by_precedence.clashes, ["/identity_snapshot/context_state/x"]);
        assert_eq!(context(by_precedence), "1");
        let even = state(4, 0.5, &[("x", "1")]);
        assert_eq!(context(resolve(&even, &b, Some(&base))), "2");
        assert_eq!(choice(&even, &b, None), Some(Choice::Theirs));
    }

    #[test]
    fn equals_that_clash_wait_for_a_person() {
        let base = state(4, 0.5, &[("x", "0")]);
        let (a, b) = (state(4, 0.5, &[("x", "1")]), state(4, 0.5, &[("x", "2")]));
        assert_eq!(choice(&a, &b, Some(&base)), None);
        assert_eq!(choice(&a, &b, None), None);
        assert_eq!(choice(&a, &a, None), Some(Choice::Ours));
    }

    #[test]
    fn the_sides_may_be_swapped() {
        let base = state(4, 0.5, &[("x", "0"), ("y", "0")]);
        let all = [
            state(1, 0.9, &[("x", "1")]),
            state(4, 0.5, &[("x", "1"), ("y", "0")]),
            state(4, 0.5, &[("x", "0"), ("y", "2")]),
            state(6, 0.9, &[("x", "3"), ("y", "3")]),
            json!({"identity_profile": {"name": "Ada"}}),
        ];
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            let (there, back) = (resolve(a, b, Some(&base)), resolve(b, a, Some(&base)));
            assert_eq!(there.state, back.state, "{a} and {b}");
        }
    }
}
