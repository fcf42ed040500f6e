//! What a document of an identity comes to, at a glance.

use serde::Serialize;
use serde_json::Value;

use super::score::Status;
use super::snapshot::{Form, state_hash};
use super::trend::Trend;
use crate::ids::Digest;

/// A state of an identity, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// SHA-256 of its snapshot; none = it holds no snapshot.
    #[serde(rename = "state_hash")]
    pub hash: Option<Digest>,
    /// What its parameters come to, never what it states; none = it does not say them.
    pub score: Option<f64>,
    /// What the score means.
    pub status: Option<Status>,
    /// The trend that it states.
    pub trend: Option<Trend>,
}

impl Summary {
    /// Of a document.
    #[must_use]
    pub fn of(document: &Value) -> Self {
        let hash = document.get("identity_snapshot").and_then(|snapshot| state_hash(snapshot).ok());
        let Some(reading) = Form::of(document).and_then(|form| form.read(document).ok()) else {
            return Self { hash, ..Self::default() };
        };
        let score = reading.parameters.score();
        let status = reading.thresholds.status(score);
        Self { hash, score: Some(score), status: Some(status), trend: reading.stated_trend }
    }
}

/// Whether a document's score can be read and is below its collapse threshold.
#[must_use]
pub fn is_collapsed(document: &Value) -> bool {
    Summary::of(document).status == Some(Status::Collapsed)
}

/// Whether a document's score can be read and is not below its collapse threshold.
#[must_use]
pub fn is_healthy(document: &Value) -> bool {
    Summary::of(document).status.is_some_and(|status| status != Status::Collapsed)
}

/// Whether a document says what its score follows from, and that cannot be read.
#[must_use]
pub fn is_unreadable(document: &Value) -> bool {
    Form::of(document).is_some_and(|form| form.says_parameters(document) && form.read(document).is_err())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_that_says_no_score_is_neither_healthy_nor_collapsed() {
        let state = |depth: u8, retention: f64| {
            json!({"identity_snapshot": {"stability_metrics": {
                "parameter_values": {"D": depth, "C": retention, "R": 1.0}, "degradation_trend": "declining",
            }}})
        };
        let told = |document: &Value| (is_healthy(document), is_collapsed(document));
        assert_eq!(told(&state(4, 0.5)), (true, false));
        assert_eq!(told(&state(1, 0.5)), (false, true));
        assert_eq!(told(&state(9, 0.5)), (false, false));
        assert_eq!(told(&json!({"name": "Ada"})), (false, false));
        let summary = Summary::of(&state(4, 0.5));
        assert_eq!(summary.score, Some(2.0));
        assert_eq!(summary.trend, Some(Trend::Declining));
        assert!(summary.hash.is_some());
    }
}
