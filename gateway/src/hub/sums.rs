//! What the records come to where the log stands, for live readers: read once for all of a tenant who want to know at the
//! same time. A reader waits with it until it stands at the head that was read.
//!
//! - `readers_that_are_due_together_are_told_by_one_read`.
//! - `a_reader_is_told_the_sum_of_exactly_its_cut`: one that has gone past that head catches up instead.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::commit::Head;
use semantics::cursor::Cursor;
use semantics::ids::Digest;
use semantics::view::View;
use tokio::sync::Mutex as AsyncMutex;

use super::catch_up::view_digest;
use super::error::HubError;
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

/// The last sum that was read, and when, milliseconds since 1970-01-01 UTC.
#[derive(Debug, Default)]
pub(super) struct Sums {
    last: Mutex<Option<(u64, Arc<Sum>)>>,
    reading: AsyncMutex<()>,
}

impl Sums {
    fn lock(&self) -> MutexGuard<'_, Option<(u64, Arc<Sum>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of one that was read [`SUM_KEPT_MS`] ago: those who wait for its head keep it.
    pub(super) fn forget_old(&self, now_ms: u64) {
        let is_old = |(read_ms, _): &mut (u64, _)| now_ms.abs_diff(*read_ms) >= SUM_KEPT_MS;
        let old = self.lock().take_if(is_old);
        drop(old);
    }

    /// The one that serves a reader there; or that none is to be read yet.
    fn find(&self, at: &Cursor, now_ms: u64) -> Found {
        match &*self.lock() {
            Some((_, sum)) if sum.is_at(at) || sum.is_ahead_of(at) => Found::Sum(Arc::clone(sum)),
            Some((read_ms, _)) if now_ms.abs_diff(*read_ms) < SUM_EVERY_MS => Found::NotYet,
            _ => Found::Nothing,
        }
    }
}

enum Found {
    Sum(Arc<Sum>),
    NotYet,
    Nothing,
}

impl Hub {
    /// The sum at the head, for a live reader that stands there; `None` = one was read just now that it has gone past, or
    /// the log moves too fast: it asks again.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn sum(&self, tenant: &Tenant, at: &Cursor) -> Result<Option<Arc<Sum>>, HubError> {
        let mut reading = None;
        loop {
            match tenant.sums.find(at, self.clock().now_ms()) {
                Found::Sum(sum) => return Ok(Some(sum)),
                Found::NotYet => return Ok(None),
                Found::Nothing if reading.is_none() => reading = Some(tenant.sums.reading.lock().await),
                Found::Nothing => break,
            }
        }
        let read_ms = self.clock().now_ms();
        let query = LogQuery {
            after: at.revision,
            rows_max: LIST_ROWS_MAX,
            bytes_max: LIST_BYTES_MAX,
            keys: BTreeSet::new(),
            with_cells: true,
        };
        let page = self.store().log_page(&tenant.id, &query).await?;
        if !page.reaches_head {
            return Ok(None);
        }
        let cells = page.has_cells.then_some(page.cells);
        let sum = Arc::new(Sum { head: page.head, cells, of_views: Mutex::default() });
        *tenant.sums.lock() = Some((read_ms, Arc::clone(&sum)));
        drop(reading);
        Ok(Some(sum))
    }
}
