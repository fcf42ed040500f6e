//! Epochs: a replica that is a copy finds out what became of the mutations it shares with the original, and opens
//! an epoch of its own for the rest.

use std::collections::{BTreeMap, BTreeSet};

use semantics::fault::Fault;
use semantics::ids::{CommitNumber, Digest, Dot, Key, MutationId, Revision, Writer};
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::{Reason, Refusal};
use semantics::session::{Left, Reconcile, Reconciliation};

use super::apply::forget_position;
use super::entry::{Entry, EntryState, provisional};
use super::pending::base_on;
use super::recover::{lost, sent_before};
use super::state::Stream;
use super::store::{MetaKey, ROWS_MAX, ReplicaTxn};
use super::work::Work;
use super::{Replica, kept, state};
use crate::error::{ReplicaError, StoreError, refused};

impl Replica {
    /// Remembers that an epoch of its own is needed: nothing is sent before.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn require_epoch(&self) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        require_epoch(&mut *txn).await?;
        Ok(txn.commit().await?)
    }

    /// The first request of a reconciliation. It begins before the cursor where an entry was written before it:
    /// its copy in the original may have been sent at any time since. Without a cursor the hub's log need not be the
    /// one that gave the answers which are here: each is asked for again, and what is not told is not in the log. It is
    /// set aside then: whoever shares it was answered the same, and may send it under its dot.
    /// A replica that left another log asks from where its entries were written there, and names that log.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn prepare_reconcile(&self) -> Result<Reconcile, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let cursor = state::cursor(&mut *txn).await?;
        if cursor.is_none() {
            let stream = state::stream(&mut *txn).await?;
            let writer = self.writer_or_provisional(stream.writer);
            each_answer(&mut *txn, |entry| entry.doubt(writer)).await?;
        }
        let condition = state::condition(&mut *txn).await?;
        let left = condition.left.filter(|_| cursor.is_none());
        let left = left.map(|log_id| Left { log_id, epoch: condition.left_epoch });
        let oldest = under_way(&mut *txn).await?.iter().map(|entry| entry.since).min();
        let after = match (cursor, oldest) {
            (Some(cursor), Some(since)) => cursor.commit.min(since),
            (Some(cursor), None) => cursor.commit,
            (None, Some(since)) if left.is_some() => since,
            (None, _) => CommitNumber::ZERO,
        };
        txn.commit().await?;
        Ok(Reconcile { cursor, after, left })
    }

    /// Takes a page of reconciliation: each entry it names is settled, sent or not. With the last page the new
    /// epoch is adopted and what is left loses its dots. The next request, or `None` when that was all.
    ///
    /// # Errors
    /// `MALFORMED` when the last page brings no epoch; [`ReplicaError::Store`].
    pub async fn settle_reconciliation(
        &self,
        page: &Reconciliation,
    ) -> Result<Option<Reconcile>, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let stream = state::stream(&mut *txn).await?;
        let cursor = state::cursor(&mut *txn).await?;
        let confirmed = cursor.map_or(Revision::ZERO, |cursor| cursor.revision);
        let writer = self.writer_or_provisional(stream.writer);
        let mut work = Work::new(&mut *txn, writer, confirmed);
        for told in &page.outcomes {
            take_outcome(&mut work, told).await?;
        }
        let (mut touched, finished) = (work.touched, work.finished);
        let next = match (page.next, page.epoch) {
            (Some(after), _) => Some(Reconcile { cursor, after, left: None }),
            (None, Some(epoch)) => {
                touched.append(&mut self.adopt_epoch(&mut *txn, (epoch, page.told_to), confirmed).await?);
                None
            }
            (None, None) => return refused(Reason::Malformed, "a reconciliation ended without an epoch"),
        };
        self.show(&mut *txn, writer, &touched).await?;
        self.note_places(cursor.as_ref(), finished);
        txn.commit().await?;
        Ok(next)
    }

    /// The hub can no longer tell what became of mutations as old as this replica's: those not answered are set
    /// aside as possible repeats, and the replica starts anew. The request that then only asks for an epoch.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn give_up_reconciling(&self) -> Result<Reconcile, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let stream = state::stream(&mut *txn).await?;
        let writer = self.writer_or_provisional(stream.writer);
        let entries = under_way(&mut *txn).await?;
        let mut work = Work::new(&mut *txn, writer, Revision::ZERO);
        for entry in entries {
            let detail = "another copy of this replica may have sent it, and the hub no longer knows: \
                          look at the record, then retry or drop it";
            work.set_aside(entry, Refusal::new(Reason::CursorExpired, detail)).await?;
        }
        let touched = work.touched;
        self.show(&mut *txn, writer, &touched).await?;
        forget_position(&mut *txn).await?;
        txn.commit().await?;
        // From beyond the log's end: there is nothing to tell.
        Ok(Reconcile { cursor: None, after: CommitNumber(u64::MAX), left: None })
    }

    /// Whether there is another log to adopt.
    ///
    /// # Errors
    /// `MALFORMED` when this replica has not stopped: it stands on its hub's log; [`ReplicaError::Store`].
    pub async fn check_stopped(&self) -> Result<(), ReplicaError> {
        let mut txn = self.read().await?;
        match state::condition(&mut *txn).await?.stopped {
            Some(_) => Ok(()),
            None => {
                let detail = "this replica has not stopped: it follows its hub's log, and there is no other to adopt \
                              (`spoke status`, `spoke sync`)";
                refused(Reason::Malformed, detail)
            }
        }
    }

    /// A person has decided to follow the hub's log although it is not the one this replica stood on: everything
    /// not known to the new log is sent again under an epoch of its own, recognised by mutation id; what was answered
    /// under an epoch of before, or to a copy of the replica that sent it, is set aside. What was made on something that is
    /// sent again rests on it again, whatever dot that is given. From which commit of the old log
    /// on that is to be looked for stays with each entry: the hub knows where the two logs parted. The caller keeps a
    /// copy of the old replica aside.
    ///
    /// # Errors
    /// Those of [`Replica::check_stopped`]; [`ReplicaError::Store`].
    pub async fn adopt_log(&self) -> Result<(), ReplicaError> {
        self.check_stopped().await?;
        let mut txn = self.write_txn().await?;
        let stream = state::stream(&mut *txn).await?;
        let writer = self.writer_or_provisional(stream.writer);
        let cursor = state::cursor(&mut *txn).await?;
        let lineage = state::lineage(&mut *txn).await?;
        let mut condition = state::condition(&mut *txn).await?;
        // Who needs an epoch may be a copy: the original keeps the same, and may send it under the epoch they share.
        let own = stream.writer.filter(|_| !condition.needs_epoch);
        let mut again: BTreeMap<Dot, MutationId> = BTreeMap::new();
        each_entry(&mut *txn, |entry| {
            if !entry.is_shown() {
                return false;
            }
            again.insert(entry.mutation.dot, entry.id());
            // What was answered is kept too, until its cut comes.
            if entry.answered_revision().is_some() && Some(entry.mutation.dot.writer) != own {
                entry.doubt(writer);
            } else {
                entry.requeue(writer, entry.order);
            }
            // Revisions of another log mean nothing in this one.
            entry.mutation.base.revision = Revision::ZERO;
            entry.footing.revision = Revision::ZERO;
            true
        })
        .await?;
        for kept in kept::take_all(&mut *txn).await? {
            let mut entry = kept.entry;
            entry.mutation.base.revision = Revision::ZERO;
            entry.footing = entry.mutation.base.clone();
            if Some(entry.mutation.dot.writer) == own {
                again.insert(entry.mutation.dot, entry.id());
                entry.requeue(writer, entry.order);
            } else {
                entry = sent_before(entry);
            }
            txn.outbox_put(&[entry]).await?;
        }
        if let Some(own) = own {
            each_entry(&mut *txn, |entry| entry.is_queued() && rest_again(entry, own, &again)).await?;
        }
        condition.stopped = None;
        condition.needs_epoch = true;
        let last = cursor.map(|cursor| cursor.log_id).or(lineage.map(|lineage| lineage.log_id));
        // Left a second time before the first was done: the entries are still of the one before.
        condition.left = condition.left.or(last);
        condition.left_epoch = condition.left_epoch.or(own.map(|own| own.epoch));
        state::save(&mut *txn, MetaKey::Condition, &condition).await?;
        forget_position(&mut *txn).await?;
        Ok(txn.commit().await?)
    }

    /// Gives the records that it touched.
    async fn adopt_epoch(
        &self,
        txn: &mut dyn ReplicaTxn,
        (epoch, told_to): (u32, Option<CommitNumber>),
        confirmed: Revision,
    ) -> Result<BTreeSet<Key>, StoreError> {
        let writer = Writer { node: self.identity.node, epoch };
        let mut condition = state::condition(txn).await?;
        // What stands here now is not in the log up to there: nobody had sent it.
        let since = told_to.or(condition.left.map(|_| CommitNumber::ZERO));
        let mut not_told = Vec::new();
        each_entry(txn, |entry| {
            let is_open = entry.is_dotted() || entry.is_queued();
            if is_open && entry.answered_epoch.is_some() {
                not_told.push(entry.clone());
            }
            if is_open {
                entry.state = EntryState::Queued;
                entry.mutation.dot = provisional(writer, entry.order);
                entry.since = since.unwrap_or(entry.since);
            }
            is_open
        })
        .await?;
        let stream = Stream { writer: Some(writer), ..Stream::default() };
        state::save(txn, MetaKey::Stream, &stream).await?;
        condition.needs_epoch = false;
        condition.left = None;
        condition.left_epoch = None;
        state::save(txn, MetaKey::Condition, &condition).await?;
        let mut work = Work::new(txn, writer, confirmed);
        for entry in not_told {
            let refusal = lost(entry.answered_epoch.unwrap_or_default());
            work.set_aside(entry, refusal).await?;
        }
        work.set_aside_orphans().await?;
        Ok(work.touched)
    }
}

/// Has an entry rest on what is sent again and was made before it on the same record, in place of the dot that this had.
/// Whether it did not.
fn rest_again(entry: &mut Entry, own: Writer, again: &BTreeMap<Dot, MutationId>) -> bool {
    let last = Dot { writer: own, n: entry.footing.version.get(&own) };
    let Some(parent) = again.get(&last).filter(|parent| **parent != entry.id()) else { return false };
    entry.after = entry.after.or(Some(*parent));
    entry.footing.version.retain(|dot| dot.writer != own);
    entry.footing.own = None;
    entry.mutation.base = entry.footing.clone();
    true
}

pub(super) async fn require_epoch(txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
    let mut condition = state::condition(txn).await?;
    condition.needs_epoch = true;
    state::save(txn, MetaKey::Condition, &condition).await
}

/// Settles the entry that an outcome of this node's log speaks about, if there is one.
async fn take_outcome(work: &mut Work<'_>, told: &DotOutcome) -> Result<(), StoreError> {
    let Some(mut entry) = work.txn.outbox_get(&[told.mutation]).await?.pop() else { return Ok(()) };
    let is_open = entry.is_queued() || entry.is_dotted();
    if entry.is_queued() && Fault::UnsentAppliedTwice.is_planted() {
        return Ok(());
    }
    match &told.outcome {
        // Withdrawn by whoever sent it: it never had an effect, and is still to be sent.
        Outcome::Withdrawn => Ok(()),
        Outcome::Rejected(_) if !is_open => Ok(()),
        Outcome::Rejected(_) => work.settle(entry, told.outcome.clone()).await,
        _ if entry.answered_revision().is_some() => Ok(()),
        // Also what was set aside here: that it took effect is what counts.
        _ => {
            let parents: Vec<MutationId> = entry.after.into_iter().collect();
            if let Some(parent) = work.txn.outbox_get(&parents).await?.pop() {
                // Whoever sent it wrote the dot its parent had there, which is the one told here before.
                let (base, dot) = (&parent.mutation.base, parent.mutation.dot);
                entry.mutation.base = base_on(&entry.footing, base, dot, told.dot.writer);
            } else {
                entry.mutation.base = entry.footing.clone();
            }
            entry.mutation.dot = told.dot;
            work.touched.insert(entry.mutation.key.clone());
            work.settle(entry, told.outcome.clone()).await
        }
    }
}

/// The replica stands nowhere and has come to another log under its own epoch: what was answered under that is as good as
/// sent, so that its outcome is asked for.
pub(super) async fn doubt_own_answers(txn: &mut dyn ReplicaTxn, writer: Writer) -> Result<(), StoreError> {
    each_answer(txn, |entry| {
        if entry.mutation.dot.writer == writer {
            entry.state = EntryState::Dotted { digest: Digest::default(), withdraw: false };
        }
    })
    .await
}

/// Changes what was answered and waits for its cut.
async fn each_answer(
    txn: &mut dyn ReplicaTxn,
    mut change: impl FnMut(&mut Entry) + Send,
) -> Result<(), StoreError> {
    each_entry(txn, |entry| {
        let is_answered = entry.answered_revision().is_some();
        if is_answered {
            change(entry);
        }
        is_answered
    })
    .await
}

/// Whether anything that was answered waits for its cut.
pub(super) async fn has_answers(txn: &mut dyn ReplicaTxn) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let page = txn.outbox_page(after, ROWS_MAX).await?;
        let Some(last) = page.last() else { return Ok(false) };
        after = Some(last.order);
        if page.iter().any(|entry| entry.answered_revision().is_some()) {
            return Ok(true);
        }
    }
}

/// Entries whose outcome is not known.
async fn under_way(txn: &mut dyn ReplicaTxn) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = txn.outbox_page(after, ROWS_MAX).await?;
        let Some(last) = page.last() else { return Ok(entries) };
        after = Some(last.order);
        entries.extend(page.into_iter().filter(|entry| entry.is_queued() || entry.is_dotted()));
    }
}

/// Changes entries in place; `change` says which are to be written. It must not change their order.
pub(super) async fn each_entry(
    txn: &mut dyn ReplicaTxn,
    mut change: impl FnMut(&mut Entry) -> bool + Send,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = txn.outbox_page(after, ROWS_MAX).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.order);
        let changed: Vec<Entry> =
            page.into_iter().filter_map(|mut entry| change(&mut entry).then_some(entry)).collect();
        txn.outbox_put(&changed).await?;
    }
}
