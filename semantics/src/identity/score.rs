//! The stability score `Is = D × C × R`, and what it says.

use serde::{Deserialize, Serialize};

use super::rounded;

/// Least and greatest depth D.
pub const DEPTH_RANGE: (u8, u8) = (1, 7);
/// How far a stated score may be from D × C × R before it is reported: half of the second decimal place.
pub const STATED_TOLERANCE: f64 = 0.005;

/// What the score is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Depth D, a whole number in [`DEPTH_RANGE`].
    pub depth: u8,
    /// Retention of context C, 0 to 1.
    pub retention: f64,
    /// Coherence (consistency of responses) R, 0 to 1.
    pub coherence: f64,
}

impl Parameters {
    /// `D × C × R`, 0 to 7.
    #[must_use]
    pub fn score(&self) -> f64 {
        rounded(f64::from(self.depth) * self.retention * self.coherence)
    }
}

/// Below which score an identity is in which state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Below: warning.
    pub warning: f64,
    /// Below: critical.
    pub alert: f64,
    /// Below: collapsed.
    pub collapse: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { warning: 2.0, alert: 1.5, collapse: 1.0 }
    }
}

impl Thresholds {
    /// These, with what a profile says of its own. They stay in order: what a profile does not say gives way to
    /// what it says.
    #[must_use]
    pub fn overridden(self, warning: Option<f64>, alert: Option<f64>, collapse: Option<f64>) -> Self {
        let named = |own: Option<f64>, default: f64| own.unwrap_or(default);
        let (mut warning_at, mut alert_at, mut collapse_at) =
            (named(warning, self.warning), named(alert, self.alert), named(collapse, self.collapse));
        if alert.is_none() {
            alert_at = alert_at.min(warning_at);
        }
        if collapse.is_none() {
            collapse_at = collapse_at.min(alert_at);
        }
        if warning.is_none() {
            warning_at = warning_at.max(alert_at);
        }
        Self { warning: warning_at, alert: alert_at, collapse: collapse_at }
    }
    /// Whether they are in order: collapse ≤ alert ≤ warning.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.collapse <= self.alert && self.alert <= self.warning
    }
    /// The state of a score.
    #[must_use]
    pub fn status(&self, score: f64) -> Status {
        if score < self.collapse {
            Status::Collapsed
        } else if score < self.alert {
            Status::Critical
        } else if score < self.warning {
            Status::Warning
        } else {
            Status::Stable
        }
    }
}

/// How an identity stands, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At or above the warning threshold.
    Stable,
    /// Below the warning threshold.
    Warning,
    /// Below the alert threshold.
    Critical,
    /// Below the collapse threshold.
    Collapsed,
}

impl Status {
    /// Every one, best first.
    pub const ALL: [Self; 4] = [Self::Stable, Self::Warning, Self::Critical, Self::Collapsed];

    /// Name in JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Collapsed => "collapsed",
        }
    }
}

/// Whether a stated score is not what its parameters give.
#[must_use]
pub fn is_misstated(stated: f64, parameters: &Parameters) -> bool {
    // Two values half a step apart must not differ by what binary arithmetic adds.
    rounded((stated - parameters.score()).abs()) > STATED_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(depth: u8, retention: f64, coherence: f64) -> Parameters {
        Parameters { depth, retention, coherence }
    }

    #[test]
    fn the_score_is_the_plain_product() {
        for (parameters, score) in [
            (of(6, 0.9, 0.95), 5.13),
            (of(6, 0.78, 0.89), 4.1652),
            (of(7, 1.0, 1.0), 7.0),
            (of(1, 0.0, 1.0), 0.0),
        ] {
            assert!(
                (parameters.score() - score).abs() < f64::EPSILON,
                "{parameters:?}: {}",
                parameters.score()
            );
        }
    }

    #[test]
    fn a_stated_score_may_be_rounded_but_not_wrong() {
        assert!(!is_misstated(4.74, &of(6, 0.85, 0.93)));
        assert!(is_misstated(4.75, &of(6, 0.85, 0.93)));
        assert!(is_misstated(3.47, &of(6, 0.78, 0.89)));
        // Exactly half a step is still rounding.
        assert!(!is_misstated(0.505, &of(1, 0.5, 1.0)));
        assert!(!is_misstated(0.495, &of(1, 0.5, 1.0)));
    }

    #[test]
    fn a_threshold_belongs_to_the_better_state() {
        let thresholds = Thresholds::default();
        let states = [2.0, 1.999, 1.5, 1.499, 1.0, 0.999].map(|score| thresholds.status(score).as_str());
        assert_eq!(states, ["stable", "warning", "warning", "critical", "critical", "collapsed"]);
    }

    #[test]
    fn a_profile_overrides_and_the_rest_gives_way() {
        let all = |warning, alert, collapse| Thresholds { warning, alert, collapse };
        let default = Thresholds::default();
        assert_eq!(default.overridden(None, None, None), default);
        assert_eq!(default.overridden(Some(3.0), Some(2.5), None), all(3.0, 2.5, 1.0));
        assert_eq!(default.overridden(Some(0.8), None, None), all(0.8, 0.8, 0.8));
        assert_eq!(default.overridden(None, Some(2.5), None), all(2.5, 2.5, 1.0));
        assert!(!default.overridden(Some(1.0), Some(2.0), None).is_ordered());
    }
}
