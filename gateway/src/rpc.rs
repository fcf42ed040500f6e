//! The hub on the wire: thin services, and the layers around them.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};

pub mod admin;
pub mod around;
pub mod audit;
mod coming;
mod conflicts;
pub mod examine;
mod held;
mod history;
mod identities;
pub mod inflow;
pub mod keeper;
pub mod layers;
pub mod link;
mod lists;
pub mod node;
mod nodes;
pub mod operators;
pub mod outflow;
mod owner;
pub mod paging;
mod policies;
mod precedents;
pub mod pushes;
pub mod queue;
mod recovery;
pub mod resolver;
mod seats;
pub mod shares;
pub mod status;
pub mod sync;
mod tokens;
mod topologies;
pub mod turns;
pub mod view;

use self::keeper::Keepers;
use self::seats::Seats;
use crate::access::AccessLog;
use crate::auth::Caller;
use crate::hub::error::HubError;
use crate::hub::{Hub, Principal};
use crate::telemetry::Metrics;
use semantics::reason::{Reason, Refusal};

/// Most sessions and pulls open at once on one gateway.
pub const SESSIONS_MAX: usize = 10_000;
/// Most of them of one node: twice its open epochs, because a lost connection may not be known as lost yet.
pub const SESSIONS_PER_NODE_MAX: usize = 16;

/// What every service of this gateway shares.
#[derive(Debug)]
pub struct Gate {
    /// The use cases.
    pub hub: Arc<Hub>,
    /// The counters.
    pub metrics: Metrics,
    /// Everything that runs beside a call; waited for at shutdown.
    pub tasks: TaskTracker,
    /// Set when the gateway is about to shut down: it says that it is not ready, and serves on.
    pub leaving: CancellationToken,
    /// Set when the gateway shuts down: no new sessions, no new pushes.
    pub draining: CancellationToken,
    /// Who came, and what became of it.
    pub access: AccessLog,
    /// The tasks of the tenants that have sessions here.
    pub keepers: Keepers,
    /// A session, or the connection of a call, whose messages nobody reads is cut after this, milliseconds.
    pub unread_ms_max: u64,
    /// Why the key of access tokens was not looked at the last time; `None` = it was.
    pub key_failed: ArcSwapOption<Refusal>,
    seats: Seats,
}

impl Gate {
    /// For a hub; keeps its tenants' logs short from now on. `unread_ms_max` is [`link::UNREAD_MS_MAX`], but in trials.
    #[must_use]
    pub fn new(hub: Arc<Hub>, metrics: Metrics, unread_ms_max: u64) -> Arc<Self> {
        let tasks = TaskTracker::new();
        let keepers = Keepers::new(Arc::clone(&hub), metrics.clone(), tasks.clone());
        let (leaving, draining) = (CancellationToken::new(), CancellationToken::new());
        tasks.spawn(keepers.clone().maintain(draining.clone()));
        tasks.spawn(keepers.clone().arbitrate(draining.clone()));
        if hub.has_resolver() {
            let asking =
                resolver::keep_asking(Arc::clone(&hub), metrics.clone(), tasks.clone(), draining.clone());
            tasks.spawn(asking);
        }
        let seats = Seats::new(SESSIONS_MAX, SESSIONS_PER_NODE_MAX);
        let access = AccessLog::start(Arc::clone(&hub));
        let key_failed = ArcSwapOption::empty();
        let gate = Self {
            hub,
            metrics,
            access,
            tasks,
            leaving,
            draining,
            keepers,
            unread_ms_max,
            key_failed,
            seats,
        };
        Arc::new(gate)
    }

    /// Refuses what comes while the gateway shuts down.
    ///
    /// # Errors
    /// DRAINING.
    pub fn check_open(&self) -> Result<(), HubError> {
        if self.draining.is_cancelled() {
            return Err(HubError::transient(Reason::Draining, "the hub is shutting down", 500));
        }
        Ok(())
    }
}

/// The node a call comes from, and when its access token ends.
fn node_of<T>(request: &Request<T>) -> Result<(Principal, u64), Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Node { principal, expires_ms }) => Ok((principal.clone(), *expires_ms)),
        Some(Caller::Anyone | Caller::Operator(_)) => {
            Err(status::of(HubError::new(Reason::PermissionDenied, "only nodes may call this")))
        }
        None => Err(status::of(HubError::new(Reason::Unauthenticated, "the call carries no identity"))),
    }
}
