//! Hubs over gRPC: one channel per endpoint, access tokens that are fetched and refreshed as needed.

mod conflicts;
mod patience;
mod session;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::v1;
use proto::v1::auth_service_client::AuthServiceClient;
use proto::v1::node_service_client::NodeServiceClient;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::compare::{RangeAsk, RangeSum, Scopes};
use semantics::ids::{Digest, Key, Revision};
use semantics::reason::{Class, Reason, Refusal};
use semantics::seen::Seen;
use semantics::session::{MESSAGE_BYTES_MAX, Reconcile, Reconciliation};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tonic::Request;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::ambient::Clock;
use crate::replica::Entropy;
use crate::runtime::{Link, Traffic, Transport};
use crate::settings::Compression;
use crate::trust::{AccessTokens, Meter, PinnedConnector};
use patience::{KeepAlive, Patience};

/// For a connection to stand, milliseconds.
pub const CONNECT_MS: u64 = 10_000;
/// For a unary call, milliseconds.
pub const CALL_MS: u64 = 20_000;
/// For a hub to answer when it is measured, milliseconds.
const PROBE_WITHIN_MS: u64 = 5_000;
/// For sessions that have ended to be over, milliseconds: longer than each waits for the hub.
const CLOSED_MS_MAX: u64 = 1_000;
/// A message may be larger than its bound by what frames it.
pub(crate) const DECODED_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;

/// Reaches the hubs of one node.
pub struct HubTransport {
    urls: Vec<String>,
    pin: Option<Digest>,
    tokens: Arc<AccessTokens>,
    channels: Vec<Mutex<Option<Channel>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tasks: TaskTracker,
    meter: Arc<Meter>,
    compression: Compression,
    /// The endpoint of the last session: it is asked first.
    current: AtomicUsize,
    patience: StdMutex<Patience>,
}

impl fmt::Debug for HubTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubTransport").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Opens a channel to a hub whose CA key is pinned (`None`: plaintext, and only to loopback).
///
/// # Errors
/// `MALFORMED` for something that is no URL, `PIN_MISMATCH` for another hub, `UNREACHABLE` when nobody answers.
pub async fn channel(url: &str, pin: Option<Digest>) -> Result<Channel, Refusal> {
    channel_over(url, PinnedConnector::new(pin)?, KeepAlive::TO_ONE).await
}

/// How a hub is connected to that is the only one: for connectors of the caller's own.
///
/// # Errors
/// `MALFORMED` for something that is no URL.
pub fn endpoint(url: &str) -> Result<Endpoint, Refusal> {
    endpoint_with(url, KeepAlive::TO_ONE)
}

fn endpoint_with(url: &str, alive: KeepAlive) -> Result<Endpoint, Refusal> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|e| Refusal::new(Reason::Malformed, format!("{url}: {e}")))?
        .connect_timeout(Duration::from_millis(CONNECT_MS))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_millis(alive.probe_ms))
        .keep_alive_timeout(Duration::from_millis(alive.answer_ms))
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

async fn channel_over(url: &str, connector: PinnedConnector, alive: KeepAlive) -> Result<Channel, Refusal> {
    let endpoint = endpoint_with(url, alive)?;
    let connecting = endpoint.connect_with_connector(connector);
    match tokio::time::timeout(Duration::from_millis(CONNECT_MS), connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(url, &error)),
        Err(_) => Err(Refusal::new(Reason::Unreachable, format!("{url} did not answer in {CONNECT_MS} ms"))),
    }
}

fn unreachable(url: &str, error: &tonic::transport::Error) -> Refusal {
    crate::trust::refusal_of(error).unwrap_or_else(|| {
        let mut detail = format!("{url}: {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Refusal::new(Reason::Unreachable, detail)
    })
}

/// Asks a hub to take this node in; needs no access token.
///
/// # Errors
/// `JOIN_TOKEN_INVALID`, `ALREADY_EXISTS`, `MALFORMED`, and those of [`channel`].
pub async fn join(
    url: &str,
    pin: Option<Digest>,
    request: v1::JoinRequest,
) -> Result<v1::JoinResponse, Refusal> {
    let channel = channel(url, pin).await?;
    let answer = AuthServiceClient::new(channel).join(timed(request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
}

impl HubTransport {
    /// Reaches these hubs as this node.
    #[must_use]
    pub fn new(
        urls: Vec<String>,
        pin: Option<Digest>,
        tokens: AccessTokens,
        compression: Compression,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let channels = urls.iter().map(|_| Mutex::new(None)).collect();
        Self {
            urls,
            pin,
            tokens: Arc::new(tokens),
            channels,
            clock,
            entropy,
            tasks: TaskTracker::new(),
            meter: Arc::default(),
            compression,
            current: AtomicUsize::new(0),
            patience: StdMutex::default(),
        }
    }

    /// How many hubs there are.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.urls.len()
    }

    /// The channel of an endpoint; a fresh one for a session, so that a session never begins on a dead one.
    async fn channel(&self, endpoint: usize, fresh: bool) -> Result<Channel, Refusal> {
        let none = || Refusal::new(Reason::NotJoined, "no hub is known");
        let url = self.urls.get(endpoint).ok_or_else(none)?;
        let mut held = self.channels.get(endpoint).ok_or_else(none)?.lock().await;
        if fresh {
            *held = None;
        }
        match &*held {
            Some(channel) => Ok(channel.clone()),
            None => {
                let connector = PinnedConnector::metered(self.pin, Arc::clone(&self.meter))?;
                let patience = || self.patience.lock().unwrap_or_else(PoisonError::into_inner);
                let times = if fresh { patience().next(self.clock.now_ms()) } else { 0 };
                let several = self.urls.len() > 1;
                let alive = if several { KeepAlive::TO_SEVERAL.patient(times) } else { KeepAlive::TO_ONE };
                let channel = channel_over(url, connector, alive).await?;
                if fresh {
                    patience().stood_ms = Some(self.clock.now_ms());
                }
                *held = Some(channel.clone());
                Ok(channel)
            }
        }
    }

    async fn authorized<T>(&self, channel: &Channel, message: T) -> Result<Request<T>, Refusal> {
        let now_ms = self.clock.now_ms();
        let bearer = self.tokens.bearer(channel.clone(), self.entropy.bytes16(), now_ms).await?;
        let mut value = MetadataValue::try_from(bearer)
            .map_err(|_| Refusal::new(Reason::Malformed, "the access token is not a header value"))?;
        value.set_sensitive(true);
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }

    /// A client that compresses what it sends and takes what is compressed so. What a message may be in memory is
    /// bounded whatever it was on the wire.
    fn sync_client(&self, channel: Channel) -> SyncServiceClient<Channel> {
        let client = SyncServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX);
        let encoding = match self.compression {
            Compression::Zstd => CompressionEncoding::Zstd,
            Compression::Gzip => CompressionEncoding::Gzip,
            Compression::None => return client,
        };
        client.send_compressed(encoding).accept_compressed(encoding)
    }

    /// What is kept of a record's history at the hub, newest first, one page.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of [`channel`].
    pub async fn history(
        &self,
        key: &Key,
        page_token: String,
    ) -> Result<v1::ListRecordHistoryResponse, Refusal> {
        let key = Some(v1::Key { kind: key.kind.to_string(), id: key.id.to_string() });
        let message = v1::ListRecordHistoryRequest { key, page_size: 0, page_token };
        self.anywhere(message, |channel, request| async {
            NodeServiceClient::new(channel)
                .max_decoding_message_size(DECODED_BYTES_MAX)
                .list_record_history(request)
                .await
        })
        .await
    }

    /// A unary call at the first hub that can be reached.
    async fn anywhere<M, T, F>(
        &self,
        message: M,
        call: impl Fn(Channel, Request<M>) -> F + Send + Sync,
    ) -> Result<T, Refusal>
    where
        M: Clone + Send + Sync,
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send,
    {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = Refusal::new(Reason::NotJoined, "no hub is known");
        for step in 0..self.urls.len() {
            let endpoint = (first + step) % self.urls.len();
            match self.at(endpoint, &message, &call).await {
                Err(refusal) if is_elsewhere_better(&refusal) => last = refusal,
                answer => return answer,
            }
        }
        Err(last)
    }

    /// A sign of life to one hub, whose answer nobody reads.
    async fn beat(&self, endpoint: usize) -> Result<(), Refusal> {
        let message = v1::HeartbeatRequest { epoch: 0, about: None };
        let call = |channel, request| async { NodeServiceClient::new(channel).heartbeat(request).await };
        self.at(endpoint, &message, &call).await.map(drop)
    }

    /// A unary call; with a new access token, where the hub does not take the one that was held.
    async fn at<M, T, F>(
        &self,
        endpoint: usize,
        message: &M,
        call: &(impl Fn(Channel, Request<M>) -> F + Send + Sync),
    ) -> Result<T, Refusal>
    where
        M: Clone + Send + Sync,
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send,
    {
        let mut is_renewed = false;
        loop {
            let channel = self.channel(endpoint, false).await?;
            let mut request = self.authorized(&channel, message.clone()).await?;
            request.set_timeout(Duration::from_millis(CALL_MS));
            let refusal = match call(channel, request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => refusal(&status),
            };
            if refusal.reason != Reason::Unauthenticated || is_renewed {
                return Err(refusal);
            }
            self.tokens.forget().await;
            is_renewed = true;
        }
    }
}

#[async_trait]
impl Transport for HubTransport {
    async fn open(&self, endpoint: usize) -> Result<Link, Refusal> {
        self.current.store(endpoint, Ordering::Relaxed);
        let channel = self.channel(endpoint, true).await?;
        let request = self.authorized(&channel, ()).await?;
        let client = self.sync_client(channel);
        Ok(session::open(client, request.metadata().clone(), Arc::clone(&self.tokens), &self.tasks))
    }

    async fn reconcile(&self, endpoint: usize, request: Reconcile) -> Result<Reconciliation, Refusal> {
        let message = v1::ReconcileRequest::from(request);
        let call = |channel, request| {
            let mut client = self.sync_client(channel);
            async move { client.reconcile(request).await }
        };
        Ok(Reconciliation::try_from(self.at(endpoint, &message, &call).await?)?)
    }

    async fn scopes(&self) -> Result<Scopes, Refusal> {
        let call = |channel, request| {
            let mut client = self.sync_client(channel);
            async move { client.compare_scopes(request).await }
        };
        Ok(Scopes::try_from(self.anywhere(v1::CompareScopesRequest {}, call).await?)?)
    }

    async fn range(&self, ask: &RangeAsk) -> Result<RangeSum, Refusal> {
        let call = |channel, request| {
            let mut client = self.sync_client(channel);
            async move { client.compare_range(request).await }
        };
        Ok(RangeSum::try_from(self.anywhere(v1::CompareRangeRequest::from(ask), call).await?)?)
    }

    async fn seen(&self, revisions: &[Revision]) -> Result<Vec<Seen>, Refusal> {
        let revisions = revisions.iter().map(|revision| revision.0).collect();
        let call = |channel, request| async { NodeServiceClient::new(channel).count_seen(request).await };
        Ok(Vec::try_from(self.anywhere(v1::CountSeenRequest { revisions }, call).await?)?)
    }

    async fn head(&self) -> Result<Revision, Refusal> {
        let answer: v1::HeartbeatResponse = self
            .anywhere(v1::HeartbeatRequest { epoch: 0, about: None }, |channel, request| async {
                NodeServiceClient::new(channel).heartbeat(request).await
            })
            .await?;
        Ok(Revision(answer.revision))
    }

    fn endpoints(&self) -> Vec<String> {
        self.urls.clone()
    }

    async fn probe(&self, endpoint: usize) -> Option<u64> {
        let measured = async {
            // The first call may have to open a connection and to get a token; the second is the road alone.
            self.beat(endpoint).await.ok()?;
            let began_us = self.clock.elapsed_us();
            self.beat(endpoint).await.ok()?;
            Some(self.clock.elapsed_us().saturating_sub(began_us))
        };
        tokio::time::timeout(Duration::from_millis(PROBE_WITHIN_MS), measured).await.ok()?
    }

    async fn closed(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_millis(CLOSED_MS_MAX), self.tasks.wait()).await;
    }

    fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }
}

/// Whether another hub may answer better.
fn is_elsewhere_better(refusal: &Refusal) -> bool {
    refusal.reason.class() == Class::Network || refusal.reason == Reason::Draining
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(CALL_MS));
    request
}

/// A status as the refusal it carries.
pub(crate) fn refusal(status: &tonic::Status) -> Refusal {
    let source = std::error::Error::source(status);
    source.and_then(crate::trust::refusal_of).unwrap_or_else(|| proto::reason::refusal_of(status))
}

/// No hub at all: for a replica that only works offline.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHub;

#[async_trait]
impl Transport for NoHub {
    async fn open(&self, _endpoint: usize) -> Result<Link, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub"))
    }
    async fn reconcile(&self, _endpoint: usize, _request: Reconcile) -> Result<Reconciliation, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub"))
    }
    async fn head(&self) -> Result<Revision, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub"))
    }
}
