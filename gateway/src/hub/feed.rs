//! The live feed of one tenant: recent commits, bounded, put together once for each distinct view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::{CommitNumber, Digest, RecordId, Revision};
use semantics::kind;
use semantics::view::View;
use tokio::sync::watch;

mod nodes;
mod rows;

pub use self::nodes::NodeChanges;
use self::nodes::Nodes;
pub use self::rows::{Part, Rows, Since};
use super::limits::{RING_BATCHES_MAX, RING_BYTES_MAX, RING_PARTS_BYTES_MAX};
use crate::store::{Append, LogEntry};

/// Where the log ended before a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The last commit.
    pub commit: CommitNumber,
    /// Its chain.
    pub chain: Digest,
    /// Its last revision.
    pub revision: Revision,
}

impl Before {
    /// At a head.
    #[must_use]
    pub const fn of(head: &Head) -> Self {
        Self { commit: head.commit, chain: head.chain, revision: head.revision }
    }
}

/// Commits that follow each other, (from, head].
#[derive(Debug)]
pub struct Batch {
    /// What it follows.
    pub from: Before,
    /// The head after.
    pub head: Head,
    /// Ids of the nodes whose registration or view it changes.
    nodes: BTreeSet<RecordId>,
    rows: Rows,
}

impl Batch {
    /// From log entries in revision order, and where the log ended before them.
    #[must_use]
    pub fn new(from: Before, head: Head, entries: Vec<LogEntry>) -> Self {
        let keys = entries.iter().map(|entry| &entry.row.record.key);
        let nodes = keys.filter(|key| kind::is_of_node(&key.kind)).map(|key| key.id.clone()).collect();
        let last = entries.last().map_or(from.revision, |entry| entry.row.revision);
        let rows = entries.into_iter().map(Into::into).collect();
        Self { from, head, nodes, rows: Rows::new(from.revision, last, rows, Arc::default()) }
    }

    /// One commit.
    #[must_use]
    pub fn of(append: &Append) -> Self {
        let pointers: BTreeMap<_, _> =
            append.pointers.iter().map(|pointer| (&pointer.key, pointer)).collect();
        let entries = append
            .rows
            .iter()
            .map(|row| LogEntry {
                row: row.without_mutation(),
                now: pointers.get(&row.record.key).copied().cloned(),
            })
            .collect();
        let from = Before {
            commit: append.expected,
            chain: append.expected_chain,
            revision: Revision(append.commit.first.0.saturating_sub(1)),
        };
        Self::new(from, append.head, entries)
    }

    /// Whether it changes this node's registration or view, so that the node's sessions look at theirs again.
    #[must_use]
    pub fn concerns(&self, node: &RecordId) -> bool {
        self.nodes.contains(node)
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
    nodes: Arc<Nodes>,
    /// What the parts of the ring's batches take, bytes.
    parts_bytes: Arc<AtomicUsize>,
    /// Most batches in the ring.
    batches_max: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(RING_BATCHES_MAX)
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
    /// An empty feed whose ring holds at most so many batches.
    #[must_use]
    pub fn new(batches_max: usize) -> Self {
        let moved = watch::Sender::new(CommitNumber::ZERO);
        let nodes = Arc::default();
        Self { ring: Mutex::default(), moved, nodes, parts_bytes: Arc::default(), batches_max }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a batch. One that does not follow the last starts the ring anew; one already there is dropped.
    pub fn push(&self, mut batch: Batch) {
        batch.rows.held = Arc::clone(&self.parts_bytes);
        let commit = batch.head.commit;
        self.renew(batch.head);
        let mut ring = self.lock();
        if ring.end.is_some_and(|end| commit <= end.commit) {
            return;
        }
        if ring.end.map(|end| Before::of(&end)) != Some(batch.from) {
            ring.batches.clear();
            ring.bytes = 0;
            self.nodes.note_all();
        } else if !batch.nodes.is_empty() {
            self.nodes.note(&batch.nodes);
        }
        ring.end = Some(batch.head);
        ring.bytes += batch.rows.bytes();
        ring.batches.push_back(Arc::new(batch));
        while ring.batches.len() > self.batches_max || (ring.bytes > RING_BYTES_MAX && ring.batches.len() > 1)
        {
            if let Some(old) = ring.batches.pop_front() {
                ring.bytes -= old.rows.bytes();
            }
        }
        drop(ring);
        self.note_moved(commit);
    }

    /// Begins the ring anew, empty, at a head past its end, because what lies between was not read. Readers find a gap
    /// and catch up; from their cut on they join again.
    pub fn restart(&self, head: Head) {
        let mut ring = self.lock();
        if ring.end.is_some_and(|end| head.commit <= end.commit) {
            return;
        }
        *ring = Ring { end: Some(head), ..Ring::default() };
        drop(ring);
        self.nodes.note_all();
        self.note_moved(head.commit);
    }

    /// Forgets the ring where it is of another log than this head: nothing of it is served any more.
    pub fn renew(&self, head: Head) {
        let mut ring = self.lock();
        if ring.end.is_none_or(|end| end.log_id == head.log_id) {
            return;
        }
        *ring = Ring::default();
        drop(ring);
        self.nodes.note_all();
        self.moved.send_replace(CommitNumber::ZERO);
    }

    /// Forgets the ring if it still ends there, because the log holds that end no more: nothing of it is served, and who
    /// stands past the log's end finds a gap.
    pub fn forget(&self, end: Head) {
        let mut ring = self.lock();
        if ring.end != Some(end) {
            return;
        }
        *ring = Ring::default();
        drop(ring);
        self.nodes.note_all();
        self.moved.send_replace(CommitNumber::ZERO);
    }

    /// What a reader with this view is sent of a batch; made once for each distinct view, as long as there is room.
    #[must_use]
    pub fn part(&self, batch: &Batch, view: &mut Arc<View>) -> Arc<Part> {
        let part = batch.rows.part(view, Since::Before);
        if self.parts_bytes.load(Ordering::Relaxed) > RING_PARTS_BYTES_MAX {
            for old in &self.lock().batches {
                if self.parts_bytes.load(Ordering::Relaxed) <= RING_PARTS_BYTES_MAX / 2 {
                    break;
                }
                old.rows.forget_parts();
            }
        }
        part
    }

    /// Wakes readers: the log has come at least this far.
    pub fn note_moved(&self, commit: CommitNumber) {
        self.moved.send_if_modified(|known| {
            let is_news = commit > *known;
            *known = (*known).max(commit);
            is_news
        });
    }

    /// Tells a node when its registration or view may have changed.
    #[must_use]
    pub fn changes_of(&self, node: Option<RecordId>) -> NodeChanges {
        NodeChanges::new(&self.nodes, node)
    }

    /// Tells when the log moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<CommitNumber> {
        self.moved.subscribe()
    }

    /// Where the ring ends; an empty one is made to end at `head`.
    #[must_use]
    pub fn end_or(&self, head: Head) -> Head {
        *self.lock().end.get_or_insert_with(|| {
            self.nodes.note_all();
            head
        })
    }

    /// Where the ring ends, if it holds anything.
    #[must_use]
    pub fn end(&self) -> Option<Head> {
        self.lock().end
    }

    /// What comes after a position; of a reader, whose log has this chain there, nothing that does not follow it. Past
    /// the end of a log that was put back there is a gap.
    #[must_use]
    pub fn after(&self, commit: CommitNumber, chain: Option<Digest>) -> Live {
        let known = *self.moved.borrow();
        let ring = self.lock();
        let is_one_log =
            |at: &Before| chain.is_none_or(|chain| chain == at.chain) || Fault::RingOfOtherChain.is_planted();
        let end = ring.end.map(|end| Before::of(&end)).filter(|end| end.commit == commit);
        if commit == known && end.as_ref().is_none_or(is_one_log) {
            return Live::UpToDate;
        }
        let at = ring.batches.partition_point(|batch| batch.from.commit < commit);
        let follows = |batch: &&Arc<Batch>| {
            batch.from.commit == commit && is_one_log(&batch.from) || Fault::RingGapNotRead.is_planted()
        };
        match ring.batches.get(at).filter(follows) {
            Some(batch) => Live::Batch(Arc::clone(batch)),
            None => Live::Gap,
        }
    }
}

#[cfg(test)]
mod tests;
