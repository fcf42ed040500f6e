//! One transaction.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use semantics::envelope::{Cell, Record};
use semantics::ids::{GroupId, Key, MutationId, Revision};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::codec::{cell_bytes, cell_of};
use super::error::failed;
use super::seal::{sealed, unsealed};
use super::{changes, kept, layers, outbox};
use crate::error::StoreError;
use crate::replica::entry::Entry;
use crate::replica::store::{
    ChangesKept, ConfirmedRow, Kept, MetaKey, Mode, OutboxTotals, Range, ReplicaTxn, Staged, VisibleChange,
};

/// The position of a catch-up is sealed by the hub, and may begin with any byte.
fn is_sealed(key: MetaKey) -> bool {
    key != MetaKey::Resume
}

/// Dropping it rolls back.
pub(super) struct Txn {
    inner: Transaction<'static, Sqlite>,
    mode: Mode,
    /// The outbox's sums, once this transaction has changed them.
    totals: Option<OutboxTotals>,
    /// Records whose visible change is written down at the commit, each once.
    changed: BTreeSet<Key>,
}

impl Txn {
    pub(super) fn new(inner: Transaction<'static, Sqlite>, mode: Mode) -> Self {
        Self { inner, mode, totals: None, changed: BTreeSet::new() }
    }

    fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    fn writable(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match self.mode {
            Mode::Write => Ok(&mut self.inner),
            Mode::Read => Err(StoreError::Unavailable("a write in a read transaction".to_owned())),
        }
    }

    async fn clear(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(self.writable()?).await.map(|_| ()).map_err(failed)
    }

    async fn totals(&mut self) -> Result<OutboxTotals, StoreError> {
        match self.totals {
            Some(totals) => Ok(totals),
            None => outbox::load_totals(self.conn()).await,
        }
    }
}

#[async_trait]
impl ReplicaTxn for Txn {
    async fn meta_get(&mut self, key: MetaKey) -> Result<Option<Vec<u8>>, StoreError> {
        let name = key.as_str();
        let query = sqlx::query_scalar::<_, Vec<u8>>("select value from meta where name = ?").bind(name);
        let value = query.fetch_optional(self.conn()).await.map_err(failed)?;
        match value {
            Some(value) if is_sealed(key) => Ok(Some(unsealed("meta", &[name.as_bytes()], &value)?.to_vec())),
            value => Ok(value),
        }
    }
    async fn meta_put(&mut self, key: MetaKey, value: Option<&[u8]>) -> Result<(), StoreError> {
        let name = key.as_str().as_bytes();
        let query = match value {
            Some(value) => {
                let value = if is_sealed(key) { sealed(&[name], value) } else { value.to_vec() };
                let sql = "insert into meta (name, value) values (?, ?) \
                           on conflict (name) do update set value = excluded.value";
                sqlx::query(sql).bind(key.as_str()).bind(value)
            }
            None => sqlx::query("delete from meta where name = ?").bind(key.as_str()),
        };
        query.execute(self.writable()?).await.map(|_| ()).map_err(failed)
    }

    async fn confirmed_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, ConfirmedRow>, StoreError> {
        layers::confirmed_get(self.conn(), keys).await
    }
    async fn confirmed_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError> {
        layers::rows_put(self.writable()?, "confirmed", rows).await
    }
    async fn confirmed_delete(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        layers::delete(self.writable()?, "confirmed", keys).await
    }
    async fn confirmed_page(&mut self, range: &Range, limit: usize) -> Result<Vec<ConfirmedRow>, StoreError> {
        layers::rows_page(self.conn(), "confirmed", range, limit).await
    }

    async fn pending_get(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Record>, StoreError> {
        layers::pending_get(self.conn(), keys).await
    }
    async fn pending_put(&mut self, records: &[Record]) -> Result<(), StoreError> {
        layers::pending_put(self.writable()?, records).await
    }
    async fn pending_delete(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        layers::delete(self.writable()?, "pending", keys).await
    }
    async fn pending_page(&mut self, range: &Range, limit: usize) -> Result<Vec<Record>, StoreError> {
        layers::pending_page(self.conn(), range, limit).await
    }

    async fn outbox_put(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut totals = self.totals().await?;
        outbox::put(self.writable()?, &mut totals, entries).await?;
        self.totals = Some(totals);
        Ok(())
    }
    async fn outbox_remove(&mut self, ids: &[MutationId]) -> Result<(), StoreError> {
        let mut totals = self.totals().await?;
        outbox::remove(self.writable()?, &mut totals, ids).await?;
        self.totals = Some(totals);
        Ok(())
    }
    async fn outbox_get(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
        outbox::get(self.conn(), ids).await
    }
    async fn outbox_of(&mut self, key: &Key) -> Result<Vec<Entry>, StoreError> {
        outbox::of(self.conn(), key).await
    }
    async fn outbox_has(&mut self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        outbox::has(self.conn(), keys).await
    }
    async fn outbox_last(&mut self, keys: &[Key]) -> Result<BTreeMap<Key, Entry>, StoreError> {
        outbox::last(self.conn(), keys).await
    }
    async fn outbox_after(&mut self, ids: &[MutationId]) -> Result<Vec<Entry>, StoreError> {
        outbox::after(self.conn(), ids).await
    }
    async fn outbox_group(&mut self, group: GroupId) -> Result<Vec<Entry>, StoreError> {
        outbox::group(self.conn(), group).await
    }
    async fn outbox_dotted(&mut self, after_n: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        outbox::dotted(self.conn(), after_n, limit).await
    }
    async fn outbox_queued(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        outbox::queued(self.conn(), after_order, limit).await
    }
    async fn outbox_answered(&mut self, up_to: Revision, limit: usize) -> Result<Vec<Entry>, StoreError> {
        outbox::answered(self.conn(), up_to, limit).await
    }
    async fn outbox_page(
        &mut self,
        after_order: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        outbox::page(self.conn(), after_order, limit).await
    }
    async fn outbox_totals(&mut self) -> Result<OutboxTotals, StoreError> {
        self.totals().await
    }

    async fn kept_put(&mut self, rows: &[Kept]) -> Result<(), StoreError> {
        kept::put(self.writable()?, rows).await
    }
    async fn kept_page(&mut self, after: Revision, limit: usize) -> Result<Vec<Kept>, StoreError> {
        kept::page(self.conn(), after, limit).await
    }
    async fn kept_remove(&mut self, up_to: Revision) -> Result<(), StoreError> {
        kept::remove(self.writable()?, up_to).await
    }

    async fn remnants_put(&mut self, rows: &[ConfirmedRow]) -> Result<(), StoreError> {
        layers::rows_put(self.writable()?, "remnants", rows).await
    }
    async fn remnants_page(
        &mut self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, StoreError> {
        let range = Range { after: after.cloned(), ..Range::default() };
        layers::rows_page(self.conn(), "remnants", &range, limit).await
    }
    async fn remnants_clear(&mut self) -> Result<(), StoreError> {
        self.clear("delete from remnants").await
    }

    async fn staging_put(&mut self, items: &[Staged]) -> Result<(), StoreError> {
        layers::staging_put(self.writable()?, items).await
    }
    async fn staging_page(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<Staged>, StoreError> {
        layers::staging_page(self.conn(), after, limit).await
    }
    async fn staging_confirm(&mut self) -> Result<(), StoreError> {
        layers::staging_confirm(self.writable()?).await
    }
    async fn staging_clear(&mut self) -> Result<(), StoreError> {
        self.clear("delete from arrived").await
    }

    async fn cells(&mut self) -> Result<BTreeMap<Cell, Vec<u8>>, StoreError> {
        let query = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>("select cell, state from cells");
        let rows = query.fetch_all(self.conn()).await.map_err(failed)?;
        rows.into_iter().map(|(cell, state)| Ok((cell_of(&cell)?, state))).collect()
    }
    async fn cell_put(&mut self, cell: &Cell, state: Option<&[u8]>) -> Result<(), StoreError> {
        let query = match state {
            Some(state) => {
                let sql = "insert into cells (cell, state) values (?, ?) \
                           on conflict (cell) do update set state = excluded.state";
                sqlx::query(sql).bind(cell_bytes(cell)).bind(state.to_vec())
            }
            None => sqlx::query("delete from cells where cell = ?").bind(cell_bytes(cell)),
        };
        query.execute(self.writable()?).await.map(|_| ()).map_err(failed)
    }
    async fn cells_clear(&mut self) -> Result<(), StoreError> {
        self.clear("delete from cells").await
    }

    async fn visible_changed(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        self.writable()?;
        self.changed.extend(keys.iter().cloned());
        Ok(())
    }
    async fn all_changed(&mut self) -> Result<(), StoreError> {
        let keys = layers::confirmed_keys(self.writable()?).await?;
        self.changed.extend(keys);
        Ok(())
    }
    async fn changes_after(&mut self, position: u64, limit: usize) -> Result<Vec<VisibleChange>, StoreError> {
        changes::after(self.conn(), position, limit).await
    }
    async fn changes_kept(&mut self) -> Result<ChangesKept, StoreError> {
        changes::kept(self.conn()).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let Self { mut inner, totals, changed, .. } = *self;
        if let Some(totals) = totals {
            outbox::save_totals(&mut inner, &totals).await?;
        }
        changes::append(&mut inner, changed).await?;
        inner.commit().await.map_err(failed)
    }
}
