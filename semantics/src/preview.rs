//! What a policy would have made of a conflict that came out otherwise. It is asked about sides that are still kept,
//! and changes nothing.
//!
//! - `a_preview_is_what_becomes_of_the_same_writes_under_that_policy`: where the sides are single writes on an ancestor
//!   that is kept, they are decided anew, one after the other; so a collapsed state does not stand over a healthy one.
//! - `branch_and_manual_let_the_later_side_stand_and_wait`, as does last_writer.
//! - `three_way_waits_for_nobody_where_the_sides_touch_different_paths`.
//! - `what_came_is_what_was_settled`, and while nobody has settled it the side that stands.
//! - `how_the_sides_came_apart_is_told_by_their_own_writes`, where the policy then in force did not ask: that somebody
//!   was away is not known any more.

use serde_json::{Map, Value};

use crate::conflict::{Conflict, Side};
use crate::decide::{Context, Decision, decide, parse};
use crate::envelope::{KEY_ID_CLEAR, Mutation, Record};
use crate::ids::Revision;
use crate::kind::{Policy, Rule};
use crate::matrix::{Cause, Unseen, came_apart, holds};
use crate::merge::{self, Prefer};
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
    if let Some((record, waits)) = decided_anew(conflict, &anew, row) {
        return Preview { came, would: shown(&record, rule.policy, &conflict.path), waits };
    }
    let later = || asked(Choice::Policy(Policy::LastWriter));
    let (would, waits) = match policy {
        Policy::LastWriter
        | Policy::Branch
        | Policy::Consensus
        | Policy::Manual
        | Policy::Resolver
        | Policy::ByType => (later(), true),
        Policy::AppendOnly => (asked(Choice::Policy(policy)), true),
        Policy::ThreeWay if conflict.path.is_empty() => {
            (asked(Choice::Policy(policy)), clashes(conflict, rule, row))
        }
        Policy::ThreeWay => (later(), true),
        Policy::Fields if !conflict.path.is_empty() => (later(), true),
        Policy::Fields => {
            let detail = "fields settles each field by itself: it is not asked about whole bodies";
            (Err(Refusal::new(Reason::Malformed, detail)), true)
        }
    };
    Preview { came, would, waits }
}

/// What becomes of the sides on what they were made on, and whether anything clashes at the conflict's path; `None` where
/// a side is not one write, or something is not kept.
fn decided_anew<'a>(
    conflict: &Conflict,
    rule: &Rule,
    row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
) -> Option<(Record, bool)> {
    let ancestor = row(conflict.ancestor)?.record;
    let body = ancestor.body().filter(|_| ancestor.key_id == KEY_ID_CLEAR).map(<[u8]>::to_vec);
    let mut writes = writes(conflict, row)?;
    writes.sort_by_key(|(_, mutation)| mutation.stamp());
    let (mut record, mut waits) = (ancestor.clone(), false);
    for (_, mutation) in writes {
        let parsed = parse(mutation.clone()).ok()?;
        let context = Context { ancestor: body.clone(), ..Context::new(record.placement.clone()) };
        let decision: Decision = decide(Some(&record), &parsed, rule, &context);
        waits |= decision.clashes().iter().any(|clash| is_within(&clash.path, &conflict.path));
        record = decision.record()?.clone();
    }
    Some((record, waits))
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

/// Whether the sides changed something of their ancestor in different ways; so it is where that cannot be told.
fn clashes<'a>(conflict: &Conflict, rule: &Rule, row: impl Fn(Revision) -> Option<Row<'a>> + Copy) -> bool {
    let body = |choice: Choice| match wanted(conflict, &choice, rule, row) {
        Ok(Wanted::Value(Value::Object(body))) => Some(body),
        _ => None,
    };
    let Some(ancestor) = body(Choice::Ancestor) else { return true };
    let mut merged: Option<Map<String, Value>> = None;
    for side in conflict.sides() {
        let Some(body) = body(Choice::Side(side.stamp.dot)) else { return true };
        let (next, paths) = match merged {
            Some(before) => merge::objects(Some(&ancestor), &before, &body, Prefer::Second),
            None => (body, Vec::new()),
        };
        if !paths.is_empty() {
            return true;
        }
        merged = Some(next);
    }
    false
}

#[cfg(test)]
mod tests;
