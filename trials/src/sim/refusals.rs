//! Refusals, judged again: what was refused for good must be refused by the rules, for the same reason, on the record as
//! it stood then. Nobody else would notice a hub that refuses what it should take.

use semantics::decide::{Context, Decision, decide, parse};
use semantics::envelope::{Mutation, Placement};
use semantics::ids::{CommitNumber, Revision};
use semantics::outcome::Outcome;
use semantics::reason::Reason;

use super::heal::rule;
use super::oracle::{Log, ensure};
use super::world::World;

/// What depends on nothing but the mutation, the record and the node's view. Other refusals come from declarations,
/// groups and topologies, which other checks look at.
const JUDGED: &[Reason] = &[
    Reason::RecordGone,
    Reason::RecordAbsent,
    Reason::DependsOn,
    Reason::AppendOnly,
    Reason::StampBeforeBase,
    Reason::PatchUnsupported,
    Reason::VersionTooWide,
    Reason::NotInView,
];

impl World {
    /// Judges every refusal of a log; how many there were.
    pub(super) fn check_refusals(&self, log: &Log) -> Result<u64, String> {
        let mut judged = 0;
        for commit in &log.commits {
            let before = Revision(commit.first.0 - 1);
            for (at, told) in commit.outcomes.iter().enumerate() {
                let Outcome::Rejected(refusal) = &told.outcome else { continue };
                let Some(mutation) = self.sent.get(&told.digest).filter(|mutation| mutation.group.is_none())
                else {
                    continue;
                };
                if !JUDGED.contains(&refusal.reason) {
                    continue;
                }
                judged += 1;
                let (earlier, later) = commit.outcomes.split_at(at);
                let first = earlier.iter().filter_map(|told| told.outcome.revision()).max().unwrap_or(before);
                let next = later.iter().find_map(|told| told.outcome.revision());
                let last = next.map_or(commit.last, |next| Revision(next.0 - 1));
                let mut states = (first.0..=last.0.max(first.0)).map(Revision);
                let is_right =
                    |at| self.is_refused(log, (commit.number, before), mutation, at, refusal.reason);
                ensure!(
                    states.any(is_right),
                    "{} of {} was refused in commit {} with {refusal}: the rules do not",
                    mutation.id,
                    mutation.key,
                    commit.number
                );
            }
        }
        Ok(judged)
    }

    /// Whether the rules refuse a mutation for this reason on the record as it stands at a revision.
    fn is_refused(
        &self,
        log: &Log,
        (commit, before): (CommitNumber, Revision),
        mutation: &Mutation,
        at: Revision,
        reason: Reason,
    ) -> bool {
        let key = &mutation.key;
        let horizon =
            super::heal::commit_before(log, commit).map(|before| before.horizon).unwrap_or_default();
        let standing = log.standing(key, at).filter(|row| {
            let is_given_up = row.record.is_deleted() && row.revision <= horizon;
            !is_given_up || log.is_in_conflict(key, before)
        });
        let view = log.view_at(mutation.author, before).1;
        if standing.is_some_and(|row| !view.contains(&row.cell)) {
            return reason == Reason::NotInView;
        }
        let Ok(rule) = rule(log, &key.kind, before) else { return false };
        let Ok(parsed) = parse(mutation.clone()) else { return false };
        let Some(node) = self.nodes.iter().find(|node| node.who.node == mutation.author) else {
            return false;
        };
        let place = Placement { domain: node.domain.clone(), subject: None };
        let record = standing.map(|row| &row.record);
        let retired = record.map(|record| self.retired(log, commit, record, mutation)).unwrap_or_default();
        let context = Context { retired, revision: Some(at.next()), ..Context::new(place) };
        match decide(record, &parsed, &rule, &context) {
            Decision::Rejected(refusal) => refusal.reason == reason,
            taken => {
                let leaves = |cell| reason == Reason::NotInView && !view.contains(&cell);
                taken
                    .record()
                    .filter(|record| !record.is_deleted())
                    .is_some_and(|record| leaves(record.cell()))
            }
        }
    }
}
