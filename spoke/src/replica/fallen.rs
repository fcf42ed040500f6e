//! Identities that fell here: a collapsed state is kept out of the place of a healthy one, so what is shown does not tell.
//!
//! - `the_write_that_rescues_a_collapse_which_was_kept_out_is_urgent`, however long ago the collapse was written here.
//! - `an_own_collapse_is_known_before_the_hub_has_it`.

use semantics::envelope::{KEY_ID_CLEAR, Op};
use semantics::identity::KIND;
use semantics::identity::summary::{is_collapsed, is_healthy};
use semantics::ids::{Key, MutationId, RecordId};
use serde_json::Value;

use super::entry::Entry;
use super::store::{MetaKey, ReplicaTxn};
use super::{Replica, state};
use crate::error::{ReplicaError, StoreError};

/// Most identities that are remembered to have fallen; past it the first that fell is forgotten.
const FALLEN_MAX: usize = 1_024;

/// The identities whose last state written here has collapsed, in the order in which they fell.
#[derive(Debug, Default)]
pub(super) struct Fallen {
    ids: Vec<RecordId>,
    is_changed: bool,
}

impl Fallen {
    /// As stored, if one of these records is an identity.
    pub(super) async fn load(txn: &mut dyn ReplicaTxn, keys: &[Key]) -> Result<Self, StoreError> {
        if keys.iter().all(|key| key.kind.as_str() != KIND) {
            return Ok(Self::default());
        }
        let ids = state::load(txn, MetaKey::Fallen).await?.unwrap_or_default();
        Ok(Self { ids, is_changed: false })
    }

    /// Takes in a write; whether it rescues what had fallen.
    pub(super) fn note(&mut self, key: &Key, op: &Op) -> bool {
        let Some(document) = document(key, op) else { return false };
        let at = self.ids.iter().position(|id| *id == key.id);
        match at {
            Some(at) if is_healthy(&document) => {
                self.ids.remove(at);
                self.is_changed = true;
                true
            }
            None if is_collapsed(&document) => {
                if self.ids.len() >= FALLEN_MAX {
                    self.ids.remove(0);
                }
                self.ids.push(key.id.clone());
                self.is_changed = true;
                false
            }
            _ => false,
        }
    }

    pub(super) async fn save(&self, txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
        if self.is_changed {
            state::save(txn, MetaKey::Fallen, &self.ids).await?;
        }
        Ok(())
    }
}

/// The state of an identity that a write puts.
fn document(key: &Key, op: &Op) -> Option<Value> {
    match op {
        Op::Put { body } if key.kind.as_str() == KIND => serde_json::from_slice(body).ok(),
        _ => None,
    }
}

impl Replica {
    /// The last own write of an identity, if it waits for the hub's changes, has collapsed, and is not what is shown.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn kept_out(&self, key: &Key) -> Result<Option<MutationId>, ReplicaError> {
        let last = self.read().await?.outbox_last(std::slice::from_ref(key)).await?.remove(key);
        let Some(Entry { mutation, .. }) = last else { return Ok(None) };
        let state = document(key, &mutation.op).filter(|_| mutation.key_id == KEY_ID_CLEAR);
        if !state.is_some_and(|state| is_collapsed(&state)) {
            return Ok(None);
        }
        let shown = self.get(key).await?;
        let is_shown = match (&mutation.op, shown.as_ref().and_then(|item| item.record.body())) {
            (Op::Put { body }, Some(shown)) => body == shown,
            _ => false,
        };
        Ok((!is_shown).then_some(mutation.id))
    }
}
