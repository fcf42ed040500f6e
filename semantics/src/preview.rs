//! What a policy would have made of a conflict that came out otherwise. It is asked about sides that are still kept,
//! and changes nothing.
//!
//! - `a_preview_is_what_becomes_of_the_same_writes_under_that_policy`: where the sides are single writes on an ancestor
//!   that is kept, or on none, they are decided anew, one after the other; so a collapsed state does not stand over a
//!   healthy one.
//! - `each_side_is_asked_in_the_form_in_which_it_would_have_come`: a patch of what it changes under `fields`, the body that it
//!   leaves under every other policy.
//! - `what_the_policy_refuses_has_no_effect`: under `append_only` a record that was there stays as it was.
//! - `branch_and_manual_let_the_later_side_stand_and_wait`, as does last_writer, also where the ancestor is not kept.
//! - `three_way_waits_for_nobody_where_the_sides_touch_different_paths`.
//! - `what_came_is_what_was_settled`, and while nobody has settled it the side that stands.
//! - `how_the_sides_came_apart_is_told_by_their_own_writes`, where the policy then in force did not ask: that somebody
//!   was away is not known any more.

use serde_json::{Map, Value};

use crate::canonical::parse_object;
use crate::conflict::{Conflict, Side};
use crate::decide::{Context, Decision, decide, parse};
use crate::envelope::{Base, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use crate::form;
use crate::ids::{Domain, Revision};
use crate::kind::{Policy, Rule};
use crate::matrix::{Cause, Unseen, came_apart, holds};
use crate::reason::{Reason, Refusal};
use crate::resolution::{Choice, Row, Wanted, shown, wanted};

/// A conflict as it came out, and as it would have.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// What came of it.
    pub came: Result<Wanted, Refusal>,
    /// What the policy would have let stand.
    pub would: Result<Wanted, Refusal>,
    /// Whether it would still be a conflict.
    pub waits: bool,
}

impl Preview {
    /// Whether both are known and differ.
    #[must_use]
    pub fn differs(&self) -> bool {
        matches!((&self.came, &self.would), (Ok(came), Ok(would)) if came != would)
    }
}

/// What `policy` would have made of a conflict of a kind with this rule. `row` gives rows of the log by revision.
#[must_use]
pub fn preview<'a>(
    conflict: &Conflict,
    policy: Policy,
    rule: &Rule,
    row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
) -> Preview {
    let asked = |choice: Choice| wanted(conflict, &choice, rule, row);
    let came = match conflict.resolution.as_ref().filter(|_| !conflict.open).filter(|r| r.has_written()) {
        Some(settled) => row(settled.account.revision)
            .ok_or_else(|| Refusal::new(Reason::RecordGone, "what was settled is not kept any more"))
            .and_then(|row| shown(row.record, rule.policy, &conflict.path)),
        None => asked(Choice::Side(conflict.primary.stamp.dot)),
    };
    let anew = Rule { policy, ..rule.clone() };
    let (would, waits) = match decided_anew(conflict, &anew, row) {
        Some(Ok((Some(record), waits))) => (shown(&record, rule.policy, &conflict.path), waits),
        Some(Ok((None, waits))) => (Ok(Wanted::Nothing), waits),
        Some(Err(refusal)) => (Err(refusal), true),
        // Of whole bodies the later one stands, whatever they were made on.
        None if takes_whole_bodies(policy) => (asked(Choice::Policy(Policy::LastWriter)), true),
        None => (Err(not_kept("what the sides were made on, or one of them, is not kept any more")), true),
    };
    Preview { came, would, waits }
}

/// Whether of two bodies the later one stands whole, and the clash is kept.
const fn takes_whole_bodies(policy: Policy) -> bool {
    match policy {
        Policy::LastWriter
        | Policy::Branch
        | Policy::Consensus
        | Policy::Manual
        | Policy::Resolver
        | Policy::ByType => true,
        Policy::Fields | Policy::AppendOnly | Policy::ThreeWay => false,
    }
}

fn not_kept(detail: &str) -> Refusal {
    Refusal::new(Reason::RecordGone, detail)
}

/// What becomes of the sides on what they were made on, and whether anything clashes at the conflict's path; `None` where
/// a side is not one write, or something is not kept.
fn decided_anew<'a>(
    conflict: &Conflict,
    rule: &Rule,
    row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
) -> Option<Result<(Option<Record>, bool), Refusal>> {
    let is_known = conflict.ancestor != Revision::ZERO;
    let ancestor = if is_known { Some(row(conflict.ancestor)?.record) } else { None };
    let mut writes = writes(conflict, row)?;
    writes.sort_by_key(|(_, mutation)| mutation.stamp());
    let creates = |mutation: &Mutation| mutation.base.version.is_empty();
    if !is_known && !writes.iter().all(|(_, mutation)| creates(mutation)) {
        return None;
    }
    if rule.policy == Policy::ThreeWay && is_nested(&writes) {
        return Some(Err(not_kept(
            "a side was made on a write of the other's author that the conflict does not name",
        )));
    }
    let made_on = MadeOn { revision: conflict.ancestor, record: ancestor };
    Some(made_on.decided(writes.into_iter().map(|(_, mutation)| mutation), rule, &conflict.path))
}

/// Whether one side was made on what another had been made on in turn: then they have another state in common than the
/// ancestor.
fn is_nested(writes: &[(Revision, &Mutation)]) -> bool {
    writes.iter().filter_map(|(_, mutation)| mutation.base.own).any(|own| {
        let of_others = writes.iter().filter(|(_, other)| other.dot.writer != own.writer);
        of_others.into_iter().any(|(_, other)| other.base.version.contains(own))
    })
}

/// What the sides were made on: the state at a revision, or none where each of them creates.
struct MadeOn<'a> {
    revision: Revision,
    record: Option<&'a Record>,
}

impl MadeOn<'_> {
    fn decided<'m>(
        &self,
        writes: impl Iterator<Item = &'m Mutation>,
        rule: &Rule,
        path: &str,
    ) -> Result<(Option<Record>, bool), Refusal> {
        let (mut record, mut waits) = (self.record.cloned(), false);
        for mutation in writes {
            let decision = match self.anew(mutation, rule.policy) {
                Ok(anew) => self.decide(record.as_ref(), anew, rule)?,
                Err(refusal) => Decision::Rejected(refusal),
            };
            waits |= decision.clashes().iter().any(|clash| is_within(&clash.path, path));
            match decision {
                Decision::Rejected(refusal) if refusal.reason != Reason::AppendOnly => return Err(refusal),
                Decision::Rejected(_) => {}
                taken => record = taken.record().cloned(),
            }
        }
        Ok((record, waits))
    }

    fn decide(&self, current: Option<&Record>, anew: Mutation, rule: &Rule) -> Result<Decision, Refusal> {
        let parsed = parse(anew)?;
        let domain = Domain::default_domain();
        let placement = current.map(|record| record.placement.clone());
        let placement = placement.unwrap_or(Placement { domain, subject: None });
        let ancestor = self.record.filter(|record| record.key_id == KEY_ID_CLEAR).and_then(Record::body);
        let context = Context { ancestor: ancestor.map(<[u8]>::to_vec), ..Context::new(placement) };
        Ok(decide(current, &parsed, rule, &context))
    }

    /// The write in the form in which it would have come. What its author had written before it is part of a body, so
    /// that it stands for both.
    fn anew(&self, mutation: &Mutation, policy: Policy) -> Result<Mutation, Refusal> {
        let op = match &mutation.op {
            _ if mutation.key_id != KEY_ID_CLEAR => mutation.op.clone(),
            Op::Patch { .. } if policy == Policy::Fields => mutation.op.clone(),
            Op::Patch { set, remove } => {
                if mutation.base.own.is_some() && policy != Policy::AppendOnly {
                    return Err(not_kept("a side was made on a write that the conflict does not name"));
                }
                let held =
                    self.held(mutation)?.ok_or_else(|| not_kept("a patch on a record that is not known"))?;
                form::of_patch(&held, &parse_object(set)?, remove, policy)?
            }
            Op::Put { body } if policy == Policy::Fields => {
                form::of_put(self.held(mutation)?.as_ref(), &parse_object(body)?, policy)?
            }
            Op::Put { .. } | Op::Delete => mutation.op.clone(),
        };
        // Its author's own writes since are in its body, and in no record here.
        let mut base = Base { own: None, ..mutation.base.clone() };
        let held = self.record.map(|record| record.version.clone()).unwrap_or_default();
        base.version.retain(|dot| dot.writer != mutation.dot.writer || held.contains(dot));
        Ok(Mutation { op, base, ..mutation.clone() })
    }

    /// The fields that a write was made on; none = no live record, or a sealed one.
    fn held(&self, mutation: &Mutation) -> Result<Option<Map<String, Value>>, Refusal> {
        if mutation.base.revision != self.revision {
            return Err(not_kept("a side was made on another state than the sides' ancestor"));
        }
        let live = self.record.filter(|record| record.key_id == KEY_ID_CLEAR).and_then(Record::body);
        live.map(parse_object).transpose()
    }
}

/// The writes that the sides are, with their revisions.
fn writes<'a>(
    conflict: &Conflict,
    row: impl Fn(Revision) -> Option<Row<'a>>,
) -> Option<Vec<(Revision, &'a Mutation)>> {
    let write = |side: &Side| {
        let mutation = row(side.revision)?.mutation.filter(|mutation| mutation.stamp() == side.stamp)?;
        Some((side.revision, mutation))
    };
    if conflict.dropped > 0 { None } else { conflict.sides().map(write).collect() }
}

/// Whether one path lies within the other, be they names of fields or pointers.
fn is_within(one: &str, other: &str) -> bool {
    let mut steps = one.split('/').filter(|step| !step.is_empty());
    let mut others = other.split('/').filter(|step| !step.is_empty());
    loop {
        match (steps.next(), others.next()) {
            (Some(step), Some(of_other)) if step != of_other => return false,
            (Some(_), Some(_)) => {}
            _ => return true,
        }
    }
}

/// How the sides came apart: as was found when they did, or as their own writes tell it.
#[must_use]
pub fn cause<'a>(conflict: &Conflict, row: impl Fn(Revision) -> Option<Row<'a>>) -> Option<Cause> {
    if conflict.cause.is_some() {
        return conflict.cause;
    }
    let bodies = conflict.sides().map(|side| row(side.revision)?.record.body());
    let bodies = bodies.map(|body| serde_json::from_slice::<Value>(body?).ok());
    if bodies.flatten().any(|body| !holds(&body)) {
        return Some(Cause::Corruption);
    }
    let mut writes = writes(conflict, row)?;
    writes.sort_by_key(|(revision, _)| *revision);
    let ((_, comes), unseen) = writes.split_last()?;
    let unseen: Vec<Unseen<'_>> =
        unseen.iter().map(|(revision, mutation)| Unseen { revision: *revision, mutation }).collect();
    Some(came_apart(comes, &unseen, None))
}

#[cfg(test)]
mod tests;
