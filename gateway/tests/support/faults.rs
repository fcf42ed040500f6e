//! A store whose connection is lost when a test says so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gateway::store::{
    Append, Appended, CommitRow, Latest, Loaded, LogPage, LogQuery, LogRow, Only, PlainRow, PointerPage,
    PointerQuery, Prepared, Prune, ShownPage, Space, Store, StoreError, TenantIo, Wanted, WriterRow,
};
use semantics::commit::Head;
use semantics::ids::{CommitNumber, NodeId, Revision, TenantId, Writer};

/// The epoch that another gateway opens.
pub const ANOTHER: Writer = Writer { node: NodeId([8; 16]), epoch: 1 };

/// What happens to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection dies after the append happened.
    LostAfter,
    /// The connection dies before the append happened.
    LostBefore,
    /// Another gateway opens an epoch with a commit of the same number and time, and the connection dies.
    LostToAnother,
    /// The append happens, and whoever asked for it waits without end.
    HangsAfter,
    /// Another transaction was in the way.
    Contended,
}

/// Passes everything on, but for the appends it was told to spoil.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    keeps_pruned: AtomicBool,
    waits: AtomicBool,
    stands: AtomicBool,
    hangs: AtomicBool,
    time_ms: AtomicU64,
    prepared: AtomicU64,
    tries: AtomicU64,
    turns: AtomicU64,
    plain: AtomicU64,
    log_pages: AtomicU64,
    loads: AtomicU64,
    plain_until: AtomicU64,
    written_before: Mutex<Option<Vec<u8>>>,
}

impl FaultStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            keeps_pruned: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            stands: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            time_ms: AtomicU64::new(0),
            prepared: AtomicU64::new(0),
            tries: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            log_pages: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            plain_until: AtomicU64::new(u64::MAX),
            written_before: Mutex::default(),
        }
    }
    /// Pages of the log that were read.
    pub fn log_pages(&self) -> u64 {
        self.log_pages.load(Ordering::SeqCst)
    }

    /// Times that what a commit is decided on was read.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Times that plain rows were asked for or changed.
    pub fn plain(&self) -> u64 {
        self.plain.load(Ordering::SeqCst)
    }
    /// Lets plain rows be asked for and changed so often more, and then not, until it is told another number.
    pub fn allow_plain(&self, times: u64) {
        self.plain_until.store(self.plain().saturating_add(times), Ordering::SeqCst);
    }
    /// Just before the next plain row is deleted, somebody writes this over it.
    pub fn write_before_deletion(&self, value: Vec<u8>) {
        *self.written_before.lock().unwrap() = Some(value);
    }
    fn count_plain(&self) -> Result<(), StoreError> {
        let is_allowed = self.plain() < self.plain_until.load(Ordering::SeqCst);
        self.plain.fetch_add(u64::from(is_allowed), Ordering::SeqCst);
        if is_allowed { Ok(()) } else { Err(StoreError::Unavailable("lost".to_owned())) }
    }
    /// A store that takes its time: others run between its reads and its appends.
    pub fn slow(inner: Arc<dyn Store>) -> Self {
        let store = Self::new(inner);
        store.waits.store(true, Ordering::SeqCst);
        store
    }
    /// Gives the store a clock of its own.
    pub fn set_time(&self, time_ms: u64) {
        self.time_ms.store(time_ms, Ordering::SeqCst);
    }
    async fn wait(&self) {
        if self.waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }
    /// Lets appends stand still, or go on.
    pub fn stand(&self, stands: bool) {
        self.stands.store(stands, Ordering::SeqCst);
    }
    /// Waits until an append hangs.
    pub async fn hung(&self) {
        while !self.hangs.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }
    /// Spoils the next appends.
    pub fn fail(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }
    /// Leaves what should be pruned where it is, as a round of pruning does that has not come so far.
    pub fn keep_pruned(&self) {
        self.keeps_pruned.store(true, Ordering::SeqCst);
    }
    /// Appends that were written down.
    pub fn prepared(&self) -> u64 {
        self.prepared.load(Ordering::SeqCst)
    }
    /// Appends that were tried beside others, and times the head was asked for alone.
    pub fn tries_and_turns(&self) -> (u64, u64) {
        (self.tries.load(Ordering::SeqCst), self.turns.load(Ordering::SeqCst))
    }
    pub fn is_calm(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Store for FaultStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
    async fn create_tenant(&self, tenant: &TenantId, head: &Head) -> Result<bool, StoreError> {
        self.inner.create_tenant(tenant, head).await
    }
    async fn tenants(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.inner.tenants(after, max).await
    }
    async fn head(&self, tenant: &TenantId) -> Result<Head, StoreError> {
        self.inner.head(tenant).await
    }
    async fn load(&self, tenant: &TenantId, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.wait().await;
        let mut loaded = self.inner.load(tenant, wanted).await?;
        match self.time_ms.load(Ordering::SeqCst) {
            0 => {}
            time_ms => loaded.time_ms = Some(time_ms),
        }
        Ok(loaded)
    }
    fn prepare(&self, tenant: &TenantId, append: &Append) -> Prepared {
        self.prepared.fetch_add(1, Ordering::SeqCst);
        self.inner.prepare(tenant, append)
    }
    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError> {
        self.append_prepared(tenant, append, Prepared::default()).await
    }
    async fn append_prepared(
        &self,
        tenant: &TenantId,
        append: &Append,
        prepared: Prepared,
    ) -> Result<Appended, StoreError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        self.wait().await;
        while self.stands.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None => self.inner.append_prepared(tenant, append, prepared).await,
            Some(Fault::Contended) => Err(StoreError::Contended),
            Some(Fault::LostBefore) => Err(StoreError::Unknown("lost".to_owned())),
            Some(Fault::LostAfter) => {
                self.inner.append_prepared(tenant, append, prepared).await?;
                Err(StoreError::Unknown("lost".to_owned()))
            }
            Some(Fault::LostToAnother) => {
                let of_another = |row: &WriterRow| WriterRow { writer: ANOTHER, ..row.clone() };
                let writers = append.writers.iter().map(of_another).collect();
                self.inner.append(tenant, &Append { writers, ..append.clone() }).await?;
                Err(StoreError::Unknown("lost".to_owned()))
            }
            Some(Fault::HangsAfter) => {
                self.inner.append_prepared(tenant, append, prepared).await?;
                self.hangs.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }
    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError> {
        self.turns.fetch_add(1, Ordering::SeqCst);
        self.inner.exclusive(tenant).await
    }
    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError> {
        self.log_pages.fetch_add(1, Ordering::SeqCst);
        self.inner.log_page(tenant, query).await
    }
    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError> {
        self.log_pages.fetch_add(1, Ordering::SeqCst);
        self.inner.shown_page(tenant, query, only).await
    }
    async fn latest(&self, tenant: &TenantId, records_max: usize) -> Result<Option<Latest>, StoreError> {
        self.inner.latest(tenant, records_max).await
    }
    async fn pointer_page(&self, tenant: &TenantId, query: &PointerQuery) -> Result<PointerPage, StoreError> {
        self.inner.pointer_page(tenant, query).await
    }
    async fn rows(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.inner.rows(tenant, revisions).await
    }
    async fn commits_after(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        self.inner.commits_after(tenant, after, max).await
    }
    async fn writers(
        &self,
        tenant: &TenantId,
        node: Option<NodeId>,
        after: Option<Writer>,
        max: usize,
    ) -> Result<Vec<WriterRow>, StoreError> {
        self.inner.writers(tenant, node, after, max).await
    }
    async fn held(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<BTreeSet<Revision>, StoreError> {
        self.inner.held(tenant, revisions).await
    }
    async fn prune(&self, tenant: &TenantId, prune: &Prune) -> Result<(), StoreError> {
        if self.keeps_pruned.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.inner.prune(tenant, prune).await
    }
    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
        self.count_plain()?;
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
        self.count_plain()?;
        self.inner.plain_put(tenant, space, key, value, expected).await
    }
    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError> {
        self.count_plain()?;
        let written = self.written_before.lock().unwrap().take();
        if let Some(value) = written {
            assert!(self.inner.plain_put(tenant, space, &read.key, &value, read.version).await?);
        }
        self.inner.plain_delete(tenant, space, read).await
    }
    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError> {
        self.count_plain()?;
        self.inner.plain_page(tenant, space, after, max).await
    }
}
