//! What clients were told, held against what the hub holds: the promises as a check of one run's history. It knows
//! nothing of how either came about, so it serves runs of real processes as well as others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A write of a client to an id of its own, made after the one before it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The id, written once.
    pub id: String,
    /// Whether the client was told that it is kept; if not, it may stand or not.
    pub is_acknowledged: bool,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// Its id.
    pub id: String,
    /// Its revision.
    pub revision: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Writes that clients were told are kept.
    pub acknowledged: usize,
    /// Of these, how many stand nowhere.
    pub lost: usize,
    /// Revisions that no first write explains: an effect that happened twice leaves one behind.
    pub doubled: usize,
    /// Writes that stand before one that their client had made earlier.
    pub out_of_order: usize,
    /// Records that nobody wrote.
    pub made_up: usize,
}

impl Verdict {
    /// Whether every promise was kept. A run in which nobody was told anything shows nothing.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.acknowledged > 0 && self.lost + self.doubled + self.out_of_order + self.made_up == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, lost, doubled, out_of_order, .. } = self;
        write!(f, "{acknowledged} acknowledged, {lost} lost, {doubled} doubled, {out_of_order} out of order")
    }
}

/// Judges what `clients` did, each in its order, by the records that took the revisions after `first` to `last`,
/// of which nothing else took any.
#[must_use]
pub fn judge(clients: &[Vec<Told>], log: &[Stands], (first, last): (u64, u64)) -> Verdict {
    let by_id: BTreeMap<&str, u64> = log.iter().map(|row| (row.id.as_str(), row.revision)).collect();
    let all: BTreeSet<&str> = clients.iter().flatten().map(|told| told.id.as_str()).collect();
    let mut verdict = Verdict::default();
    for client in clients {
        let mut latest = 0;
        for told in client {
            verdict.acknowledged += usize::from(told.is_acknowledged);
            match by_id.get(told.id.as_str()) {
                None => verdict.lost += usize::from(told.is_acknowledged),
                Some(revision) => {
                    verdict.out_of_order += usize::from(*revision < latest);
                    latest = latest.max(*revision);
                }
            }
        }
    }
    verdict.made_up = by_id.keys().filter(|id| !all.contains(*id)).count();
    let explained: BTreeSet<u64> = by_id.values().copied().collect();
    let unexplained = (first + 1..=last).filter(|revision| !explained.contains(revision)).count();
    verdict.doubled = unexplained + (by_id.len() - explained.len());
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ids: &[&str]) -> Vec<Told> {
        let told =
            |id: &&str| Told { id: id.trim_end_matches('?').to_owned(), is_acknowledged: !id.ends_with('?') };
        ids.iter().map(told).collect()
    }

    fn log(rows: &[(&str, u64)]) -> Vec<Stands> {
        rows.iter().map(|(id, revision)| Stands { id: (*id).to_owned(), revision: *revision }).collect()
    }

    #[test]
    fn a_good_history_is_found_good() {
        let clients = [told(&["a1", "a2?", "a3"]), told(&["b1", "b2?"])];
        let rows = log(&[("a1", 11), ("b1", 12), ("a2", 13), ("a3", 14)]);
        let verdict = judge(&clients, &rows, (10, 14));
        assert!(verdict.is_kept(), "{verdict:?}");
        assert_eq!(verdict.to_string(), "3 acknowledged, 0 lost, 0 doubled, 0 out of order");
    }

    #[test]
    fn each_broken_promise_is_counted() {
        let clients = [told(&["a1", "a2"])];
        let of = |rows: &[(&str, u64)], last| judge(&clients, &log(rows), (0, last));
        assert_eq!(of(&[("a1", 1)], 1).lost, 1);
        assert_eq!(of(&[("a2", 1), ("a1", 2)], 2).out_of_order, 1);
        assert_eq!(of(&[("a1", 1), ("a2", 3)], 3).doubled, 1, "revision 2 was taken by something done again");
        assert_eq!(of(&[("a1", 1), ("a2", 1)], 1).doubled, 1, "one revision given twice");
        assert_eq!(of(&[("a1", 1), ("a2", 2), ("x", 3)], 3).made_up, 1);
        assert!(of(&[("a1", 1), ("a2", 2)], 2).is_kept());
        assert!(!judge(&[told(&["a1?", "a2?"])], &[], (0, 0)).is_kept(), "nobody was told anything");
    }
}
