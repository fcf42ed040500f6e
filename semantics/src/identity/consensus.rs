//! Which of several states of one identity wins: a weighted sum of how stable, healthy, recent and preferred each is.

use serde::{Deserialize, Serialize};

use super::rounded;
use crate::reason::{Reason, Refusal};

/// Most candidates in one vote: no tenant has more nodes holding one identity.
pub const CANDIDATES_MAX: usize = 4_096;
/// The score Is from which on more stability is worth no more.
pub const STABILITY_FULL: f64 = 4.0;
/// Weights of stability, health, recency and priority; their sum is 1.
const WEIGHTS: [f64; 4] = [0.4, 0.3, 0.2, 0.1];

/// One state that may win.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its name, for example the node's.
    pub id: String,
    /// Score Is, 0 to 7.
    pub stability: f64,
    /// Health of its node, 0 to 1.
    pub health: f64,
    /// How recent it is, 0 (oldest) to 1 (now).
    pub recency: f64,
    /// What a person prefers, 0 to 1.
    pub priority: f64,
}

/// A candidate's weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// The candidate's name.
    pub id: String,
    /// 0 to 1.
    pub score: f64,
}

impl Candidate {
    /// `0.4 × min(1, Is / 4) + 0.3 × health + 0.2 × recency + 0.1 × priority`, 0 to 1.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let parts = [(self.stability / STABILITY_FULL).min(1.0), self.health, self.recency, self.priority];
        rounded(parts.iter().zip(WEIGHTS).map(|(part, weight)| part * weight).sum())
    }

    fn check(&self) -> Result<(), Refusal> {
        let bounds = [
            ("stability", self.stability, 7.0),
            ("health", self.health, 1.0),
            ("recency", self.recency, 1.0),
            ("priority", self.priority, 1.0),
        ];
        match bounds.into_iter().find(|(_, value, max)| !(0.0..=*max).contains(value)) {
            None => Ok(()),
            Some((name, value, max)) => {
                let detail = format!("{name} of candidate {:?} is {value}: give 0 to {max}", self.id);
                Err(Refusal::new(Reason::Malformed, detail))
            }
        }
    }
}

/// Each candidate's weight, heaviest first; the first one wins. Equal weights are ordered by name, so that every
/// node that asks gets the same winner.
///
/// # Errors
/// `MALFORMED` without candidates, for two of one name, and for a value out of its range; `TOO_LARGE` past
/// [`CANDIDATES_MAX`].
pub fn weigh(candidates: &[Candidate]) -> Result<Vec<Weight>, Refusal> {
    if candidates.is_empty() {
        return Err(Refusal::new(Reason::Malformed, "there is no candidate"));
    }
    if candidates.len() > CANDIDATES_MAX {
        let detail = format!("{} candidates, at most {CANDIDATES_MAX}", candidates.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    candidates.iter().try_for_each(Candidate::check)?;
    let mut weights: Vec<Weight> =
        candidates.iter().map(|c| Weight { id: c.id.clone(), score: c.weight() }).collect();
    weights.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some([twin, _]) = weights.windows(2).find(|pair| matches!(pair, [a, b] if a.id == b.id)) {
        return Err(Refusal::new(Reason::Malformed, format!("two candidates are named {:?}", twin.id)));
    }
    weights.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, stability: f64, health: f64, recency: f64, priority: f64) -> Candidate {
        Candidate { id: id.to_owned(), stability, health, recency, priority }
    }

    fn winner(candidates: &[Candidate]) -> String {
        weigh(candidates).unwrap().first().unwrap().id.clone()
    }

    #[test]
    fn the_weights_are_as_stated() {
        let all = [
            candidate("A", 3.2, 0.9, 0.8, 0.7),
            candidate("B", 2.4, 0.8, 0.7, 0.6),
            candidate("C", 4.8, 0.6, 0.7, 0.8),
        ];
        let weights: Vec<(String, f64)> = weigh(&all).unwrap().into_iter().map(|w| (w.id, w.score)).collect();
        assert_eq!(weights, [("A".to_owned(), 0.82), ("C".to_owned(), 0.8), ("B".to_owned(), 0.68)]);
    }

    #[test]
    fn stability_past_four_is_worth_no_more() {
        assert_eq!(winner(&[candidate("a", 7.0, 0.5, 0.5, 0.5), candidate("b", 4.0, 0.6, 0.5, 0.5)]), "b");
    }

    #[test]
    fn equal_weights_are_settled_by_name_in_every_order() {
        let (a, b) = (candidate("a", 2.0, 0.5, 0.5, 0.5), candidate("b", 2.0, 0.5, 0.5, 0.5));
        assert_eq!((winner(&[a.clone(), b.clone()]), winner(&[b, a])), ("a".to_owned(), "a".to_owned()));
    }

    #[test]
    fn what_cannot_be_weighed_is_refused_with_its_name() {
        let good = candidate("a", 2.0, 0.5, 0.5, 0.5);
        for (bad, word) in [
            (vec![], "no candidate"),
            (vec![good.clone(), good.clone()], "two candidates"),
            (vec![candidate("x", 7.1, 0.5, 0.5, 0.5)], "stability of candidate \"x\""),
            (vec![candidate("x", 2.0, -0.1, 0.5, 0.5)], "health"),
            (vec![candidate("x", 2.0, 0.5, f64::NAN, 0.5)], "recency"),
            (vec![candidate("x", 2.0, 0.5, 0.5, 1.5)], "priority"),
        ] {
            let refusal = weigh(&bad).unwrap_err();
            assert!(refusal.reason == Reason::Malformed && refusal.detail.contains(word), "{refusal}");
        }
        assert_eq!(weigh(&vec![good; CANDIDATES_MAX + 1]).unwrap_err().reason, Reason::TooLarge);
    }
}
