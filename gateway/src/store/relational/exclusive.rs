//! Exclusive sections: a transaction that holds a tenant's head, taken from its holder when it lasts too long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use semantics::ids::{CommitNumber, TenantId};
use sqlx::Transaction;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::store::written;
use super::{Connection as _, Engine, read};
use crate::store::{
    Append, Appended, CommitRow, EXCLUSIVE_MS_MAX, Loaded, Prepared, StoreError, TenantIo, Wanted,
};

type Held<E> = Arc<Mutex<Option<Transaction<'static, <E as Engine>::Db>>>>;

/// A section. It ends with its append, when it is dropped, or when its time is over; then the transaction is
/// rolled back.
pub(super) struct Exclusive<E: Engine> {
    engine: E,
    tenant: TenantId,
    held: Held<E>,
    watch: JoinHandle<()>,
}

impl<E: Engine> Exclusive<E> {
    /// Takes the tenant's head.
    pub(super) async fn open(engine: E, tenant: &TenantId) -> Result<Self, StoreError> {
        let transaction = engine.lock(tenant).await?;
        let held: Held<E> = Arc::new(Mutex::new(Some(transaction)));
        let watched = Arc::clone(&held);
        let watch = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(EXCLUSIVE_MS_MAX)).await;
            drop(watched.lock().await.take());
        });
        Ok(Self { engine, tenant: tenant.clone(), held, watch })
    }
}

impl<E: Engine> Drop for Exclusive<E> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

#[async_trait]
impl<E: Engine> TenantIo for Exclusive<E> {
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        let mut held = self.held.lock().await;
        let transaction = held.as_mut().ok_or(StoreError::Contended)?;
        read::load(&mut **transaction, &self.tenant, wanted).await
    }

    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError> {
        let mut held = self.held.lock().await;
        let transaction = held.as_mut().ok_or(StoreError::Contended)?;
        read::commits(&mut **transaction, &self.tenant, numbers).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.append_prepared(append, Prepared::default()).await
    }

    async fn append_prepared(&mut self, append: &Append, prepared: Prepared) -> Result<Appended, StoreError> {
        let mut transaction = self.held.lock().await.take().ok_or(StoreError::Contended)?;
        let written =
            prepared.take(&self.tenant, append).unwrap_or_else(|| written::<E>(&self.tenant, append));
        let appended = transaction.append(&self.tenant, written).await.map_err(|error| match error {
            // Nothing is committed yet: what became of it is known.
            StoreError::Unknown(detail) => StoreError::Unavailable(detail),
            error => error,
        })?;
        if appended == Appended::Yes {
            self.engine.commit(transaction).await?;
        }
        Ok(appended)
    }
}
