//! What a tenant needs while it has sessions on this gateway: someone who looks for other gateways' commits, and
//! someone who keeps its log short.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use semantics::ids::TenantId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::hub::Hub;
use crate::hub::limits::POLL_MS;
use crate::telemetry::Metrics;

/// A tenant with sessions is looked after this often, milliseconds.
pub const MAINTAIN_MS: u64 = 30_000;

type Running = BTreeMap<TenantId, (usize, CancellationToken)>;

/// The tasks of all tenants that have sessions here.
#[derive(Debug, Clone)]
pub struct Keepers {
    hub: Arc<Hub>,
    metrics: Metrics,
    tasks: TaskTracker,
    running: Arc<Mutex<Running>>,
}

/// Keeps a tenant's tasks running until it is dropped.
#[derive(Debug)]
pub struct Kept {
    tenant: TenantId,
    running: Arc<Mutex<Running>>,
}

impl Keepers {
    /// None yet.
    #[must_use]
    pub fn new(hub: Arc<Hub>, metrics: Metrics, tasks: TaskTracker) -> Self {
        Self { hub, metrics, tasks, running: Arc::default() }
    }

    /// Starts a tenant's tasks, unless they run already.
    #[must_use]
    pub fn keep(&self, tenant: &TenantId) -> Kept {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = running.entry(tenant.clone()).or_insert_with(|| (0, CancellationToken::new()));
        if entry.0 == 0 {
            let stop = entry.1.clone();
            self.tasks.spawn(poll(Arc::clone(&self.hub), self.metrics.clone(), tenant.clone(), stop.clone()));
            self.tasks.spawn(maintain(Arc::clone(&self.hub), tenant.clone(), stop));
        }
        entry.0 += 1;
        Kept { tenant: tenant.clone(), running: Arc::clone(&self.running) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sessions, stop)) = running.get_mut(&self.tenant) {
            *sessions -= 1;
            if *sessions == 0 {
                stop.cancel();
                running.remove(&self.tenant);
            }
        }
    }
}

async fn poll(hub: Arc<Hub>, metrics: Metrics, tenant: TenantId, stop: CancellationToken) {
    let mut tick = ticks(POLL_MS);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match hub.poll(&tenant).await {
            Ok(head) => metrics.head(tenant.as_str(), head.revision.0),
            Err(error) => debug!(%tenant, %error, "poll failed"),
        }
    }
}

async fn maintain(hub: Arc<Hub>, tenant: TenantId, stop: CancellationToken) {
    let mut tick = ticks(MAINTAIN_MS);
    // The first tick is at once; a tenant that has just woken up has better things to do.
    tick.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = hub.maintain(&tenant).await {
            warn!(%tenant, %error, "maintenance failed");
        }
    }
}

fn ticks(every_ms: u64) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(Duration::from_millis(every_ms));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}
