//! Identities that have collapsed: under the ordered policies such a state does not take the place of a healthy one.
//!
//! - `a_collapsed_state_does_not_overwrite_a_healthy_one`, whoever wrote it, however new it is, and though its author had
//!   seen what stands: what stands goes on to stand, and the write is the losing side of a conflict.
//! - `a_healthy_state_stands_over_a_collapsed_one_in_either_order`, where neither had seen the other.
//! - `a_collapse_that_is_kept_out_is_told_by_its_conflict`, in either order.
//! - `what_says_no_score_is_settled_as_any_other_body`, and so is a state of another kind, a delete and a sealed body.
//! - `a_decision_at_the_hub_may_make_a_collapsed_state_stand`: a person, a vote or a precedent has said so.
//!
//! Under the join policies nothing of this holds: there the stamp alone decides, because any order of arrival must come
//! to the same.

use serde_json::Value;

use super::base::Standing;
use super::{Context, Parsed};
use crate::clock::Stamp;
use crate::conflict::{Clash, ConflictType};
use crate::envelope::{KEY_ID_CLEAR, Op, Record};
use crate::fault::Fault;
use crate::identity::KIND;
use crate::identity::summary::{is_collapsed, is_healthy};
use crate::ids::{Dot, Writer};
use crate::join::life::{Life, State};
use crate::join::{self, Delta};
use crate::kind::Rule;
use crate::reason::Refusal;
use crate::version::Version;

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
    let Some((life, winner, loser)) = case.guarded(parsed, rule) else { return Ok(None) };
    let stands = life.stamp == case.before.stamp;
    let mut record = join::close(case.current, case.delta, life, rule)?;
    if stands {
        record.inputs = case.current.inputs.clone();
    }
    if let Some(revision) = context.revision.filter(|_| case.standing != Standing::Sequential) {
        record.version.add(Dot { writer: Writer::HUB, n: revision.0 });
    }
    let is_new = loser.dot == parsed.mutation.dot || !case.seen.contains(loser.dot);
    let conflict_type = ConflictType::Version;
    let clash = Clash { path: String::new(), conflict_type, winner, loser, is_collapse: true };
    Ok(Some((record, is_new.then_some(clash).into_iter().collect())))
}

impl Case<'_> {
    /// The life that stands, its stamp, and that of the one that does not.
    fn guarded(&self, parsed: &Parsed, rule: &Rule) -> Option<(Life, Stamp, Stamp)> {
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
        if is_healthy(&stands) && is_collapsed(&comes) && !Fault::CollapsedOverHealthy.is_planted() {
            return Some((before.clone(), before.stamp, mine.stamp));
        }
        let is_rescue = self.standing != Standing::Sequential && is_collapsed(&stands) && is_healthy(&comes);
        is_rescue.then(|| (mine.clone(), mine.stamp, before.stamp))
    }
}
