//! What a change of an identity's state is, and how soon others should have it.
//!
//! - `a_collapse_a_rescue_and_a_restart_go_at_once`.
//! - `a_decline_a_recovery_and_another_context_go_soon`: within [`Cadence::soon_interactions`](super::cadence::Cadence).
//! - `everything_else_goes_with_the_next_snapshot`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::KIND;
use super::score::Status;
use super::summary::Summary;
use super::trend::Trend;
use crate::ids::Kind;

/// How soon others should have a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// With the next snapshot of the schedule.
    Low,
    /// Within a few interactions.
    Medium,
    /// At once, before everything else that waits.
    High,
}

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The score is below the collapse threshold.
    Collapsed,
    /// It was, and is no more.
    Rescued,
    /// The agent says that it has begun anew.
    Restarted,
    /// The status is worse than it was, or the trend is declining or volatile and was not.
    Degrading,
    /// The status is stable and was not.
    Recovered,
    /// What the agent keeps of its context is another.
    ContextChanged,
    /// None of these.
    Changed,
}

impl Trigger {
    /// What the change from one state to another is; no state before = the first that is known.
    #[must_use]
    pub fn of(before: Option<&Value>, after: &Value) -> Self {
        const CONTEXT: &str = "/identity_snapshot/context_state";
        let now = Summary::of(after);
        let was = before.map(Summary::of).unwrap_or_default();
        let is_bad = |trend: Option<Trend>| matches!(trend, Some(Trend::Declining | Trend::Volatile));
        if now.status == Some(Status::Collapsed) {
            return Self::Collapsed;
        }
        if was.status == Some(Status::Collapsed) {
            return Self::Rescued;
        }
        let is_worse = matches!((was.status, now.status), (Some(was), Some(now)) if now > was);
        if is_worse || is_bad(now.trend) && !is_bad(was.trend) {
            Self::Degrading
        } else if now.status == Some(Status::Stable) && was.status.is_some_and(|was| was != Status::Stable) {
            Self::Recovered
        } else if before.is_some_and(|before| before.pointer(CONTEXT) != after.pointer(CONTEXT)) {
            Self::ContextChanged
        } else {
            Self::Changed
        }
    }

    /// How soon others should have it.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Collapsed | Self::Rescued | Self::Restarted => Priority::High,
            Self::Degrading | Self::Recovered | Self::ContextChanged => Priority::Medium,
            Self::Changed => Priority::Low,
        }
    }
}

/// How soon others should have what is put, over what its author sees of the record; what is no identity, or does not read,
/// goes in its turn.
#[must_use]
pub fn priority_of_write(kind: &Kind, before: Option<&[u8]>, put: &[u8]) -> Priority {
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
    match read(put).filter(|_| kind.as_str() == KIND) {
        Some(after) => Trigger::of(before.and_then(read).as_ref(), &after).priority(),
        None => Priority::Low,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(depth: u8, trend: &str, summary: &str) -> Value {
        json!({"identity_snapshot": {
            "stability_metrics": {
                "parameter_values": {"D": depth, "C": 0.9, "R": 0.9}, "degradation_trend": trend,
            },
            "context_state": {"conversation_summary": summary},
        }})
    }

    fn priority(before: Option<&Value>, after: &Value) -> (Trigger, Priority) {
        let trigger = Trigger::of(before, after);
        (trigger, trigger.priority())
    }

    #[test]
    fn a_collapse_a_rescue_and_a_restart_go_at_once() {
        let (good, bad) = (state(5, "stable", "a"), state(1, "declining", "a"));
        assert_eq!(priority(Some(&good), &bad), (Trigger::Collapsed, Priority::High));
        assert_eq!(priority(None, &bad), (Trigger::Collapsed, Priority::High));
        assert_eq!(priority(Some(&bad), &good), (Trigger::Rescued, Priority::High));
        assert_eq!(Trigger::Restarted.priority(), Priority::High);
    }

    #[test]
    fn only_what_an_identity_comes_to_is_urgent() {
        let (good, bad) = (state(5, "stable", "a").to_string(), state(1, "declining", "a").to_string());
        let of = |kind: &str, before: Option<&str>, after: &str| {
            priority_of_write(&Kind::new(kind).unwrap(), before.map(str::as_bytes), after.as_bytes())
        };
        assert_eq!(of("identity", Some(&good), &bad), Priority::High);
        assert_eq!(of("identity", None, &bad), Priority::High);
        assert_eq!(of("identity", Some(&good), &good), Priority::Low);
        assert_eq!(of("note", Some(&good), &bad), Priority::Low);
        assert_eq!(of("identity", Some(&good), "sealed"), Priority::Low);
    }

    #[test]
    fn a_decline_a_recovery_and_another_context_go_soon() {
        let (good, weak) = (state(5, "stable", "a"), state(2, "stable", "a"));
        assert_eq!(priority(Some(&good), &weak), (Trigger::Degrading, Priority::Medium));
        assert_eq!(
            priority(Some(&good), &state(5, "declining", "a")),
            (Trigger::Degrading, Priority::Medium)
        );
        assert_eq!(priority(Some(&weak), &good), (Trigger::Recovered, Priority::Medium));
        assert_eq!(
            priority(Some(&good), &state(5, "stable", "b")),
            (Trigger::ContextChanged, Priority::Medium)
        );
    }

    #[test]
    fn everything_else_goes_with_the_next_snapshot() {
        let good = state(5, "stable", "a");
        assert_eq!(priority(Some(&good), &state(6, "improving", "a")), (Trigger::Changed, Priority::Low));
        assert_eq!(priority(None, &good), (Trigger::Changed, Priority::Low));
        let told = state(5, "declining", "a");
        assert_eq!(priority(Some(&told), &told), (Trigger::Changed, Priority::Low), "it was told before");
    }
}
