//! What settles or refuses without a person, and what came of it: the promises as checks of one run's history, told by
//! the log, and by the operator who changed the rules.
//!
//! - `what_a_precedent_settles_it_bound`: it had been set and was not revoked, and the use is counted, once.
//! - `a_vote_is_won_by_the_heaviest` of all sides, as each weighs by what its author wrote; what has collapsed wins over
//!   nothing else.
//! - `what_a_program_answers_is_what_stands`: of two texts the longer, which is what the trial's program makes of them.
//! - `who_is_no_primary_writes_nothing`.
//! - `what_an_operator_is_told_is_in_the_log`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::disputes::{Disputed, Dot, Settled, Stage};

/// A state that scores less has collapsed.
const COLLAPSED_BELOW: f64 = 1.0;
/// A score from which on stability weighs all that it can.
const STABLE_FROM: f64 = 4.0;
/// What stability weighs of a vote, at most.
const STABILITY: f64 = 0.4;
/// What the clock and the node weigh of a vote, at most; the trial's states have no precedence.
const OTHERS: f64 = 0.5;
/// Weights are told to three places.
const ROUNDED: f64 = 0.000_6;

/// The rules of a tenant, as the log has them, each in its order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Of each precedent: since a revision, how often it was used; `None` = it is revoked.
    pub precedents: BTreeMap<String, Vec<(u64, Option<u64>)>>,
    /// Since a revision, the one node that writes; `None` = all.
    pub primaries: Vec<(u64, Option<String>)>,
}

/// What an operator was told is done.
#[derive(Debug, Clone)]
pub enum Order {
    /// A precedent is revoked since a revision.
    Revoked(String, u64),
    /// This node, or everybody, writes since a revision.
    Primary(Option<String>, u64),
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruled {
    /// Settlements by a precedent.
    pub followed: usize,
    /// Settlements by a vote.
    pub voted: usize,
    /// Settlements by a program.
    pub answered: usize,
    /// Writes of what one node writes, while one did.
    pub primary: usize,
    /// Settlements by what was not in force, or was not counted.
    pub unbound: usize,
    /// Votes that another side than the heaviest won.
    pub miscounted: usize,
    /// Settlements by a program that hold something else than it answers.
    pub misquoted: usize,
    /// Writes by another node than the primary.
    pub trespassed: usize,
    /// Orders that were answered and stand nowhere.
    pub unheard: usize,
    /// The settlements among these, with their conflicts, to be looked at.
    pub wrong: Vec<String>,
}

impl Ruled {
    /// Whether every promise was kept. A run in which a rule did nothing shows nothing.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let wrong = self.unbound + self.miscounted + self.misquoted + self.trespassed + self.unheard;
        self.followed > 0 && self.voted > 0 && self.answered > 0 && self.primary > 0 && wrong == 0
    }
}

impl fmt::Display for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            followed,
            voted,
            answered,
            primary,
            unbound,
            miscounted,
            misquoted,
            trespassed,
            unheard,
            wrong: _,
        } = self;
        write!(
            f,
            "{followed} by precedent, {voted} by vote, {answered} by a program, {primary} by a primary, {unbound} unbound, \
             {miscounted} miscounted, {misquoted} misquoted, {trespassed} by who is no primary, {unheard} orders unheard"
        )
    }
}

/// Judges what the rules did. `ruled` = the records that the topology speaks about.
#[must_use]
pub fn judge(rules: &Rules, orders: &[Order], disputed: &[Disputed], ruled: &[Disputed]) -> Ruled {
    let mut came = Ruled::default();
    for record in disputed {
        for (id, (stage, settled)) in
            record.conflicts.iter().filter_map(|(id, stages)| Some((id, settled_first(stages)?)))
        {
            let before = came.unbound + came.miscounted + came.misquoted;
            if let Some(id) = settled.by.strip_prefix("precedent/") {
                came.followed += 1;
                came.unbound += usize::from(!rules.binds(id, stage.revision));
            } else if settled.by == "consensus" {
                came.voted += 1;
                came.miscounted += usize::from(!record.is_won(stage, settled));
            } else if settled.by.starts_with("resolver/") {
                came.answered += 1;
                came.misquoted += usize::from(!record.is_longest(stage, settled));
            }
            if came.unbound + came.miscounted + came.misquoted > before {
                came.wrong.push(format!("{id}: {stage:?}"));
            }
        }
    }
    for row in ruled.iter().flat_map(|record| &record.rows) {
        let dot = row.dot.as_ref().filter(|_| row.is_a_clients());
        let (Some((writer, _)), Some(primary)) = (dot, rules.primary(row.revision)) else { continue };
        came.primary += 1;
        came.trespassed += usize::from(writer.split('.').next() != Some(primary));
    }
    came.unheard = orders.iter().filter(|order| !rules.holds(order)).count();
    came
}

/// How a conflict was settled the first time: what was taken back is a person's.
fn settled_first(stages: &[Stage]) -> Option<(&Stage, &Settled)> {
    let stage = stages.iter().find(|stage| !stage.open)?;
    Some((stage, stage.settled.as_ref()?))
}

impl Rules {
    /// Whether a precedent was in force just before a revision, and its use is counted right behind.
    fn binds(&self, id: &str, revision: u64) -> bool {
        let Some(rows) = self.precedents.get(id) else { return false };
        let before = rows.iter().rev().find(|(at, _)| *at < revision);
        let after = rows.iter().find(|(at, _)| *at > revision);
        match (before, after) {
            (Some((_, Some(uses))), Some((_, Some(counted)))) => *counted == uses + 1,
            _ => false,
        }
    }

    /// The one node that writes at a revision.
    fn primary(&self, revision: u64) -> Option<&str> {
        let last = self.primaries.iter().rev().find(|(since, _)| *since < revision);
        last.and_then(|(_, primary)| primary.as_deref())
    }

    fn holds(&self, order: &Order) -> bool {
        match order {
            Order::Revoked(id, revision) => {
                self.precedents.get(id).is_some_and(|rows| rows.contains(&(*revision, None)))
            }
            Order::Primary(primary, revision) => self.primaries.contains(&(*revision, primary.clone())),
        }
    }
}

impl Disputed {
    fn wrote(&self, side: &Dot) -> Option<Value> {
        let row = self.rows.iter().find(|row| row.dot.as_ref() == Some(side))?;
        serde_json::from_str(&row.wrote).ok()
    }

    /// Whether the heaviest side won, by the weights that the vote gives for its reason, and whether these can be.
    fn is_won(&self, stage: &Stage, settled: &Settled) -> bool {
        let weights: Option<Vec<(Dot, f64)>> = settled.reason.split(", ").map(weight).collect();
        let Some(weights) = weights else { return false };
        let states: Option<Vec<(Dot, f64, f64)>> = weights
            .into_iter()
            .map(|(side, weight)| {
                self.wrote(&side).and_then(|wrote| score(&wrote)).map(|is| (side, weight, is))
            })
            .collect();
        let Some(states) = states else { return false };
        let is_all =
            states.len() == stage.sides.len() && states.iter().all(|(s, ..)| stage.sides.contains(s));
        let can_be = states.iter().all(|(_, weight, is)| {
            let own = STABILITY * (is / STABLE_FROM).min(1.0);
            (own - ROUNDED..=own + OTHERS + ROUNDED).contains(weight)
        });
        let is_down = |is: f64| is < COLLAPSED_BELOW;
        let all_down = states.iter().all(|(_, _, is)| is_down(*is));
        let may_win = || states.iter().filter(|(_, _, is)| all_down || !is_down(*is));
        let most = may_win().map(|(_, weight, _)| *weight).fold(f64::MIN, f64::max);
        let is_heaviest =
            may_win().any(|(side, weight, _)| Some(side) == settled.side.as_ref() && *weight >= most);
        let stands = settled.side.as_ref().and_then(|side| self.wrote(side)).map(|wrote| wrote.to_string());
        is_all && can_be && is_heaviest && stands.as_deref() == self.says(settled.standing)
    }

    /// Whether the longest text of all sides stands.
    fn is_longest(&self, stage: &Stage, settled: &Settled) -> bool {
        let text = |value: &Value| value["text"].as_str().map(str::len);
        let longest =
            stage.sides.iter().filter_map(|side| self.wrote(side)).filter_map(|wrote| text(&wrote)).max();
        let stands = self.says(settled.standing).and_then(|says| serde_json::from_str(says).ok());
        longest.is_some() && stands.as_ref().and_then(text) == longest
    }
}

/// One side and its weight, as a vote tells it: `NODE.EPOCH:N WEIGHT`.
fn weight(told: &str) -> Option<(Dot, f64)> {
    let (side, weight) = told.split_once(' ')?;
    let (writer, n) = side.rsplit_once(':')?;
    Some(((writer.to_owned(), n.parse().ok()?), weight.parse().ok()?))
}

/// What a state scores.
fn score(wrote: &Value) -> Option<f64> {
    let of = wrote.pointer("/identity_snapshot/stability_metrics/parameter_values")?;
    Some(of["D"].as_f64()? * of["C"].as_f64()? * of["R"].as_f64()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::disputes::Row;
    use super::*;

    fn state(depth: f64) -> String {
        json!({"identity_snapshot": {"stability_metrics": {"parameter_values": {"D": depth, "C": 1.0, "R": 1.0}}}})
            .to_string()
    }

    fn row(revision: u64, writer: &str, wrote: &str) -> Row {
        let dot = Some((writer.to_owned(), 1));
        Row { revision, dot, says: wrote.to_owned(), wrote: wrote.to_owned(), ..Row::default() }
    }

    fn settled(by: &str, reason: &str, side: Option<&str>) -> Settled {
        let side = side.map(|writer| (writer.to_owned(), 1));
        Settled { standing: 12, before: 11, by: by.to_owned(), reason: reason.to_owned(), side, undone: None }
    }

    /// Two sides at 10 and 11, and what a rule made to stand at 12, told at 13.
    fn record(one: &str, two: &str, stands: &str, settled: Settled) -> Disputed {
        let hubs = Row { revision: 12, says: stands.to_owned(), ..Row::default() };
        let sides = [("a.1".to_owned(), 1), ("b.1".to_owned(), 1)].into();
        let stage = Stage { revision: 13, open: false, sides, dropped: 0, settled: Some(settled) };
        Disputed {
            rows: vec![row(10, "a.1", one), row(11, "b.1", two), hubs],
            conflicts: [("c".to_owned(), vec![stage])].into(),
        }
    }

    fn one(rules: &Rules, record: Disputed) -> Ruled {
        judge(rules, &[], &[record], &[])
    }

    #[test]
    fn what_a_precedent_settles_it_bound() {
        let rules = |rows: &[(u64, Option<u64>)]| Rules {
            precedents: [("p".to_owned(), rows.to_vec())].into(),
            ..Rules::default()
        };
        let by = || record("{}", "{}", "{}", settled("precedent/p", "", Some("a.1")));
        let kept = one(&rules(&[(5, Some(0)), (14, Some(1)), (20, None)]), by());
        assert_eq!((kept.followed, kept.unbound), (1, 0), "{kept}");
        let wrong: [&[(u64, Option<u64>)]; 4] = [
            &[(15, Some(0)), (16, Some(1))],
            &[(5, Some(0)), (9, None), (15, Some(0))],
            &[(5, Some(0))],
            &[(5, Some(0)), (14, Some(2))],
        ];
        for rows in wrong {
            assert_eq!(one(&rules(rows), by()).unbound, 1, "{rows:?}");
        }
        assert_eq!(one(&Rules::default(), by()).unbound, 1, "nobody set it");
    }

    #[test]
    fn a_vote_is_won_by_the_heaviest() {
        let (strong, weak, down) = (state(5.0), state(3.0), state(0.5));
        let voted = |one: &str, two: &str, stands: &str, reason: &str, side: &str| {
            let ruled = judge(
                &Rules::default(),
                &[],
                &[record(one, two, stands, settled("consensus", reason, Some(side)))],
                &[],
            );
            assert_eq!(ruled.voted, 1);
            ruled.miscounted == 0
        };
        assert!(voted(&strong, &weak, &strong, "a.1:1 0.900, b.1:1 0.743", "a.1"));
        assert!(!voted(&strong, &weak, &weak, "a.1:1 0.900, b.1:1 0.743", "b.1"), "the lighter one");
        assert!(!voted(&strong, &weak, &weak, "a.1:1 0.900, b.1:1 0.743", "a.1"), "another stands");
        assert!(!voted(&strong, &weak, &strong, "a.1:1 0.900", "a.1"), "a side has no weight");
        assert!(!voted(&strong, &weak, &strong, "a.1:1 0.950, b.1:1 0.743", "a.1"), "more than it can weigh");
        assert!(!voted(&strong, &weak, &weak, "b.1:1 0.750, a.1:1 0.380", "b.1"), "less than it weighs");
        assert!(!voted(&down, &weak, &down, "a.1:1 0.550, b.1:1 0.310", "a.1"), "it has collapsed");
        assert!(voted(&down, &weak, &weak, "a.1:1 0.550, b.1:1 0.310", "b.1"));
        assert!(!voted(&strong, &weak, &strong, "", "a.1"), "no weights");
    }

    #[test]
    fn what_a_program_answers_is_what_stands() {
        let text = |text: &str| json!({"text": text}).to_string();
        let answered = |stands: &str| {
            one(&Rules::default(), record(&text("long"), &text("s"), stands, settled("resolver/r", "", None)))
        };
        assert_eq!((answered(&text("long")).answered, answered(&text("long")).misquoted), (1, 0));
        assert_eq!(answered(&text("s")).misquoted, 1);
        assert_eq!(answered("null").misquoted, 1);
    }

    #[test]
    fn who_is_no_primary_writes_nothing() {
        let since = |revision, node: &str| (revision, Some(node.to_owned()));
        let rules = Rules { primaries: vec![since(5, "a"), since(10, "b"), (20, None)], ..Rules::default() };
        let written = |rows: Vec<Row>| judge(&rules, &[], &[], &[Disputed { rows, ..Disputed::default() }]);
        let kept = written(vec![
            row(4, "b.1", "0"),
            row(8, "a.2", "1"),
            row(11, "b.1", "2"),
            row(21, "a.2", "3"),
            Row { revision: 12, ..Row::default() },
        ]);
        assert_eq!((kept.primary, kept.trespassed), (2, 0), "{kept}");
        assert_eq!(written(vec![row(11, "a.2", "1")]).trespassed, 1);
    }

    #[test]
    fn what_an_operator_is_told_is_in_the_log() {
        let rules = Rules {
            precedents: [("p".to_owned(), vec![(5, Some(0)), (9, None)])].into(),
            primaries: vec![(7, Some("a".to_owned()))],
        };
        let unheard = |order: Order| judge(&rules, &[order], &[], &[]).unheard;
        assert_eq!(unheard(Order::Revoked("p".to_owned(), 9)), 0);
        assert_eq!(unheard(Order::Revoked("p".to_owned(), 8)), 1);
        assert_eq!(unheard(Order::Revoked("q".to_owned(), 9)), 1);
        assert_eq!(unheard(Order::Primary(Some("a".to_owned()), 7)), 0);
        assert_eq!(unheard(Order::Primary(None, 7)), 1);
    }
}
