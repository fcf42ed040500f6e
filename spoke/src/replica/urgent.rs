//! What goes out before everything else that waits in the outbox: a list of mutations, kept beside it. The outbox itself
//! keeps its order; only who gets the next dots is another.
//!
//! - `what_is_urgent_is_sent_before_what_waits_longer`.
//! - `what_is_urgent_takes_its_causes_with_it`: what it was made on and is not sent, group and all, in their order.
//! - `what_is_urgent_and_has_no_room_is_urgent_in_the_next_push`.
//! - `what_rests_on_more_than_goes_at_once_waits_its_turn`.

use std::collections::{BTreeMap, BTreeSet};

use semantics::envelope::Op;
use semantics::fault::Fault;
use semantics::identity::event::{Priority, priority_of_write};
use semantics::ids::{Key, MutationId};

use super::Replica;
use super::entry::Entry;
use super::outbox::Batch;
use super::state;
use super::store::{MetaKey, ReplicaTxn};
use crate::error::{ReplicaError, StoreError};

/// Most mutations that are urgent at one time; past it one more goes in its turn.
pub const URGENT_MAX: usize = 64;
/// Most mutations that one urgent mutation takes with it; what rests on more goes in its turn.
pub const CAUSES_MAX: usize = 128;

/// Whether a write of an identity is one that others should have at once.
pub(super) fn is_urgent(key: &Key, before: Option<&[u8]>, op: &Op) -> bool {
    match op {
        Op::Put { body } => priority_of_write(&key.kind, before, body) == Priority::High,
        Op::Patch { .. } | Op::Delete => false,
    }
}

/// Adds mutations to those that go first.
pub(super) async fn note(txn: &mut dyn ReplicaTxn, ids: &[MutationId]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut urgent = state::urgent(txn).await?;
    for id in ids {
        if urgent.len() < URGENT_MAX && !urgent.contains(id) {
            urgent.push(*id);
        }
    }
    state::save(txn, MetaKey::Urgent, &urgent).await
}

impl Replica {
    /// Whether a mutation that goes out before all others still waits for the hub.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn has_urgent(&self) -> Result<bool, ReplicaError> {
        let mut txn = self.read().await?;
        let urgent = state::urgent(&mut *txn).await?;
        if urgent.is_empty() {
            return Ok(false);
        }
        let entries = txn.outbox_get(&urgent).await?;
        Ok(entries.iter().any(|entry| entry.is_queued() || entry.is_dotted()))
    }

    /// Has a mutation that waits in the outbox sent before all others, with what it was made on. One that is sent already
    /// stays where it is, and of one that is not in the outbox nothing is to be sent.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn hurry(&self, id: MutationId) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        note(&mut *txn, &[id]).await?;
        Ok(txn.commit().await?)
    }
}

impl Batch {
    /// Gives dots to what is urgent, before anything else that is queued. What is left of the list afterwards: what
    /// neither took effect nor was given up.
    pub(super) async fn hurry(
        &mut self,
        txn: &mut dyn ReplicaTxn,
        urgent: Vec<MutationId>,
    ) -> Result<Vec<MutationId>, ReplicaError> {
        let mut left = Vec::new();
        let mut urgent = urgent.into_iter();
        while let Some(id) = urgent.next() {
            let Some(entry) = txn.outbox_get(&[id]).await?.pop() else { continue };
            if entry.is_dotted() {
                left.push(id);
            }
            if !entry.is_queued() {
                continue;
            }
            left.push(id);
            let Some(units) = units(txn, entry).await? else { continue };
            for unit in units {
                if !self.has_room_for(&unit) {
                    left.extend(urgent);
                    return Ok(left);
                }
                self.dot(txn, unit).await?;
            }
        }
        Ok(left)
    }
}

/// An entry and everything unsent that it rests on, each with its group, in the order of writing; `None` where that is
/// more than goes at once.
async fn units(txn: &mut dyn ReplicaTxn, entry: Entry) -> Result<Option<Vec<Vec<Entry>>>, StoreError> {
    let (mut found, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut waiting = vec![entry];
    while let Some(entry) = waiting.pop() {
        if !entry.is_queued() || seen.contains(&entry.id()) {
            continue;
        }
        let unit = match entry.mutation.group {
            Some(group) => txn.outbox_group(group.id).await?,
            None => vec![entry],
        };
        seen.extend(unit.iter().map(Entry::id));
        if seen.len() > CAUSES_MAX {
            return Ok(None);
        }
        let causes: Vec<MutationId> = unit.iter().filter_map(|entry| entry.after).collect();
        if !Fault::PriorityBeforeCause.is_planted() {
            waiting.extend(txn.outbox_get(&causes).await?);
        }
        if let Some(first) = unit.first() {
            found.insert(first.order, unit);
        }
    }
    Ok(Some(found.into_values().collect()))
}
