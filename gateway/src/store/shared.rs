//! A tenant's loads and appends outside of any exclusive section.

use std::collections::BTreeSet;

use async_trait::async_trait;
use semantics::ids::{CommitNumber, TenantId};

use super::{Append, Appended, CommitRow, Loaded, Prepared, Store, StoreError, TenantIo, Wanted};

/// A tenant's loads and appends outside of any exclusive section.
#[derive(Debug)]
pub struct Shared<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The tenant.
    pub tenant: &'a TenantId,
}

#[async_trait]
impl TenantIo for Shared<'_> {
    async fn load(&mut self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        self.store.load(self.tenant, wanted).await
    }
    async fn commits(&mut self, numbers: &BTreeSet<CommitNumber>) -> Result<Vec<CommitRow>, StoreError> {
        let mut found = Vec::new();
        for number in numbers {
            let before = CommitNumber(number.0.saturating_sub(1));
            let rows = self.store.commits_after(self.tenant, before, 1).await?;
            found.extend(rows.into_iter().filter(|row| row.number == *number));
        }
        Ok(found)
    }
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.store.append(self.tenant, append).await
    }
    async fn append_prepared(&mut self, append: &Append, prepared: Prepared) -> Result<Appended, StoreError> {
        self.store.append_prepared(self.tenant, append, prepared).await
    }
}
