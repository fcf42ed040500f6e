//! The outbox on its way out: giving dots, pushing, withdrawing, and what a person may do with what was refused.

use std::collections::{BTreeMap, BTreeSet};

use semantics::clock::HybridTime;
use semantics::digest::mutation_digest;
use semantics::envelope::Op;
use semantics::fault::Fault;
use semantics::ids::{Dot, Key, MutationId, Revision, Writer};
use semantics::reason::Reason;
use semantics::session::{PUSH_BYTES_MAX, Push, PushItem, UNANSWERED_MAX};

use super::entry::{Entry, EntryState};
use super::pending::{Surroundings, base_on, owned_by, rematerialise};
use super::recover::gap;
use super::state::{Clock, Stream};
use super::store::{MetaKey, ROWS_MAX, ReplicaTxn};
use super::work::Work;
use super::write::{Write, WriteOp};
use super::{Replica, stamps, state};
use crate::error::{ReplicaError, StoreError, refused};

/// Most mutations that go along with what is urgent.
const BESIDE_URGENT: usize = 8;

impl Replica {
    /// What is to be pushed: first what is dotted and unanswered, byte for byte as before, then what is queued,
    /// which gets its dots now. The dots are durable when this returns. `None`: nothing, or no writer yet.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn next_push(&self, now_ms: u64) -> Result<Option<Push>, ReplicaError> {
        self.next_push_of(now_ms, unanswered_max()).await
    }

    /// As [`Replica::next_push`], with at most so many elements once something gets its dot; one, or one group, always
    /// fits.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn next_push_of(&self, now_ms: u64, items_max: usize) -> Result<Option<Push>, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let condition = state::condition(&mut *txn).await?;
        let stream = state::stream(&mut *txn).await?;
        let clock = state::clock(&mut *txn).await?;
        let Some(writer) = stream.writer else { return Ok(None) };
        if condition.needs_epoch || condition.stopped.is_some() {
            return Ok(None);
        }
        let mut batch = Batch {
            writer,
            stream,
            clock,
            now_ms,
            items: Vec::new(),
            bytes: 0,
            dotted: BTreeMap::new(),
            items_max,
        };
        let has_room = batch.repeat(&mut *txn).await?;
        if has_room {
            let urgent = state::urgent(&mut *txn).await?;
            let left = batch.hurry(&mut *txn, urgent.clone()).await?;
            if left != urgent {
                state::save(&mut *txn, MetaKey::Urgent, &left).await?;
            }
            let is_hurried = !batch.dotted.is_empty();
            if is_hurried {
                // What is urgent takes few others along, so that it is answered soon and they get on all the same.
                batch.items_max = batch.items_max.min(batch.items.len() + BESIDE_URGENT);
            }
            batch.extend(&mut *txn, is_hurried).await?;
        }
        let dotted: Vec<Entry> = batch.dotted.into_values().collect();
        if !dotted.is_empty() && !Fault::DotsNotStored.is_planted() {
            txn.outbox_put(&dotted).await?;
            state::save(&mut *txn, MetaKey::Stream, &batch.stream).await?;
            txn.commit().await?;
        }
        if batch.items.is_empty() {
            return Ok(None);
        }
        Ok(Some(Push { writer, confirmed_n: stream.answered_n, items: batch.items }))
    }

    /// Asks a dotted mutation back, so that others may overtake it: with all that rests on it, it goes to the end
    /// of the queue once the hub has agreed. One that is still queued goes there at once.
    ///
    /// # Errors
    /// `NOT_FOUND` when no such mutation is under way; [`ReplicaError::Store`].
    pub async fn withdraw(&self, id: MutationId) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        let entry = txn.outbox_get(&[id]).await?.pop();
        let Some(entry) = entry.filter(|entry| entry.is_queued() || entry.is_dotted()) else {
            return refused(Reason::NotFound, format!("no mutation {id} is under way"));
        };
        let writer = self.writer_or_provisional(state::stream(&mut *txn).await?.writer);
        let mut work = Work::new(&mut *txn, writer, Revision::ZERO);
        if entry.is_queued() {
            work.requeue(entry).await?;
        } else {
            work.withdraw(entry).await?;
        }
        let touched = work.touched;
        self.show(&mut *txn, writer, &touched).await?;
        Ok(txn.commit().await?)
    }

    /// Forgets a mutation that was set aside. What was made on it stays set aside.
    ///
    /// # Errors
    /// `NOT_FOUND` when no such mutation is set aside; [`ReplicaError::Store`].
    pub async fn outbox_drop(&self, id: MutationId) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        let entry = set_aside(&mut *txn, id).await?;
        txn.outbox_remove(&[entry.id()]).await?;
        Ok(txn.commit().await?)
    }

    /// Writes a mutation that was set aside anew, on what is there now and under an id of its own, and forgets the
    /// old one. The new id, or `None` where it would change nothing.
    ///
    /// # Errors
    /// `NOT_FOUND` when no such mutation is set aside; `STALE` while the replica starts anew and shows the record as it
    /// was before; the refusals of a write. In every case it stays set aside. [`ReplicaError::Store`].
    pub async fn outbox_retry(
        &self,
        id: MutationId,
        now_ms: u64,
    ) -> Result<Option<MutationId>, ReplicaError> {
        let entry = {
            let mut txn = self.read().await?;
            let entry = set_aside(&mut *txn, id).await?;
            check_shown(&mut *txn, &entry.mutation.key).await?;
            entry
        };
        let mutation = entry.mutation;
        let op = match mutation.op {
            Op::Put { body } => WriteOp::Put(semantics::canonical::parse_object(&body)?),
            Op::Patch { set, remove } => {
                WriteOp::Patch { set: semantics::canonical::parse_object(&set)?, remove }
            }
            Op::Delete => WriteOp::Delete,
        };
        let write = Write { key: mutation.key, op, placement: mutation.placement };
        self.write_replacing(write, Some(id), now_ms).await
    }

    /// Makes pending records anew.
    pub(super) async fn show(
        &self,
        txn: &mut dyn ReplicaTxn,
        writer: Writer,
        touched: &BTreeSet<Key>,
    ) -> Result<(), StoreError> {
        if touched.is_empty() {
            return Ok(());
        }
        let kinds = self.kinds(txn).await?;
        let context = self.context();
        rematerialise(txn, &Surroundings { kinds: &kinds, context: &context, writer }, touched).await
    }
}

async fn set_aside(txn: &mut dyn ReplicaTxn, id: MutationId) -> Result<Entry, ReplicaError> {
    match txn.outbox_get(&[id]).await?.pop() {
        Some(entry) if !entry.is_shown() => Ok(entry),
        _ => refused(Reason::NotFound, format!("no mutation {id} is set aside")),
    }
}

/// A replica that starts anew shows records of a log that may have lost them: nothing is to be made on those unseen.
async fn check_shown(txn: &mut dyn ReplicaTxn, key: &Key) -> Result<(), ReplicaError> {
    let stands = state::cursor(txn).await?.is_some();
    if stands || txn.confirmed_get(std::slice::from_ref(key)).await?.is_empty() {
        return Ok(());
    }
    let detail =
        format!("this replica starts anew and shows {key} as it was before: sync, look at it, retry");
    refused(Reason::Stale, detail)
}

/// A push being put together.
pub(super) struct Batch {
    writer: Writer,
    stream: Stream,
    clock: Clock,
    now_ms: u64,
    items: Vec<PushItem>,
    bytes: usize,
    /// Entries that got their dot in this batch.
    dotted: BTreeMap<MutationId, Entry>,
    /// Most items once something gets its dot.
    items_max: usize,
}

impl Batch {
    fn fits(&self, unit: &[Entry]) -> bool {
        let items = self.items.len() + unit.len();
        let bytes = self.bytes + unit.iter().map(|entry| entry.mutation.op.bytes()).sum::<usize>();
        // A lone unit always fits: a group's bound lies below a push's.
        self.items.is_empty() || (items <= unanswered_max() && bytes <= PUSH_BYTES_MAX)
    }

    fn push(&mut self, entry: &Entry) {
        self.bytes += entry.mutation.op.bytes();
        let item = match &entry.state {
            EntryState::Dotted { withdraw: true, digest } => {
                PushItem::Withdraw { n: entry.mutation.dot.n, mutation: entry.id(), digest: *digest }
            }
            _ => PushItem::Mutation(Box::new(entry.mutation.clone())),
        };
        self.items.push(item);
    }

    /// Takes in what is dotted and unanswered. Whether all of it fitted.
    async fn repeat(&mut self, txn: &mut dyn ReplicaTxn) -> Result<bool, StoreError> {
        let unanswered = txn.outbox_dotted(self.stream.answered_n, ROWS_MAX).await?;
        let same_unit = |a: &Entry, b: &Entry| {
            let group = |entry: &Entry| entry.mutation.group.map(|group| group.id);
            group(a).is_some() && group(a) == group(b)
        };
        let mut next_n = self.stream.answered_n + 1;
        for unit in unanswered.chunk_by(same_unit) {
            let first_n = unit.first().map_or(next_n, |entry| entry.mutation.dot.n);
            if !self.fill(next_n, first_n) || !self.fits(unit) {
                return Ok(false);
            }
            unit.iter().for_each(|entry| self.push(entry));
            next_n = unit.last().map_or(next_n, |entry| entry.mutation.dot.n + 1);
        }
        Ok(unanswered.len() == ROWS_MAX || self.fill(next_n, self.stream.last_n + 1))
    }

    /// Withdraws the counters from one to before another: their mutations are not here any more, and the hub has
    /// forgotten that it had them. Whether all of them fitted.
    fn fill(&mut self, from_n: u64, to_n: u64) -> bool {
        for n in from_n..to_n {
            if self.items.len() >= unanswered_max() {
                return false;
            }
            self.items.push(gap(n));
        }
        true
    }

    /// Gives dots to what is queued, in order, while there is room.
    /// Beside what is urgent the first unit goes whatever its size, so that it gets on.
    async fn extend(&mut self, txn: &mut dyn ReplicaTxn, is_hurried: bool) -> Result<(), ReplicaError> {
        let (mut after, mut is_first) = (None, is_hurried);
        loop {
            let queued = txn.outbox_queued(after, unanswered_max()).await?;
            let Some(last) = queued.last() else { return Ok(()) };
            after = Some(last.order);
            for entry in queued {
                if self.dotted.contains_key(&entry.id()) {
                    continue;
                }
                let unit = match entry.mutation.group {
                    Some(group) => txn.outbox_group(group.id).await?,
                    None => vec![entry],
                };
                let has_room = if is_first { self.may_hold(&unit) } else { self.has_room_for(&unit) };
                if !has_room {
                    return Ok(());
                }
                is_first = false;
                self.dot(txn, unit).await?;
            }
        }
    }

    /// Whether a unit that gets its dots now goes with this push.
    pub(super) fn has_room_for(&self, unit: &[Entry]) -> bool {
        let is_small = self.items.is_empty() || self.items.len() + unit.len() <= self.items_max;
        is_small && self.may_hold(unit)
    }

    /// Whether a push may be so large, however long it is under way.
    fn may_hold(&self, unit: &[Entry]) -> bool {
        let open = self.stream.last_n - self.stream.answered_n;
        let open = usize::try_from(open).unwrap_or(usize::MAX);
        self.fits(unit) && open.saturating_add(unit.len()) <= unanswered_max()
    }

    /// Gives dots to one mutation or one whole group; leaves it queued while what it rests on has none.
    pub(super) async fn dot(
        &mut self,
        txn: &mut dyn ReplicaTxn,
        unit: Vec<Entry>,
    ) -> Result<(), ReplicaError> {
        let ids: BTreeSet<MutationId> = unit.iter().map(Entry::id).collect();
        let outside: Vec<MutationId> =
            unit.iter().filter_map(|entry| entry.after).filter(|after| !ids.contains(after)).collect();
        let mut parents: BTreeMap<MutationId, Entry> =
            txn.outbox_get(&outside).await?.into_iter().map(|parent| (parent.id(), parent)).collect();
        for id in &outside {
            if let Some(parent) = self.dotted.get(id) {
                parents.insert(*id, parent.clone());
            }
        }
        let is_settled = |entry: &Entry| {
            (entry.is_dotted() && !entry.is_withdrawing()) || entry.answered_revision().is_some()
        };
        if Fault::PriorityBeforeCause.is_planted() {
            parents.retain(|_, parent| is_settled(parent));
        }
        if !unit.iter().all(|entry| entry.is_queued() && !self.dotted.contains_key(&entry.id()))
            || !parents.values().all(is_settled)
        {
            return Ok(());
        }
        for mut entry in unit {
            let parent = entry.after.and_then(|after| parents.get(&after));
            let floor = stamps::floor(txn, &self.clock, &entry, self.now_ms).await?;
            self.give(&mut entry, parent, floor);
            self.push(&entry);
            parents.insert(entry.id(), entry.clone());
            self.dotted.insert(entry.id(), entry);
        }
        Ok(())
    }

    fn give(&mut self, entry: &mut Entry, parent: Option<&Entry>, floor: HybridTime) {
        let writer = self.writer;
        let mutation = &mut entry.mutation;
        mutation.base = match parent {
            Some(parent) => base_on(&entry.footing, &parent.mutation.base, parent.mutation.dot, writer),
            None => owned_by(entry.footing.clone(), writer),
        };
        let mut floor = floor;
        if let Some(parent) = parent {
            floor = floor.max(stamps::of_parent(parent, writer, &self.clock, self.now_ms));
        }
        // What went out under a time that the hub does not take was stamped anew before the hub took it.
        let last_time = self.clock.as_taken(self.stream.last_time, self.now_ms);
        if mutation.base.version.get(&writer) > 0 {
            // It names all that the writer sent before, also what it was not made on by name: what was sent again into
            // another log, say.
            floor = floor.max(last_time);
        }
        mutation.time = mutation.time.at_send(floor, self.clock.hub_now_ms(self.now_ms));
        self.stream.last_time = last_time.max(mutation.time);
        self.stream.last_n += 1;
        mutation.dot = Dot { writer, n: self.stream.last_n };
        let digest = mutation_digest(mutation);
        self.stream.last_digest = Some(digest);
        entry.state = EntryState::Dotted { digest, withdraw: false };
    }
}

fn unanswered_max() -> usize {
    usize::try_from(UNANSWERED_MAX).unwrap_or(usize::MAX)
}
