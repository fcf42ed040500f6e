//! Stretches of logs that several readers read at once: what fell out of the ring is read from the store once for all
//! who go on from about the same place, and put together once for each distinct view.
//!
//! A stretch shows its records as they were when it was read. It serves a reader like a page of its own read in that
//! moment, as long as that moment lies in the reader's catch-up ([`Stretch::serves`]); what came since follows in later
//! pages. A reader in the middle of one takes the rest of it, and from then on goes with those who were ahead.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::{Revision, TenantId};
use semantics::lthash::LTHASH_BYTES;
use semantics::view::View;
use tokio::sync;

use super::feed::{Part, Rows, Since};
use super::limits::{STRETCH_MS_MAX, STRETCHES_BYTES_MAX};
use crate::store::{CellRow, ShownPage};

/// Places from which stretches are read side by side.
const READING_MAX: usize = 16;
/// What a stretch takes in memory beside its rows, bytes, about.
const STRETCH_BYTES: usize = 1_024;

/// A page of a log, shared by its readers.
#[derive(Debug)]
pub struct Stretch {
    /// The head when it was read.
    pub head: Head,
    /// Whether nothing lay between its last row and the head.
    pub reaches_head: bool,
    /// All cell hashes, where they were read.
    pub cells: Option<Vec<CellRow>>,
    /// Its rows.
    pub rows: Rows,
    /// How it was read.
    read: Taken,
    /// The head whose log it was last found to be part of.
    part_of: Mutex<Head>,
}

/// How a stretch was read.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The weight at which it was to end, bytes.
    pub bytes_max: usize,
    /// When it was read, milliseconds since 1970-01-01 UTC.
    pub read_ms: u64,
    /// Whether it holds only what a reader is sent who began with nothing after it.
    pub is_without_history: bool,
}

/// What a reader needs of a stretch.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// It holds nothing older than this revision's state; `None` when it holds nothing.
    pub floor: Option<Revision>,
    /// Its scan goes straight on.
    pub is_plain: bool,
    /// The reader's registration and view are of this revision: nothing is shown that was gone by then.
    pub known: Revision,
    /// The head now.
    pub head: Head,
    /// Weight at which a page ends now, bytes.
    pub bytes_max: usize,
    /// Now, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
}

impl Stretch {
    /// Whether a reader is served by it: it is of the same log, read within [`STRETCH_MS_MAX`], no older than anything
    /// the reader may hold, than its registration and view and than what was pruned, no heavier than a page may be, with
    /// the history that the reader needs, and either brings the reader to the head or on by half a page. That the log did not become another one past its
    /// commit under the same id is for [`Self::is_part_of`] and the log's chain to say.
    #[must_use]
    pub fn serves(&self, need: &Need) -> bool {
        let is_of_log = self.head.log_id == need.head.log_id && self.head.commit <= need.head.commit;
        let floor = need.floor.unwrap_or(need.head.horizon);
        let is_young = (self.head.revision >= floor || Fault::StretchBeforeFloor.is_planted())
            && (self.head.revision >= need.known || Fault::StretchBeforeView.is_planted())
            && self.is_of_late(need.now_ms);
        let is_ended =
            !self.reaches_head || self.head == need.head || self.rows.weight() > need.bytes_max / 2;
        let is_enough = !self.read.is_without_history
            || (need.is_plain && need.floor.is_none_or(|floor| floor >= self.rows.last()));
        is_of_log && is_young && is_ended && is_enough && self.read.bytes_max <= need.bytes_max
    }

    /// Whether it was read no longer than [`STRETCH_MS_MAX`] ago.
    fn is_of_late(&self, now_ms: u64) -> bool {
        now_ms.checked_sub(self.read.read_ms).is_some_and(|age_ms| age_ms <= STRETCH_MS_MAX)
    }

    /// Whether it was found to be part of the log that ends there.
    #[must_use]
    pub fn is_part_of(&self, head: &Head) -> bool {
        self.head == *head
            || Fault::StretchOfOtherChain.is_planted()
            || *self.part_of.lock().unwrap_or_else(PoisonError::into_inner) == *head
    }

    /// It was found to be part of the log that ends there.
    pub fn found_part_of(&self, head: Head) {
        *self.part_of.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    fn bytes(&self) -> usize {
        let cells = self.cells.as_ref().map_or(0, |cells| cells.len() * LTHASH_BYTES);
        STRETCH_BYTES + self.rows.bytes() + cells
    }
}

type Place = (TenantId, Revision);

#[derive(Debug, Default)]
struct Kept {
    at: BTreeMap<Place, (u64, Arc<Stretch>)>,
    /// By age; each place stands once.
    order: BTreeMap<u64, Place>,
    bytes: usize,
}

impl Kept {
    /// Keeps a stretch instead of what stood in its place; what goes.
    fn put(&mut self, place: Place, stretch: &Arc<Stretch>) -> Option<Arc<Stretch>> {
        let age = self.order.last_key_value().map_or(0, |(last, _)| last + 1);
        self.bytes += stretch.bytes();
        self.order.insert(age, place.clone());
        let (before, old) = self.at.insert(place, (age, Arc::clone(stretch)))?;
        self.order.remove(&before);
        self.bytes -= old.bytes();
        Some(old)
    }

    fn oldest(&self) -> Option<Arc<Stretch>> {
        let (_, place) = self.order.first_key_value()?;
        self.at.get(place).map(|(_, oldest)| Arc::clone(oldest))
    }

    fn take_oldest(&mut self) -> Option<Arc<Stretch>> {
        let (_, place) = self.order.pop_first()?;
        let (_, old) = self.at.remove(&place)?;
        self.bytes -= old.bytes();
        Some(old)
    }
}

/// The stretches that a gateway keeps, at most [`STRETCHES_BYTES_MAX`] with what was put together of them, and none for longer
/// than somebody may be given it.
#[derive(Debug)]
pub struct Stretches {
    kept: Mutex<Kept>,
    parts_bytes: Arc<AtomicUsize>,
    reading: [sync::Mutex<()>; READING_MAX],
}

impl Default for Stretches {
    fn default() -> Self {
        let reading = std::array::from_fn(|_| sync::Mutex::default());
        Self { kept: Mutex::default(), parts_bytes: Arc::default(), reading }
    }
}

impl Stretches {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stretch that holds what comes right after a revision.
    #[must_use]
    pub fn find(&self, tenant: &TenantId, after: Revision) -> Option<Arc<Stretch>> {
        let kept = self.lock();
        let ((of, from), (_, stretch)) = kept.at.range(..=(tenant.clone(), after)).next_back()?;
        let holds = of == tenant && (*from == after || stretch.rows.last() > after);
        holds.then(|| Arc::clone(stretch))
    }

    /// A turn at reading from a place: who waits for it finds what was read meanwhile.
    pub async fn reading(&self, tenant: &TenantId, after: Revision) -> sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (tenant, after).hash(&mut hasher);
        let at = usize::from(hasher.finish().to_le_bytes()[0]) % READING_MAX;
        self.reading[at].lock().await
    }

    /// Makes a stretch of a page that was read after a revision, and keeps it where others read too.
    pub fn take(&self, place: Place, page: ShownPage, read: Taken, is_shared: bool) -> Arc<Stretch> {
        let ShownPage { head, rows, last, reaches_head, cells, has_cells, .. } = page;
        let rows = Rows::new(place.1, last, rows, Arc::clone(&self.parts_bytes));
        let cells = has_cells.then_some(cells);
        let part_of = Mutex::new(head);
        let stretch = Arc::new(Stretch { head, reaches_head, cells, rows, read, part_of });
        if is_shared {
            self.keep(place, &stretch);
        }
        stretch
    }

    fn keep(&self, place: Place, stretch: &Arc<Stretch>) {
        let old = self.lock().put(place, stretch);
        drop(old);
        self.trim();
    }

    /// What a reader with this view is sent of a whole stretch; made once for each distinct view, as long as there is
    /// room.
    #[must_use]
    pub fn part(&self, stretch: &Stretch, view: &mut Arc<View>, since: Since) -> Arc<Part> {
        let part = stretch.rows.part(view, since);
        self.trim();
        part
    }

    /// Lets go of what is given to nobody any more.
    pub fn forget_old(&self, now_ms: u64) {
        let mut kept = self.lock();
        let mut gone = Vec::new();
        while let Some(oldest) = kept.oldest().filter(|oldest| !oldest.is_of_late(now_ms)) {
            oldest.rows.forget_parts();
            gone.extend(kept.take_oldest());
        }
        drop(kept);
        // Freed without the lock.
        drop(gone);
    }

    /// Lets go of the oldest until the bound holds.
    fn trim(&self) {
        let mut kept = self.lock();
        let mut gone = Vec::new();
        while kept.bytes + self.parts_bytes.load(Ordering::Relaxed) > STRETCHES_BYTES_MAX {
            let Some(old) = kept.take_oldest() else { break };
            old.rows.forget_parts();
            gone.push(old);
        }
        drop(kept);
        // Freed without the lock.
        drop(gone);
    }
}

#[cfg(test)]
mod tests;
