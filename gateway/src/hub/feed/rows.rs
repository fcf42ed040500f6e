//! Rows of a log that many readers are sent: put together and encoded once for each distinct view.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use semantics::cursor::{Change, DEPARTURE_BYTES, Departure, Next, Page};
use semantics::delivery::{Delivery, Reader, Row, delivery};
use semantics::ids::Revision;
use semantics::view::View;

use crate::store::LogEntry;

/// What one reader is sent at once.
#[derive(Debug, Default)]
pub struct Part {
    /// Records that came or changed.
    pub changes: Vec<Change>,
    /// Records that left.
    pub departures: Vec<Departure>,
    /// The wire form, made once by the first session that sends it.
    pub encoded: OnceLock<bytes::Bytes>,
    /// What its changes weigh, bytes.
    pub weight: usize,
}

impl Part {
    /// Of changes alone.
    #[must_use]
    pub fn of_changes(changes: Vec<Change>) -> Self {
        let weight = changes.iter().map(|change| change.record.weight()).sum();
        Self { changes, weight, ..Self::default() }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.departures.is_empty()
    }

    /// As a page that goes on so.
    #[must_use]
    pub fn to_page(&self, next: Next) -> Page {
        Page { changes: self.changes.clone(), departures: self.departures.clone(), next }
    }

    /// Takes what this reader is sent of one row.
    fn take(&mut self, entry: &LogEntry, page_end: Revision, reader: Reader<'_>) {
        let row = &entry.row;
        let now = entry.now.as_ref().map(|pointer| (pointer.revision, &pointer.cell));
        let departed = row.departed.as_ref().map(|departed| (&departed.cell, departed.since));
        match delivery(Row { revision: row.revision, cell: &row.cell, departed, now, page_end }, reader) {
            Delivery::Change => {
                self.weight += row.record.weight();
                self.changes.push(Change { revision: row.revision, record: row.record.clone() });
            }
            Delivery::Departure => {
                self.weight += DEPARTURE_BYTES;
                self.departures.push(Departure { revision: row.revision, key: row.record.key.clone() });
            }
            Delivery::Silence => {}
        }
    }
}

/// From when what a reader of rows holds is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From before them: it may hold what left with them.
    Before,
    /// From after them: whatever left with them it never held.
    After,
}

/// What was put together for each distinct view, and what that takes.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) of_views: Vec<(Arc<View>, Since, Arc<Part>)>,
    pub(super) bytes: usize,
}

/// What a part takes in memory beside its changes, bytes, about.
pub(super) const PART_BYTES: usize = 256;
/// What a row takes in memory beside its weight, bytes, about: names are kept several times.
const ROW_BYTES: usize = size_of::<LogEntry>() + 512;

/// Rows in revision order, right after a revision.
#[derive(Debug)]
pub struct Rows {
    after: Revision,
    entries: Vec<LogEntry>,
    bytes: usize,
    parts: Mutex<Parts>,
    /// What the parts of all that are kept beside it take, bytes.
    pub(super) held: Arc<AtomicUsize>,
}

impl Rows {
    /// The rows after a revision; what their parts take is counted in `held`.
    #[must_use]
    pub fn new(after: Revision, mut entries: Vec<LogEntry>, held: Arc<AtomicUsize>) -> Self {
        for entry in &mut entries {
            // Readers are sent the record alone.
            entry.row.mutation = None;
        }
        let bytes = entries.iter().map(|entry| entry.row.record.weight() + ROW_BYTES).sum();
        Self { after, entries, bytes, parts: Mutex::default(), held }
    }

    /// The rows.
    #[must_use]
    pub fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// What the rows take in memory, bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the rows weigh for who is sent them, bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes - self.entries.len() * ROW_BYTES
    }

    /// The revision that they follow.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The last row's revision; that which they follow when there are none.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.entries.last().map_or(self.after, |entry| entry.row.revision)
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reader with this view is sent who has seen all before; made once for each distinct view.
    #[must_use]
    pub fn part(&self, view: &Arc<View>, since: Since) -> Arc<Part> {
        let mut parts = self.parts();
        let is_it = |of: &Arc<View>, from| from == since && (Arc::ptr_eq(of, view) || **of == **view);
        if let Some((.., part)) = parts.of_views.iter().find(|(of, from, _)| is_it(of, *from)) {
            return Arc::clone(part);
        }
        let (floor, seen_to) = match since {
            Since::Before => (self.after, self.after),
            Since::After => (self.last(), self.after),
        };
        let reader = Reader { view, view_revision: Revision::ZERO, former: &[], floor, seen_to };
        let part = Arc::new(self.part_of(self.after, reader));
        // As values and on the wire.
        let bytes = PART_BYTES + 2 * part.weight + part.changes.len() * size_of::<Change>();
        parts.of_views.push((Arc::clone(view), since, Arc::clone(&part)));
        parts.bytes += bytes;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        part
    }

    /// From when what a reader with this floor holds is; `None` = from among these rows.
    #[must_use]
    pub fn since(&self, floor: Revision) -> Option<Since> {
        match floor {
            _ if floor <= self.after => Some(Since::Before),
            _ if floor >= self.last() => Some(Since::After),
            _ => None,
        }
    }

    /// What one reader is sent of the rows after a revision.
    #[must_use]
    pub fn part_of(&self, after: Revision, reader: Reader<'_>) -> Part {
        let mut part = Part::default();
        for entry in self.entries.iter().filter(|entry| entry.row.revision > after) {
            part.take(entry, self.last(), reader);
        }
        part
    }

    /// Lets go of what was put together; who still asks for it gets it anew.
    pub(in crate::hub) fn forget_parts(&self) {
        let forgotten = std::mem::take(&mut *self.parts());
        self.held.fetch_sub(forgotten.bytes, Ordering::Relaxed);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.forget_parts();
    }
}
