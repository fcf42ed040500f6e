//! What the hub says about itself: logs as JSON lines, and counters.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use semantics::health::Health;
use semantics::identity::divergence::Level;
use semantics::identity::score::Status;
use semantics::levels;
use semantics::outcome::Outcome;
use semantics::reason::{Reason, Refusal};
use semantics::session::Results;
use tracing_subscriber::EnvFilter;

use crate::hub::identities::Measured;

/// Upper bounds of the buckets of durations, seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds of the buckets of counts.
const COUNTS: [f64; 8] = [0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0];
/// Most tenants that have a head gauge of their own; those beyond are not shown.
const TENANTS_SHOWN_MAX: usize = 100;

/// The variable that says what is logged.
pub const LOG_VARIABLE: &str = "HUBWARD_LOG";

/// What [`LOG_VARIABLE`] asks for.
///
/// # Errors
/// MALFORMED, naming the variable.
pub fn log_filter() -> Result<EnvFilter, Refusal> {
    let text = std::env::var_os(LOG_VARIABLE).map(|text| text.to_string_lossy().into_owned());
    levels::asked(LOG_VARIABLE, text.as_deref()).map(EnvFilter::new)
}

/// Starts logging to stderr, one JSON object a line.
pub fn start_logs(filter: EnvFilter) {
    // It repeats what it does not know of a database URL, secrets too.
    let filter = match "sqlx_postgres::options=error".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    };
    let logs = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // A second start in one process (in tests) leaves the first one in place.
    drop(logs.with_writer(std::io::stderr).with_target(false).try_init());
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    code: OfCode,
}

/// A gRPC code, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OfCode(tonic::Code);

impl EncodeLabelValue for OfCode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{:?}", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfName {
    tenant: String,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHealth {
    tenant: String,
    health: String,
}

/// How identities stand.
#[derive(Debug, Clone, Default)]
struct OfIdentities {
    statuses: Family<OfName, Gauge<u64, AtomicU64>>,
    divergences: Family<OfName, Gauge<u64, AtomicU64>>,
    desynchronised: Family<OfTenant, Gauge<u64, AtomicU64>>,
    kept_out: Family<OfTenant, Gauge<u64, AtomicU64>>,
}

impl OfIdentities {
    fn registered(r: &mut Registry) -> Self {
        let all = Self::default();
        r.register("identities", "Identities of a tenant, by status", all.statuses.clone());
        r.register(
            "identity_pairs",
            "Pairs of nodes that write one identity, by how far they have come apart",
            all.divergences.clone(),
        );
        r.register(
            "identity_desynchronised",
            "Nodes that are possibly desynchronised, once for each identity",
            all.desynchronised.clone(),
        );
        r.register(
            "identity_kept_out",
            "Identities whose last state has collapsed and did not take the place of a healthy one",
            all.kept_out.clone(),
        );
        all
    }
}

/// The hub's counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Sessions open now.
    pub sessions: Gauge,
    pushes_waiting: Gauge,
    /// Connections that stand now.
    pub connections: Gauge,
    connections_closed: Family<Named, Counter>,
    /// Bytes of changes sent.
    pub changes_bytes: Counter,
    commit_rows: Histogram,
    commit_seconds: Histogram,
    push_seconds: Histogram,
    pushes: Counter,
    mutations: Family<Named, Counter>,
    refusals: Family<Named, Counter>,
    resolver: Family<Named, Counter>,
    calls: Family<Call, Counter>,
    heads: Family<OfTenant, Gauge<u64, AtomicU64>>,
    nodes: Family<OfHealth, Gauge<u64, AtomicU64>>,
    identities: OfIdentities,
    tenants_shown: Arc<AtomicU64>,
    tenants_max: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::of_tenants(TENANTS_SHOWN_MAX)
    }

    /// All at zero, and no tenant will be named.
    #[must_use]
    pub fn naming_no_tenant() -> Self {
        Self::of_tenants(0)
    }

    fn of_tenants(tenants_max: usize) -> Self {
        let mut registry = <Registry>::with_prefix("hubward");
        let r = &mut registry;
        let (sessions, pushes_waiting, connections): (Gauge, Gauge, Gauge) = <_>::default();
        let connections_closed: Family<Named, Counter> = <_>::default();
        let (changes_bytes, pushes): (Counter, Counter) = <_>::default();
        let (commit_rows, commit_seconds) = (Histogram::new(COUNTS), Histogram::new(SECONDS));
        let push_seconds = Histogram::new(SECONDS);
        let (mutations, refusals): (Family<Named, Counter>, Family<Named, Counter>) = <_>::default();
        let resolver: Family<Named, Counter> = <_>::default();
        let calls = Family::default();
        let heads = Family::default();
        let nodes = Family::default();
        r.register("sessions", "Sessions open now", sessions.clone());
        r.register("pushes_waiting", "Pushes that wait for their answer now", pushes_waiting.clone());
        r.register("connections", "Connections that stand now", connections.clone());
        r.register(
            "connections_closed",
            "Connections closed by the hub, by cause",
            connections_closed.clone(),
        );
        r.register("changes_bytes", "Bytes of changes sent", changes_bytes.clone());
        r.register("commit_rows", "Rows of one commit", commit_rows.clone());
        r.register("commit_seconds", "How long an append took", commit_seconds.clone());
        r.register("push_seconds", "From a push to its answer", push_seconds.clone());
        r.register("pushes", "Pushes answered", pushes.clone());
        r.register("mutations", "Mutations by outcome", mutations.clone());
        r.register("refusals", "Refusals by reason", refusals.clone());
        r.register("resolver", "Conflicts for the resolver, by what came of it", resolver.clone());
        r.register("calls", "Calls by method and gRPC code", calls.clone());
        r.register("head_revision", "Last revision of a tenant's log", heads.clone());
        let identities = OfIdentities::registered(r);
        r.register("nodes", "Active nodes of a tenant, by health", nodes.clone());
        Self {
            registry: Arc::new(registry),
            sessions,
            pushes_waiting,
            connections,
            connections_closed,
            changes_bytes,
            commit_rows,
            commit_seconds,
            push_seconds,
            pushes,
            mutations,
            refusals,
            resolver,
            calls,
            heads,
            nodes,
            identities,
            tenants_shown: Arc::default(),
            tenants_max,
        }
    }

    /// Counts a call that was answered.
    pub fn called(&self, method: &'static str, code: tonic::Code) {
        self.calls.get_or_create(&Call { method, code: OfCode(code) }).inc();
    }

    /// Counts a connection that the hub closed.
    pub fn connection_closed(&self, cause: &'static str) {
        self.connections_closed.get_or_create(&Named { name: cause }).inc();
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        self.refusals.get_or_create(&Named { name: reason.as_str() }).inc();
    }

    /// Counts conflicts about which the resolver was asked, or was to be, by what came of it.
    pub fn resolver(&self, outcome: &'static str, conflicts: u64) {
        self.resolver.get_or_create(&Named { name: outcome }).inc_by(conflicts);
    }

    /// Counts a push that waits for its answer, until it is dropped.
    #[must_use]
    pub fn push_waits(&self) -> PushWaits {
        self.pushes_waiting.inc();
        PushWaits(self.pushes_waiting.clone())
    }

    /// Counts a push and what became of its mutations.
    pub fn pushed(&self, results: &Results, took: Duration) {
        self.pushes.inc();
        self.push_seconds.observe(took.as_secs_f64());
        for result in &results.outcomes {
            let name = result.outcome.as_ref().map_or("already_confirmed", Outcome::name);
            self.mutations.get_or_create(&Named { name }).inc();
        }
        if let Some(waits) = &results.waits {
            self.refused(waits.reason);
        }
    }

    /// Counts a commit.
    pub fn committed(&self, tenant: &str, revision: u64, rows: usize, took: Duration) {
        self.commit_rows.observe(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        self.commit_seconds.observe(took.as_secs_f64());
        self.head(tenant, revision);
    }

    /// Shows where a tenant's log ends, for a bounded number of tenants.
    pub fn head(&self, tenant: &str, revision: u64) {
        let label = OfTenant { tenant: tenant.to_owned() };
        if let Some(gauge) = self.heads.get(&label) {
            gauge.set(revision);
            return;
        }
        let shown = self.tenants_shown.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if shown < u64::try_from(self.tenants_max).unwrap_or(u64::MAX) {
            self.heads.get_or_create(&label).set(revision);
        }
    }

    /// Shows how many nodes of a tenant live, for the tenants whose log is shown.
    pub fn nodes(&self, tenant: &str, by_health: &BTreeMap<Health, u64>) {
        let tenant = tenant.to_owned();
        if self.heads.get(&OfTenant { tenant: tenant.clone() }).is_none() {
            return;
        }
        for (health, count) in by_health {
            let label = OfHealth { tenant: tenant.clone(), health: health.as_str().to_owned() };
            self.nodes.get_or_create(&label).set(*count);
        }
    }

    /// Shows how the identities of a tenant stand, for the tenants whose log is shown.
    pub fn identities(&self, tenant: &str, measured: &Measured) {
        let of_tenant = OfTenant { tenant: tenant.to_owned() };
        if self.heads.get(&of_tenant).is_none() {
            return;
        }
        let of = |name: &str| OfName { tenant: tenant.to_owned(), name: name.to_owned() };
        for status in Status::ALL {
            let count = measured.statuses.get(&status).copied().unwrap_or_default();
            self.identities.statuses.get_or_create(&of(status.as_str())).set(count);
        }
        for level in Level::ALL {
            let count = measured.levels.get(&level).copied().unwrap_or_default();
            self.identities.divergences.get_or_create(&of(level.as_str())).set(count);
        }
        self.identities.desynchronised.get_or_create(&of_tenant).set(measured.desynchronised);
        self.identities.kept_out.get_or_create(&of_tenant).set(measured.kept_out);
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

/// A push that waits for its answer.
#[derive(Debug)]
pub struct PushWaits(Gauge);

impl Drop for PushWaits {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.refused(Reason::Draining);
        metrics.resolver("abstained", 2);
        metrics.head("acme", 7);
        metrics.nodes("acme", &[(Health::Offline, 2)].into());
        metrics.nodes("nobody", &[(Health::Offline, 2)].into());
        metrics.sessions.inc();
        metrics.called("/hubward.v1.SyncService/Push", tonic::Code::Ok);
        let text = metrics.text();
        assert!(text.contains("hubward_refusals_total{name=\"DRAINING\"} 1"), "{text}");
        assert!(text.contains("hubward_resolver_total{name=\"abstained\"} 2"), "{text}");
        assert!(text.contains("hubward_head_revision{tenant=\"acme\"} 7"), "{text}");
        assert!(text.contains("hubward_nodes{tenant=\"acme\",health=\"offline\"} 2"), "{text}");
        assert!(!text.contains("nobody"), "only of tenants whose log is shown: {text}");
        assert!(text.contains("hubward_sessions 1"), "{text}");
    }

    #[test]
    fn identities_are_shown_by_status_and_pairs_by_how_far_apart() {
        let metrics = Metrics::new();
        metrics.head("acme", 7);
        let measured = Measured {
            statuses: [(Status::Collapsed, 1), (Status::Stable, 4)].into(),
            kept_out: 3,
            desynchronised: 3,
            levels: [(Level::Alert, 2)].into(),
        };
        metrics.identities("acme", &measured);
        metrics.identities("nobody", &measured);
        let text = metrics.text();
        for line in [
            "hubward_identities{tenant=\"acme\",name=\"collapsed\"} 1",
            "hubward_identities{tenant=\"acme\",name=\"warning\"} 0",
            "hubward_identity_pairs{tenant=\"acme\",name=\"alert\"} 2",
            "hubward_identity_desynchronised{tenant=\"acme\"} 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("nobody"), "{text}");
    }

    #[test]
    fn metrics_that_name_no_tenant_count_everything_else() {
        let metrics = Metrics::naming_no_tenant();
        metrics.committed("acme", 7, 3, Duration::from_millis(1));
        metrics.nodes("acme", &[(Health::Offline, 2)].into());
        let text = metrics.text();
        assert!(!text.contains("acme") && !text.contains("{tenant="), "{text}");
        assert!(text.contains("hubward_commit_rows_count 1"), "{text}");
    }

    #[test]
    fn tenants_past_the_bound_are_not_shown() {
        let metrics = Metrics::new();
        for n in 0..TENANTS_SHOWN_MAX + 10 {
            metrics.head(&format!("t{n}"), 1);
        }
        assert_eq!(metrics.text().matches("hubward_head_revision{").count(), TENANTS_SHOWN_MAX);
    }
}
