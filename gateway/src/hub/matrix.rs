//! What the arbiter settles by the type of a conflict, of kinds with the policy `by_type`: see [`semantics::matrix`].
//!
//! - `each_type_is_settled_its_way`: the reason names the type, the strategy and what it went by.
//! - `a_state_that_does_not_hold_is_kept_and_a_sound_one_stands`, also where its author had seen all that stood.
//! - `what_nobody_outweighs_waits_and_blocks_nothing`: split-brain without a greater precedence is a person's; other
//!   records go on.
//! - `what_was_recorded_without_a_type_waits_for_a_person`: nothing is known of how its sides came apart.
//! - `who_wrote_over_a_conflict_is_not_overruled`: once something else stands than one of the sides.

use std::collections::BTreeSet;

use semantics::clock::Stamp;
use semantics::conflict::Side;
use semantics::envelope::{KEY_ID_CLEAR, Record};
use semantics::health::Health;
use semantics::identity::vote::State;
use semantics::ids::{Revision, TenantId};
use semantics::matrix::{CAUSE_ROWS_MAX, Case, Cause, Ruling, may_come_back, rule_on};
use semantics::resolution::{Choice, Wanted};
use serde_json::Value;

use super::Hub;
use super::arbiter::Verdict;
use super::error::HubError;
use super::settle::Disputed;

/// The sides of a conflict with what they say, as far as it can be read.
pub(super) type Bodies = Vec<(Stamp, Option<Wanted>)>;

impl Disputed {
    pub(super) fn bodies(&self) -> Bodies {
        let says = |side: &Side| self.wanted(&Choice::Side(side.stamp.dot)).ok();
        self.conflict.sides().map(|side| (side.stamp, says(side))).collect()
    }
}

impl Hub {
    /// The sides of a conflict as they are weighed.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn states<'a>(
        &self,
        tenant: &TenantId,
        bodies: &'a Bodies,
    ) -> Result<Vec<State<'a>>, HubError> {
        let health = self.health(tenant).await?;
        let states = bodies.iter().map(|(stamp, wanted)| State {
            stamp: *stamp,
            body: if let Some(Wanted::Value(body)) = wanted { Some(body) } else { None },
            health: health.get(&stamp.dot.writer.node).copied().unwrap_or(Health::Offline),
        });
        Ok(states.collect())
    }

    pub(super) async fn by_type(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
    ) -> Result<Option<Verdict>, HubError> {
        let Some(stands) = disputed.subject.as_ref() else { return Ok(None) };
        if disputed.conflict.sides().all(|side| side.stamp != stands.record.stamp) {
            return Ok(None);
        }
        let over = Some(stands.pointer.revision);
        let ruled = self.ruled(tenant, disputed, disputed.conflict.cause).await?;
        Ok(ruled.map(|verdict| Verdict { over, ..verdict }))
    }

    /// What the matrix says of a conflict's sides that came apart so, whatever stands.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn ruled(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
        cause: Option<Cause>,
    ) -> Result<Option<Verdict>, HubError> {
        let conflict = &disputed.conflict;
        let Some(cause) = cause.filter(|_| conflict.path.is_empty() && conflict.dropped == 0) else {
            return Ok(None);
        };
        let bodies = disputed.bodies();
        let states = self.states(tenant, &bodies).await?;
        let is_corrupt = cause == Cause::Corruption;
        let restored = if is_corrupt { self.sound(tenant, disputed, &states).await? } else { None };
        let ancestor = disputed.wanted(&Choice::Ancestor);
        let case = Case {
            cause,
            sides: &states,
            ancestor: if let Ok(Wanted::Value(state)) = &ancestor { Some(state) } else { None },
            sound: restored.as_ref().map(|(revision, _)| *revision),
        };
        let Some(ruled) = rule_on(&case) else { return Ok(None) };
        let choice = match (ruled.ruling, restored) {
            (Ruling::Side(dot), _) => Choice::Side(dot),
            (Ruling::Ancestor, _) => Choice::Ancestor,
            (Ruling::Stood(_), Some((_, state))) => Choice::Value(Some(state)),
            (Ruling::Stood(_), None) => return Ok(None),
        };
        let (name, reason) = ("by_type".to_owned(), ruled.reason);
        Ok(Some(Verdict { choice, name, reason, precedent: None, over: None }))
    }

    /// The newest state of the record in history that may stand in the place of the sides, among the newest rows.
    async fn sound(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
        sides: &[State<'_>],
    ) -> Result<Option<(Revision, Value)>, HubError> {
        let state = |record: &Record| {
            let body = record.body().filter(|_| record.key_id == KEY_ID_CLEAR)?;
            serde_json::from_slice::<Value>(body).ok().filter(|state| may_come_back(state, sides))
        };
        let mut at = disputed.conflict.sides().map(|side| side.revision).max().unwrap_or_default();
        for _ in 0..2 * CAUSE_ROWS_MAX {
            if at == Revision::ZERO {
                return Ok(None);
            }
            let rows = self.store().rows(tenant, &BTreeSet::from([at])).await?;
            let Some(row) = rows.into_iter().find(|row| row.record.key == disputed.conflict.subject) else {
                return Ok(None);
            };
            if let Some(state) = state(&row.record) {
                return Ok(Some((at, state)));
            }
            at = row.previous;
        }
        Ok(None)
    }
}
