//! Rows of a log that many readers are sent: put together and encoded once for each distinct view.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use semantics::cursor::{DEPARTURE_BYTES, Departure, Next, Page};
use semantics::delivery::{Delivery, Reader, Row, delivery};
use semantics::ids::Revision;
use semantics::view::View;

use crate::hub::error::HubError;
use crate::store::{ShownChange, ShownRow};

/// What one reader is sent at once.
#[derive(Debug, Default)]
pub struct Part {
    /// Records that came or changed.
    pub changes: Vec<ShownChange>,
    /// Records that left.
    pub departures: Vec<Departure>,
    /// The wire form, made once by the first session that sends it.
    encoded: OnceLock<bytes::Bytes>,
    /// What its changes weigh, bytes.
    pub weight: usize,
}

impl Part {
    /// Of changes alone, with what they weigh.
    #[must_use]
    pub fn of_changes(changes: Vec<ShownChange>, weight: usize) -> Self {
        Self { changes, weight, ..Self::default() }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.departures.is_empty()
    }

    /// As a page that goes on so.
    ///
    /// # Errors
    /// STORE_CORRUPT when what was stored is no record.
    pub fn to_page(&self, next: Next) -> Result<Page, HubError> {
        let changes = self.changes.iter().map(ShownChange::to_change).collect::<Result<_, _>>()?;
        Ok(Page { changes, departures: self.departures.clone(), next })
    }

    /// As on the wire.
    #[must_use]
    pub fn to_wire(&self) -> bytes::Bytes {
        let encode = || {
            let changes = self.changes.iter().map(|change| (change.revision, change.record.to_wire()));
            proto::convert::encode_batch(changes, &self.departures)
        };
        self.encoded.get_or_init(encode).clone()
    }

    /// Takes what this reader is sent of one row.
    fn take(&mut self, row: &ShownRow, page_end: Revision, reader: Reader<'_>) {
        let now = row.now.as_ref().map(|(revision, cell)| (*revision, cell));
        let departed = row.departed.as_ref().map(|departed| (&departed.cell, departed.since));
        match delivery(Row { revision: row.revision, cell: &row.cell, departed, now, page_end }, reader) {
            Delivery::Change => {
                self.weight += row.weight;
                self.changes.push(ShownChange { revision: row.revision, record: row.record.clone() });
            }
            Delivery::Departure => {
                self.weight += DEPARTURE_BYTES;
                self.departures.push(Departure { revision: row.revision, key: row.key.clone() });
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
const ROW_BYTES: usize = size_of::<ShownRow>() + 512;

/// Rows in revision order, right after a revision.
#[derive(Debug)]
pub struct Rows {
    after: Revision,
    last: Revision,
    rows: Vec<ShownRow>,
    bytes: usize,
    parts: Mutex<Parts>,
    /// What the parts of all that are kept beside it take, bytes.
    pub(super) held: Arc<AtomicUsize>,
}

impl Rows {
    /// The rows after a revision up to another, but for some that say nothing to anybody; what their parts take is
    /// counted in `held`.
    #[must_use]
    pub fn new(after: Revision, last: Revision, rows: Vec<ShownRow>, held: Arc<AtomicUsize>) -> Self {
        let bytes = rows.iter().map(|row| row.weight + ROW_BYTES).sum();
        Self { after, last, rows, bytes, parts: Mutex::default(), held }
    }

    /// What the rows take in memory, bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the rows weigh for who is sent them, bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes - self.rows.len() * ROW_BYTES
    }

    /// The revision that they follow.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The revision up to which they go; that which they follow when there are none.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.last
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reader with this view is sent who has seen all before; made once for each distinct view. Equal views become
    /// one, so that they are compared once and kept once.
    #[must_use]
    pub fn part(&self, view: &mut Arc<View>, since: Since) -> Arc<Part> {
        let mut parts = self.parts();
        let is_it = |of: &Arc<View>, from| from == since && (Arc::ptr_eq(of, view) || **of == **view);
        if let Some((of, _, part)) = parts.of_views.iter().find(|(of, from, _)| is_it(of, *from)) {
            if !Arc::ptr_eq(of, view) {
                *view = Arc::clone(of);
            }
            return Arc::clone(part);
        }
        let (floor, seen_to) = match since {
            Since::Before => (self.after, self.after),
            Since::After => (self.last(), self.after),
        };
        let reader = Reader { view, view_revision: Revision::ZERO, former: &[], floor, seen_to };
        let part = Arc::new(self.part_of(self.after, reader));
        // As values and on the wire.
        let bytes = PART_BYTES + 2 * part.weight + part.changes.len() * size_of::<ShownChange>();
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
        for row in self.rows.iter().filter(|row| row.revision > after) {
            part.take(row, self.last(), reader);
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
