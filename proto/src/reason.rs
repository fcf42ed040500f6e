//! Reasons on the wire: a refusal as a gRPC status with details that programs can read, and back.

use std::error::Error;
use std::time::Duration;

use semantics::reason::{Reason, Refusal};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};

use crate::shape::ShapeError;

/// Domain of the reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "hubward";

/// The status of a refusal.
///
/// `retry_after_ms` is for what trying again may help with; `request_id` lets an operator find the request in the
/// log.
#[must_use]
pub fn status(refusal: &Refusal, retry_after_ms: Option<u64>, request_id: &str) -> Status {
    with_details(refusal, details(refusal, retry_after_ms, request_id))
}

/// The status of a message whose shape is wrong; names the field.
#[must_use]
pub fn shape_status(error: &ShapeError, request_id: &str) -> Status {
    let refusal = Refusal::from(error.clone());
    let mut details = details(&refusal, None, request_id);
    details.add_bad_request_violation(&error.path, error.problem.to_string());
    with_details(&refusal, details)
}

fn details(refusal: &Refusal, retry_after_ms: Option<u64>, request_id: &str) -> ErrorDetails {
    let reason = refusal.reason;
    let metadata = [
        ("class".to_owned(), reason.class().as_str().to_owned()),
        ("transient".to_owned(), reason.is_transient().to_string()),
        ("remedy".to_owned(), reason.remedy().to_owned()),
    ];
    let mut details = ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, metadata);
    if let Some(ms) = retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    if !request_id.is_empty() {
        details.set_request_info(request_id, "");
    }
    details
}

fn with_details(refusal: &Refusal, details: ErrorDetails) -> Status {
    Status::with_error_details(code(refusal.reason), refusal.to_string(), details)
}

/// The gRPC code of a reason.
#[must_use]
pub const fn code(reason: Reason) -> Code {
    match reason {
        Reason::Malformed
        | Reason::TooLarge
        | Reason::NotCanonical
        | Reason::UnsafeNumber
        | Reason::SchemaViolation
        | Reason::BadToken
        | Reason::PatchUnsupported => Code::InvalidArgument,
        Reason::KindUndeclared
        | Reason::RecordGone
        | Reason::StampBeforeBase
        | Reason::DependsOn
        | Reason::AppendOnly
        | Reason::VersionTooWide
        | Reason::ClockAhead
        | Reason::NodeForked
        | Reason::LogForked
        | Reason::ProtocolVersion
        | Reason::StoreUnsafe
        | Reason::ReplicaLocked
        | Reason::NotJoined
        | Reason::TooFewNodes
        | Reason::ConflictsOpen
        | Reason::NotPrimary => Code::FailedPrecondition,
        Reason::GroupRejected | Reason::Stale | Reason::OutOfOrder => Code::Aborted,
        Reason::ControlKind | Reason::NotInView | Reason::PermissionDenied => Code::PermissionDenied,
        Reason::BadSignature
        | Reason::Unauthenticated
        | Reason::NodeRevoked
        | Reason::JoinTokenInvalid
        | Reason::PinMismatch => Code::Unauthenticated,
        Reason::CursorExpired => Code::OutOfRange,
        Reason::Overloaded | Reason::QuotaExceeded | Reason::StoreFull => Code::ResourceExhausted,
        Reason::NotFound | Reason::RecordAbsent => Code::NotFound,
        Reason::AlreadyExists | Reason::AlreadyConfirmed => Code::AlreadyExists,
        Reason::Draining | Reason::StoreUnavailable | Reason::Unreachable => Code::Unavailable,
        Reason::StoreCorrupt | Reason::Unsound => Code::DataLoss,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Internal => Code::Internal,
        Reason::NotOffered => Code::Unimplemented,
    }
}

/// The refusal that a status carries, or what a status of another making amounts to.
#[must_use]
pub fn refusal_of(status: &Status) -> Refusal {
    let named = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let reason = named.and_then(|info| Reason::ALL.iter().copied().find(|r| r.as_str() == info.reason));
    match reason {
        Some(reason) => {
            let prefix = format!("{}: ", reason.as_str());
            let message = status.message();
            Refusal::new(reason, message.strip_prefix(&prefix).unwrap_or(message))
        }
        None => foreign(status),
    }
}

/// How long a status asks to wait before the next try, milliseconds.
#[must_use]
pub fn retry_after_ms(status: &Status) -> Option<u64> {
    let delay = status.get_details_retry_info()?.retry_delay?;
    u64::try_from(delay.as_millis()).ok()
}

/// A status without a reason of ours: made by the transport on this side, or by something between the two.
fn foreign(status: &Status) -> Refusal {
    let reason = match status.code() {
        _ if has_timed_out(status) => Reason::DeadlineExceeded,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::Unimplemented => Reason::ProtocolVersion,
        Code::ResourceExhausted => Reason::Overloaded,
        // What the decoder says of a message that is too long.
        Code::OutOfRange => Reason::TooLarge,
        Code::InvalidArgument => Reason::Malformed,
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::Unavailable | Code::Cancelled => Reason::Unreachable,
        // A broken connection comes under several codes, but always with the error below it.
        _ if status.source().is_some() => Reason::Unreachable,
        _ => Reason::Internal,
    };
    Refusal::new(reason, described(status))
}

fn has_timed_out(status: &Status) -> bool {
    chain(status).any(|error| error.is::<TimeoutExpired>())
}

fn described(status: &Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    for error in chain(status) {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn every_reason_has_its_number_and_name_on_the_wire() {
        for reason in Reason::ALL {
            let wire = v1::Reason::try_from(i32::from(reason.number())).unwrap();
            assert_eq!(wire.as_str_name(), format!("REASON_{}", reason.as_str()));
        }
        let known = (1..1000).filter(|number| v1::Reason::try_from(*number).is_ok()).count();
        assert_eq!(known, Reason::ALL.len());
    }

    #[test]
    fn every_refusal_survives_its_status() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason, "what: exactly ünd more");
            let retry = reason.is_transient().then_some(1_250);
            let status = status(&refusal, retry, "r-1");
            assert_ne!(status.code(), Code::Ok);
            assert_eq!(refusal_of(&status), refusal);
            assert_eq!(retry_after_ms(&status), retry);
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().metadata["class"], reason.class().as_str());
            assert_eq!(details.request_info().unwrap().request_id, "r-1");
        }
    }

    #[test]
    fn a_wrong_shape_names_its_field() {
        let error = ShapeError::invalid("counters start at 1").within("n").within("items[3]");
        let status = shape_status(&error, "");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "MALFORMED: items[3].n: counters start at 1");
        let violation = status.get_details_bad_request().unwrap().field_violations.remove(0);
        assert_eq!(
            (violation.field.as_str(), violation.description.as_str()),
            ("items[3].n", "counters start at 1")
        );
    }

    #[test]
    fn statuses_of_others_become_the_nearest_reason() {
        let cases = [
            (Status::unavailable("no route"), Reason::Unreachable),
            (Status::cancelled("reset"), Reason::Unreachable),
            (Status::from_error(Box::new(std::io::Error::other("broken"))), Reason::Unreachable),
            (Status::deadline_exceeded(""), Reason::DeadlineExceeded),
            (Status::from_error(Box::new(TimeoutExpired(()))), Reason::DeadlineExceeded),
            (Status::unimplemented(""), Reason::ProtocolVersion),
            (Status::unauthenticated(""), Reason::Unauthenticated),
            (Status::internal(""), Reason::Internal),
            (Status::unknown(""), Reason::Internal),
        ];
        for (status, reason) in cases {
            assert_eq!(refusal_of(&status).reason, reason, "{status:?}");
        }
    }

    #[test]
    fn a_reason_of_another_domain_is_none_of_ours() {
        let details = ErrorDetails::with_error_info("STALE", "elsewhere.example", []);
        let status = Status::with_error_details(Code::Aborted, "", details);
        assert_eq!(refusal_of(&status).reason, Reason::Internal);
    }
}
