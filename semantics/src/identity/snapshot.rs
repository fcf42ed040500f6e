//! What is read out of a snapshot or a measurement. The JSON itself stays as it came: a field that nothing here
//! knows is kept, hashed and passed on.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::profile;
use super::score::{DEPTH_RANGE, Parameters, Thresholds};
use super::trend::Trend;
use crate::canonical::to_canonical;
use crate::ids::Digest;
use crate::reason::Refusal;

/// Something wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// JSON pointer into the document.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// The documents that hold a score, by their root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `identity_snapshot`, mostly beside `sync_metadata`.
    Snapshot,
    /// `stability_measurement`: one reading of the score.
    Measurement,
}

/// Where the parts of a score stand.
struct Places {
    parameters: &'static str,
    depth: &'static str,
    retention: &'static str,
    coherence: &'static str,
    stated: &'static str,
    trend: &'static str,
}

const IN_SNAPSHOT: Places = Places {
    parameters: "/identity_snapshot/stability_metrics/parameter_values",
    depth: "/identity_snapshot/stability_metrics/parameter_values/D",
    retention: "/identity_snapshot/stability_metrics/parameter_values/C",
    coherence: "/identity_snapshot/stability_metrics/parameter_values/R",
    stated: "/identity_snapshot/stability_metrics/current_is_score",
    trend: "/identity_snapshot/stability_metrics/degradation_trend",
};
const IN_MEASUREMENT: Places = Places {
    parameters: "/stability_measurement/components",
    depth: "/stability_measurement/components/recursive_depth/value",
    retention: "/stability_measurement/components/contextual_retention/value",
    coherence: "/stability_measurement/components/relational_coherence/value",
    stated: "/stability_measurement/stability_score/is_value",
    trend: "/stability_measurement/stability_score/trend",
};

/// A score as a document gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the score follows from.
    pub parameters: Parameters,
    /// The score that the document states.
    pub stated: Option<f64>,
    /// The trend that it states.
    pub stated_trend: Option<Trend>,
    /// The thresholds in force for it.
    pub thresholds: Thresholds,
    /// Where the stated score stands, as a JSON pointer.
    pub stated_path: &'static str,
}

impl Form {
    /// The form of a document.
    #[must_use]
    pub fn of(document: &Value) -> Option<Self> {
        if document.get("identity_snapshot").is_some() {
            Some(Self::Snapshot)
        } else if document.get("stability_measurement").is_some() {
            Some(Self::Measurement)
        } else {
            None
        }
    }

    fn places(self) -> &'static Places {
        match self {
            Self::Snapshot => &IN_SNAPSHOT,
            Self::Measurement => &IN_MEASUREMENT,
        }
    }

    /// Whether a document says what its score follows from, readable or not.
    #[must_use]
    pub fn says_parameters(self, document: &Value) -> bool {
        document.pointer(self.places().parameters).is_some()
    }

    /// Reads the score.
    ///
    /// # Errors
    /// One problem for each parameter that is absent, no number, or out of its range.
    pub fn read(self, document: &Value) -> Result<Reading, Vec<Problem>> {
        let places = self.places();
        let (depth, retention, coherence) = (
            depth(document, places.depth),
            fraction(document, places.retention),
            fraction(document, places.coherence),
        );
        let stated = stated(document, places.stated);
        let (Ok(depth), Ok(retention), Ok(coherence), Ok(stated)) = (&depth, &retention, &coherence, &stated)
        else {
            return Err([depth.err(), retention.err(), coherence.err(), stated.err()]
                .into_iter()
                .flatten()
                .collect());
        };
        let trend = document.pointer(places.trend).cloned();
        Ok(Reading {
            parameters: Parameters { depth: *depth, retention: *retention, coherence: *coherence },
            stated: *stated,
            stated_trend: trend.and_then(|name| serde_json::from_value(name).ok()),
            thresholds: profile::of_document(document).map(profile::thresholds).unwrap_or_default(),
            stated_path: places.stated,
        })
    }
}

fn depth(document: &Value, path: &str) -> Result<u8, Problem> {
    let (min, max) = DEPTH_RANGE;
    let wrong = |found: &str| Problem::new(path, format!("{found}: give a whole number from {min} to {max}"));
    let value = document.pointer(path).ok_or_else(|| wrong("absent"))?;
    // 6 and 6.0 are one number in JSON.
    let whole = value.as_f64().and_then(|n| (min..=max).find(|d| f64::from(*d).total_cmp(&n).is_eq()));
    whole.ok_or_else(|| wrong(&value.to_string()))
}

fn fraction(document: &Value, path: &str) -> Result<f64, Problem> {
    let wrong = |found: &str| Problem::new(path, format!("{found}: give a number from 0 to 1"));
    let value = document.pointer(path).ok_or_else(|| wrong("absent"))?;
    value.as_f64().filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| wrong(&value.to_string()))
}

fn stated(document: &Value, path: &str) -> Result<Option<f64>, Problem> {
    match document.pointer(path) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|n| *n >= 0.0) {
            Some(score) => Ok(Some(score)),
            None => Err(Problem::new(path, format!("{value}: give the score, a number of at least 0"))),
        },
    }
}

/// SHA-256 of the canonical JSON (RFC 8785) of `identity_snapshot` alone: what `sync_metadata.state_hash` states.
///
/// # Errors
/// `UNSAFE_NUMBER` and `TOO_LARGE` as for [`to_canonical`].
pub fn state_hash(snapshot: &Value) -> Result<Digest, Refusal> {
    Ok(Digest(Sha256::digest(to_canonical(snapshot)?).into()))
}
