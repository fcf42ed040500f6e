//! Whether a node has proven that it holds the state of an identity that stands: by a sum over its records that equals the
//! hub's.
//!
//! - `who_has_it_and_sums_up_to_the_same_is_equal`.
//! - `who_sums_up_to_something_else_differs`, whatever it has acknowledged.
//! - `who_has_it_and_has_not_said_what_it_sums_up_to_is_unproven`.
//! - `who_does_not_have_it_is_as_it_seems`.

use serde::Serialize;

use super::reach::Reach;

/// How a participant stands to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It reported the hub's own digest at a cut that holds the state.
    Equal,
    /// It has acknowledged the state, and has not reported a digest since.
    Unproven,
    /// It has not acknowledged the state, and was heard of late.
    Behind,
    /// It has not acknowledged the state, and has been silent.
    PossiblyDesynchronised,
    /// It reported another digest than the hub's.
    Differs,
}

impl Agreement {
    /// Of a node that stands so to the state; `equal` is what it reported at a cut that holds the state, beside the hub's
    /// own: none = nothing.
    #[must_use]
    pub const fn of(reach: Reach, equal: Option<bool>) -> Self {
        match (reach, equal) {
            (_, Some(false)) => Self::Differs,
            (Reach::InSync, Some(true)) => Self::Equal,
            (Reach::InSync, None) => Self::Unproven,
            (Reach::Behind, _) => Self::Behind,
            (Reach::PossiblyDesynchronised, _) => Self::PossiblyDesynchronised,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Unproven => "unproven",
            Self::Behind => "behind",
            Self::PossiblyDesynchronised => "possibly_desynchronised",
            Self::Differs => "differs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: [(Reach, Agreement); 2] = [
        (Reach::Behind, Agreement::Behind),
        (Reach::PossiblyDesynchronised, Agreement::PossiblyDesynchronised),
    ];

    #[test]
    fn who_has_it_and_sums_up_to_the_same_is_equal() {
        assert_eq!(Agreement::of(Reach::InSync, Some(true)), Agreement::Equal);
    }

    #[test]
    fn who_sums_up_to_something_else_differs() {
        for reach in [Reach::InSync, Reach::Behind, Reach::PossiblyDesynchronised] {
            assert_eq!(Agreement::of(reach, Some(false)), Agreement::Differs);
        }
    }

    #[test]
    fn who_has_it_and_has_not_said_what_it_sums_up_to_is_unproven() {
        assert_eq!(Agreement::of(Reach::InSync, None), Agreement::Unproven);
    }

    #[test]
    fn who_does_not_have_it_is_as_it_seems() {
        for (reach, agreement) in ABSENT {
            // A sum over a view that has changed since proves nothing.
            assert_eq!([Agreement::of(reach, None), Agreement::of(reach, Some(true))], [agreement; 2]);
        }
    }
}
