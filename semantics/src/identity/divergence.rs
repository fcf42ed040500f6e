//! How far two systems that should be one identity have come apart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rounded;

/// Below this two systems are healthy.
pub const HEALTHY_BELOW: f64 = 0.2;
/// Above this somebody should look.
pub const ALERT_ABOVE: f64 = 0.5;

/// What a divergence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Below [`HEALTHY_BELOW`].
    Healthy,
    /// Between.
    Diverging,
    /// Above [`ALERT_ABOVE`].
    Alert,
}

impl Level {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Diverging, Self::Alert];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Diverging => "diverging",
            Self::Alert => "alert",
        }
    }

    /// The level of a divergence.
    #[must_use]
    pub fn of(divergence: f64) -> Self {
        if divergence > ALERT_ABOVE {
            Self::Alert
        } else if divergence < HEALTHY_BELOW {
            Self::Healthy
        } else {
            Self::Diverging
        }
    }
}

/// `|Is_a − Is_b| + d`, where d is the Jaccard distance (Jaccard, "The distribution of the flora in the alpine
/// zone", 1912) of the behavioural markers: 0 when both have the same, 1 when they share none. 0 to 8.
#[must_use]
pub fn divergence(a: (f64, &BTreeSet<String>), b: (f64, &BTreeSet<String>)) -> f64 {
    rounded((a.0 - b.0).abs() + distance(a.1, b.1))
}

/// Jaccard distance; two empty sets are the same.
fn distance(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let count = |n: usize| u32::try_from(n).map_or(f64::from(u32::MAX), f64::from);
    let (shared, all) = (a.intersection(b).count(), a.union(b).count());
    if all == 0 { 0.0 } else { 1.0 - count(shared) / count(all) }
}

/// The behavioural markers of a snapshot: the entries of `consistency_markers`, whether a list or an object whose
/// names are the markers.
#[must_use]
pub fn markers(document: &Value) -> BTreeSet<String> {
    match document.pointer("/identity_snapshot/behavioral_state/consistency_markers") {
        Some(Value::Array(list)) => {
            list.iter().map(|m| m.as_str().map_or_else(|| m.to_string(), str::to_owned)).collect()
        }
        Some(Value::Object(by_name)) => by_name.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn between(a: &[&str], b: &[&str]) -> String {
        divergence((3.0, &set(a)), (3.0, &set(b))).to_string()
    }

    #[test]
    fn the_distance_is_one_minus_shared_over_all() {
        assert_eq!(between(&[], &[]), "0");
        assert_eq!(between(&["x", "y"], &["y", "x"]), "0");
        assert_eq!(between(&["x"], &["y"]), "1");
        assert_eq!(between(&["x", "y", "z"], &["x", "y"]), "0.333333333");
    }

    #[test]
    fn the_score_counts_as_it_is_and_either_way_round() {
        let (a, b) = (set(&["x", "y"]), set(&["y"]));
        let there = divergence((3.0, &a), (2.25, &b));
        assert_eq!(there.to_string(), "1.25");
        assert_eq!(there.to_string(), divergence((2.25, &b), (3.0, &a)).to_string());
    }

    #[test]
    fn the_bounds_belong_between() {
        assert_eq!(
            [0.0, 0.2, 0.5, 0.51].map(Level::of),
            [Level::Healthy, Level::Diverging, Level::Diverging, Level::Alert]
        );
    }

    #[test]
    fn markers_are_a_list_or_names() {
        let of = |m: Value| {
            markers(&json!({"identity_snapshot": {"behavioral_state": {"consistency_markers": m}}}))
        };
        assert_eq!(of(json!(["tone", "pace"])), of(json!({"tone": 0.9, "pace": true})));
        assert_eq!(of(json!(null)), set(&[]));
    }
}
