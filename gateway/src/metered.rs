//! A store that counts what passes through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use semantics::commit::Head;
use semantics::ids::{CommitNumber, NodeId, Revision, TenantId, Writer};

use crate::ambient::Stopwatch;
use crate::store::{
    Append, Appended, CommitRow, Latest, Loaded, LogPage, LogQuery, LogRow, Only, PlainRow, PointerPage,
    PointerQuery, Prepared, Prune, ShownPage, Space, Store, StoreError, TenantIo, Wanted, WriterRow,
};
use crate::telemetry::Metrics;

/// Counts appends; everything else passes through.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl Metered {
    /// Around a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

/// What an append is counted by.
struct Measure {
    watch: Stopwatch,
    rows: usize,
    revision: Revision,
}

impl Measure {
    fn of(append: &Append) -> Self {
        Self { watch: Stopwatch::start(), rows: append.rows.len(), revision: append.head.revision }
    }

    fn done(self, metrics: &Metrics, tenant: &TenantId, appended: &Result<Appended, StoreError>) {
        if matches!(appended, Ok(Appended::Yes)) {
            metrics.committed(tenant.as_str(), self.revision.0, self.rows, self.watch.elapsed());
        }
    }
}

struct MeteredIo<'a> {
    inner: Box<dyn TenantIo + 'a>,
    metrics: &'a Metrics,
    tenant: TenantId,
}

#[async_trait]
impl TenantIo for MeteredIo<'_> {
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.inner.load(wanted).await
    }
    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError> {
        self.inner.commits(numbers).await
    }
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.append_prepared(append, Prepared::default()).await
    }
    async fn append_prepared(&mut self, append: &Append, prepared: Prepared) -> Result<Appended, StoreError> {
        let measure = Measure::of(append);
        let appended = self.inner.append_prepared(append, prepared).await;
        measure.done(self.metrics, &self.tenant, &appended);
        appended
    }
}

#[async_trait]
impl Store for Metered {
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        self.inner.settings().await
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
        self.inner.load(tenant, wanted).await
    }
    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError> {
        self.append_prepared(tenant, append, Prepared::default()).await
    }
    fn prepare(&self, tenant: &TenantId, append: &Append) -> Prepared {
        self.inner.prepare(tenant, append)
    }
    async fn append_prepared(
        &self,
        tenant: &TenantId,
        append: &Append,
        prepared: Prepared,
    ) -> Result<Appended, StoreError> {
        let measure = Measure::of(append);
        let appended = self.inner.append_prepared(tenant, append, prepared).await;
        measure.done(&self.metrics, tenant, &appended);
        appended
    }
    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError> {
        let inner = self.inner.exclusive(tenant).await?;
        Ok(Box::new(MeteredIo { inner, metrics: &self.metrics, tenant: tenant.clone() }))
    }
    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError> {
        self.inner.log_page(tenant, query).await
    }
    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError> {
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
        self.inner.prune(tenant, prune).await
    }
    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
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
        self.inner.plain_put(tenant, space, key, value, expected).await
    }
    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError> {
        self.inner.plain_delete(tenant, space, read).await
    }
    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError> {
        self.inner.plain_page(tenant, space, after, max).await
    }
}
