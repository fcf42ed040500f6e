//! A transaction's writes while they are made: what is there, what is new, and the clock between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use semantics::clock::{HybridTime, Stamp};
use semantics::decide::Context;
use semantics::envelope::{Base, GroupPlace, KEY_ID_CLEAR, Mutation, Op, Record};
use semantics::ids::{CommitNumber, Incarnation, Key, MutationId, NodeId, Salt, Writer};
use semantics::kind::is_pushable;
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;

use super::form::operation;
use super::{Write, WriteOutcome};
use crate::error::StoreError;
use crate::replica::Entropy;
use crate::replica::entry::{Entry, EntryState, provisional};
use crate::replica::fallen::Fallen;
use crate::replica::kinds::Kinds;
use crate::replica::pending::replay;
use crate::replica::state::{self, Clock};
use crate::replica::store::{ConfirmedRow, MetaKey, ROWS_MAX, ReplicaTxn};
use crate::replica::urgent::{self, is_urgent};

pub(super) struct Draft<'a> {
    pub(super) kinds: Arc<Kinds>,
    pub(super) context: Context,
    pub(super) writer: Writer,
    pub(super) author: NodeId,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) now_ms: u64,
    pub(super) since: CommitNumber,
    /// Whether the replica stands at a cut. While it starts anew, what it shows may be gone from the log.
    pub(super) stands: bool,
    pub(super) clock: Clock,
    pub(super) order: u64,
    pub(super) confirmed: BTreeMap<Key, ConfirmedRow>,
    pub(super) pending: BTreeMap<Key, Record>,
    pub(super) last: BTreeMap<Key, Entry>,
    pub(super) entries: Vec<Entry>,
    /// Those of them that go out before all others.
    pub(super) urgent: Vec<MutationId>,
    /// Identities that fell here.
    pub(super) fallen: Fallen,
}

/// What a write is made on.
struct Footing {
    /// The record as shown here.
    current: Option<Record>,
    base: Base,
    base_time: HybridTime,
    base_body: Option<Vec<u8>>,
    after: Option<MutationId>,
}

impl Draft<'_> {
    /// Makes one write. The outer error is the store's; the inner one refuses this write alone.
    pub(super) async fn write(
        &mut self,
        txn: &mut dyn ReplicaTxn,
        write: Write,
        group: Option<GroupPlace>,
    ) -> Result<WriteOutcome, StoreError> {
        let parent = self.parent(txn, &write.key).await?;
        Ok(self.make(write, group, parent))
    }

    /// The entry the next write of this record rests on: the last that is not refused.
    async fn parent(&mut self, txn: &mut dyn ReplicaTxn, key: &Key) -> Result<Option<Entry>, StoreError> {
        match self.last.get(key) {
            Some(last) if last.refused_here.is_some() => {
                let entries = txn.outbox_of(key).await?;
                let stands = |entry: &Entry| entry.is_shown() && entry.refused_here.is_none();
                Ok(entries.into_iter().rev().find(stands))
            }
            last => Ok(last.cloned()),
        }
    }

    fn footing(&self, key: &Key, parent: Option<&Entry>) -> Footing {
        let confirmed = self.confirmed.get(key);
        let record = confirmed.map(|row| &row.record);
        let current = self.pending.get(key).or(record).cloned();
        let base = confirmed.map_or_else(Base::default, |row| Base {
            version: row.record.version.clone(),
            revision: row.revision,
            own: None,
        });
        // The parent's own time is not part of it: that may still be stamped anew.
        let parent_time = parent.map_or(HybridTime::ZERO, |parent| parent.base_time);
        let base_time = record.map_or(HybridTime::ZERO, newest).max(parent_time);
        let base_body = record.filter(|_| parent.is_none()).and_then(Record::body).map(<[u8]>::to_vec);
        Footing { current, base, base_time, base_body, after: parent.map(Entry::id) }
    }

    fn make(&mut self, write: Write, group: Option<GroupPlace>, parent: Option<Entry>) -> WriteOutcome {
        let Write { key, op, placement } = write;
        if !is_pushable(&key.kind) {
            return Err(Refusal::new(Reason::ControlKind, format!("{} is the hub's own kind", key.kind)));
        }
        let kinds = Arc::clone(&self.kinds);
        let rules = kinds.require(&key.kind).map_err(|refusal| self.unheard(refusal))?;
        let footing = self.footing(&key, parent.as_ref());
        let current = footing.current.as_ref();
        let is_sure = self.stands || !self.confirmed.contains_key(&key);
        let Some(op) = operation(current, op, placement.as_ref(), rules, is_sure)? else { return Ok(None) };
        let seen_time = current.map_or(footing.base_time, |record| newest(record).max(footing.base_time));
        let mut clock = self.clock;
        let mutation = Mutation {
            id: MutationId(self.entropy.bytes16()),
            dot: provisional(self.writer, self.order),
            group,
            incarnation: incarnation(current, &op),
            key,
            op,
            placement,
            base: footing.base.clone(),
            time: clock.tick(seen_time, self.now_ms),
            written_ms: self.now_ms,
            author: self.author,
            key_id: KEY_ID_CLEAR,
            salt: Salt(self.entropy.bytes16()),
            signature: None,
        };
        // Here it rests on exactly what is shown; the base that travels speaks of dots the hub knows.
        let mut shown = mutation.clone();
        shown.base.version = current.map(|record| record.version.clone()).unwrap_or_default();
        shown.base.own = None;
        let record = replay(current, shown, rules, &self.context, None)?;
        rules.check_id(&record)?;
        let is_rescue = self.fallen.note(&mutation.key, &mutation.op);
        if is_rescue || is_urgent(&mutation.key, current.and_then(Record::body), &mutation.op) {
            self.urgent.push(mutation.id);
        }
        self.clock = clock;
        self.order += 1;
        Ok(Some(self.keep(mutation, record, footing)))
    }

    /// A kind that nobody here knows may be declared all the same, before the first cut has told of it.
    fn unheard(&self, refusal: Refusal) -> Refusal {
        if self.stands {
            return refusal;
        }
        let detail = format!(
            "{} here: this replica has not synced yet and knows the built-in kinds alone; sync it once, then write again",
            refusal.detail
        );
        Refusal { detail, ..refusal }
    }

    fn keep(&mut self, mutation: Mutation, record: Record, footing: Footing) -> MutationId {
        let id = mutation.id;
        let entry = Entry {
            order: self.order - 1,
            mutation,
            footing: footing.base,
            base_time: footing.base_time,
            after: footing.after,
            since: self.since,
            base_body: footing.base_body,
            state: EntryState::Queued,
            refused_here: None,
            answered_epoch: None,
        };
        self.pending.insert(record.key.clone(), record);
        self.last.insert(entry.mutation.key.clone(), entry.clone());
        self.entries.push(entry);
        id
    }

    /// Numbers the group that the entries form, now that it is known which writes changed something.
    pub(super) fn close_group(&mut self) {
        let size = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        for (index, entry) in (0..).zip(&mut self.entries) {
            if let Some(place) = &mut entry.mutation.group {
                *place = GroupPlace { id: place.id, index, size };
            }
        }
    }

    /// Bytes of the new bodies and patches.
    pub(super) fn op_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.mutation.op.bytes()).sum()
    }

    pub(super) async fn save(self, txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        urgent::note(txn, &self.urgent).await?;
        self.fallen.save(txn).await?;
        let mut pending = self.pending;
        let changed: Vec<Record> =
            self.entries.iter().filter_map(|entry| pending.remove(&entry.mutation.key)).collect();
        for entries in self.entries.chunks(ROWS_MAX) {
            txn.outbox_put(entries).await?;
        }
        txn.pending_put(&changed).await?;
        let keys: Vec<Key> = changed.into_iter().map(|record| record.key).collect();
        txn.visible_changed(&keys).await?;
        state::save(txn, MetaKey::Clock, &self.clock).await?;
        state::save(txn, MetaKey::Order, &self.order).await
    }
}

/// The greatest time in a record: what is made on it is later.
pub(in crate::replica) fn newest(record: &Record) -> HybridTime {
    stamps(record).map(|stamp| stamp.time).fold(HybridTime::ZERO, HybridTime::max)
}

/// The greatest time in a record among these mutations of it: what is made on them is later.
pub(in crate::replica) fn newest_of(record: &Record, seen: &Version) -> HybridTime {
    let seen = stamps(record).filter(|stamp| seen.contains(stamp.dot));
    seen.map(|stamp| stamp.time).fold(HybridTime::ZERO, HybridTime::max)
}

fn stamps(record: &Record) -> impl Iterator<Item = Stamp> + '_ {
    let fields = record.fields.values().map(|field| field.stamp);
    fields.chain([record.stamp, record.placement_stamp])
}

fn incarnation(current: Option<&Record>, op: &Op) -> Incarnation {
    match current {
        None => Incarnation::ZERO,
        Some(record) if record.is_deleted() && *op != Op::Delete => record.incarnation.next(),
        Some(record) => record.incarnation,
    }
}
