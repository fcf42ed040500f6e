//! Identities that have collapsed: under the ordered policies such a state does not take the place of a healthy one.
//!
//! - `a_collapsed_state_does_not_overwrite_a_healthy_one`, whoever wrote it, however new it is, and though its author had
//!   seen what stands: what stands goes on to stand, where it stands, and the write is the losing side of a conflict.
//! - `a_healthy_state_stands_over_a_collapsed_one_in_either_order`, where neither had seen the other.
//! - `a_collapse_that_is_kept_out_is_told_by_its_conflict`, in either order.
//! - `what_cannot_be_read_does_not_overwrite_a_healthy_one`: parameters that are there and out of their range, or no numbers.
//!   That is no collapse, and no conflict tells it as one; [`is_kept_unread`] does, of a row of history.
//! - `what_says_no_score_is_settled_as_any_other_body`, and so is a state of another kind, a delete and a sealed body.
//! - `a_decision_at_the_hub_may_make_a_collapsed_state_stand`: a person has said so, or a precedent that was made over one.
//! - `what_a_rule_puts_together_is_looked_at_once_more`: [`collapses`] tells what no person has said.
//!
//! Under the join policies nothing of this holds: there the stamp alone decides, because any order of arrival must come
//! to the same.

use serde_json::Value;

use super::base::Standing;
use super::{Context, Parsed};
use crate::clock::Stamp;
use crate::conflict::{Clash, ConflictType};
use crate::envelope::{KEY_ID_CLEAR, Mutation, Op, Record};
use crate::fault::Fault;
use crate::identity::KIND;
use crate::identity::summary::{is_collapsed, is_healthy, is_unreadable};
use crate::ids::{Dot, Writer};
use crate::join::life::{Life, State};
use crate::join::{self, Delta};
use crate::kind::{Policy, Rule};
use crate::reason::Refusal;
use crate::version::Version;

/// Whether a change makes a collapsed state of an identity stand in the place of a healthy one.
#[must_use]
pub fn collapses(before: &Record, after: &Record) -> bool {
    let state = |record: &Record| -> Option<Value> {
        let body = record.body().filter(|_| record.key_id == KEY_ID_CLEAR)?;
        serde_json::from_slice(body).ok()
    };
    before.key.kind.as_str() == KIND
        && state(before).is_some_and(|state| is_healthy(&state))
        && state(after).is_some_and(|state| is_down(&state))
}

/// Whether a write that does not stand was kept out because nobody can read it: what stands is healthy, and the policy then
/// kept such a state out.
#[must_use]
pub fn is_kept_unread(mutation: &Mutation, stands: &Record, policy: Policy) -> bool {
    let Op::Put { body } = &mutation.op else { return false };
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
    let is_clear = mutation.key_id == KEY_ID_CLEAR && stands.key_id == KEY_ID_CLEAR;
    policy.is_ordered()
        && mutation.key.kind.as_str() == KIND
        && is_clear
        && read(body).is_some_and(|state| is_unreadable(&state))
        && stands.body().and_then(read).is_some_and(|state| is_healthy(&state))
}

/// A record and what comes upon it.
pub(super) struct Case<'a> {
    pub(super) current: &'a Record,
    pub(super) before: &'a Life,
    pub(super) delta: &'a Delta,
    pub(super) seen: &'a Version,
    pub(super) standing: Standing,
}

/// What stands where one of two states has collapsed and the other has not; `None`: the policy decides.
pub(super) fn settle(
    case: &Case<'_>,
    parsed: &Parsed,
    rule: &Rule,
    context: &Context,
) -> Result<Option<(Record, Vec<Clash>)>, Refusal> {
    let Some(Guarded { life, winner, loser, is_collapse }) = case.guarded(parsed, rule) else {
        return Ok(None);
    };
    let stands = life.stamp == case.before.stamp;
    let mut record = join::close(case.current, case.delta, life, rule)?;
    if stands {
        // The write is kept out whole, where it would have put the record included.
        record.inputs = case.current.inputs.clone();
        record.placement = case.current.placement.clone();
        record.placement_stamp = case.current.placement_stamp;
    }
    if let Some(revision) = context.revision.filter(|_| case.standing != Standing::Sequential) {
        record.version.add(Dot { writer: Writer::HUB, n: revision.0 });
    }
    let is_new = loser.dot == parsed.mutation.dot || !case.seen.contains(loser.dot);
    let conflict_type = ConflictType::Version;
    let clash = Clash { path: String::new(), conflict_type, winner, loser, is_collapse };
    Ok(Some((record, is_new.then_some(clash).into_iter().collect())))
}

/// What comes of a guarded case.
struct Guarded {
    /// What stands.
    life: Life,
    /// Its stamp.
    winner: Stamp,
    /// That of what does not.
    loser: Stamp,
    /// Whether that has collapsed.
    is_collapse: bool,
}

impl Case<'_> {
    fn guarded(&self, parsed: &Parsed, rule: &Rule) -> Option<Guarded> {
        let (before, mine) = (self.before, self.delta.life());
        let mutation = &parsed.mutation;
        let is_asked = rule.policy.is_ordered()
            && mutation.key.kind.as_str() == KIND
            && mutation.dot.writer != Writer::HUB
            && mutation.key_id == KEY_ID_CLEAR
            && matches!(mutation.op, Op::Put { .. })
            && before.rank() == mine.rank();
        let State::Whole(whole) = &before.state else { return None };
        if !is_asked || whole.key_id != KEY_ID_CLEAR {
            return None;
        }
        let stands: Value = serde_json::from_slice(&whole.body).ok()?;
        let comes = Value::Object(parsed.fields().clone());
        if is_healthy(&stands) && is_down(&comes) && !Fault::CollapsedOverHealthy.is_planted() {
            let is_collapse = is_collapsed(&comes);
            let (winner, loser) = (before.stamp, mine.stamp);
            return Some(Guarded { life: before.clone(), winner, loser, is_collapse });
        }
        let is_rescue = self.standing != Standing::Sequential && is_down(&stands) && is_healthy(&comes);
        is_rescue.then(|| {
            let is_collapse = is_collapsed(&stands);
            Guarded { life: mine.clone(), winner: mine.stamp, loser: before.stamp, is_collapse }
        })
    }
}

/// Whether a state has collapsed, or says that of itself from which nobody can tell.
fn is_down(state: &Value) -> bool {
    is_collapsed(state) || is_unreadable(state)
}
