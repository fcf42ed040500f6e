//! Reading: the pending layer where there is one, else the confirmed layer. Never needs a network.

use semantics::cursor::Cursor;
use semantics::envelope::{KEY_ID_CLEAR, Record};
use semantics::ids::{Key, Kind, MutationId, Revision, Writer};
use semantics::kind;
use semantics::view::View;
use serde_json::{Map, Value};

use super::Replica;
use super::entry::Entry;
use super::pages::Bounds;
use super::state::{self, Backups, Condition, Report};
use super::store::{ConfirmedRow, OutboxTotals, ROWS_MAX, Range};
use crate::error::{ReplicaError, StoreError};

/// A record as shown here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The record.
    pub record: Record,
    /// Revision of its confirmed state; [`Revision::ZERO`] = the hub has not confirmed it to us.
    pub revision: Revision,
    /// Whether local mutations are shown on top that no cut has brought back yet.
    pub is_pending: bool,
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Where the confirmed layer stands.
    pub cursor: Option<Cursor>,
    /// The view in force there.
    pub view: Option<View>,
    /// The writer, once the hub has given an epoch.
    pub writer: Option<Writer>,
    /// What the outbox holds.
    pub outbox: OutboxTotals,
    /// What keeps it from syncing, and what it has noticed.
    pub condition: Condition,
    /// What the hub's backups hold, and what is kept until they do.
    pub backups: Backups,
    /// What is here of a log before a restore.
    pub report: Option<Report>,
}

impl Replica {
    /// A live record.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, ReplicaError> {
        Ok(self.look(key).await?.filter(|item| !item.record.is_deleted()))
    }

    /// A record as shown here, or its tombstone.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn look(&self, key: &Key) -> Result<Option<Item>, ReplicaError> {
        let mut txn = self.read().await?;
        let keys = std::slice::from_ref(key);
        let confirmed = txn.confirmed_get(keys).await?.remove(key);
        confirmed.iter().try_for_each(ConfirmedRow::check)?;
        let revision = confirmed.as_ref().map_or(Revision::ZERO, |row| row.revision);
        let pending = txn.pending_get(keys).await?.remove(key);
        let is_pending = pending.is_some();
        let record = pending.or(confirmed.map(|row| row.record));
        Ok(record.map(|record| Item { record, revision, is_pending }))
    }

    /// Live records of a range in key order, at most `limit` (and at most [`ROWS_MAX`]). The page is the last when it
    /// is shorter than asked for; else go on after its last key.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn page(&self, range: &Range, limit: usize) -> Result<Vec<Item>, ReplicaError> {
        self.page_where(range, None, limit).await
    }

    /// As [`Replica::page`], of records whose top-level field equals a value.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn page_where(
        &self,
        range: &Range,
        equals: Option<(&str, &Value)>,
        limit: usize,
    ) -> Result<Vec<Item>, ReplicaError> {
        let bounds = Bounds { rows: limit.min(ROWS_MAX), bytes: usize::MAX };
        Ok(self.records_part(range, equals, bounds).await?.items)
    }

    /// Open and settled conflicts in key order, as [`Replica::page`].
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn conflicts(&self, after: Option<Key>, limit: usize) -> Result<Vec<Item>, ReplicaError> {
        let kind = Kind::new(kind::CONFLICT).ok();
        self.page(&Range { kind, prefix: String::new(), after }, limit).await
    }

    /// Records and tombstones of the confirmed layer alone, in key order, at most `limit` (and at most [`ROWS_MAX`]).
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn confirmed_page(
        &self,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<(Revision, Record)>, ReplicaError> {
        let rows = self.read().await?.confirmed_page(range, limit.min(ROWS_MAX)).await?;
        Ok(rows.into_iter().map(|row| (row.revision, row.record)).collect())
    }

    /// Outbox entries in queue order after a place, at most `limit` (and at most [`ROWS_MAX`]).
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn outbox(&self, after_order: Option<u64>, limit: usize) -> Result<Vec<Entry>, ReplicaError> {
        Ok(self.read().await?.outbox_page(after_order, limit).await?)
    }

    /// Outbox entries of these mutations, those that are there.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn entries(&self, ids: &[MutationId]) -> Result<Vec<Entry>, ReplicaError> {
        Ok(self.read().await?.outbox_get(ids).await?)
    }

    /// Where a write stands in the log: while it is in the outbox, and for the newest [`super::PLACES_MAX`] that left
    /// it since the replica was opened. `None`: not answered yet, or not known any more.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn place(&self, id: MutationId) -> Result<Option<Revision>, ReplicaError> {
        let entry = self.read().await?.outbox_get(&[id]).await?.pop();
        Ok(entry.and_then(|entry| entry.answered_revision()).or_else(|| self.places.of(id)))
    }

    /// Remembers where writes stand that are about to leave the outbox. To be called before the transaction ends:
    /// whoever misses a write in the outbox must find its place.
    pub(super) fn note_places(&self, cursor: Option<&Cursor>, finished: Vec<(MutationId, Revision)>) {
        if let Some(cursor) = cursor {
            self.places.note(cursor.log_id, finished);
        }
    }

    /// What the replica says of itself.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn status(&self) -> Result<ReplicaStatus, ReplicaError> {
        let mut txn = self.read().await?;
        Ok(ReplicaStatus {
            cursor: state::cursor(&mut *txn).await?,
            view: state::view(&mut *txn).await?,
            writer: state::stream(&mut *txn).await?.writer,
            outbox: txn.outbox_totals().await?,
            condition: state::condition(&mut *txn).await?,
            backups: state::backups(&mut *txn).await?,
            report: state::report(&mut *txn).await?,
        })
    }
}

impl Item {
    /// The body, when it is in clear.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not the JSON object it was.
    pub fn body(&self) -> Result<Option<Map<String, Value>>, StoreError> {
        match self.record.body() {
            Some(body) if self.record.key_id == KEY_ID_CLEAR => serde_json::from_slice(body)
                .map(Some)
                .map_err(|e| StoreError::Corrupt { what: "body", detail: e.to_string() }),
            _ => Ok(None),
        }
    }
}

pub(super) fn matches(item: &Item, equals: Option<(&str, &Value)>) -> bool {
    if item.record.is_deleted() {
        return false;
    }
    let Some((field, value)) = equals else { return true };
    item.body().ok().flatten().is_some_and(|body| body.get(field) == Some(value))
}
