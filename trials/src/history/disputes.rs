//! Records that clients write whole and beside each other, and what became of the conflicts about them: the promises as
//! checks of one run's history, told by the clients and by whoever reads the log in the end.
//!
//! - `an_acknowledged_write_has_a_row`, and one alone.
//! - `what_nobody_had_seen_is_a_side_of_a_conflict`, unless it is what stands, or a settlement says that it stood before.
//! - `a_settlement_stands_as_it_was_answered`, and holds what was chosen.
//! - `nobody_settles_what_is_settled`.
//! - `an_undo_brings_back_what_stood_before`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A writer's name, and the number of its write.
pub type Dot = (String, u64);

/// The hub's name among writers.
const HUB: &str = "00000000000000000000000000000000.";

/// A row of a record.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Where it stands in the log.
    pub revision: u64,
    /// Whose write it is; `None` = the hub's own. What settled something is the hub's too, under its name.
    pub dot: Option<Dot>,
    /// Of each writer, the last write that its author had seen.
    pub seen: BTreeMap<String, u64>,
    /// What the record holds from here on.
    pub says: String,
    /// What its author wrote.
    pub wrote: String,
}

impl Row {
    /// Whether a client wrote it.
    pub(super) fn is_a_clients(&self) -> bool {
        self.dot.as_ref().is_some_and(|(writer, _)| !writer.starts_with(HUB))
    }
}

/// How a conflict stood from a revision on.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// The revision.
    pub revision: u64,
    /// Whether it waited.
    pub open: bool,
    /// Every side.
    pub sides: BTreeSet<Dot>,
    /// Sides that were counted only.
    pub dropped: usize,
    /// How it was settled last.
    pub settled: Option<Settled>,
}

/// A settlement.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settled {
    /// Where the record stood with it.
    pub standing: u64,
    /// Where it had stood before.
    pub before: u64,
    /// Who settled it: a node, an operator, or a rule.
    pub by: String,
    /// Why, in words.
    pub reason: String,
    /// The side that was chosen, where one was.
    pub side: Option<Dot>,
    /// Where it stands since it was taken back.
    pub undone: Option<u64>,
}

/// A record, its rows and its conflicts, by the conflict's id; each in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct Disputed {
    /// What stands in the log.
    pub rows: Vec<Row>,
    /// How its conflicts stood.
    pub conflicts: BTreeMap<String, Vec<Stage>>,
}

/// What a client was told is done.
#[derive(Debug, Clone)]
pub enum Deed {
    /// It wrote this.
    Wrote(String),
    /// It settled a conflict.
    Settled {
        /// The conflict.
        conflict: String,
        /// The revision that it was given.
        revision: u64,
        /// Where the record was to stand.
        standing: u64,
        /// What was chosen; `None` = what stood.
        says: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Writes that clients were told are kept.
    pub written: usize,
    /// Conflicts that came of them.
    pub conflicts: usize,
    /// Settlements that clients were told of.
    pub settled: usize,
    /// Settlements that were taken back.
    pub undone: usize,
    /// Writes of these without a row.
    pub lost: usize,
    /// Writes with more than one.
    pub doubled: usize,
    /// Writes that nobody had seen who wrote over them, and that are in no conflict.
    pub unlisted: usize,
    /// Settlements that do not stand as they were answered.
    pub misjudged: usize,
    /// Settlements of what was settled.
    pub twice: usize,
    /// Settlements that were taken back, and left something else than what stood before.
    pub unrestored: usize,
}

impl Verdict {
    /// Whether every promise was kept. A run without a settlement or an undo shows nothing.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        let wrong = self.lost + self.doubled + self.unlisted + self.misjudged + self.twice + self.unrestored;
        self.written > 0 && self.settled > 0 && self.undone > 0 && wrong == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            written,
            conflicts,
            settled,
            undone,
            lost,
            doubled,
            unlisted,
            misjudged,
            twice,
            unrestored,
        } = self;
        write!(
            f,
            "{written} written, {conflicts} conflicts, {settled} settled, {undone} undone, {lost} lost, {doubled} doubled, \
             {unlisted} in no conflict, {misjudged} misjudged, {twice} settled twice, {unrestored} not restored"
        )
    }
}

/// Judges what clients were told by how the log holds it in the end. `plain` = records that the last writer holds: what
/// is overwritten there is in no conflict.
#[must_use]
pub fn judge(deeds: &[Deed], disputed: &[Disputed], plain: &[Disputed]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = disputed.iter().chain(plain).flat_map(|record| &record.rows);
    for row in rows.filter(|row| row.is_a_clients()) {
        *written.entry(row.wrote.as_str()).or_default() += 1;
    }
    for deed in deeds {
        match deed {
            Deed::Wrote(says) => {
                verdict.written += 1;
                let rows = written.get(says.as_str()).copied().unwrap_or_default();
                verdict.lost += usize::from(rows == 0);
                verdict.doubled += usize::from(rows > 1);
            }
            Deed::Settled { conflict, revision, standing, says } => {
                verdict.settled += 1;
                let record = disputed.iter().find(|record| record.conflicts.contains_key(conflict));
                let stands = |record: &Disputed| {
                    record.is_settled_at(conflict, *revision, *standing)
                        && says.as_deref().is_none_or(|says| record.says(*standing) == Some(says))
                };
                verdict.misjudged += usize::from(!record.is_some_and(stands));
            }
        }
    }
    for record in disputed {
        verdict.conflicts += record.conflicts.len();
        verdict.unlisted += record.unlisted();
        for stages in record.conflicts.values() {
            verdict.twice += stages.windows(2).filter(|pair| is_twice(pair)).count();
            let undone: BTreeSet<(Settled, u64)> = stages.iter().filter_map(Stage::undone).collect();
            verdict.undone += undone.len();
            // Where nothing was written, taking it back writes nothing either: whoever wrote since stands.
            let written = undone.iter().filter(|(settled, _)| settled.standing != settled.before);
            let is_other =
                |(settled, after): &&(Settled, u64)| record.says(settled.before) != record.says(*after);
            verdict.unrestored += written.filter(is_other).count();
        }
    }
    verdict
}

/// Whether what was settled was settled anew, and not opened in between.
fn is_twice(pair: &[Stage]) -> bool {
    let [before, after] = pair else { return false };
    !before.open && !after.open && before.settled != after.settled
}

impl Stage {
    /// A settlement that was taken back, and where the record stands since.
    fn undone(&self) -> Option<(Settled, u64)> {
        let settled = self.settled.as_ref()?;
        Some((settled.clone(), settled.undone?))
    }
}

impl Disputed {
    /// What stood at a revision: the newest row up to it.
    pub(super) fn says(&self, revision: u64) -> Option<&str> {
        let row = self.rows.iter().rev().find(|row| row.revision <= revision);
        row.map(|row| row.says.as_str())
    }

    fn is_settled_at(&self, conflict: &str, revision: u64, standing: u64) -> bool {
        let stage = self.conflicts.get(conflict).and_then(|all| all.iter().find(|s| s.revision == revision));
        stage.is_some_and(|stage| {
            !stage.open && stage.settled.as_ref().is_some_and(|s| s.standing == standing)
        })
    }

    /// Writes that were written over unseen, and are in no conflict. What a conflict only counted is not told by name; what
    /// a settlement was written over is named by it, and comes back when it is undone.
    fn unlisted(&self) -> usize {
        let stages = || self.conflicts.values().flatten();
        let listed: BTreeSet<&Dot> = stages().flat_map(|stage| &stage.sides).collect();
        let written = stages().filter_map(|stage| stage.settled.as_ref()).filter(|s| s.standing != s.before);
        let settled_over: BTreeSet<u64> = written.map(|settled| settled.before).collect();
        let counted: usize =
            self.conflicts.values().filter_map(|all| all.iter().map(|s| s.dropped).max()).sum();
        let writes = || self.rows.iter().filter(|row| row.is_a_clients());
        let is_seen = |(name, n): &Dot, by: &Row| by.seen.get(name).is_some_and(|seen| seen >= n);
        let last = writes().next_back().map(|row| row.revision);
        let unlisted = writes().filter(|row| {
            let later = || writes().filter(|later| later.revision > row.revision);
            let known = row.dot.as_ref().is_some_and(|dot| later().any(|by| is_seen(dot, by)));
            let named = row.dot.as_ref().is_some_and(|dot| listed.contains(dot));
            let named = named || settled_over.contains(&row.revision);
            !known && !named && Some(row.revision) != last
        });
        unlisted.count().saturating_sub(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(name: &str, n: u64) -> Dot {
        (name.to_owned(), n)
    }

    fn row(revision: u64, (name, n): (&str, u64), seen: &[(&str, u64)]) -> Row {
        let seen = seen.iter().map(|(name, n)| dot(name, *n)).collect();
        let says = format!("{name}{n}");
        Row { revision, dot: Some(dot(name, n)), seen, wrote: says.clone(), says }
    }

    fn hubs(revision: u64, says: &str) -> Row {
        Row { revision, says: says.to_owned(), ..Row::default() }
    }

    fn stage(revision: u64, open: bool, settled: Option<Settled>) -> Stage {
        Stage { revision, open, sides: [dot("a", 2), dot("b", 1)].into(), dropped: 0, settled }
    }

    /// Two that wrote on one state, a settlement for the one that lost, and its undo.
    fn good() -> (Vec<Deed>, Disputed) {
        let settled = Settled { standing: 14, before: 12, ..Settled::default() };
        let undone = Settled { undone: Some(16), ..settled.clone() };
        let rows = vec![
            row(10, ("a", 1), &[]),
            row(11, ("a", 2), &[("a", 1)]),
            row(12, ("b", 1), &[("a", 1)]),
            hubs(14, "a2"),
            hubs(16, "b1"),
        ];
        let stages =
            vec![stage(13, true, None), stage(15, false, Some(settled)), stage(17, true, Some(undone))];
        let deeds = vec![
            Deed::Wrote("a2".to_owned()),
            Deed::Settled {
                conflict: "c".to_owned(),
                revision: 15,
                standing: 14,
                says: Some("a2".to_owned()),
            },
        ];
        (deeds, Disputed { rows, conflicts: [("c".to_owned(), stages)].into() })
    }

    /// What is found once the history is changed, without what it counts.
    fn found(change: impl FnOnce(&mut Vec<Deed>, &mut Disputed)) -> Verdict {
        let (mut deeds, mut record) = good();
        change(&mut deeds, &mut record);
        let verdict = judge(&deeds, &[record], &[]);
        Verdict { written: 0, conflicts: 0, settled: 0, undone: 0, ..verdict }
    }

    fn one(set: impl FnOnce(&mut Verdict)) -> Verdict {
        let mut verdict = Verdict::default();
        set(&mut verdict);
        verdict
    }

    fn stages(record: &mut Disputed) -> &mut Vec<Stage> {
        record.conflicts.get_mut("c").unwrap()
    }

    #[test]
    fn an_acknowledged_write_has_a_row() {
        let (deeds, record) = good();
        let verdict = judge(&deeds, &[record], &[]);
        assert!(verdict.is_kept(), "{verdict}");
        assert_eq!((verdict.written, verdict.settled, verdict.undone), (1, 1, 1));
        assert!(!judge(&[], &[], &[]).is_kept(), "of nothing");
        let lost = found(|deeds, _| deeds.push(Deed::Wrote("a3".to_owned())));
        assert_eq!(lost, one(|verdict| verdict.lost = 1));
        let doubled = found(|_, record| {
            record.rows.push(Row { wrote: "a2".to_owned(), ..row(17, ("a", 3), &[("a", 2), ("b", 1)]) });
        });
        assert_eq!(doubled, one(|verdict| verdict.doubled = 1));
    }

    #[test]
    fn what_nobody_had_seen_is_a_side_of_a_conflict() {
        let unlisted = |record: &mut Disputed| {
            stages(record).iter_mut().for_each(|stage| stage.sides.retain(|side| *side != dot("a", 2)));
        };
        assert_eq!(found(|_, record| unlisted(record)), one(|verdict| verdict.unlisted = 1));
        let seen = found(|_, record| {
            unlisted(record);
            record.rows[2].seen.insert("a".to_owned(), 2);
        });
        assert_eq!(seen, Verdict::default());
        let counted = found(|_, record| {
            unlisted(record);
            stages(record)[0].dropped = 1;
        });
        assert_eq!(counted, Verdict::default());
        // Written by whoever knew of both sides, and settled over before anybody else knew of it.
        let over = |before: u64| {
            move |_: &mut Vec<Deed>, record: &mut Disputed| {
                record.rows.insert(3, row(13, ("c", 1), &[("a", 2), ("b", 1)]));
                record.rows.push(row(18, ("a", 3), &[("a", 2), ("b", 1)]));
                for settled in stages(record).iter_mut().filter_map(|stage| stage.settled.as_mut()) {
                    settled.before = before;
                }
                record.rows[5].says = if before == 13 { "c1" } else { "b1" }.to_owned();
            }
        };
        assert_eq!(found(over(13)), Verdict::default());
        assert_eq!(
            found(over(12)),
            one(|verdict| verdict.unlisted = 1),
            "nothing says that it was settled over"
        );
    }

    #[test]
    fn a_settlement_stands_as_it_was_answered() {
        let other = found(|_, record| record.rows[3].says = "b1".to_owned());
        assert_eq!(other, one(|verdict| verdict.misjudged = 1), "something else stands");
        let nowhere = found(|_, record| stages(record)[1].revision = 18);
        assert_eq!(nowhere, one(|verdict| verdict.misjudged = 1), "another revision");
        let unknown = found(|deeds, _| {
            deeds.push(Deed::Settled { conflict: "d".to_owned(), revision: 15, standing: 14, says: None });
        });
        assert_eq!(unknown, one(|verdict| verdict.misjudged = 1), "no such conflict");
    }

    #[test]
    fn nobody_settles_what_is_settled() {
        let again = found(|_, record| {
            let anew = Settled { standing: 15, before: 14, ..Settled::default() };
            stages(record).insert(2, stage(16, false, Some(anew)));
        });
        assert_eq!(again, one(|verdict| verdict.twice = 1));
    }

    #[test]
    fn an_undo_brings_back_what_stood_before() {
        let left = found(|_, record| drop(record.rows.pop()));
        assert_eq!(left, one(|verdict| verdict.unrestored = 1));
        let unwritten = found(|deeds, record| {
            drop(deeds.pop());
            record.rows.truncate(3);
            record.rows.push(row(16, ("a", 3), &[("a", 2), ("b", 1)]));
            for stage in stages(record) {
                stage.settled = stage.settled.take().map(|settled| Settled { standing: 12, ..settled });
            }
        });
        assert_eq!(unwritten, Verdict::default(), "it was for what stood, and somebody has written since");
    }
}
