//! The hub's log went on from a backup: what it lost is sent again, and what is here only as state is told.
//!
//! A mutation goes again under the dot it had, so that it takes effect once whoever else asks; a counter whose
//! mutation is not here any more is withdrawn. What was sent under an epoch that is no longer the replica's own is
//! set aside for a person. Records that stood at a revision which the backup does not hold are put
//! aside as they were: nothing is written from them by itself.

use std::collections::BTreeSet;

use semantics::digest::mutation_digest;
use semantics::ids::{Digest, Key, MutationId, Revision, Writer};
use semantics::reason::{Reason, Refusal};
use semantics::recovery::{
    REMNANT_DOTS_MAX, REMNANT_PAGE_BYTES, REMNANT_PAGES_MAX, REMNANTS_PER_PAGE_MAX, Recovery, Remnant,
    RemnantPage, rebased,
};
use semantics::session::PushItem;
use semantics::version::Version;

use super::apply::forget_position;
use super::entry::{Entry, EntryState};
use super::epoch::each_entry;
use super::state::{Report, Stream};
use super::store::{ConfirmedRow, MetaKey, ROWS_MAX, Range, ReplicaTxn};
use super::work::Work;
use super::{Replica, kept, state};
use crate::error::{ReplicaError, StoreError};

/// Makes the replica one of the log that went on: `last_n` is how far that log holds the writer's stream. The records
/// that now show less.
pub(super) async fn recover(
    txn: &mut dyn ReplicaTxn,
    stream: &mut Stream,
    (writer, last_n): (Writer, u64),
    recovery: &Recovery,
) -> Result<BTreeSet<Key>, StoreError> {
    put_aside(txn, recovery).await?;
    let mut of_before = Vec::new();
    let mut answered_n = stream.answered_n.min(last_n);
    each_entry(txn, |entry| {
        if entry.answered_revision().is_some_and(|revision| revision > recovery.revision) {
            if entry.mutation.dot.writer == writer {
                // As it was sent: where a copy has used its counter in this log, the hub tells by the digest.
                let digest = mutation_digest(&entry.mutation);
                entry.state = EntryState::Dotted { digest, withdraw: false };
                answered_n = answered_n.min(entry.mutation.dot.n.saturating_sub(1));
            } else {
                of_before.push(entry.clone());
            }
        }
        if entry.answered_revision().is_some() || !entry.is_shown() {
            return false;
        }
        again(entry, last_n, recovery);
        true
    })
    .await?;
    let kept = kept::take_all(txn).await?;
    let kept = kept.into_iter().filter(|kept| kept.revision > recovery.revision);
    let kept: Vec<Entry> = kept.map(|kept| lost_entry(kept.entry, (writer, last_n), recovery)).collect();
    for kept in kept.chunks(ROWS_MAX) {
        txn.outbox_put(kept).await?;
    }
    stream.answered_n = answered_n;
    if stream.last_n > last_n {
        let last = txn.outbox_dotted(stream.last_n - 1, 1).await?.pop();
        stream.last_digest = Some(last.map_or(Digest::default(), |entry| sent_digest(&entry)));
    }
    let mut work = Work::new(txn, writer, Revision::ZERO);
    for entry in of_before {
        let refusal = lost(entry.mutation.dot.writer.epoch);
        work.set_aside(entry, refusal).await?;
    }
    let touched = work.touched;
    forget_position(txn).await?;
    Ok(touched)
}

/// What is to become of a kept entry that the log lost. Where the log has consumed its counter all the same, a copy of
/// the replica was there first: with this mutation, or with another one of its own.
fn lost_entry(mut entry: Entry, (writer, last_n): (Writer, u64), recovery: &Recovery) -> Entry {
    let dot = entry.mutation.dot;
    if dot.writer != writer || dot.n <= last_n {
        return sent_before(entry);
    }
    entry.state = EntryState::Dotted { digest: Digest::default(), withdraw: false };
    again(&mut entry, last_n, recovery);
    entry
}

/// What was sent under an epoch that is no longer the replica's own, or under a counter that a copy of it has used: a
/// copy may send it again under the dot it had, or has, and the hub would take both. A person looks at it.
pub(super) fn sent_before(mut entry: Entry) -> Entry {
    entry.state = EntryState::SetAside { refusal: lost(entry.mutation.dot.writer.epoch) };
    entry
}

/// Why that is.
pub(super) fn lost(epoch: u32) -> Refusal {
    let detail = format!(
        "it was sent under epoch {epoch} and is not in the log that went on from a backup, unless another copy of this \
         replica has sent it again: look at the record, then retry or drop it"
    );
    Refusal::new(Reason::LogForked, detail)
}

/// An entry as the log that went on can read it.
fn again(entry: &mut Entry, last_n: u64, recovery: &Recovery) {
    entry.since = entry.since.min(recovery.commit);
    let is_consumed = entry.is_dotted() && entry.mutation.dot.n <= last_n;
    if is_consumed {
        return;
    }
    entry.footing = rebased(std::mem::take(&mut entry.footing), recovery.revision);
    entry.mutation.base = rebased(std::mem::take(&mut entry.mutation.base), recovery.revision);
    if let EntryState::Dotted { digest, .. } = &mut entry.state {
        *digest = mutation_digest(&entry.mutation);
    }
}

fn sent_digest(entry: &Entry) -> Digest {
    match &entry.state {
        EntryState::Dotted { digest, .. } => *digest,
        _ => Digest::default(),
    }
}

/// Puts aside every record whose state the backup does not hold.
async fn put_aside(txn: &mut dyn ReplicaTxn, recovery: &Recovery) -> Result<(), StoreError> {
    txn.remnants_clear().await?;
    let mut range = Range::default();
    let mut count = 0_u64;
    loop {
        let mut rows = txn.confirmed_page(&range, ROWS_MAX).await?;
        let Some(last) = rows.last() else { break };
        range.after = Some(last.record.key.clone());
        rows.retain(|row| row.revision > recovery.revision);
        count = count.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        txn.remnants_put(&rows).await?;
    }
    let report = Report { predecessor: recovery.predecessor, count, page: 0, after: None, is_told: false };
    state::save(txn, MetaKey::Report, &report).await
}

impl Replica {
    /// The next part of what this replica has of the log before that the hub has not taken yet; `None` = it was told
    /// all, or there is nothing.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn next_remnants(&self) -> Result<Option<RemnantPage>, ReplicaError> {
        let mut txn = self.read().await?;
        let Some(report) = state::report(&mut *txn).await?.filter(|report| !report.is_told) else {
            return Ok(None);
        };
        Ok(Some(part(&mut *txn, &report).await?))
    }

    /// The hub has a part durably; the next one.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn remnants_taken(&self, page: u32) -> Result<Option<RemnantPage>, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let Some(mut report) = state::report(&mut *txn).await?.filter(|report| !report.is_told) else {
            return Ok(None);
        };
        if report.page == page {
            let told = part(&mut *txn, &report).await?;
            report.is_told = told.is_last || page.saturating_add(1) >= REMNANT_PAGES_MAX;
            report.after = told.remnants.last().map(|remnant| remnant.key.clone()).or(report.after);
            report.page = page.saturating_add(1);
            state::save(&mut *txn, MetaKey::Report, &report).await?;
            txn.commit().await?;
        }
        self.next_remnants().await
    }

    /// Records as they were confirmed in the log before, at revisions that its backup does not hold, in key order.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn remnants(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, ReplicaError> {
        Ok(self.read().await?.remnants_page(after, limit).await?)
    }
}

async fn part(txn: &mut dyn ReplicaTxn, report: &Report) -> Result<RemnantPage, StoreError> {
    let rows = txn.remnants_page(report.after.as_ref(), REMNANTS_PER_PAGE_MAX).await?;
    let mut is_last = rows.len() < REMNANTS_PER_PAGE_MAX;
    let (mut remnants, mut bytes) = (Vec::new(), 0);
    for row in rows {
        if bytes >= REMNANT_PAGE_BYTES {
            is_last = false;
            break;
        }
        let remnant = remnant(row);
        bytes += remnant.weight();
        remnants.push(remnant);
    }
    Ok(RemnantPage { predecessor: report.predecessor, page: report.page, remnants, is_last })
}

fn remnant(row: ConfirmedRow) -> Remnant {
    let deleted = row.record.is_deleted();
    let version = row.record.version;
    let version = if version.len() <= REMNANT_DOTS_MAX { version } else { Version::empty() };
    Remnant { key: row.record.key, revision: row.revision, digest: row.digest, deleted, version }
}

/// What is withdrawn where a counter's mutation is not here any more: always the same, so that it can be repeated.
pub(super) fn gap(n: u64) -> PushItem {
    PushItem::Withdraw { n, mutation: MutationId([0; 16]), digest: Digest::default() }
}
