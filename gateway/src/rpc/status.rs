//! The only file of the gateway that builds a gRPC status.

use std::cell::RefCell;
use std::future::Future;

use semantics::reason::{Reason, Refusal};
use tonic::{Code, Status};
use tracing::error;

use crate::auth::Caller;
use crate::hub::error::HubError;

struct Request {
    id: String,
    refused: RefCell<Option<Refusal>>,
    caller: RefCell<Option<Caller>>,
}

tokio::task_local! {
    /// The request that the current task works for.
    static REQUEST: Request;
}

/// What callers are told of a bug; the rest stands in the log under the request id.
const INTERNAL: &str = "the hub failed to do this";

/// Runs a future as part of a request, so that what goes wrong in it carries the request's id.
pub fn within<F: Future>(request_id: String, future: F) -> impl Future<Output = F::Output> {
    // Not an async function: it would keep room for the future twice.
    REQUEST.scope(Request { id: request_id, refused: RefCell::new(None), caller: RefCell::new(None) }, future)
}

/// The id of the request the current task works for; empty outside of one.
#[must_use]
pub fn request_id() -> String {
    REQUEST.try_with(|request| request.id.clone()).unwrap_or_default()
}

/// Why the current request was refused, if it was.
#[must_use]
pub fn refused() -> Option<Refusal> {
    REQUEST.try_with(|request| request.refused.borrow().clone()).ok().flatten()
}

/// Notes who makes the current request.
pub fn note_caller(caller: Caller) {
    // Outside of a request nobody asks.
    REQUEST.try_with(|request| request.caller.replace(Some(caller))).map(drop).unwrap_or_default();
}

/// Who makes the current request, as far as it is known.
#[must_use]
pub fn caller() -> Option<Caller> {
    REQUEST.try_with(|request| request.caller.borrow().clone()).ok().flatten()
}

/// The status of what a use case cannot do. A bug is logged here, once, and goes out as a fixed sentence.
#[must_use]
pub fn of(failure: HubError) -> Status {
    let request_id = request_id();
    let refusal = public(failure.refusal, &request_id);
    // Outside of a request there is nobody to tell.
    REQUEST.try_with(|request| request.refused.replace(Some(refusal.clone()))).map(drop).unwrap_or_default();
    proto::reason::status(&refusal, failure.retry_after_ms, &request_id)
}

/// What of a refusal may be told: all of it, but for bugs.
#[must_use]
pub fn public(refusal: Refusal, request_id: &str) -> Refusal {
    if refusal.reason == Reason::Internal {
        error!(request_id, detail = refusal.detail, "internal error");
        return Refusal::new(Reason::Internal, format!("{INTERNAL}; request {request_id}"));
    }
    refusal
}

/// The status of a message of the wrong shape.
#[must_use]
pub fn shape(error: proto::shape::ShapeError) -> Status {
    of(HubError::from(Refusal::from(error)))
}

/// What the wire library says of a message it could not take, as a refusal of the closed list; `None` for anything
/// that has its reason already or that no message was the cause of.
#[must_use]
pub fn untyped(status: &Status) -> Option<HubError> {
    let reason = match status.code() {
        _ if !status.details().is_empty() => return None,
        // By the length it names, and by what it would be once it is unpacked.
        Code::OutOfRange | Code::ResourceExhausted => Reason::TooLarge,
        Code::Internal | Code::InvalidArgument => Reason::Malformed,
        _ => return None,
    };
    Some(HubError::new(reason, status.message()))
}

/// Why a stream that comes in ends: for a reason of the closed list, or because of what the wire library could not
/// take; `None` when the caller is gone.
#[must_use]
pub fn of_caller(status: &Status) -> Option<HubError> {
    if status.details().is_empty() {
        return untyped(status);
    }
    let retry_after_ms = proto::reason::retry_after_ms(status);
    Some(HubError { refusal: proto::reason::refusal_of(status), retry_after_ms })
}

/// The same for a message inside a stream.
#[must_use]
pub fn of_message(status: Status) -> Status {
    untyped(&status).map_or(status, of)
}
