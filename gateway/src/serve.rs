//! The hub as a process: opens its store and its keys, listens, and drains when it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::v1::admin_service_server::AdminServiceServer;
use proto::v1::audit_service_server::AuditServiceServer;
use proto::v1::auth_service_server::AuthServiceServer;
use proto::v1::examine_service_server::ExamineServiceServer;
use proto::v1::node_service_server::NodeServiceServer;
use proto::v1::operator_service_server::OperatorServiceServer;
use proto::v1::sync_service_server::SyncServiceServer;
use semantics::access::Event;
use semantics::ids::TenantId;
use semantics::reason::Reason;
use semantics::session::MESSAGE_BYTES_MAX;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::access::Who;
use crate::ambient::{Clock, Entropy};
use crate::auth::layer::AuthLayer;
use crate::auth::{Rotated, Trust, hub_tenant};
use crate::config::Config;
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::open_files;
use crate::operator;
use crate::place;
use crate::rpc::admin::AdminHandler;
use crate::rpc::around::{Around, in_use};
use crate::rpc::audit::AuditHandler;
use crate::rpc::examine::ExamineHandler;
use crate::rpc::inflow::Inflow;
use crate::rpc::layers::{CALLS_MAX, Layers};
use crate::rpc::node::NodeHandler;
use crate::rpc::operators::OperatorHandler;
use crate::rpc::outflow::Outflow;
use crate::rpc::shares::Shares;
use crate::rpc::sync::SyncHandler;
use crate::rpc::turns::Queues;
use crate::rpc::{Gate, status};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::telemetry::Metrics;
use crate::tls;

mod opening;

pub use self::opening::open;

/// How long a shutdown waits for what is under way.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long a shutdown waits for the database to be closed in order.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Used assertions and expired tokens are swept, and keys looked at, this often: half of [`crate::auth::TAKE_UP_S`].
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A connection on which nothing is heard is asked for a sign of life after this.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// A connection that gives no sign of life within this is closed.
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(10);
/// Most calls at once on one connection.
pub const STREAMS_MAX: u32 = 256;
/// Most bytes on their way in one call that nobody has read yet.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Most bytes on their way on one connection that nobody has read yet.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most bytes of one call's headers.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Most calls that a client took back before they were looked at; past it the connection ends.
pub const TAKEN_BACK_MAX: usize = 64;
/// Most calls that the hub broke off because of what the client did; past it the connection ends.
pub const BROKEN_OFF_MAX: usize = 256;
/// Longest message to the services that anybody may call, bytes.
pub const OPEN_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The tenant that dev mode makes.
const DEV_TENANT: &str = "default";

/// A hub whose store and keys are open.
#[derive(Debug)]
pub struct Opened {
    /// The use cases.
    pub hub: Arc<Hub>,
    /// Keys and tokens.
    pub trust: Arc<Trust>,
    /// The counters.
    pub metrics: Metrics,
    engine: Engine,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    unread_ms_max: u64,
}

impl Opened {
    /// Cuts a session, or the connection of a call, whose messages nobody reads after another time than [`crate::rpc::link::UNREAD_MS_MAX`], milliseconds.
    #[must_use]
    pub fn cutting_unread_after(self, unread_ms_max: u64) -> Self {
        Self { unread_ms_max, ..self }
    }

    /// Closes the database in order.
    pub async fn close(self) {
        self.engine.close().await;
    }
}

/// What is closed in order at the end, so that a stopped folder's database is one whole file.
#[derive(Debug, Clone)]
enum Engine {
    Memory,
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Engine {
    /// Cancelled when the database has moved away from under this store.
    fn moved(&self) -> CancellationToken {
        match self {
            Self::Memory | Self::Sqlite(_) => CancellationToken::new(),
            Self::Postgres(store) => store.moved(),
        }
    }

    async fn close(&self) {
        match self {
            Self::Memory => {}
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Where a running hub listens.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// For spokes.
    pub listen: SocketAddr,
    /// For operators.
    pub operator_listen: SocketAddr,
}

/// A hub that serves.
#[derive(Debug)]
pub struct Running {
    /// Where.
    pub at: Listening,
    /// What its services share.
    pub gate: Arc<Gate>,
    /// The answers that wait to be read by spokes, and by operators.
    pub untaken: [Outflow; 2],
    engine: Engine,
    drain_lead: Duration,
    health: HealthReporter,
    spokes: Serving,
    operators: Serving,
}

#[derive(Debug)]
struct Serving {
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Runs until `shutdown` resolves, then drains. When the database moves to another server, the hub ends what it does,
/// forgets what it knows, and begins anew there on the same addresses: every spoke is greeted again, and what it says
/// of itself is held against the logs as they are then.
///
/// # Errors
/// What keeps the hub from starting.
pub async fn run(mut config: Config, shutdown: impl Future<Output = ()>) -> Result<(), HubError> {
    tokio::pin!(shutdown);
    let mut opened = tokio::select! {
        () = &mut shutdown => return Ok(()),
        opened = open(&config) => opened?,
    };
    let dev_token = if config.dev { Some(dev_tenant(&opened).await?) } else { None };
    let mut is_announced = false;
    loop {
        let moved = opened.engine.moved();
        let running = start(&config, opened).await?;
        if !is_announced {
            place::announce(&config, running.at, dev_token.as_deref())?;
            is_announced = true;
            (config.listen, config.operator_listen) = (running.at.listen, running.at.operator_listen);
        }
        let is_over = tokio::select! {
            () = &mut shutdown => true,
            () = moved.cancelled() => false,
        };
        if is_over {
            running.drain().await;
            break;
        }
        warn!("the database has moved: beginning anew");
        running.leave().await;
        let again = tokio::select! {
            () = &mut shutdown => None,
            again = opening::again(&config) => Some(again?),
        };
        match again {
            Some(again) => opened = again,
            None => break,
        }
    }
    place::forget(&config.data);
    Ok(())
}

/// Starts listening.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn start(config: &Config, opened: Opened) -> Result<Running, HubError> {
    let Opened { hub, trust, metrics, engine, entropy, clock, unread_ms_max } = opened;
    let spokes = listener("listen", config.listen).await?;
    let operators = listener("operator_listen", config.operator_listen).await?;
    let at = Listening { listen: local(&spokes)?, operator_listen: local(&operators)? };
    let gate = Gate::new(hub, metrics.clone(), unread_ms_max);
    gate.tasks.spawn(sweep(Arc::clone(&gate), Arc::clone(&trust)));
    let untaken = [Outflow::default(), Outflow::default()];
    // Each port has limits of its own, so that operators are served while the other one is full.
    let around = |untaken: &Outflow| {
        let layers = Layers::new(metrics.clone(), Arc::clone(&entropy), CALLS_MAX);
        around(layers.noting(gate.access.clone()), &gate, &trust, untaken)
    };
    let (health, spoke_routes) = spoke_routes(&gate, &trust).await?;
    let spoke_routes = around(&untaken[0]).calls(spoke_routes);
    let admin = AdminServiceServer::new(AdminHandler { gate: Arc::clone(&gate), trust: Arc::clone(&trust) })
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let operator = OperatorHandler { gate: Arc::clone(&gate), trust: Arc::clone(&trust) };
    let operator = OperatorServiceServer::new(operator).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let audit = AuditHandler { gate: Arc::clone(&gate), trust: Arc::clone(&trust) };
    let audit = AuditServiceServer::new(audit).max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX);
    let examine = ExamineServiceServer::new(ExamineHandler(Arc::clone(&gate)))
        .max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| HubError::internal(e.to_string()))?
        .max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX);
    let admin = Routes::new(admin).add_service(operator).add_service(audit).add_service(examine);
    // What is asked on such a stream and not read piles up in the transport, where no layer counts it: it is for those
    // who show a credential, and others are refused before anything of it is read.
    let admin = admin.add_service(reflection);
    let admin = around(&untaken[1]).calls(admin.into_axum_router());
    let operator_routes = admin.merge(in_use(operator::routes(Arc::clone(&gate), &untaken[1])));
    let bounds = tls::Bounds::of_spokes();
    info!(connections_max = bounds.connections_max, files_max = open_files::max(), "listening");
    let rooms = (
        tls::Room::new(bounds, metrics.clone()),
        tls::Room::new(tls::Bounds::of_operators(), metrics.clone()),
    );
    let (spokes, operators) = if config.dev {
        (tls::Incoming::plaintext(spokes, rooms.0)?, tls::Incoming::plaintext(operators, rooms.1)?)
    } else {
        let identity =
            tls::Identity::issue(trust.ca(), &[at.listen, at.operator_listen], &config.hostnames, clock)?;
        let identity = Arc::new(identity);
        let spokes = tls::Incoming::tls(spokes, rooms.0, Arc::clone(&identity), tls::Alpn::H2)?;
        (spokes, tls::Incoming::tls(operators, rooms.1, identity, tls::Alpn::H2AndHttp1)?)
    };
    let spokes = serve(spokes, spoke_routes, false);
    let operators = serve(operators, operator_routes, true);
    let drain_lead = config.drain_lead;
    Ok(Running { at, gate, untaken, engine, drain_lead, health, spokes, operators })
}

/// What surrounds the calls of one listener, whose untaken answers are looked for from now on.
fn around(layers: Layers, gate: &Gate, trust: &Trust, untaken: &Outflow) -> Around {
    gate.tasks.spawn(untaken.clone().watch(gate.unread_ms_max, gate.draining.clone()));
    let rights = AuthLayer::new(trust.verifier(), status::of, status::note_caller);
    let (shares, inflow, turns) = (Shares::default(), Inflow::default(), Queues::default());
    Around { layers, rights, shares, inflow, turns, outflow: untaken.clone() }
}

async fn spoke_routes(
    gate: &Arc<Gate>,
    trust: &Arc<Trust>,
) -> Result<(HealthReporter, axum::Router), HubError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SyncServiceServer<SyncHandler>>().await;
    let health_service = health_service.max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX);
    let sync = SyncServiceServer::new(SyncHandler(Arc::clone(gate)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Gzip)
        // Of those that the caller takes, the one that it names first.
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd);
    let node =
        NodeServiceServer::new(NodeHandler(Arc::clone(gate))).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let auth = AuthServiceServer::new(trust.handler(status::of).noting(gate.access.clone()))
        .max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX);
    let routes = Routes::new(sync).add_service(node).add_service(auth).add_service(health_service);
    Ok((health, routes.into_axum_router()))
}

fn serve(incoming: tls::Incoming, routes: axum::Router, with_http1: bool) -> Serving {
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let server = tonic::transport::Server::builder()
        .accept_http1(with_http1)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(TAKEN_BACK_MAX))
        .http2_max_local_error_reset_streams(Some(BROKEN_OFF_MAX))
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(incoming, stopped);
    Serving { stop, task: tokio::spawn(server) }
}

async fn listener(name: &str, address: SocketAddr) -> Result<TcpListener, HubError> {
    let taken = |e: std::io::Error| {
        HubError::new(Reason::Malformed, format!("{name}: cannot listen on {address}: {e}"))
    };
    TcpListener::bind(address).await.map_err(taken)
}

fn local(listener: &TcpListener) -> Result<SocketAddr, HubError> {
    listener.local_addr().map_err(|e| HubError::internal(e.to_string()))
}

/// The tenant of dev mode, and a token to join it.
async fn dev_tenant(opened: &Opened) -> Result<String, HubError> {
    let tenant = TenantId::new(DEV_TENANT).map_err(|e| HubError::internal(e.to_string()))?;
    opened.hub.create_tenant(&tenant).await?;
    Ok(opened.trust.create_token(&tenant, 1, 3_600).await?.token)
}

/// Takes up what became of the key of access tokens. A failure stays to be seen by `hubward doctor` until it is over.
pub async fn follow_token_key(gate: &Gate, trust: &Trust) {
    let followed = async {
        if let Some(Rotated { kid, before }) = trust.follow_token_key().await? {
            info!(kid, before, "access tokens are signed with another key");
            gate.access.note(&hub_tenant()?, &Who::Hub, Event::TokenKeyRotated { kid, before });
        }
        Ok::<(), HubError>(())
    };
    let failed = followed.await.err();
    if let Some(error) = &failed {
        warn!(%error, "the key of access tokens was not looked at");
    }
    gate.key_failed.store(failed.map(|error| Arc::new(error.refusal)));
}

/// Takes away used assertions and tokens that are no longer good for anything, and takes a rotation of the key up.
async fn sweep(gate: Arc<Gate>, trust: Arc<Trust>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = gate.draining.cancelled() => return,
            _ = tick.tick() => {}
        }
        follow_token_key(&gate, &trust).await;
        let mut after = None;
        while let Ok(tenants) = gate.hub.store().tenants(after.as_ref(), 100).await {
            for tenant in &tenants {
                if let Err(error) = trust.sweep(tenant).await {
                    warn!(%tenant, %error, "sweep failed");
                }
            }
            let Some(last) = tenants.last().cloned() else { break };
            after = Some(last);
        }
    }
}

impl Running {
    /// Writes what the access log has noted so far.
    pub async fn flush_access(&self) {
        self.gate.access.flush().await;
    }

    /// Stops: not ready any more, and everything else as before for the time that a load balancer is given to
    /// notice; then no new sessions or pushes, a goodbye to each session, what is under way is finished; after
    /// [`DRAIN_WITHIN`] what is left is cut off. Then the database is closed, and an embedded one is one whole file.
    pub async fn drain(self) {
        info!(lead_s = self.drain_lead.as_secs(), "leaving");
        self.gate.leaving.cancel();
        self.health.set_not_serving::<SyncServiceServer<SyncHandler>>().await;
        tokio::time::sleep(self.drain_lead).await;
        info!("draining");
        let engine = self.engine.clone();
        self.end().await;
        if tokio::time::timeout(CLOSE_WITHIN, engine.close()).await.is_err() {
            warn!("the database is not closed in order; the next start reads its journal");
        }
        info!("stopped");
    }

    /// Stops at once, when the database has moved: what is under way ends with an error, a goodbye to each session.
    async fn leave(self) {
        self.gate.leaving.cancel();
        self.health.set_not_serving::<SyncServiceServer<SyncHandler>>().await;
        // Who waits for a connection waits no more.
        let closing = self.engine.clone();
        let closed = tokio::spawn(async move { closing.close().await });
        self.end().await;
        // What still waits for the old server ends with its own bounds.
        closed.abort();
    }

    async fn end(self) {
        self.gate.draining.cancel();
        self.gate.tasks.close();
        self.spokes.stop.cancel();
        let mut spokes = self.spokes.task;
        let done = async {
            self.gate.tasks.wait().await;
            drop((&mut spokes).await);
        };
        if tokio::time::timeout(DRAIN_WITHIN, done).await.is_err() {
            warn!("what was left after the drain is cut off");
            spokes.abort();
        }
        self.operators.stop.cancel();
        let mut operators = self.operators.task;
        if tokio::time::timeout(Duration::from_secs(1), &mut operators).await.is_err() {
            operators.abort();
        }
        self.gate.access.flush().await;
    }
}
