//! Which state an identity is put back to.
//!
//! - `the_last_good_state_is_the_newest_healthy_one`, of those that history keeps.
//! - `what_stands_healthy_is_not_put_back_by_itself`: then a revision has to be named.

use serde_json::Value;

use super::summary::is_healthy;
use crate::reason::{Reason, Refusal};

/// A state that stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The revision that made it.
    pub revision: u64,
    /// The state; none = it was deleted, or nobody here can read it.
    pub state: Option<Value>,
}

/// The state to put back: of states newest first, the one of the revision that is named, else the newest healthy one.
///
/// # Errors
/// `NOT_FOUND` where it is not kept, or nothing healthy is; `ALREADY_EXISTS` where the newest is healthy and no revision
/// is named.
pub fn last_good(newest_first: &[Kept], to: Option<u64>) -> Result<&Kept, Refusal> {
    let mut states = newest_first.iter().filter(|kept| kept.state.is_some());
    if let Some(to) = to {
        let absent = || Refusal::new(Reason::NotFound, format!("no state of revision {to} is kept"));
        return states.find(|kept| kept.revision == to).ok_or_else(absent);
    }
    let is_good = |kept: &&Kept| kept.state.as_ref().is_some_and(is_healthy);
    if let Some(stands) = newest_first.first().filter(is_good) {
        let detail =
            format!("what stands is healthy (revision {}): name the revision to go back to", stands.revision);
        return Err(Refusal::new(Reason::AlreadyExists, detail));
    }
    states.find(is_good).ok_or_else(|| Refusal::new(Reason::NotFound, "history keeps no healthy state"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(revision: u64, depth: Option<u8>) -> Kept {
        let metrics = |depth| json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}});
        let state = depth.map(|depth| json!({"identity_snapshot": {"stability_metrics": metrics(depth)}}));
        Kept { revision, state }
    }

    #[test]
    fn the_last_good_state_is_the_newest_healthy_one() {
        let history = [kept(9, Some(1)), kept(8, None), kept(6, Some(1)), kept(4, Some(5)), kept(2, Some(6))];
        assert_eq!(last_good(&history, None).unwrap().revision, 4);
        assert_eq!(last_good(&history, Some(6)).unwrap().revision, 6);
        assert_eq!(last_good(&history, Some(8)).unwrap_err().reason, Reason::NotFound);
        assert_eq!(last_good(&history[..3], None).unwrap_err().reason, Reason::NotFound);
        assert_eq!(last_good(&[], None).unwrap_err().reason, Reason::NotFound);
    }

    #[test]
    fn what_stands_healthy_is_not_put_back_by_itself() {
        let history = [kept(9, Some(5)), kept(4, Some(6))];
        assert_eq!(last_good(&history, None).unwrap_err().reason, Reason::AlreadyExists);
        assert_eq!(last_good(&history, Some(4)).unwrap().revision, 4);
    }
}
