//! What runs beside the calls: for a tenant with sessions on this gateway, someone who looks for other gateways'
//! commits; for all tenants, someone who keeps their logs short.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use semantics::ids::TenantId;
use semantics::reason::Reason;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::limits::POLL_MS;
use crate::telemetry::Metrics;

/// A tenant with sessions here is looked after this often, milliseconds.
pub const MAINTAIN_MS: u64 = 30_000;
/// A tenant without is looked after once in so many rounds: its writers expire and its log is pruned too.
const QUIET_ROUNDS: u32 = 20;
/// Conflicts that could not be judged are tried again after so long, milliseconds.
const ARBITRATE_RETRY_MS: u64 = 1_000;
/// Tenants listed at once.
const TENANTS_PAGE: usize = 100;

type Running = BTreeMap<TenantId, (usize, CancellationToken)>;

/// Looks after tenants.
#[derive(Debug, Clone)]
pub struct Keepers {
    hub: Arc<Hub>,
    metrics: Metrics,
    tasks: TaskTracker,
    running: Arc<Mutex<Running>>,
}

/// Keeps a tenant looked after until it is dropped.
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

    /// Starts looking for a tenant's commits, unless somebody does already.
    #[must_use]
    pub fn keep(&self, tenant: &TenantId) -> Kept {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = running.entry(tenant.clone()).or_insert_with(|| (0, CancellationToken::new()));
        if entry.0 == 0 {
            let stop = entry.1.clone();
            self.tasks.spawn(poll(Arc::clone(&self.hub), self.metrics.clone(), tenant.clone(), stop));
        }
        entry.0 += 1;
        Kept { tenant: tenant.clone(), running: Arc::clone(&self.running) }
    }

    /// Keeps the logs of all tenants short until it is stopped.
    pub async fn maintain(self, stop: CancellationToken) {
        let mut tick = ticks(MAINTAIN_MS);
        // The first tick is at once; a hub that has just started has better things to do.
        tick.tick().await;
        let mut round: u32 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.round(round.is_multiple_of(QUIET_ROUNDS), &stop).await {
                warn!(%error, "tenants could not be listed for maintenance");
            }
            round = round.wrapping_add(1);
        }
    }

    /// Has conflicts judged as they come up, until it is stopped.
    pub async fn arbitrate(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hub.docket().came() => {}
            }
            while let Some(Err(error)) = stop.run_until_cancelled(self.hub.arbitrate()).await {
                warn!(%error, "conflicts could not be judged");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(ARBITRATE_RETRY_MS)) => {}
                }
            }
        }
    }

    /// Looks after every tenant once, or after those alone that have sessions here.
    async fn round(&self, with_quiet: bool, stop: &CancellationToken) -> Result<(), HubError> {
        let mut after = None;
        loop {
            let tenants = self.hub.store().tenants(after.as_ref(), TENANTS_PAGE).await?;
            for tenant in &tenants {
                if stop.is_cancelled() {
                    return Ok(());
                }
                if !with_quiet && !self.is_kept(tenant) {
                    continue;
                }
                match self.look_after(tenant).await {
                    Err(error) if error.reason() != Reason::NotFound => {
                        warn!(%tenant, %error, "maintenance failed");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            match tenants.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn look_after(&self, tenant: &TenantId) -> Result<(), HubError> {
        if self.hub.is_keeper(tenant).await? {
            self.hub.maintain(tenant).await?;
            self.hub.docket().first(tenant);
        }
        let by_health = self.hub.nodes_by_health(tenant).await?;
        self.metrics.nodes(tenant.as_str(), &by_health);
        Ok(())
    }

    fn is_kept(&self, tenant: &TenantId) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(tenant)
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

fn ticks(every_ms: u64) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(Duration::from_millis(every_ms));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}
