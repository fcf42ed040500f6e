//! Changes of outbox entries that touch others: inside one transaction, shared by settling, cutting and
//! reconciling.

use std::collections::{BTreeMap, BTreeSet};

use semantics::clock::HybridTime;
use semantics::fault::Fault;
use semantics::ids::{Key, MutationId, Revision, Writer};
use semantics::outcome::Outcome;
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;

use super::entry::{Entry, EntryState};
use super::pending::base_on;
use super::store::{ConfirmedRow, ReplicaTxn};
use super::write::{newest, newest_of};
use super::{kept, state};
use crate::error::StoreError;

/// A transaction at work on the outbox, and the records whose pending layer it touched.
pub(crate) struct Work<'t> {
    pub(crate) txn: &'t mut dyn ReplicaTxn,
    pub(crate) writer: Writer,
    /// Up to here outcomes are already part of the confirmed layer.
    pub(crate) confirmed: Revision,
    pub(crate) touched: BTreeSet<Key>,
    /// What left the outbox because its effect is confirmed, and where it stands.
    pub(crate) finished: Vec<(MutationId, Revision)>,
}

impl<'t> Work<'t> {
    pub(crate) fn new(txn: &'t mut dyn ReplicaTxn, writer: Writer, confirmed: Revision) -> Self {
        Self { txn, writer, confirmed, touched: BTreeSet::new(), finished: Vec::new() }
    }

    /// What became of an entry.
    pub(crate) async fn settle(&mut self, entry: Entry, outcome: Outcome) -> Result<(), StoreError> {
        if let Some(revision) = outcome.revision() {
            return self.take_effect(vec![(entry, revision, outcome)]).await;
        }
        match outcome {
            Outcome::Rejected(refusal) => {
                if is_consequence(refusal.reason) && self.rests_on_queued(&entry).await? {
                    return self.send_again(entry).await;
                }
                match self.stamped_anew(&entry, &refusal).await? {
                    Some(entry) => self.send_again(entry).await,
                    None => self.set_aside(entry, refusal).await,
                }
            }
            _ => self.send_again(entry).await,
        }
    }

    /// These took effect, each at its revision. Those that the confirmed layer has already go, the others wait for a cut;
    /// all in this order.
    pub(crate) async fn take_effect(
        &mut self,
        effects: Vec<(Entry, Revision, Outcome)>,
    ) -> Result<(), StoreError> {
        let confirmed = self.confirmed;
        let goes = |revision: Revision| revision <= confirmed || Fault::EntryDroppedAtAnswer.is_planted();
        let mut is_stale = false;
        for run in effects.chunk_by(|(_, one, _), (_, next, _)| goes(*one) == goes(*next)) {
            if run.first().is_some_and(|(_, revision, _)| goes(*revision)) {
                let gone = run.iter().map(|(entry, revision, _)| (entry.clone(), *revision)).collect();
                self.finish(gone).await?;
                is_stale = true;
            } else {
                self.wait_for_a_cut(run, is_stale).await?;
            }
        }
        Ok(())
    }

    /// They took effect at revisions that no cut has brought yet. `is_stale`: what went before them may have changed them.
    async fn wait_for_a_cut(
        &mut self,
        run: &[(Entry, Revision, Outcome)],
        is_stale: bool,
    ) -> Result<(), StoreError> {
        let mut entries: Vec<Entry> = run.iter().map(|(entry, _, _)| entry.clone()).collect();
        if is_stale {
            let ids: Vec<MutationId> = entries.iter().map(Entry::id).collect();
            entries = self.txn.outbox_get(&ids).await?;
        }
        let answers: BTreeMap<MutationId, (Revision, &Outcome)> =
            run.iter().map(|(entry, revision, outcome)| (entry.id(), (*revision, outcome))).collect();
        for entry in &mut entries {
            // Something refused here before may have taken effect after all, under another writer.
            if !entry.is_shown() {
                self.touched.insert(entry.mutation.key.clone());
            }
            if let Some((revision, outcome)) = answers.get(&entry.id()) {
                entry.state = EntryState::Answered { revision: *revision, outcome: (*outcome).clone() };
                entry.answered_epoch = None;
            }
        }
        self.txn.outbox_put(&entries).await
    }

    /// An entry that was refused for its stamp alone, where it would now be stamped later: after the hub's time as it was
    /// last told. A log that went on from a backup may show a stamp that was hidden from the author in the log before.
    /// `None` where it would not, so that nothing goes in a circle.
    async fn stamped_anew(&mut self, entry: &Entry, refusal: &Refusal) -> Result<Option<Entry>, StoreError> {
        let heard = HybridTime { ms: state::clock(self.txn).await?.heard_ms, counter: 0 };
        let is_later = refusal.reason == Reason::StampBeforeBase && entry.mutation.time < heard;
        Ok(is_later.then(|| Entry { base_time: entry.base_time.max(heard), ..entry.clone() }))
    }

    /// Took no effect and is to be sent again, unless what it rests on was refused while it was under way.
    async fn send_again(&mut self, entry: Entry) -> Result<(), StoreError> {
        match self.refused_below(&entry).await? {
            Some(refusal) => self.set_aside(entry, refusal).await,
            None => self.requeue(entry).await,
        }
    }

    /// Sets aside what is queued and rests on something refused: it would wait for ever.
    pub(crate) async fn set_aside_orphans(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.txn.outbox_queued(after, super::store::ROWS_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.order);
            for entry in page {
                // Read again: an earlier one may have taken it along.
                let entry = self.txn.outbox_get(&[entry.id()]).await?.pop().filter(Entry::is_queued);
                let Some(entry) = entry else { continue };
                if let Some(refusal) = self.refused_below(&entry).await? {
                    self.set_aside(entry, refusal).await?;
                }
            }
        }
    }

    /// Why an entry cannot be sent: what it was made on, or one of its group, is set aside.
    async fn refused_below(&mut self, entry: &Entry) -> Result<Option<Refusal>, StoreError> {
        let parents: Vec<MutationId> = entry.after.into_iter().collect();
        let mut below = self.txn.outbox_get(&parents).await?;
        if let Some(group) = entry.mutation.group {
            below.extend(self.txn.outbox_group(group.id).await?);
        }
        Ok(below.into_iter().filter(|other| other.id() != entry.id()).find_map(|other| match &other.state {
            EntryState::SetAside { refusal } => Some(depends_on(&other, refusal)),
            _ => None,
        }))
    }

    /// Their effects are part of the confirmed layer: they go, in this order, and what was made on them keeps its place in
    /// the version.
    pub(crate) async fn finish(&mut self, gone: Vec<(Entry, Revision)>) -> Result<(), StoreError> {
        let ids: Vec<MutationId> = gone.iter().map(|(entry, _)| entry.id()).collect();
        let children = self.txn.outbox_after(&ids).await?;
        let parents: BTreeSet<MutationId> = children.iter().filter_map(|child| child.after).collect();
        let keys: BTreeSet<Key> = gone
            .iter()
            .filter(|(entry, _)| parents.contains(&entry.id()))
            .map(|(entry, _)| entry.mutation.key.clone())
            .collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let confirmed = self.txn.confirmed_get(&keys).await?;
        let mut children: Vec<Option<Entry>> = children.into_iter().map(Some).collect();
        let mut kept = Vec::new();
        for (entry, revision) in gone {
            // It may be a child of one that went before it.
            let is_it =
                |child: &&mut Option<Entry>| child.as_ref().is_some_and(|child| child.id() == entry.id());
            let entry = children.iter_mut().find(is_it).and_then(Option::take).unwrap_or(entry);
            let stands = confirmed.get(&entry.mutation.key);
            let of_it = children.iter_mut().flatten().filter(|child| child.after == Some(entry.id()));
            of_it.for_each(|child| self.outlives(child, &entry, stands));
            self.finished.push((entry.id(), revision));
            self.touched.insert(entry.mutation.key.clone());
            kept.push((entry, revision));
        }
        kept::keep(self.txn, &kept).await?;
        let children: Vec<Entry> = children.into_iter().flatten().collect();
        self.txn.outbox_put(&children).await?;
        self.txn.outbox_remove(&ids).await
    }

    /// What an entry was made on is gone.
    fn outlives(&self, child: &mut Entry, parent: &Entry, stands: Option<&ConfirmedRow>) {
        child.after = None;
        child.footing = base_on(&child.footing, &parent.mutation.base, parent.mutation.dot, self.writer);
        let time = settled_time(parent, stands, &child.footing.version);
        child.base_time = child.base_time.max(parent.base_time).max(time);
        // In a fixed base the parent is named already.
        if !child.is_dotted() {
            child.mutation.base = child.footing.clone();
        }
    }

    /// Refused: it waits for a person, and with it what was made on it and is not sent. What is sent already, the
    /// hub answers itself.
    pub(crate) async fn set_aside(&mut self, entry: Entry, refusal: Refusal) -> Result<(), StoreError> {
        let mut waiting = vec![(entry, refusal)];
        while let Some((mut entry, refusal)) = waiting.pop() {
            let consequence = depends_on(&entry, &refusal);
            entry.state = EntryState::SetAside { refusal };
            self.touched.insert(entry.mutation.key.clone());
            self.txn.outbox_put(std::slice::from_ref(&entry)).await?;
            for dependent in self.dependents(&entry).await? {
                if dependent.is_queued() && !Fault::CauseNotCarried.is_planted() {
                    waiting.push((dependent, consequence.clone()));
                }
            }
        }
        Ok(())
    }

    /// Took no effect and may be sent again: it goes to the end of the queue without a dot, and with it, in their
    /// order, everything that was made on it or belongs to its group.
    pub(crate) async fn requeue(&mut self, entry: Entry) -> Result<(), StoreError> {
        let id = entry.id();
        let mut moved = self.closure(vec![entry]).await?;
        let count = u64::try_from(moved.len()).unwrap_or(u64::MAX);
        let first = state::take_orders(self.txn, count).await?;
        moved.sort_by_key(|entry| entry.order);
        for (order, entry) in (first..).zip(&mut moved) {
            if entry.id() == id || entry.is_queued() {
                entry.requeue(self.writer, order);
            } else {
                entry.order = order;
            }
            self.touched.insert(entry.mutation.key.clone());
        }
        for moved in moved.chunks(super::store::ROWS_MAX) {
            self.txn.outbox_put(moved).await?;
        }
        Ok(())
    }

    /// Marks a dotted entry, and every dotted one that rests on it, to be withdrawn. How many were marked.
    pub(crate) async fn withdraw(&mut self, entry: Entry) -> Result<usize, StoreError> {
        let mut marked = Vec::new();
        for mut entry in self.closure(vec![entry]).await? {
            if let EntryState::Dotted { withdraw: withdraw @ false, .. } = &mut entry.state {
                *withdraw = true;
                marked.push(entry);
            }
        }
        for marked in marked.chunks(super::store::ROWS_MAX) {
            self.txn.outbox_put(marked).await?;
        }
        Ok(marked.len())
    }

    /// These entries and all that rest on them, queued or dotted.
    async fn closure(&mut self, mut waiting: Vec<Entry>) -> Result<Vec<Entry>, StoreError> {
        let mut found: BTreeMap<MutationId, Entry> = BTreeMap::new();
        while let Some(entry) = waiting.pop() {
            if found.contains_key(&entry.id()) || !(entry.is_queued() || entry.is_dotted()) {
                continue;
            }
            waiting.extend(self.dependents(&entry).await?);
            found.insert(entry.id(), entry);
        }
        Ok(found.into_values().collect())
    }

    /// What was made on an entry, and its group.
    async fn dependents(&mut self, entry: &Entry) -> Result<Vec<Entry>, StoreError> {
        let mut dependents = self.txn.outbox_after(&[entry.id()]).await?;
        if let Some(group) = entry.mutation.group {
            let mates = self.txn.outbox_group(group.id).await?;
            dependents.extend(mates.into_iter().filter(|mate| mate.id() != entry.id()));
        }
        Ok(dependents)
    }

    /// Whether what it was made on, or one of its group, went back to the queue.
    async fn rests_on_queued(&mut self, entry: &Entry) -> Result<bool, StoreError> {
        let parents: Vec<MutationId> = entry.after.into_iter().collect();
        if self.txn.outbox_get(&parents).await?.iter().any(Entry::is_queued) {
            return Ok(true);
        }
        let Some(group) = entry.mutation.group else { return Ok(false) };
        Ok(self.txn.outbox_group(group.id).await?.iter().any(Entry::is_queued))
    }
}

/// What a child of a settled entry must be stamped after: the entry, and what the confirmed record bears of all that the
/// child was made on. What others wrote beside it does not count: stamped after that, the child would win over it.
///
/// The confirmed record knows; the entry's own time may be wrong, because another copy of it, stamped anew, is what the
/// hub took. So it counts no further than that record's.
fn settled_time(entry: &Entry, confirmed: Option<&ConfirmedRow>, seen: &Version) -> HybridTime {
    let holds = confirmed.filter(|row| row.record.version.contains(entry.mutation.dot));
    holds.map_or(entry.mutation.time, |row| {
        newest_of(&row.record, seen).max(entry.mutation.time.min(newest(&row.record)))
    })
}

fn depends_on(entry: &Entry, refusal: &Refusal) -> Refusal {
    let detail = format!("{} was set aside: {}", entry.id(), refusal.reason.as_str());
    Refusal::new(Reason::DependsOn, detail)
}

fn is_consequence(reason: Reason) -> bool {
    matches!(reason, Reason::DependsOn | Reason::GroupRejected)
}
