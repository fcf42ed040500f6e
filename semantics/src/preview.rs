//! What a policy would have made of a conflict that came out otherwise. It is asked about sides that are still kept,
//! and changes nothing.
//!
//! - `branch_and_manual_let_the_later_side_stand_and_wait`, as does last_writer.
//! - `three_way_waits_for_nobody_where_the_sides_touch_different_paths`; of a path alone it lets the later side stand.
//! - `what_came_is_what_was_settled`, and while nobody has settled it the side that stands.

use serde_json::{Map, Value};

use crate::conflict::Conflict;
use crate::ids::Revision;
use crate::kind::{Policy, Rule};
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
