//! Local writes: checked by the same rules as the hub's, durable when they return, never in need of a network.

mod draft;
mod form;

use semantics::envelope::{GROUP_BYTES_MAX, GROUP_MUTATIONS_MAX, GroupPlace, Placement};
use semantics::ids::{CommitNumber, GroupId, Key, MutationId};
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value};

use self::draft::Draft;
pub(super) use self::draft::{newest, newest_of};
use super::fallen::Fallen;
use super::store::{ConfirmedRow, MetaKey, ROWS_MAX, ReplicaTxn};
use super::{Replica, state};
use crate::error::{ReplicaError, refused};

/// Most entries in the outbox, refused ones included.
pub const OUTBOX_ENTRIES_MAX: u64 = 1_000_000;
/// Most bytes of bodies and patches in the outbox.
pub const OUTBOX_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What to do with a record.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOp {
    /// Set the whole body. Declared defaults are filled in.
    Put(Map<String, Value>),
    /// Set and remove top-level fields of a live record.
    Patch {
        /// Fields to set.
        set: Map<String, Value>,
        /// Fields to remove.
        remove: Vec<String>,
    },
    /// Leave a tombstone.
    Delete,
}

/// A local write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The record.
    pub key: Key,
    /// What to do with it.
    pub op: WriteOp,
    /// Where it belongs from here on; `None` leaves it, and puts a new record into the node's domain.
    pub placement: Option<Placement>,
}

/// What became of a local write: its mutation, `None` where the record already was as asked, or why not.
pub type WriteOutcome = Result<Option<MutationId>, Refusal>;

/// Local writes in one transaction: all are there when [`Bulk::commit`] returns, and none when it is dropped.
pub struct Bulk<'a> {
    replica: &'a Replica,
    txn: Box<dyn ReplicaTxn>,
    now_ms: u64,
}

impl std::fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl Bulk<'_> {
    /// Writes mutations, each for itself: those refused do not hold up the others. The outcomes come in the order of
    /// the writes.
    ///
    /// # Errors
    /// `OVERLOADED` when the outbox has no room for them; [`ReplicaError::Store`].
    pub async fn write(&mut self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, ReplicaError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut writes = writes.into_iter();
        loop {
            let chunk: Vec<Write> = writes.by_ref().take(ROWS_MAX).collect();
            if chunk.is_empty() {
                break;
            }
            let mut draft = self.replica.draft(&mut *self.txn, &chunk, self.now_ms).await?;
            for write in chunk {
                outcomes.push(draft.write(&mut *self.txn, write, None).await?);
            }
            draft.save(&mut *self.txn).await?;
        }
        check_room(&mut *self.txn).await?;
        Ok(outcomes)
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// [`ReplicaError::Store`]; then none is written.
    pub async fn commit(self) -> Result<(), ReplicaError> {
        self.txn.commit().await?;
        // All of it is durable; the next commit does it where this cannot.
        drop(self.replica.store.fold().await);
        Ok(())
    }
}

impl Replica {
    /// Puts a record.
    ///
    /// # Errors
    /// The refusals of [`Replica::write`].
    pub async fn put(
        &self,
        key: Key,
        body: Map<String, Value>,
        now_ms: u64,
    ) -> Result<Option<MutationId>, ReplicaError> {
        self.write(Write { key, op: WriteOp::Put(body), placement: None }, now_ms).await
    }

    /// Sets and removes fields of a record.
    ///
    /// # Errors
    /// The refusals of [`Replica::write`].
    pub async fn patch(
        &self,
        key: Key,
        set: Map<String, Value>,
        remove: Vec<String>,
        now_ms: u64,
    ) -> Result<Option<MutationId>, ReplicaError> {
        self.write(Write { key, op: WriteOp::Patch { set, remove }, placement: None }, now_ms).await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// The refusals of [`Replica::write`].
    pub async fn delete(&self, key: Key, now_ms: u64) -> Result<Option<MutationId>, ReplicaError> {
        self.write(Write { key, op: WriteOp::Delete, placement: None }, now_ms).await
    }

    /// Writes one mutation. `None`: the record already was as asked, and nothing was written. While the replica
    /// starts anew, what it shows may be gone from the log, and what changes nothing of it is written all the same.
    ///
    /// # Errors
    /// `KIND_UNDECLARED`, `CONTROL_KIND`, `RECORD_ABSENT`, `SCHEMA_VIOLATION`, `UNSAFE_NUMBER`, `TOO_LARGE`,
    /// `APPEND_ONLY` and whatever else `decide` refuses; `OVERLOADED` when the outbox is full; [`ReplicaError::Store`].
    pub async fn write(&self, write: Write, now_ms: u64) -> Result<Option<MutationId>, ReplicaError> {
        self.write_replacing(write, None, now_ms).await
    }

    /// Writes many mutations in one transaction, each for itself: those refused do not hold up the others. The
    /// outcomes come in the order of the writes.
    ///
    /// # Errors
    /// `OVERLOADED` when the outbox has no room for all of them, and then none is written; [`ReplicaError::Store`].
    pub async fn write_all(
        &self,
        writes: Vec<Write>,
        now_ms: u64,
    ) -> Result<Vec<WriteOutcome>, ReplicaError> {
        let mut bulk = self.bulk(now_ms).await?;
        let outcomes = bulk.write(writes).await?;
        bulk.commit().await?;
        Ok(outcomes)
    }

    /// Begins one transaction that takes writes as they come, so that they need not all be in memory at once. Other
    /// local writes wait until it ends.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn bulk(&self, now_ms: u64) -> Result<Bulk<'_>, ReplicaError> {
        Ok(Bulk { replica: self, txn: self.write_txn().await?, now_ms })
    }

    /// Writes mutations that commit and are delivered together or not at all. Writes that change nothing fall out.
    ///
    /// # Errors
    /// As [`Replica::write`], for the first write refused; `TOO_LARGE` past [`GROUP_MUTATIONS_MAX`] or
    /// [`GROUP_BYTES_MAX`]. In every case none is written.
    pub async fn write_group(
        &self,
        writes: Vec<Write>,
        now_ms: u64,
    ) -> Result<Vec<Option<MutationId>>, ReplicaError> {
        if writes.len() > GROUP_MUTATIONS_MAX {
            let detail = format!("{} mutations in one group, at most {GROUP_MUTATIONS_MAX}", writes.len());
            return refused(Reason::TooLarge, detail);
        }
        let mut txn = self.write_txn().await?;
        let mut draft = self.draft(&mut *txn, &writes, now_ms).await?;
        let group = GroupId(self.entropy.bytes16());
        let mut ids = Vec::with_capacity(writes.len());
        for (index, write) in (0..).zip(writes) {
            let place = GroupPlace { id: group, index, size: 0 };
            ids.push(draft.write(&mut *txn, write, Some(place)).await??);
        }
        draft.close_group();
        let bytes = draft.op_bytes();
        if bytes > GROUP_BYTES_MAX {
            return refused(
                Reason::TooLarge,
                format!("a group of {bytes} bytes, at most {GROUP_BYTES_MAX} are allowed"),
            );
        }
        draft.save(&mut *txn).await?;
        check_room(&mut *txn).await?;
        txn.commit().await?;
        Ok(ids)
    }

    /// Writes one mutation and forgets one that was set aside.
    pub(super) async fn write_replacing(
        &self,
        write: Write,
        replaced: Option<MutationId>,
        now_ms: u64,
    ) -> Result<Option<MutationId>, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let mut draft = self.draft(&mut *txn, std::slice::from_ref(&write), now_ms).await?;
        let id = draft.write(&mut *txn, write, None).await??;
        draft.save(&mut *txn).await?;
        if let Some(replaced) = replaced {
            txn.outbox_remove(&[replaced]).await?;
        }
        if id.is_some() || replaced.is_some() {
            check_room(&mut *txn).await?;
            txn.commit().await?;
        }
        Ok(id)
    }

    async fn draft(
        &self,
        txn: &mut dyn ReplicaTxn,
        writes: &[Write],
        now_ms: u64,
    ) -> Result<Draft<'_>, ReplicaError> {
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        let kinds = self.kinds(txn).await?;
        let stream = state::stream(txn).await?;
        let cursor = state::cursor(txn).await?;
        let confirmed = txn.confirmed_get(&keys).await?;
        confirmed.values().try_for_each(ConfirmedRow::check)?;
        Ok(Draft {
            kinds,
            context: self.context(),
            writer: self.writer_or_provisional(stream.writer),
            author: self.identity.node,
            entropy: &*self.entropy,
            now_ms,
            since: cursor.map_or(CommitNumber::ZERO, |cursor| cursor.commit),
            stands: cursor.is_some(),
            clock: state::clock(txn).await?,
            order: state::load(txn, MetaKey::Order).await?.unwrap_or(1),
            confirmed,
            pending: txn.pending_get(&keys).await?,
            last: txn.outbox_last(&keys).await?,
            entries: Vec::new(),
            urgent: Vec::new(),
            fallen: Fallen::load(txn, &keys).await?,
        })
    }
}

async fn check_room(txn: &mut dyn ReplicaTxn) -> Result<(), ReplicaError> {
    let totals = txn.outbox_totals().await?;
    if totals.entries <= OUTBOX_ENTRIES_MAX && totals.bytes <= OUTBOX_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the outbox would hold {} mutations and {} bytes, at most {OUTBOX_ENTRIES_MAX} and {OUTBOX_BYTES_MAX} are \
         allowed: sync first, or drop what was set aside",
        totals.entries, totals.bytes
    );
    refused(Reason::Overloaded, detail)
}
