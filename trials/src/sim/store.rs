//! The model store under virtual time: every call may be interleaved with every other before and after it, may
//! fail, and may take effect without its caller ever knowing. What it appends, the oracle is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gateway::store::memory::MemoryStore;
use gateway::store::{
    Append, Appended, CommitRow, EXCLUSIVE_MS_MAX, Latest, Loaded, LogPage, LogQuery, LogRow, Only, PlainRow,
    PointerPage, PointerQuery, Prune, ShownPage, Space, Store, StoreError, TenantIo, Wanted, WriterRow,
};
use semantics::commit::Head;
use semantics::ids::{CommitNumber, NodeId, Revision, TenantId, Writer};

use super::exec::{Ctx, at_once};
use super::kept::Kept;
use super::oracle::Oracle;
use super::points::At;
use super::world::BASE_MS;

/// Between two looks at a head that somebody else holds, milliseconds.
const HELD_POLL_MS: u64 = 5;

#[derive(Debug, Clone, Copy)]
struct Holder {
    id: u64,
    until_ms: u64,
}

/// The store.
#[derive(Clone)]
pub struct SimStore {
    inner: MemoryStore,
    ctx: Ctx,
    oracle: Arc<Mutex<Oracle>>,
    holders: Arc<Mutex<BTreeMap<TenantId, Holder>>>,
    /// What the horizon must not pass.
    pub kept: Kept,
    outage: Arc<Mutex<Outage>>,
}

/// When the database was gone last: calls that were under way then have failed.
#[derive(Debug, Clone, Copy, Default)]
struct Outage {
    count: u64,
    until_ms: u64,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl SimStore {
    /// An empty store; whether its writers expire within a run.
    #[must_use]
    pub fn new(ctx: Ctx, expires: bool) -> Self {
        Self {
            inner: MemoryStore::new(),
            ctx,
            oracle: Arc::default(),
            holders: Arc::default(),
            kept: Kept::new(expires),
            outage: Arc::default(),
        }
    }

    /// What the oracle knows.
    pub fn oracle(&self) -> std::sync::MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a backup in place of everything.
    pub fn restore(&self, backup: &MemoryStore) {
        self.inner.restore(backup);
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kept.forget();
    }

    /// The store without faults and waiting.
    #[must_use]
    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    /// The database goes, and is back at a time; nothing that is under way comes to an end.
    pub fn cut_off(&self, until_ms: u64) {
        let mut outage = self.outage();
        *outage = Outage { count: outage.count + 1, until_ms };
    }

    fn outage(&self) -> std::sync::MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that a call begins on.
    fn line(&self) -> u64 {
        self.outage().count
    }

    /// Whether that connection still stands.
    fn still(&self, line: u64) -> Result<(), StoreError> {
        let outage = *self.outage();
        if line != outage.count || self.ctx.now_ms() < outage.until_ms {
            return Err(StoreError::Unavailable("simulated: the database is gone".to_owned()));
        }
        Ok(())
    }

    fn fault(&self) -> Result<(), StoreError> {
        let mut shared = self.ctx.lock();
        let chance = shared.faults.unavailable;
        if !shared.is_quiet && chance > 0 && shared.rng.permille(chance) {
            return Err(StoreError::Unavailable("simulated".to_owned()));
        }
        Ok(())
    }

    fn holder(&self, tenant: &TenantId) -> Option<Holder> {
        let now_ms = self.ctx.now_ms();
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.get(tenant).copied().filter(|holder| holder.until_ms > now_ms)
    }

    async fn wait_for_turn(&self, tenant: &TenantId) {
        while self.holder(tenant).is_some() {
            self.ctx.stand(At::Turn, self.ctx.sleep(HELD_POLL_MS)).await;
        }
    }

    /// The tenant's time is that of gateways' clocks, and of nobody else.
    fn check_time(&self, append: &Append) {
        let latest_ms = BASE_MS + self.ctx.now_ms() + self.ctx.lock().hub_ahead_ms;
        if append.head.time_ms > latest_ms {
            self.ctx.fail(format!("the tenant's time is {} ms ahead", append.head.time_ms - latest_ms));
        }
    }

    /// Appends now, and shows the oracle.
    pub fn append_now(&self, tenant: &TenantId, append: Append) -> Result<Appended, StoreError> {
        self.check_time(&append);
        let times = (self.ctx.now_ms(), self.ctx.lock().hub_ahead_ms);
        self.kept.note_reopened(&self.inner, tenant, &append, times.0);
        let kept = self.kept.check(&self.inner, tenant, &append, times);
        if let Err(wrong) = kept.and(self.kept.check_closed(&self.inner, tenant, &append)) {
            self.ctx.fail(wrong);
        }
        let appended = at_once(self.inner.append(tenant, &append))
            .unwrap_or_else(|| Err(StoreError::Internal("the model store waits".to_owned())))?;
        if appended == Appended::Yes
            && let Err(wrong) = self.oracle().append(tenant, append)
        {
            self.ctx.fail(wrong);
        }
        Ok(appended)
    }

    fn append_with_faults(&self, tenant: &TenantId, append: Append) -> Result<Appended, StoreError> {
        self.fault()?;
        let unknown = || StoreError::Unknown("simulated".to_owned());
        let dice = {
            let mut shared = self.ctx.lock();
            let faults = shared.faults;
            if shared.is_quiet { None } else { Some((shared.rng.below(1_000), faults)) }
        };
        if let Some((dice, faults)) = dice {
            if dice < faults.unknown_lost {
                return Err(unknown());
            }
            let dice = dice - faults.unknown_lost;
            if dice < faults.unknown_late {
                let mut shared = self.ctx.lock();
                let at_ms = shared.now_ms + shared.rng.range(1, 1_500);
                shared.late.push((at_ms, tenant.clone(), append));
                return Err(unknown());
            }
            let dice = dice - faults.unknown_late;
            if dice < faults.unknown_done {
                // Like a commit whose answer was lost; losing the race looks the same from here.
                self.append_now(tenant, append)?;
                return Err(unknown());
            }
        }
        self.append_now(tenant, append)
    }
}

struct SimExclusive {
    store: SimStore,
    tenant: TenantId,
    id: u64,
    line: u64,
}

impl SimExclusive {
    fn check(&self) -> Result<(), StoreError> {
        self.store.still(self.line)?;
        match self.store.holder(&self.tenant) {
            Some(holder) if holder.id == self.id => Ok(()),
            _ => Err(StoreError::Unavailable("the exclusive section timed out".to_owned())),
        }
    }
    fn release(&self) {
        let mut holders = self.store.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.get(&self.tenant).is_some_and(|holder| holder.id == self.id) {
            holders.remove(&self.tenant);
        }
    }
}

impl Drop for SimExclusive {
    fn drop(&mut self) {
        self.release();
    }
}

#[async_trait]
impl TenantIo for SimExclusive {
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.store.ctx.suspend(At::SectionLoad).await;
        self.check()?;
        self.store.fault()?;
        let found = self.store.inner.load(&self.tenant, wanted).await;
        self.store.ctx.suspend(At::SectionLoaded).await;
        self.store.still(self.line)?;
        found
    }
    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError> {
        self.store.ctx.suspend(At::SectionLoad).await;
        self.check()?;
        let mut found = Vec::new();
        for number in numbers {
            let before = CommitNumber(number.0.saturating_sub(1));
            let rows = self.store.inner.commits_after(&self.tenant, before, 1).await?;
            found.extend(rows.into_iter().filter(|row| row.number == *number));
        }
        Ok(found)
    }
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.store.ctx.suspend(At::SectionAppend).await;
        self.check()?;
        let appended = self.store.append_with_faults(&self.tenant, append.clone());
        self.release();
        self.store.ctx.suspend(At::SectionAppended).await;
        self.store.still(self.line).map_err(|e| StoreError::Unknown(e.to_string()))?;
        appended
    }
}

#[async_trait]
impl Store for SimStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn create_tenant(&self, tenant: &TenantId, head: &Head) -> Result<bool, StoreError> {
        let made = self.inner.create_tenant(tenant, head).await?;
        if made {
            self.oracle().create(tenant, head);
        }
        Ok(made)
    }

    async fn tenants(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.inner.tenants(after, max).await
    }

    async fn head(&self, tenant: &TenantId) -> Result<Head, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Head).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.head(tenant).await;
        self.ctx.suspend(At::HeadRead).await;
        self.still(line)?;
        found
    }

    async fn load(&self, tenant: &TenantId, wanted: &Wanted) -> Result<Loaded, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Load).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.load(tenant, wanted).await;
        self.ctx.suspend(At::Loaded).await;
        self.still(line)?;
        found
    }

    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Append).await;
        self.wait_for_turn(tenant).await;
        self.still(line)?;
        let appended = self.append_with_faults(tenant, append.clone());
        self.ctx.suspend(At::Appended).await;
        self.still(line).map_err(|e| StoreError::Unknown(e.to_string()))?;
        appended
    }

    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Exclusive).await;
        self.wait_for_turn(tenant).await;
        self.still(line)?;
        self.fault()?;
        let (id, until_ms) = {
            let mut shared = self.ctx.lock();
            (shared.rng.next(), shared.now_ms + EXCLUSIVE_MS_MAX)
        };
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.insert(tenant.clone(), Holder { id, until_ms });
        drop(holders);
        Ok(Box::new(SimExclusive { store: self.clone(), tenant: tenant.clone(), id, line }))
    }

    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::LogPage).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.log_page(tenant, query).await;
        self.ctx.suspend(At::LogPageRead).await;
        self.still(line)?;
        found
    }

    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::LogPage).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.shown_page(tenant, query, only).await;
        self.ctx.suspend(At::LogPageRead).await;
        self.still(line)?;
        found
    }

    async fn latest(&self, tenant: &TenantId, records_max: usize) -> Result<Option<Latest>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::LogPage).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.latest(tenant, records_max).await;
        self.ctx.suspend(At::LogPageRead).await;
        self.still(line)?;
        found
    }

    async fn pointer_page(&self, tenant: &TenantId, query: &PointerQuery) -> Result<PointerPage, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::LogPage).await;
        self.still(line)?;
        self.fault()?;
        let found = self.inner.pointer_page(tenant, query).await;
        self.ctx.suspend(At::LogPageRead).await;
        self.still(line)?;
        found
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<Vec<LogRow>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Rows).await;
        self.still(line)?;
        self.fault()?;
        self.inner.rows(tenant, revisions).await
    }

    async fn commits_after(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Commits).await;
        self.still(line)?;
        self.fault()?;
        self.inner.commits_after(tenant, after, max).await
    }

    async fn writers(
        &self,
        tenant: &TenantId,
        node: Option<NodeId>,
        after: Option<Writer>,
        max: usize,
    ) -> Result<Vec<WriterRow>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Writers).await;
        self.still(line)?;
        self.fault()?;
        self.inner.writers(tenant, node, after, max).await
    }

    async fn held(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<BTreeSet<Revision>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Held).await;
        self.still(line)?;
        self.fault()?;
        self.inner.held(tenant, revisions).await
    }

    async fn prune(&self, tenant: &TenantId, prune: &Prune) -> Result<(), StoreError> {
        let line = self.line();
        self.ctx.suspend(At::Prune).await;
        self.still(line)?;
        self.fault()?;
        self.inner.prune(tenant, prune).await?;
        self.ctx.suspend(At::Pruned).await;
        self.still(line)?;
        Ok(())
    }

    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::PlainGet).await;
        self.still(line)?;
        self.fault()?;
        self.inner.plain_get(tenant, space, key).await
    }

    async fn plain_put(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
        value: &[u8],
        expected: u64,
    ) -> Result<bool, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::PlainPut).await;
        self.still(line)?;
        self.fault()?;
        let done = self.inner.plain_put(tenant, space, key, value, expected).await;
        if matches!(done, Ok(true)) {
            self.kept.note(tenant, space, key, value, self.ctx.now_ms());
        }
        self.ctx.suspend(At::PlainPutDone).await;
        self.still(line)?;
        done
    }

    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::PlainDelete).await;
        self.still(line)?;
        self.fault()?;
        self.inner.plain_delete(tenant, space, read).await
    }

    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError> {
        let line = self.line();
        self.ctx.suspend(At::PlainPage).await;
        self.still(line)?;
        self.fault()?;
        self.inner.plain_page(tenant, space, after, max).await
    }
}
