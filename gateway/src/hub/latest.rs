//! Where the records of logs stood when a reader began from nothing: what its catch-up passes over is told by that, without a
//! look at each record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::ids::TenantId;

use super::limits::{LATEST_AGAIN_MS, LATEST_TENANTS_MAX, LATEST_UNUSED_MS_MAX};
use crate::store::Latest;

/// What a gateway keeps of them: of at most [`LATEST_TENANTS_MAX`] tenants the last that was read, none for longer than
/// [`LATEST_UNUSED_MS_MAX`] without use.
#[derive(Debug, Default)]
pub(super) struct LatestKept(Mutex<BTreeMap<TenantId, Kept>>);

#[derive(Debug)]
struct Kept {
    /// `None` where there are too many records, or where it serves no longer.
    latest: Option<Arc<Latest>>,
    read_ms: u64,
    used_ms: u64,
}

impl LatestKept {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read of a tenant.
    pub(super) fn keep(&self, tenant: &TenantId, latest: Option<Arc<Latest>>, now_ms: u64) {
        let mut kept = self.lock();
        kept.insert(tenant.clone(), Kept { latest, read_ms: now_ms, used_ms: now_ms });
        if kept.len() > LATEST_TENANTS_MAX {
            let unused = kept.iter().min_by_key(|(_, kept)| kept.used_ms).map(|(tenant, _)| tenant.clone());
            unused.and_then(|unused| kept.remove(&unused));
        }
    }

    /// What was read of a tenant last.
    pub(super) fn find(&self, tenant: &TenantId, now_ms: u64) -> Option<Arc<Latest>> {
        let mut kept = self.lock();
        let kept = kept.get_mut(tenant)?;
        kept.used_ms = now_ms;
        kept.latest.clone()
    }

    /// Whether it may be read: it was not read of late.
    pub(super) fn is_due(&self, tenant: &TenantId, now_ms: u64) -> bool {
        self.lock().get(tenant).is_none_or(|kept| now_ms.saturating_sub(kept.read_ms) >= LATEST_AGAIN_MS)
    }

    /// It serves no longer.
    pub(super) fn is_over(&self, tenant: &TenantId, latest: &Arc<Latest>) {
        if let Some(kept) = self.lock().get_mut(tenant) {
            kept.latest.take_if(|kept| Arc::ptr_eq(kept, latest));
        }
    }

    /// Lets go of what nobody uses.
    pub(super) fn forget_unused(&self, now_ms: u64) {
        self.lock().retain(|_, kept| now_ms.saturating_sub(kept.used_ms) <= LATEST_UNUSED_MS_MAX);
    }
}
