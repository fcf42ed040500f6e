//! The model store: everything in memory, the yardstick for the others. Durable as long as the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use semantics::commit::Head;
use semantics::envelope::Cell;
use semantics::fault::Fault;
use semantics::ids::{CommitNumber, Key, LogId, NodeId, Revision, TenantId, Writer};
use semantics::recovery::{Restored, renewed};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::copy::RESTORED;
use super::{
    Append, Appended, CellRow, CommitRow, Current, EXCLUSIVE_MS_MAX, LOOKED_AT_MAX, Latest, Loaded, LogEntry,
    LogPage, LogQuery, LogRow, Only, PAGE_CELLS_MAX, PRUNE_COMMITS_MAX, PlainRow, Pointer, PointerPage,
    PointerQuery, Prune, ShownPage, ShownRow, Space, Store, StoreError, TenantIo, Wanted, WriterRow,
    check_plain,
};

type Plain = BTreeMap<(Space, Vec<u8>), (Vec<u8>, u64)>;

#[derive(Debug)]
struct Tenant {
    head: Head,
    log: BTreeMap<Revision, LogRow>,
    commits: BTreeMap<CommitNumber, CommitRow>,
    pointers: BTreeMap<Key, Pointer>,
    writers: BTreeMap<Writer, WriterRow>,
    cells: BTreeMap<Cell, CellRow>,
    held: BTreeSet<Revision>,
    plain: Plain,
    gate: Arc<AsyncMutex<()>>,
}

impl Tenant {
    fn copy(&self) -> Self {
        Self {
            head: self.head,
            log: self.log.clone(),
            commits: self.commits.clone(),
            pointers: self.pointers.clone(),
            writers: self.writers.clone(),
            cells: self.cells.clone(),
            held: self.held.clone(),
            plain: self.plain.clone(),
            gate: Arc::default(),
        }
    }

    /// As the other stores do when they are restored.
    fn renew(&mut self, log_id: LogId, time_ms: u64) {
        let mark = (Space::Mark, RESTORED.to_vec());
        let (before, version) = self.plain.get(&mark).cloned().unwrap_or_default();
        let before: Option<Restored> = serde_json::from_slice(&before).ok();
        let (head, restored) = renewed(&self.head, log_id, before.as_ref(), time_ms);
        self.head = head;
        self.plain.retain(|(space, _), _| !matches!(space, Space::Ack | Space::Lease));
        self.plain.insert(mark, (serde_json::to_vec(&restored).unwrap_or_default(), version + 1));
    }

    fn current(&self, key: &Key) -> Option<Current> {
        let pointer = self.pointers.get(key)?;
        let row = self.log.get(&pointer.revision)?;
        Some(Current { pointer: pointer.clone(), record: row.record.clone() })
    }

    fn load(&self, wanted: &Wanted) -> Loaded {
        Loaded {
            head: self.head,
            time_ms: None,
            current: self.currents(&wanted.keys),
            writers: pick(&self.writers, &wanted.writers),
            cells: pick(&self.cells, &wanted.cells),
        }
    }

    fn currents(&self, keys: &BTreeSet<Key>) -> BTreeMap<Key, Current> {
        keys.iter().filter_map(|key| self.current(key).map(|current| (key.clone(), current))).collect()
    }

    /// What somebody is sent of the rows after a revision, the last that was looked at, and whether that was all there are.
    fn shown(&self, query: &LogQuery) -> (Vec<ShownRow>, Revision, bool) {
        let mut shown: Vec<ShownRow> = Vec::new();
        let (mut bytes, mut looked_at, mut last) = (0, 0, query.after);
        let mut rows = self.log.range((Bound::Excluded(query.after), Bound::Unbounded)).peekable();
        while let Some((revision, row)) = rows
            .next_if(|_| shown.len() < query.rows_max && bytes < query.bytes_max && looked_at < LOOKED_AT_MAX)
        {
            (last, looked_at) = (*revision, looked_at + 1);
            let now = self.pointers.get(&row.record.key);
            if now.is_some_and(|now| now.revision == row.revision) || row.departed.is_some() {
                bytes += row.record.weight();
                shown.push(LogEntry { row: row.without_mutation(), now: now.cloned() }.into());
            }
        }
        (shown, last, rows.peek().is_none())
    }

    /// The same of rows that were the latest of their records when that was read.
    fn shown_only(&self, query: &LogQuery, only: &Only) -> (Vec<ShownRow>, Revision, bool) {
        let (mut shown, mut bytes, mut last) = (Vec::new(), 0, query.after);
        let mut wanted = only.after(query.after).iter().peekable();
        while let Some(revision) = wanted.next_if(|_| shown.len() < query.rows_max && bytes < query.bytes_max)
        {
            last = *revision;
            let is_latest = |row: &&LogRow| {
                self.pointers.get(&row.record.key).is_some_and(|now| now.revision == row.revision)
            };
            if let Some(row) = self.log.get(revision).filter(is_latest) {
                bytes += row.record.weight();
                let row = ShownRow::from(LogEntry { row: row.without_mutation(), now: None });
                shown.push(ShownRow { now: Some((row.revision, row.cell.clone())), ..row });
            }
        }
        if wanted.peek().is_some() {
            return (shown, last, false);
        }
        (shown, only.to, only.to == self.head.revision)
    }

    fn append(&mut self, append: &Append) -> Appended {
        let has_moved = if Fault::ComparedByRevision.is_planted() {
            self.head.revision.next() != append.commit.first
        } else {
            self.head.commit != append.expected || self.head.chain != append.expected_chain
        };
        if has_moved || self.head.log_id != append.head.log_id {
            return Appended::HeadMoved;
        }
        self.head = append.head;
        let append = append.clone();
        self.commits.insert(append.commit.number, append.commit);
        self.log.extend(append.rows.into_iter().map(|row| (row.revision, row)));
        self.pointers.extend(append.pointers.into_iter().map(|pointer| (pointer.key.clone(), pointer)));
        self.writers.extend(append.writers.into_iter().map(|writer| (writer.writer, writer)));
        self.cells.extend(append.cells.into_iter().map(|cell| (cell.cell.clone(), cell)));
        for (revision, hold) in append.holds {
            if hold {
                self.held.insert(revision);
            } else {
                self.held.remove(&revision);
            }
        }
        Appended::Yes
    }
}

fn pick<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter().filter_map(|key| from.get(key).map(|value| (key.clone(), value.clone()))).collect()
}

/// The model store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tenants: Arc<Mutex<BTreeMap<TenantId, Tenant>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, tenant: &TenantId, read: impl FnOnce(&mut Tenant) -> T) -> Result<T, StoreError> {
        let mut tenants = self.lock();
        let found = tenants.get_mut(tenant).ok_or_else(|| StoreError::NoTenant(tenant.clone()))?;
        Ok(read(found))
    }

    /// Waits until no section is open. One that stays open for too long has lost its holder: it is left behind
    /// with its gate, and the compare-and-set keeps its late append from writing anything.
    async fn enter(&self, tenant: &TenantId) -> Result<OwnedMutexGuard<()>, StoreError> {
        let gate = self.with(tenant, |t| Arc::clone(&t.gate))?;
        if let Ok(entered) = Arc::clone(&gate).try_lock_owned() {
            return Ok(entered);
        }
        let patience = Duration::from_millis(EXCLUSIVE_MS_MAX);
        if let Ok(entered) = timeout(patience, Arc::clone(&gate).lock_owned()).await {
            return Ok(entered);
        }
        let fresh = self.with(tenant, |t| {
            if Arc::ptr_eq(&t.gate, &gate) {
                t.gate = Arc::default();
            }
            Arc::clone(&t.gate)
        })?;
        Ok(fresh.lock_owned().await)
    }

    /// A deep copy: what a backup of the database would hold.
    #[must_use]
    pub fn backup(&self) -> Self {
        let copy = self.lock().iter().map(|(id, tenant)| (id.clone(), tenant.copy())).collect();
        Self { tenants: Arc::new(Mutex::new(copy)) }
    }

    /// Puts a copy in place of everything. Nobody may be using the store meanwhile.
    pub fn restore(&self, backup: &Self) {
        let copy = backup.lock().iter().map(|(id, tenant)| (id.clone(), tenant.copy())).collect();
        *self.lock() = copy;
    }

    /// Makes every log a new one that remembers the old one.
    pub fn renew(&self, time_ms: u64, mut log_id: impl FnMut() -> LogId) {
        self.lock().values_mut().for_each(|tenant| tenant.renew(log_id(), time_ms));
    }
}

/// An exclusive section: holds the tenant's gate until it appends or is dropped.
struct Exclusive {
    store: MemoryStore,
    tenant: TenantId,
    gate: Option<OwnedMutexGuard<()>>,
}

#[async_trait]
impl TenantIo for Exclusive {
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.store.with(&self.tenant, |t| t.load(wanted))
    }
    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError> {
        self.store.with(&self.tenant, |t| pick(&t.commits, numbers).into_values().collect())
    }
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let appended = self.store.with(&self.tenant, |t| t.append(append));
        self.gate = None;
        appended
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        Ok(BTreeMap::from([("engine", "memory".to_owned())]))
    }

    async fn create_tenant(&self, tenant: &TenantId, head: &Head) -> Result<bool, StoreError> {
        let mut tenants = self.lock();
        if tenants.contains_key(tenant) {
            return Ok(false);
        }
        let fresh = Tenant {
            head: *head,
            log: BTreeMap::new(),
            commits: BTreeMap::new(),
            pointers: BTreeMap::new(),
            writers: BTreeMap::new(),
            cells: BTreeMap::new(),
            held: BTreeSet::new(),
            plain: BTreeMap::new(),
            gate: Arc::default(),
        };
        tenants.insert(tenant.clone(), fresh);
        Ok(true)
    }

    async fn tenants(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        Ok(self.lock().range((bound(after), Bound::Unbounded)).map(|(id, _)| id.clone()).take(max).collect())
    }

    async fn head(&self, tenant: &TenantId) -> Result<Head, StoreError> {
        self.with(tenant, |t| t.head)
    }

    async fn load(&self, tenant: &TenantId, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.with(tenant, |t| t.load(wanted))
    }

    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError> {
        let _entered = self.enter(tenant).await?;
        self.with(tenant, |t| t.append(append))
    }

    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError> {
        let gate = Some(self.enter(tenant).await?);
        Ok(Box::new(Exclusive { store: self.clone(), tenant: tenant.clone(), gate }))
    }

    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError> {
        self.with(tenant, |t| {
            let mut entries = Vec::new();
            let mut bytes = 0;
            let mut rows = t.log.range((Bound::Excluded(query.after), Bound::Unbounded)).peekable();
            while let Some((_, row)) =
                rows.next_if(|_| entries.len() < query.rows_max && bytes < query.bytes_max)
            {
                bytes += row.record.weight();
                entries.push(LogEntry { row: row.clone(), now: t.pointers.get(&row.record.key).cloned() });
            }
            let reaches_head = rows.peek().is_none();
            let has_cells = query.with_cells && reaches_head && t.cells.len() <= PAGE_CELLS_MAX;
            let cells = if has_cells { t.cells.values().cloned().collect() } else { Vec::new() };
            let current = t.currents(&query.keys);
            LogPage { head: t.head, entries, reaches_head, current, cells, has_cells }
        })
    }

    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError> {
        self.with(tenant, |t| {
            let shown = only.map_or_else(|| t.shown(query), |only| t.shown_only(query, only));
            let (rows, last, reaches_head) = shown;
            let has_cells = query.with_cells && reaches_head && t.cells.len() <= PAGE_CELLS_MAX;
            let cells = if has_cells { t.cells.values().cloned().collect() } else { Vec::new() };
            let current = t.currents(&query.keys);
            ShownPage { head: t.head, rows, last, reaches_head, current, cells, has_cells }
        })
    }

    async fn latest(&self, tenant: &TenantId, records_max: usize) -> Result<Option<Latest>, StoreError> {
        self.with(tenant, |t| {
            let mut revisions: Vec<_> = t.pointers.values().map(|pointer| pointer.revision).collect();
            revisions.sort_unstable();
            (revisions.len() <= records_max).then_some(Latest { head: t.head, revisions })
        })
    }

    async fn pointer_page(&self, tenant: &TenantId, query: &PointerQuery) -> Result<PointerPage, StoreError> {
        self.with(tenant, |t| {
            let mut rows = Vec::new();
            let mut bytes = 0;
            let matches = |key: &Key| {
                query.kind.as_ref().is_none_or(|kind| *kind == key.kind)
                    && query.prefix.as_ref().is_none_or(|prefix| key.id.as_str().starts_with(prefix.as_str()))
            };
            let mut found = t
                .pointers
                .range((bound(query.after.as_ref()), Bound::Unbounded))
                .filter(|(key, _)| matches(key))
                .filter_map(|(key, _)| t.current(key))
                .peekable();
            while let Some(row) = found.next_if(|_| rows.len() < query.rows_max && bytes < query.bytes_max) {
                bytes += row.record.weight();
                rows.push(row);
            }
            PointerPage { head: t.head, rows, is_last: found.peek().is_none() }
        })
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.with(tenant, |t| pick(&t.log, revisions).into_values().collect())
    }

    async fn commits_after(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        self.with(tenant, |t| {
            t.commits
                .range((Bound::Excluded(after), Bound::Unbounded))
                .map(|(_, c)| c.clone())
                .take(max)
                .collect()
        })
    }

    async fn writers(
        &self,
        tenant: &TenantId,
        node: Option<NodeId>,
        after: Option<Writer>,
        max: usize,
    ) -> Result<Vec<WriterRow>, StoreError> {
        self.with(tenant, |t| {
            t.writers
                .range((bound(after.as_ref()), Bound::Unbounded))
                .filter(|(writer, _)| node.is_none_or(|node| writer.node == node))
                .map(|(_, row)| row.clone())
                .take(max)
                .collect()
        })
    }

    async fn held(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<BTreeSet<Revision>, StoreError> {
        self.with(tenant, |t| revisions.intersection(&t.held).copied().collect())
    }

    async fn prune(&self, tenant: &TenantId, prune: &Prune) -> Result<(), StoreError> {
        self.with(tenant, |t| {
            for revision in &prune.rows {
                t.log.remove(revision);
            }
            for (key, revision) in &prune.tombstones {
                if t.pointers.get(key).is_some_and(|p| p.revision == *revision && p.deleted) {
                    t.pointers.remove(key);
                    t.log.remove(revision);
                }
            }
            let gone = t.commits.iter().take_while(|(_, commit)| commit.last < prune.commits_below);
            let gone: Vec<CommitNumber> = gone.map(|(number, _)| *number).take(PRUNE_COMMITS_MAX).collect();
            for number in gone {
                t.commits.remove(&number);
            }
        })
    }

    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
        self.with(tenant, |t| {
            t.plain.get(&(space, key.to_vec())).map(|(value, version)| PlainRow {
                key: key.to_vec(),
                value: value.clone(),
                version: *version,
            })
        })
    }

    async fn plain_put(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
        value: &[u8],
        expected: u64,
    ) -> Result<bool, StoreError> {
        check_plain(value)?;
        self.with(tenant, |t| {
            let at = (space, key.to_vec());
            if t.plain.get(&at).map_or(0, |(_, version)| *version) != expected {
                return false;
            }
            t.plain.insert(at, (value.to_vec(), expected + 1));
            true
        })
    }

    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError> {
        self.with(tenant, |t| {
            let at = (space, read.key.clone());
            let is_as_read = t
                .plain
                .get(&at)
                .is_some_and(|(value, version)| *version == read.version && *value == read.value);
            is_as_read && t.plain.remove(&at).is_some()
        })
    }

    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError> {
        self.with(tenant, |t| {
            t.plain
                .iter()
                .filter(|((s, key), _)| *s == space && after.is_none_or(|after| key.as_slice() > after))
                .map(|((_, key), (value, version))| PlainRow {
                    key: key.clone(),
                    value: value.clone(),
                    version: *version,
                })
                .take(max)
                .collect()
        })
    }
}

fn bound<T>(after: Option<&T>) -> Bound<&T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
