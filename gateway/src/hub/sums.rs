//! What the records come to where the log stands, for live readers: read once for all of a tenant who want to know at the
//! same time. A reader waits with it until it stands at the head that was read.
//!
//! - `readers_that_are_due_together_are_told_by_one_read`.
//! - `a_reader_is_told_the_sum_of_exactly_its_cut`: one that has gone past that head catches up instead.
//! - Nobody waits for another's read, and one that fails is no reason to end a session: both are told nothing now, and ask
//!   again; nothing is read sooner than [`SUM_EVERY_MS`] after that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::commit::Head;
use semantics::cursor::Cursor;
use semantics::ids::Digest;
use semantics::view::View;

use super::catch_up::view_digest;
use super::limits::{SUM_EVERY_MS, SUM_KEPT_MS};
use super::query::{LIST_BYTES_MAX, LIST_ROWS_MAX};
use super::{Hub, Tenant};
use crate::store::{CellRow, LogQuery};

/// All cells as of a head.
#[derive(Debug)]
pub(super) struct Sum {
    head: Head,
    /// `None` = there are too many.
    cells: Option<Vec<CellRow>>,
    of_views: Mutex<Vec<(Arc<View>, Digest)>>,
}

impl Sum {
    /// Whether a reader there has yet to come to it.
    pub(super) fn is_ahead_of(&self, at: &Cursor) -> bool {
        self.head.log_id == at.log_id && self.head.commit > at.commit
    }

    /// Whether it is of exactly this cut.
    pub(super) fn is_at(&self, at: &Cursor) -> bool {
        let Head { log_id, commit, chain, .. } = self.head;
        (log_id, commit, chain) == (at.log_id, at.commit, at.chain)
    }

    /// What the records of a view come to; made once for each distinct view. `None` where there are too many cells.
    pub(super) fn of(&self, view: &Arc<View>) -> Option<Digest> {
        let cells = self.cells.as_ref()?;
        let mut of_views = self.of_views.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |of: &Arc<View>| Arc::ptr_eq(of, view) || **of == **view;
        if let Some((_, digest)) = of_views.iter().find(|(of, _)| is_it(of)) {
            return Some(*digest);
        }
        let digest = view_digest(view, cells);
        of_views.push((Arc::clone(view), digest));
        Some(digest)
    }
}

/// When one was read last, milliseconds since 1970-01-01 UTC, and what came of it.
type Last = Option<(u64, Option<Arc<Sum>>)>;

/// The last sum that was read.
#[derive(Debug, Default)]
pub(super) struct Sums {
    last: Mutex<Last>,
}

impl Sums {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of one that was read [`SUM_KEPT_MS`] ago: those who wait for its head keep it.
    pub(super) fn forget_old(&self, now_ms: u64) {
        let is_old = |(read_ms, _): &mut (u64, _)| now_ms.abs_diff(*read_ms) >= SUM_KEPT_MS;
        let old = self.lock().take_if(is_old);
        drop(old);
    }

    /// The one that serves a reader there; or that none is to be read yet. Who finds nothing reads one: nobody else
    /// does for a while.
    fn find(&self, at: &Cursor, now_ms: u64) -> Found {
        let mut last = self.lock();
        match &*last {
            Some((_, Some(sum))) if sum.is_at(at) || sum.is_ahead_of(at) => Found::Sum(Arc::clone(sum)),
            Some((read_ms, _)) if now_ms.abs_diff(*read_ms) < SUM_EVERY_MS => Found::NotYet,
            _ => {
                *last = Some((now_ms, None));
                Found::Nothing
            }
        }
    }
}

enum Found {
    Sum(Arc<Sum>),
    NotYet,
    Nothing,
}

impl Hub {
    /// The sum at the head, for a live reader that stands there; `None` = another reads one, one was read just now that
    /// it has gone past, the store does not answer, or the log moves too fast: it asks again.
    pub(super) async fn sum(&self, tenant: &Tenant, at: &Cursor) -> Option<Arc<Sum>> {
        let read_ms = self.clock().now_ms();
        match tenant.sums.find(at, read_ms) {
            Found::Sum(sum) => return Some(sum),
            Found::NotYet => return None,
            Found::Nothing => {}
        }
        let query = LogQuery {
            after: at.revision,
            rows_max: LIST_ROWS_MAX,
            bytes_max: LIST_BYTES_MAX,
            keys: BTreeSet::new(),
            with_cells: true,
        };
        let page = match self.store().log_page(&tenant.id, &query).await {
            Ok(page) if page.reaches_head => page,
            Ok(_) => return None,
            Err(error) => {
                tracing::info!(tenant = %tenant.id, %error, "what the records come to was not read");
                return None;
            }
        };
        let cells = page.has_cells.then_some(page.cells);
        let sum = Arc::new(Sum { head: page.head, cells, of_views: Mutex::default() });
        *tenant.sums.lock() = Some((read_ms, Some(Arc::clone(&sum))));
        Some(sum)
    }
}
