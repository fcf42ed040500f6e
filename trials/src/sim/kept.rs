//! What the horizon must not pass: the cuts of open writers, and the resume positions of catch-ups under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use gateway::hub::limits::EPOCHS_OPEN_MAX;
use gateway::hub::presence::Seen;
use gateway::store::memory::MemoryStore;
use gateway::store::{Append, PlainRow, Space, Store};
use semantics::ids::{Revision, TenantId, Writer};

use super::exec::at_once;
use super::oracle::{Checked, ensure};
use super::world::BASE_MS;

/// Longest round of tidying up, milliseconds: what came while one was under way may be passed by it.
const ROUND_MS_MAX: u64 = 10_000;
/// Writers and leases looked at.
const ROWS_MAX: usize = 1_000;

/// A lease as it is stored.
#[derive(Debug, Clone, Copy)]
struct Lease {
    floor: Revision,
    until_ms: u64,
}

impl Lease {
    fn read(value: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(value).ok()?;
        Some(Self { floor: Revision(value["floor"].as_u64()?), until_ms: value["until_ms"].as_u64()? })
    }
}

/// By tenant and name, true milliseconds.
type Since = BTreeMap<(TenantId, Vec<u8>), u64>;

/// Since when things hold the horizon, true milliseconds.
#[derive(Debug, Clone)]
pub struct Kept {
    since: Arc<Mutex<Since>>,
    /// When closed epochs were opened again, true milliseconds.
    reopened: Arc<Mutex<BTreeMap<(TenantId, Writer), u64>>>,
    /// Epochs that a replica has left with its log.
    left: Arc<Mutex<BTreeSet<(TenantId, Writer)>>>,
    /// Whether a writer that falls silent is closed within a run.
    expires: bool,
}

/// What holds the horizon: a lease, which is another one when its floor is, or a writer's acknowledgement, once it has one.
fn name(space: Space, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut name = key.to_vec();
    match space {
        Space::Ack => drop(serde_json::from_slice::<Seen>(value).ok()?.cursor?),
        Space::Lease => name.extend(Lease::read(value)?.floor.0.to_be_bytes()),
        _ => return None,
    }
    Some(name)
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub fn new(expires: bool) -> Self {
        Self { since: Arc::default(), reopened: Arc::default(), left: Arc::default(), expires }
    }

    /// A replica says that it has left an epoch.
    pub fn note_left(&self, tenant: &TenantId, writer: Writer) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert((tenant.clone(), writer));
    }

    fn is_left(&self, tenant: &TenantId, writer: Writer) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.contains(&(tenant.clone(), writer))
    }

    /// Checks a commit that may close epochs: nobody closes one that still speaks and was not left, but for the bound on
    /// how many a node has open.
    ///
    /// # Errors
    /// Whose is closed.
    pub fn check_closed(&self, store: &MemoryStore, tenant: &TenantId, append: &Append) -> Checked {
        for row in append.writers.iter().filter(|row| row.closed && !self.expires) {
            let writers = at_once(store.writers(tenant, Some(row.writer.node), None, ROWS_MAX));
            let writers = writers.and_then(Result::ok).unwrap_or_default();
            let open = writers.iter().filter(|writer| !writer.closed).count();
            let may_close = open >= EPOCHS_OPEN_MAX || self.is_left(tenant, row.writer);
            ensure!(may_close, "epoch {:?} is closed, one of {open} open", row.writer);
        }
        Ok(())
    }

    /// A commit is about to be appended that may open closed epochs again: a round of tidying up that is under way does
    /// not wait for them. Whoever it passes is told CURSOR_EXPIRED.
    pub fn note_reopened(&self, store: &MemoryStore, tenant: &TenantId, append: &Append, now_ms: u64) {
        for row in append.writers.iter().filter(|row| !row.closed) {
            let writers = at_once(store.writers(tenant, Some(row.writer.node), None, ROWS_MAX));
            let writers = writers.and_then(Result::ok).unwrap_or_default();
            if writers.iter().any(|before| before.writer == row.writer && before.closed) {
                let mut reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
                reopened.insert((tenant.clone(), row.writer), now_ms);
            }
        }
    }

    fn is_reopened(&self, tenant: &TenantId, writer: Writer, now_ms: u64) -> bool {
        let reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        reopened
            .get(&(tenant.clone(), writer))
            .is_some_and(|at_ms| at_ms.saturating_add(ROUND_MS_MAX) >= now_ms)
    }

    /// Nothing holds the horizon any more.
    pub fn forget(&self) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A plain row is written.
    pub fn note(&self, tenant: &TenantId, space: Space, key: &[u8], value: &[u8], now_ms: u64) {
        let Some(name) = name(space, key, value) else { return };
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.entry((tenant.clone(), name)).or_insert(now_ms);
    }

    /// Whether a row has been there for longer than a round takes.
    fn is_old(&self, tenant: &TenantId, space: Space, row: &PlainRow, now_ms: u64) -> bool {
        let Some(name) = name(space, &row.key, &row.value) else { return false };
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(&(tenant.clone(), name)).is_some_and(|since| since.saturating_add(ROUND_MS_MAX) < now_ms)
    }

    /// Checks a commit that may move the horizon: at a true time, and where no gateway's clock was further ahead so far.
    ///
    /// # Errors
    /// Whom it passes.
    pub fn check(
        &self,
        store: &MemoryStore,
        tenant: &TenantId,
        append: &Append,
        (now_ms, hub_ahead_ms): (u64, u64),
    ) -> Checked {
        let to = append.head.horizon;
        let is_moved = at_once(store.head(tenant)).and_then(Result::ok).is_some_and(|head| head.horizon < to);
        if !is_moved {
            return Ok(());
        }
        let rows = |space| {
            let rows = at_once(store.plain_page(tenant, space, None, ROWS_MAX)).and_then(Result::ok);
            let rows = rows.unwrap_or_default().into_iter();
            rows.filter(move |row| self.is_old(tenant, space, row, now_ms))
        };
        let writers = at_once(store.writers(tenant, None, None, ROWS_MAX)).and_then(Result::ok);
        let writers = writers.unwrap_or_default();
        for row in rows(Space::Ack) {
            let Ok(seen) = serde_json::from_slice::<Seen>(&row.value) else { continue };
            let is_open = writers.iter().any(|writer| writer.writer == seen.writer && !writer.closed);
            let is_passed = seen.cursor.is_some_and(|cursor| cursor.revision < to);
            let came_meanwhile = self.is_reopened(tenant, seen.writer, now_ms);
            ensure!(
                !(is_open && is_passed) || came_meanwhile,
                "the horizon passes the open writer {:?}",
                seen.writer
            );
        }
        let latest_ms = BASE_MS + now_ms + hub_ahead_ms;
        for row in rows(Space::Lease) {
            let Some(lease) = Lease::read(&row.value) else { continue };
            let is_passed = lease.until_ms > latest_ms && lease.floor < to;
            ensure!(!is_passed, "the horizon {to} passes a lease of {}", lease.floor);
        }
        Ok(())
    }
}
