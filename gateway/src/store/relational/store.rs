//! The store over an engine.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use semantics::commit::Head;
use semantics::ids::{CommitNumber, NodeId, Revision, TenantId, Writer};
use sqlx::{Database, Transaction};

use super::exclusive::Exclusive;
use super::{Connection, Engine, Written, latest, plain, read, shown};
use crate::store::codec::write;
use crate::store::{
    Append, Appended, CommitRow, Latest, Loaded, LogPage, LogQuery, LogRow, Only, PlainRow, PointerPage,
    PointerQuery, Prepared, Prune, ShownPage, Space, Store, StoreError, TenantIo, Wanted, WriterRow,
};

/// Ends a transaction that has only read. What was read stands, whatever becomes of it.
async fn done<Db: Database>(transaction: Transaction<'static, Db>) {
    let _ = transaction.rollback().await;
}

/// An append as its engine sends it.
pub(super) fn written<E: Engine>(tenant: &TenantId, append: &Append) -> Written<E> {
    <E::Db as Database>::Connection::written(write::append(tenant, append))
}

#[async_trait]
impl<E: Engine> Store for E {
    async fn check(&self) -> Result<(), StoreError> {
        Engine::check(self).await
    }

    async fn settings(&self) -> Result<BTreeMap<&'static str, String>, StoreError> {
        Engine::settings(self).await
    }

    async fn create_tenant(&self, tenant: &TenantId, head: &Head) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let created = plain::create_tenant(&mut *transaction, tenant, head).await?;
        self.commit(transaction).await?;
        Ok(created)
    }

    async fn tenants(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let mut transaction = self.read().await?;
        let found = read::tenants(&mut *transaction, after, max).await?;
        done(transaction).await;
        Ok(found)
    }

    async fn head(&self, tenant: &TenantId) -> Result<Head, StoreError> {
        let mut connection = self.statement().await?;
        let (head, _) = read::head(&mut *connection, tenant).await?;
        self.keep(connection);
        Ok(head)
    }

    async fn load(&self, tenant: &TenantId, wanted: &Wanted) -> Result<Loaded, StoreError> {
        if read::is_loaded_at_once::<<E::Db as Database>::Connection>(wanted) {
            let mut connection = self.statement().await?;
            let loaded = read::load_at_once(&mut *connection, tenant, &wanted.keys).await?;
            self.keep(connection);
            return Ok(loaded);
        }
        let mut transaction = self.read().await?;
        let loaded = read::load(&mut *transaction, tenant, wanted).await?;
        done(transaction).await;
        Ok(loaded)
    }

    async fn append(&self, tenant: &TenantId, append: &Append) -> Result<Appended, StoreError> {
        self.append_prepared(tenant, append, Prepared::default()).await
    }

    fn prepare(&self, tenant: &TenantId, append: &Append) -> Prepared {
        Prepared::of(tenant, append, written::<E>(tenant, append))
    }

    async fn append_prepared(
        &self,
        tenant: &TenantId,
        append: &Append,
        prepared: Prepared,
    ) -> Result<Appended, StoreError> {
        let written = prepared.take(tenant, append).unwrap_or_else(|| written::<E>(tenant, append));
        self.append_whole(tenant, written).await
    }

    async fn exclusive<'a>(&'a self, tenant: &TenantId) -> Result<Box<dyn TenantIo + 'a>, StoreError> {
        Ok(Box::new(Exclusive::open(self.clone(), tenant).await?))
    }

    async fn log_page(&self, tenant: &TenantId, query: &LogQuery) -> Result<LogPage, StoreError> {
        let mut transaction = self.read().await?;
        let page = read::log_page(&mut *transaction, tenant, query).await?;
        done(transaction).await;
        Ok(page)
    }

    async fn shown_page(
        &self,
        tenant: &TenantId,
        query: &LogQuery,
        only: Option<&Only>,
    ) -> Result<ShownPage, StoreError> {
        let mut transaction = self.read().await?;
        let page = shown::shown_page(&mut *transaction, tenant, query, only).await?;
        done(transaction).await;
        Ok(page)
    }

    async fn latest(&self, tenant: &TenantId, records_max: usize) -> Result<Option<Latest>, StoreError> {
        let mut transaction = self.read().await?;
        let latest = latest::latest(&mut *transaction, tenant, records_max).await?;
        done(transaction).await;
        Ok(latest)
    }

    async fn pointer_page(&self, tenant: &TenantId, query: &PointerQuery) -> Result<PointerPage, StoreError> {
        let mut transaction = self.read().await?;
        let page = read::pointer_page(&mut *transaction, tenant, query).await?;
        done(transaction).await;
        Ok(page)
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<Vec<LogRow>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let rows = read::rows(&mut *transaction, tenant, revisions).await?;
        done(transaction).await;
        Ok(rows)
    }

    async fn commits_after(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let rows = read::commits_after(&mut *transaction, tenant, after, max).await?;
        done(transaction).await;
        Ok(rows)
    }

    async fn writers(
        &self,
        tenant: &TenantId,
        node: Option<NodeId>,
        after: Option<Writer>,
        max: usize,
    ) -> Result<Vec<WriterRow>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let rows = read::writers(&mut *transaction, tenant, node, after, max).await?;
        done(transaction).await;
        Ok(rows)
    }

    async fn held(
        &self,
        tenant: &TenantId,
        revisions: &BTreeSet<Revision>,
    ) -> Result<BTreeSet<Revision>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let held = read::held(&mut *transaction, tenant, revisions).await?;
        done(transaction).await;
        Ok(held)
    }

    async fn prune(&self, tenant: &TenantId, prune: &Prune) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        read::head(&mut *transaction, tenant).await?;
        plain::prune(&mut *transaction, tenant, prune).await?;
        self.commit(transaction).await
    }

    async fn plain_get(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let row = plain::get(&mut *transaction, tenant, space, key).await?;
        done(transaction).await;
        Ok(row)
    }

    async fn plain_put(
        &self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
        value: &[u8],
        expected: u64,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        read::head(&mut *transaction, tenant).await?;
        let written = plain::put(&mut *transaction, tenant, space, key, value, expected).await?;
        self.commit(transaction).await?;
        Ok(written)
    }

    async fn plain_delete(
        &self,
        tenant: &TenantId,
        space: Space,
        read: &PlainRow,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        read::head(&mut *transaction, tenant).await?;
        let deleted = plain::delete(&mut *transaction, tenant, space, read).await?;
        self.commit(transaction).await?;
        Ok(deleted)
    }

    async fn plain_page(
        &self,
        tenant: &TenantId,
        space: Space,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<PlainRow>, StoreError> {
        let mut transaction = self.read().await?;
        read::head(&mut *transaction, tenant).await?;
        let rows = plain::page(&mut *transaction, tenant, space, after, max).await?;
        done(transaction).await;
        Ok(rows)
    }
}
