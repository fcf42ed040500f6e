//! The live feed of one tenant: recent commits, bounded, put together once for each distinct view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use semantics::commit::Head;
use semantics::cursor::{Change, Departure};
use semantics::delivery::{Delivery, Reader, Row, delivery};
use semantics::ids::{CommitNumber, RecordId, Revision};
use semantics::kind;
use semantics::view::View;
use tokio::sync::watch;

use super::limits::{RING_BATCHES_MAX, RING_BYTES_MAX};
use crate::store::{Append, LogEntry};

/// What one reader is sent of a batch.
#[derive(Debug, Default)]
pub struct Part {
    /// Records that came or changed.
    pub changes: Vec<Change>,
    /// Records that left.
    pub departures: Vec<Departure>,
    /// The wire form, made once by the first session that sends it.
    pub encoded: OnceLock<bytes::Bytes>,
}

impl Part {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.departures.is_empty()
    }

    /// Takes what this reader is sent of one row.
    pub fn take(&mut self, entry: &LogEntry, reader: Reader<'_>) {
        let row = &entry.row;
        let now = entry.now.as_ref().map(|pointer| (pointer.revision, &pointer.cell));
        let departed = row.departed.as_ref().map(|departed| (&departed.cell, departed.since));
        match delivery(Row { revision: row.revision, cell: &row.cell, departed, now }, reader) {
            Delivery::Change => {
                self.changes.push(Change { revision: row.revision, record: row.record.clone() });
            }
            Delivery::Departure => {
                self.departures.push(Departure { revision: row.revision, key: row.record.key.clone() });
            }
            Delivery::Silence => {}
        }
    }
}

/// Commits that follow each other, (from, head].
#[derive(Debug)]
pub struct Batch {
    /// The commit before.
    pub from: CommitNumber,
    /// The log's last revision before.
    pub from_revision: Revision,
    /// The head after.
    pub head: Head,
    /// Ids of the nodes whose registration or view it changes.
    nodes: BTreeSet<RecordId>,
    entries: Vec<LogEntry>,
    bytes: usize,
    parts: Mutex<Vec<(Arc<View>, Arc<Part>)>>,
}

impl Batch {
    /// From log entries in revision order.
    #[must_use]
    pub fn new(from: CommitNumber, from_revision: Revision, head: Head, entries: Vec<LogEntry>) -> Self {
        let keys = entries.iter().map(|entry| &entry.row.record.key);
        let nodes = keys.filter(|key| kind::is_of_node(&key.kind)).map(|key| key.id.clone()).collect();
        Self {
            from,
            from_revision,
            head,
            nodes,
            bytes: entries.iter().map(|entry| entry.row.record.weight()).sum(),
            entries,
            parts: Mutex::default(),
        }
    }

    /// Whether it changes this node's registration or view, so that the node's sessions look at theirs again.
    #[must_use]
    pub fn concerns(&self, node: &RecordId) -> bool {
        self.nodes.contains(node)
    }

    /// What a reader with this view is sent; made once for each distinct view.
    #[must_use]
    pub fn part(&self, view: &Arc<View>) -> Arc<Part> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, part)) = parts.iter().find(|(of, _)| Arc::ptr_eq(of, view) || **of == **view) {
            return Arc::clone(part);
        }
        let reader = Reader { view, before: view, seen_to: self.from_revision };
        let mut part = Part::default();
        for entry in &self.entries {
            part.take(entry, reader);
        }
        let part = Arc::new(part);
        parts.push((Arc::clone(view), Arc::clone(&part)));
        part
    }
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// Where the ring ends; batches that follow it are taken in.
    end: Option<Head>,
}

/// The live feed.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<Ring>,
    moved: watch::Sender<CommitNumber>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), moved: watch::Sender::new(CommitNumber::ZERO) }
    }
}

/// What the feed has for a reader.
#[derive(Debug)]
pub enum Live {
    /// The commits right after its position.
    Batch(Arc<Batch>),
    /// Nothing newer is known.
    UpToDate,
    /// Not in the ring: read from the store.
    Gap,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a commit of this gateway.
    pub fn append(&self, append: &Append) {
        let pointers: BTreeMap<_, _> =
            append.pointers.iter().map(|pointer| (&pointer.key, pointer)).collect();
        let entries = append
            .rows
            .iter()
            .map(|row| LogEntry { row: row.clone(), now: pointers.get(&row.record.key).copied().cloned() })
            .collect();
        let from_revision = Revision(append.commit.first.0.saturating_sub(1));
        self.push(Batch::new(append.expected, from_revision, append.head, entries));
    }

    /// Takes in a batch. One that does not follow the last starts the ring anew; one already there is dropped.
    pub fn push(&self, batch: Batch) {
        let commit = batch.head.commit;
        let mut ring = self.lock();
        let end = ring.end.map(|end| end.commit);
        if end.is_some_and(|end| commit <= end) {
            return;
        }
        if end != Some(batch.from) {
            ring.batches.clear();
            ring.bytes = 0;
        }
        ring.end = Some(batch.head);
        ring.bytes += batch.bytes;
        ring.batches.push_back(Arc::new(batch));
        while ring.batches.len() > RING_BATCHES_MAX || (ring.bytes > RING_BYTES_MAX && ring.batches.len() > 1)
        {
            if let Some(old) = ring.batches.pop_front() {
                ring.bytes -= old.bytes;
            }
        }
        drop(ring);
        self.note_moved(commit);
    }

    /// Wakes readers: the log has come at least this far.
    pub fn note_moved(&self, commit: CommitNumber) {
        self.moved.send_if_modified(|known| {
            let is_news = commit > *known;
            *known = (*known).max(commit);
            is_news
        });
    }

    /// Tells when the log moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<CommitNumber> {
        self.moved.subscribe()
    }

    /// Where the ring ends; an empty one is made to end at `head`.
    #[must_use]
    pub fn end_or(&self, head: Head) -> Head {
        *self.lock().end.get_or_insert(head)
    }

    /// What comes after a position.
    #[must_use]
    pub fn after(&self, commit: CommitNumber) -> Live {
        let known = *self.moved.borrow();
        if commit >= known {
            return Live::UpToDate;
        }
        let ring = self.lock();
        let at = ring.batches.partition_point(|batch| batch.from < commit);
        match ring.batches.get(at).filter(|batch| batch.from == commit) {
            Some(batch) => Live::Batch(Arc::clone(batch)),
            None => Live::Gap,
        }
    }
}
