//! Which state an identity is put back to.
//!
//! - `the_last_good_state_is_the_newest_healthy_one` that holds what it says of itself, of those that history keeps.
//! - `what_stands_healthy_is_not_put_back_by_itself`: then a revision has to be named.
//! - `a_collapsed_state_is_not_put_back_over_a_healthy_one`: the hub would keep it out.

use serde_json::Value;

use super::summary::{is_collapsed, is_healthy};
use super::validate::disproved;
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
/// is named; `STALE` where the one that is named has collapsed, and what stands is healthy.
pub fn last_good(newest_first: &[Kept], to: Option<u64>) -> Result<&Kept, Refusal> {
    let mut states = newest_first.iter().filter(|kept| kept.state.is_some());
    if let Some(to) = to {
        let absent = || Refusal::new(Reason::NotFound, format!("no state of revision {to} is kept"));
        let named = states.find(|kept| kept.revision == to).ok_or_else(absent)?;
        let stands = newest_first.first().filter(|stands| stands.state.as_ref().is_some_and(is_healthy));
        return match stands {
            Some(stands) if named.state.as_ref().is_some_and(is_collapsed) => {
                let detail = format!(
                    "the state of revision {to} has collapsed, and what stands is healthy (revision {}): it would be \
                     kept out; whoever wants it all the same puts it, and settles the conflict for it",
                    stands.revision
                );
                Err(Refusal::new(Reason::Stale, detail))
            }
            Some(_) | None => Ok(named),
        };
    }
    let is_good = |kept: &&Kept| {
        kept.state.as_ref().is_some_and(|state| is_healthy(state) && disproved(state).is_none())
    };
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
        let metrics = json!({"current_is_score": 3.47, "parameter_values": {"D": 6, "C": 0.9, "R": 0.9}});
        let unsound =
            Kept { revision: 5, state: Some(json!({"identity_snapshot": {"stability_metrics": metrics}})) };
        let history = [kept(9, Some(1)), unsound, kept(4, Some(5))];
        assert_eq!(last_good(&history, None).unwrap().revision, 4, "it does not hold what it says");
    }

    #[test]
    fn a_collapsed_state_is_not_put_back_over_a_healthy_one() {
        let over =
            |stands| last_good(&[kept(9, stands), kept(6, Some(1))], Some(6)).map(|kept| kept.revision);
        assert_eq!(over(Some(5)).unwrap_err().reason, Reason::Stale);
        assert_eq!(over(Some(1)), Ok(6), "what stands has collapsed too");
        assert_eq!(over(None), Ok(6), "it was deleted");
        let says_nothing = Kept { revision: 9, state: Some(json!({"name": "Ada"})) };
        assert_eq!(last_good(&[says_nothing, kept(6, Some(1))], Some(6)).unwrap().revision, 6);
    }

    #[test]
    fn what_stands_healthy_is_not_put_back_by_itself() {
        let history = [kept(9, Some(5)), kept(4, Some(6))];
        assert_eq!(last_good(&history, None).unwrap_err().reason, Reason::AlreadyExists);
        assert_eq!(last_good(&history, Some(4)).unwrap().revision, 4);
    }
}
