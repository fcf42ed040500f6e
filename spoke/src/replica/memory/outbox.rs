//! The outbox table in memory: entries and the orders in which they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use semantics::ids::{GroupId, Key, MutationId, Revision};

use crate::replica::entry::{Entry, EntryState};
use crate::replica::store::OutboxTotals;

#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<MutationId, Arc<Entry>>,
    by_order: BTreeMap<u64, MutationId>,
    by_key: BTreeMap<Key, BTreeMap<u64, MutationId>>,
    by_after: BTreeMap<MutationId, BTreeMap<u64, MutationId>>,
    by_group: BTreeMap<GroupId, BTreeMap<u32, MutationId>>,
    queued: BTreeSet<u64>,
    dotted: BTreeMap<u64, MutationId>,
    answered: BTreeSet<(Revision, MutationId)>,
    totals: OutboxTotals,
}

impl Outbox {
    pub(super) fn put(&mut self, entry: Entry) {
        self.remove(entry.id());
        let id = entry.id();
        self.by_order.insert(entry.order, id);
        self.by_key.entry(entry.mutation.key.clone()).or_default().insert(entry.order, id);
        if let Some(after) = entry.after {
            self.by_after.entry(after).or_default().insert(entry.order, id);
        }
        if let Some(group) = entry.mutation.group {
            self.by_group.entry(group.id).or_default().insert(group.index, id);
        }
        match &entry.state {
            EntryState::Queued => {
                self.queued.insert(entry.order);
            }
            EntryState::Dotted { .. } => {
                self.dotted.insert(entry.mutation.dot.n, id);
            }
            EntryState::Answered { revision, .. } => {
                self.answered.insert((*revision, id));
            }
            EntryState::SetAside { .. } => {}
        }
        self.totals.entries += 1;
        self.totals.bytes += entry.bytes();
        *self.count(&entry.state) += 1;
        self.entries.insert(id, Arc::new(entry));
    }

    pub(super) fn remove(&mut self, id: MutationId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_order.remove(&entry.order);
        take(&mut self.by_key, &entry.mutation.key, &entry.order);
        if let Some(after) = entry.after {
            take(&mut self.by_after, &after, &entry.order);
        }
        if let Some(group) = entry.mutation.group {
            take(&mut self.by_group, &group.id, &group.index);
        }
        self.queued.remove(&entry.order);
        if entry.is_dotted() {
            self.dotted.remove(&entry.mutation.dot.n);
        }
        if let Some(revision) = entry.answered_revision() {
            self.answered.remove(&(revision, id));
        }
        self.totals.entries -= 1;
        self.totals.bytes -= entry.bytes();
        *self.count(&entry.state) -= 1;
    }

    fn count(&mut self, state: &EntryState) -> &mut u64 {
        match state {
            EntryState::Queued => &mut self.totals.queued,
            EntryState::Dotted { .. } => &mut self.totals.dotted,
            EntryState::Answered { .. } => &mut self.totals.answered,
            EntryState::SetAside { .. } => &mut self.totals.set_aside,
        }
    }

    fn entry(&self, id: &MutationId) -> Option<Entry> {
        self.entries.get(id).map(|entry| Entry::clone(entry))
    }

    fn list<'a>(&self, ids: impl IntoIterator<Item = &'a MutationId>) -> Vec<Entry> {
        ids.into_iter().filter_map(|id| self.entry(id)).collect()
    }

    pub(super) fn get(&self, ids: &[MutationId]) -> Vec<Entry> {
        let mut entries = self.list(ids);
        entries.sort_by_key(|entry| entry.order);
        entries
    }

    pub(super) fn of(&self, key: &Key) -> Vec<Entry> {
        self.by_key.get(key).map_or_else(Vec::new, |ids| self.list(ids.values()))
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn last_shown(&self, key: &Key) -> Option<Entry> {
        let ids = self.by_key.get(key)?;
        ids.values()
            .rev()
            .filter_map(|id| self.entries.get(id))
            .find(|e| e.is_shown())
            .map(|e| Entry::clone(e))
    }

    pub(super) fn after(&self, ids: &[MutationId]) -> Vec<Entry> {
        let ids: BTreeSet<&MutationId> = ids.iter().collect();
        let mut entries =
            self.list(ids.into_iter().filter_map(|id| self.by_after.get(id)).flat_map(BTreeMap::values));
        entries.sort_by_key(|entry| entry.order);
        entries
    }

    pub(super) fn group(&self, group: GroupId) -> Vec<Entry> {
        self.by_group.get(&group).map_or_else(Vec::new, |ids| self.list(ids.values()))
    }

    pub(super) fn dotted(&self, after_n: u64, limit: usize) -> Vec<Entry> {
        self.list(
            self.dotted.range((Bound::Excluded(after_n), Bound::Unbounded)).map(|(_, id)| id).take(limit),
        )
    }

    pub(super) fn queued(&self, after_order: Option<u64>, limit: usize) -> Vec<Entry> {
        let orders = self.queued.range((from(after_order), Bound::Unbounded));
        self.list(orders.filter_map(|order| self.by_order.get(order)).take(limit))
    }

    pub(super) fn answered(&self, up_to: Revision, limit: usize) -> Vec<Entry> {
        self.list(self.answered.iter().take_while(|(at, _)| *at <= up_to).map(|(_, id)| id).take(limit))
    }

    pub(super) fn page(&self, after_order: Option<u64>, limit: usize) -> Vec<Entry> {
        self.list(self.by_order.range((from(after_order), Bound::Unbounded)).map(|(_, id)| id).take(limit))
    }

    pub(super) fn totals(&self) -> OutboxTotals {
        self.totals
    }
}

fn from(after: Option<u64>) -> Bound<u64> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

fn take<K: Ord, O: Ord>(index: &mut BTreeMap<K, BTreeMap<O, MutationId>>, key: &K, order: &O) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(order);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
