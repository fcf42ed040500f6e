//! What surrounds every call, outermost first. Each layer answers with a ready-made status: a plain error would
//! reach the caller as a broken stream.
//!
//! 1. trace: outermost, so that every refusal below is seen and counted;
//! 2. panic: a bug is one failed request;
//! 3. deadline: outside of everything that can wait;
//! 4. overload: refusing must be cheaper than verifying a signature;
//! 5. reason: what the wire library refuses by itself gets a reason of the closed list;
//! 6. rights (see [`crate::auth`]): before anything is parsed;
//! 7. the shares of callers in the calls that are open (see [`super::shares`]);
//! 8. bytes on their way in (see [`super::inflow`]);
//! 9. turns of those that hold much (see [`super::turns`]): only once all of the call is there;
//! 10. bytes on their way out (see [`super::outflow`]).
//!
//! Around all of them [`in_use`] tells the connection that it is used; [`super::around`] puts all of it together.

use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue};
use semantics::access::Sample;
use semantics::ids::TenantId;
use semantics::reason::Reason;
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tracing::{debug, info};

use super::status;
use crate::access::{AccessLog, Who};
use crate::ambient::{Entropy, Stopwatch};
use crate::auth::Caller;
use crate::auth::rights::known_path;
use crate::hub::error::HubError;
use crate::telemetry::Metrics;
use crate::tls::Peer;

/// Most calls worked on at once on one listener; a stream counts until it is answered.
pub const CALLS_MAX: usize = 2_048;
/// Longest time until a call is answered, milliseconds; a stream is answered when it begins.
pub const UNARY_MS_MAX: u64 = 30_000;
/// Longest request id taken from a caller, characters.
const REQUEST_ID_CHARS_MAX: usize = 64;
const REQUEST_ID: &str = "x-request-id";

/// What is around a call takes what comes of it inside. Each layer is a function of the request and of the one within it,
/// so that what surrounds a call is one future: a service of its own for each would be cloned and boxed with every call.
/// The request is boxed, because each of them would keep room for it.
pub(super) trait Answer: Future<Output = Response> + Send {}

impl<A: Future<Output = Response> + Send> Answer for A {}

/// What the layers share.
#[derive(Debug, Clone)]
pub struct Layers {
    metrics: Metrics,
    entropy: Arc<dyn Entropy>,
    calls: Arc<Semaphore>,
    access: Option<AccessLog>,
}

impl Layers {
    /// For one listener: the limit is its own.
    #[must_use]
    pub fn new(metrics: Metrics, entropy: Arc<dyn Entropy>, calls_max: usize) -> Self {
        Self { metrics, entropy, calls: Arc::new(Semaphore::new(calls_max)), access: None }
    }

    /// Notes refused calls.
    #[must_use]
    pub fn noting(self, access: AccessLog) -> Self {
        Self { access: Some(access), ..self }
    }

    /// Puts the layers around a router, but for rights.
    pub fn around(self, router: axum::Router) -> axum::Router {
        let call = |State(layers): State<Arc<Self>>, request: Request, next: Next| async move {
            layers.run(Box::new(request), |request| next.run(*request)).await
        };
        router.layer(axum::middleware::from_fn_with_state(Arc::new(self), call))
    }

    /// A call within them.
    pub(super) async fn run<A: Answer>(
        &self,
        request: Box<Request>,
        next: impl FnOnce(Box<Request>) -> A + Send,
    ) -> Response {
        let known = move |request| reason(request, next);
        let admitted = move |request| overload(self, request, known);
        let in_time = move |request| deadline(request, admitted);
        let whole = move |request| panic(request, in_time);
        trace(self, request, whole).await
    }
}

fn refuse(error: HubError) -> Response {
    status::of(error).into_http::<Body>()
}

async fn trace<A: Answer>(
    layers: &Layers,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let id = request_id(request.headers(), layers.entropy.as_ref());
    // A path that nobody serves is the caller's invention: it becomes no label and no log line.
    let method = known_path(request.uri().path()).unwrap_or("refused");
    let watch = Stopwatch::start();
    let address = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    let answered = async { (next(request).await, status::refused(), status::caller()) };
    let (mut response, refused, caller) = status::within(id.clone(), answered).await;
    let code = code_of(response.headers());
    // Of nodes and those who ask whether it serves there are as many calls as writes.
    let is_usual = code == Code::Ok && !matches!(caller, Some(Caller::Operator(_)));
    layers.metrics.called(method, code);
    if let Some(refusal) = &refused {
        layers.metrics.refused(refusal.reason);
        if let Some(access) = &layers.access {
            let (tenant, who) = principal(caller, address);
            access.refused(tenant, &who, refusal.reason, Sample::new(&id, method, &refusal.detail));
        }
    }
    let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let reason = refused.map(|refusal| refusal.reason.as_str());
    if is_usual {
        debug!(request_id = id, method, ?code, took_ms, "call");
    } else {
        info!(request_id = id, method, ?code, reason, took_ms, "call");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Whose tenant, and who, as the access log names them.
fn principal(caller: Option<Caller>, address: Option<IpAddr>) -> (Option<TenantId>, Who) {
    match caller {
        Some(Caller::Node { principal, .. }) => (Some(principal.tenant), Who::Node(principal.node)),
        Some(Caller::Operator(operator)) => (Some(operator.tenant.clone()), Who::Operator(operator)),
        Some(Caller::Anyone) | None => (None, Who::Address(address)),
    }
}

fn request_id(headers: &HeaderMap, entropy: &dyn Entropy) -> String {
    let is_plain = |id: &&str| {
        let is_ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.bytes().all(is_ok)
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_plain);
    given.map_or_else(|| format!("{:032x}", u128::from_be_bytes(entropy.bytes16())), ToOwned::to_owned)
}

fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

async fn panic<A: Answer>(request: Box<Request>, next: impl FnOnce(Box<Request>) -> A + Send) -> Response {
    match AssertUnwindSafe(next(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => refuse(HubError::internal("a handler panicked")),
    }
}

/// Whoever handles a call may keep its [`crate::tls::Call`] for as long as it lasts; else it ends when it is answered.
pub(super) async fn in_use<A: Answer>(
    mut request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let call = request.extensions().get::<Peer>().map(|peer| peer.calls.begin());
    if let Some(call) = &call {
        request.extensions_mut().insert(call.clone());
    }
    next(request).await
}

async fn deadline<A: Answer>(request: Box<Request>, next: impl FnOnce(Box<Request>) -> A + Send) -> Response {
    let most = Duration::from_millis(UNARY_MS_MAX);
    let asked = request.headers().get("grpc-timeout").and_then(|text| timeout(text.to_str().ok()?));
    // What a caller asks for is the time of the whole call: a stream is answered long before its end.
    let asked = asked.filter(|_| !is_stream(request.uri().path()));
    let patience = asked.map_or(most, |asked| asked.min(most));
    match tokio::time::timeout(patience, next(request)).await {
        Ok(response) => response,
        Err(_) => refuse(HubError::transient(Reason::DeadlineExceeded, "the call took too long", 1_000)),
    }
}

/// Their messages wait in queues that have bounds of their own.
pub(super) fn is_long(path: &str) -> bool {
    path.ends_with("/Session") || path.ends_with("/Pull")
}

/// Streams end by themselves, or with the token they were opened with.
pub(super) fn is_stream(path: &str) -> bool {
    is_long(path) || !path.starts_with("/hubward.")
}

/// Parses a gRPC timeout: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = if digits.len() <= 8 { digits.parse().ok()? } else { return None };
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

async fn overload<A: Answer>(
    layers: &Layers,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let Ok(_permit) = layers.calls.try_acquire() else {
        return refuse(HubError::transient(Reason::Overloaded, "too many calls at once", 200));
    };
    next(request).await
}

/// A message that is too large, or no message at all, never reaches a handler; nor does a call that is another
/// listener's.
async fn reason<A: Answer>(request: Box<Request>, next: impl FnOnce(Box<Request>) -> A + Send) -> Response {
    let path = request.uri().path().to_owned();
    let response = next(request).await;
    match Status::from_header_map(response.headers()) {
        // Of a message in a way that is not spoken it says so.
        Some(status) if status.code() == Code::Unimplemented && status.message().is_empty() => {
            refuse(HubError::new(Reason::NotOffered, format!("{path} is not served on this port")))
        }
        Some(status) => status::untyped(&status).map_or(response, refuse),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_parsed_or_left() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "S", "3", "999999999S", "3x", "-1S", "é"] {
            assert_eq!(timeout(bad), None, "{bad}");
        }
    }
}
