//! The store in memory: the model for the others, and what simulations run on.

mod outbox;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use semantics::envelope::{Cell, Record};
use semantics::ids::{GroupId, Key, MutationId, Revision};
use tokio::sync::OwnedMutexGuard;

use self::outbox::Outbox;
use super::entry::Entry;
use super::store::{
    CHANGES_KEPT, ChangesKept, ConfirmedRow, Kept, MetaKey, Mode, OutboxTotals, ROWS_MAX, Range,
    ReplicaStore, ReplicaTxn, Staged, VisibleChange,
};
use crate::error::StoreError;

/// A transaction works on a copy; committing puts the copy in place. "Durable" means: survives the transaction,
/// as a file would survive the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<RwLock<State>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// Everything a store held at one moment: a copied folder, or a backup.
#[derive(Clone)]
pub struct Snapshot(State);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} confirmed rows)", self.0.confirmed.len())
    }
}

// Tables are shared between copies until one of them writes.
#[derive(Debug, Clone, Default)]
struct State {
    meta: Arc<BTreeMap<MetaKey, Vec<u8>>>,
    confirmed: Arc<BTreeMap<Key, Arc<ConfirmedRow>>>,
    pending: Arc<BTreeMap<Key, Arc<Record>>>,
    outbox: Arc<Outbox>,
    staging: Arc<BTreeMap<Key, Arc<Staged>>>,
    cells: Arc<BTreeMap<Cell, Vec<u8>>>,
    kept: Arc<BTreeMap<Revision, Kept>>,
    remnants: Arc<BTreeMap<Key, Arc<ConfirmedRow>>>,
    changes: Changes,
}

/// Committed changes in blocks, one for each commit, so that a copy of the state shares them.
#[derive(Debug, Clone, Default)]
struct Changes {
    blocks: Arc<BTreeMap<u64, Arc<Vec<Key>>>>,
    last: u64,
}

impl Changes {
    fn append(&mut self, keys: BTreeSet<Key>) {
        if keys.is_empty() {
            return;
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        let keys: Vec<Key> = keys.into_iter().collect();
        let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        blocks.insert(self.last + 1, Arc::new(keys));
        self.last += count;
        // A whole block goes once the one behind it reaches back far enough.
        let reach = self.last.saturating_sub(CHANGES_KEPT);
        while blocks.keys().nth(1).is_some_and(|first| *first <= reach + 1) {
            blocks.pop_first();
        }
    }

    fn kept(&self) -> ChangesKept {
        let first = self.blocks.first_key_value().map_or(1, |(first, _)| *first);
        ChangesKept { after: first - 1, last: self.last }
    }

    fn after(&self, position: u64, limit: usize) -> Vec<VisibleChange> {
        let start =
            self.blocks.range(..=position.saturating_add(1)).next_back().map_or(0, |(first, _)| *first);
        let blocks = self.blocks.range(start..);
        blocks
            .flat_map(|(first, keys)| (*first..).zip(keys.iter()))
            .filter(|(at, _)| *at > position)
            .take(limit)
            .map(|(position, key)| VisibleChange { position, key: key.clone() })
            .collect()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// A copy of everything committed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
    /// Puts a copy in place of everything. Nobody may be using the store meanwhile.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = snapshot.0.clone();
    }
    /// Changes one confirmed row behind everyone's back, as a damaged disk would. Whether there was one.
    pub fn damage(&self, key: &Key, change: impl FnOnce(&mut ConfirmedRow)) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match Arc::make_mut(&mut state.confirmed).get_mut(key) {
            Some(row) => {
                change(Arc::make_mut(row));
                true
            }
            None => false,
        }
    }
}

#[async_trait]
impl ReplicaStore for MemoryStore {
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        let turn = match mode {
            Mode::Read => None,
            Mode::Write => Some(Arc::clone(&self.writer).lock_owned().await),
        };
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(Txn { home: Arc::clone(&self.state), state, turn, changed: BTreeSet::new() }))
    }
}

struct Txn {
    home: Arc<RwLock<State>>,
    state: State,
    turn: Option<OwnedMutexGuard<()>>,
    changed: BTreeSet<Key>,
}

impl Txn {
    fn writable(&mut self) -> Result<&mut State, StoreError> {
        match self.turn {
            Some(_) => Ok(&mut self.state),
            None => Err(StoreError::Unavailable("a write in a read transaction".to_owned())),
        }
    }
}

fn page<T>(table: &BTreeMap<Key, Arc<T>>, range: &Range, limit: usize) -> Vec<T>
where
    T: Clone,
{
    let from = match (&range.after, &range.kind) {
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, _) => Bound::Unbounded,
    };
    // A model may be slow: it skips what does not match rather than seeking to it.
    table
        .range((from, Bound::Unbounded))
        .filter(|(key, _)| range.contains(key))
        .take(limit.min(ROWS_MAX))
        .map(|(_, row)| T::clone(row))
        .collect()
}

#[async_trait]
impl ReplicaTxn for Txn {
    async fn meta_get(&mut self, key: MetaKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.meta.get(&key).cloned())
    }
    async fn meta_put(&mut self, key: MetaKey, value: Option<&[u8]>) -> Result<(), StoreError> {
        let meta = Arc::make_mut(&mut self.writable()?.meta);
        match value {
            Some(value) => meta.insert(key, value.to_vec()),
            None => meta.remove(&key),
        };
        Ok(())
    }

    async fn confirmed_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, ConfirmedRow>, StoreError> {
        let table = &self.state.confirmed;
        Ok(keys
            .iter()
            .filter_map(|key| table.get(key).map(|row| (key.clone(), ConfirmedRow::clone(row))))
            .collect())
    }
    async fn confirmed_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.confirmed);
        for row in rows {
            table.insert(row.record.key.clone(), Arc::new(row.clone()));
        }
        Ok(())
    }
    async fn confirmed_delete(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.confirmed);
        for key in keys {
            table.remove(key);
        }
        Ok(())
    }
    async fn confirmed_page(&mut self, range: &Range, limit: usize) -> Result<Vec<ConfirmedRow>, StoreError> {
        Ok(page(&self.state.confirmed, range, limit))
    }

    async fn pending_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Record>, StoreError> {
        let table = &self.state.pending;
        Ok(keys
            .iter()
            .filter_map(|key| table.get(key).map(|record| (key.clone(), Record::clone(record))))
            .collect())
    }
    async fn pending_put(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.pending);
        for record in records {
            table.insert(record.key.clone(), Arc::new(record.clone()));
        }
        Ok(())
    }
    async fn pending_delete(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.pending);
        for key in keys {
            table.remove(key);
        }
        Ok(())
    }
    async fn pending_page(&mut self, range: &Range, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(page(&self.state.pending, range, limit))
    }

    async fn outbox_put(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let outbox = Arc::make_mut(&mut self.writable()?.outbox);
        for entry in entries {
            outbox.put(entry.clone());
        }
        Ok(())
    }
    async fn outbox_remove(&mut self, ids: &[MutationId]) -> Result<(), StoreError> {
        let outbox = Arc::make_mut(&mut self.writable()?.outbox);
        for id in ids {
            outbox.remove(*id);
        }
        Ok(())
    }
    async fn outbox_get(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.get(ids))
    }
    async fn outbox_of(&mut self, key: &Key) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.of(key))
    }
    async fn outbox_has(&mut self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        Ok(keys.iter().filter(|key| self.state.outbox.has(key)).cloned().collect())
    }
    async fn outbox_last(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Entry>, StoreError> {
        Ok(keys
            .iter()
            .filter_map(|key| self.state.outbox.last_shown(key).map(|entry| (key.clone(), entry)))
            .collect())
    }
    async fn outbox_after(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.after(ids))
    }
    async fn outbox_group(&mut self, group: GroupId) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.group(group))
    }
    async fn outbox_dotted(&mut self, after_n: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.dotted(after_n, limit.min(ROWS_MAX)))
    }
    async fn outbox_queued(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.queued(after_order, limit.min(ROWS_MAX)))
    }
    async fn outbox_answered(&mut self, up_to: Revision, limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.answered(up_to, limit.min(ROWS_MAX)))
    }
    async fn outbox_page(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        Ok(self.state.outbox.page(after_order, limit.min(ROWS_MAX)))
    }
    async fn outbox_totals(&mut self) -> Result<OutboxTotals, StoreError> {
        Ok(self.state.outbox.totals())
    }

    async fn kept_put(&mut self, kept: &[Kept]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.kept);
        table.extend(kept.iter().map(|kept| (kept.revision, kept.clone())));
        Ok(())
    }
    async fn kept_page(&mut self, after: Revision, limit: usize) -> Result<Vec<Kept>, StoreError> {
        let rows = self.state.kept.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(rows.take(limit.min(ROWS_MAX)).map(|(_, kept)| kept.clone()).collect())
    }
    async fn kept_remove(&mut self, up_to: Revision) -> Result<(), StoreError> {
        Arc::make_mut(&mut self.writable()?.kept).retain(|revision, _| *revision > up_to);
        Ok(())
    }

    async fn remnants_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.remnants);
        table.extend(rows.iter().map(|row| (row.record.key.clone(), Arc::new(row.clone()))));
        Ok(())
    }
    async fn remnants_page(
        &mut self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, StoreError> {
        let range = Range { after: after.cloned(), ..Range::default() };
        Ok(page(&self.state.remnants, &range, limit))
    }
    async fn remnants_clear(&mut self) -> Result<(), StoreError> {
        self.writable()?.remnants = Arc::default();
        Ok(())
    }

    async fn staging_put(&mut self, items: &[Staged]) -> Result<(), StoreError> {
        let table = Arc::make_mut(&mut self.writable()?.staging);
        for item in items {
            let is_newer = table.get(item.key()).is_none_or(|held| held.rank() < item.rank());
            if is_newer {
                table.insert(item.key().clone(), Arc::new(item.clone()));
            }
        }
        Ok(())
    }
    async fn staging_page(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<Staged>, StoreError> {
        let range = Range { after: after.cloned(), ..Range::default() };
        Ok(page(&self.state.staging, &range, limit))
    }
    async fn staging_confirm(&mut self) -> Result<(), StoreError> {
        let state = self.writable()?;
        let rows = std::mem::take(&mut state.staging);
        let confirmed = rows.values().filter_map(|item| match &**item {
            Staged::Change(change) => Some(ConfirmedRow::of(change)),
            Staged::Departure(_) => None,
        });
        state.confirmed = Arc::new(confirmed.map(|row| (row.record.key.clone(), Arc::new(row))).collect());
        Ok(())
    }
    async fn staging_clear(&mut self) -> Result<(), StoreError> {
        self.writable()?.staging = Arc::default();
        Ok(())
    }

    async fn cells(&mut self) -> Result<BTreeMap<Cell, Vec<u8>>, StoreError> {
        Ok(BTreeMap::clone(&self.state.cells))
    }
    async fn cell_put(&mut self, cell: &Cell, state: Option<&[u8]>) -> Result<(), StoreError> {
        let cells = Arc::make_mut(&mut self.writable()?.cells);
        match state {
            Some(state) => cells.insert(cell.clone(), state.to_vec()),
            None => cells.remove(cell),
        };
        Ok(())
    }
    async fn cells_clear(&mut self) -> Result<(), StoreError> {
        self.writable()?.cells = Arc::default();
        Ok(())
    }

    async fn visible_changed(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        self.writable()?;
        self.changed.extend(keys.iter().cloned());
        Ok(())
    }
    async fn all_changed(&mut self) -> Result<(), StoreError> {
        self.writable()?;
        self.changed.extend(self.state.confirmed.keys().cloned());
        Ok(())
    }
    async fn changes_after(&mut self, position: u64, limit: usize) -> Result<Vec<VisibleChange>, StoreError> {
        Ok(self.state.changes.after(position, limit.min(ROWS_MAX)))
    }
    async fn changes_kept(&mut self) -> Result<ChangesKept, StoreError> {
        Ok(self.state.changes.kept())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.turn.is_some() {
            let changed = std::mem::take(&mut self.changed);
            self.state.changes.append(changed);
            *self.home.write().unwrap_or_else(PoisonError::into_inner) = self.state;
        }
        Ok(())
    }
}
