//! Whether what a listing is asked for is there at all.

use proto::v1;
use semantics::access::EVENT_NAMES;
use semantics::reason::Reason;
use semantics::spelling;

use crate::hub::error::HubError;

/// What an entry of the log of changes says of what became of it.
pub(crate) const OUTCOMES: [&str; 6] =
    ["applied", "merged", "conflicted", "rejected", "withdrawn", "control"];

/// An outcome that nothing has finds nothing, and its asker would take that for an answer.
pub(super) fn check_outcome(outcome: &str) -> Result<(), HubError> {
    if outcome.is_empty() || OUTCOMES.contains(&outcome) {
        return Ok(());
    }
    let detail = format!("outcome: there is no {outcome}; there are {}", OUTCOMES.join(", "));
    Err(HubError::new(Reason::Malformed, detail))
}

/// The same of the names that the access log has.
pub(super) fn check(request: &v1::ListAccessRequest) -> Result<(), HubError> {
    let (event, reason) = (request.event.as_str(), request.reason.as_str());
    if !event.is_empty() && !EVENT_NAMES.contains(&event) {
        let detail = format!("event: there is no {event}; there are {}", EVENT_NAMES.join(", "));
        return Err(HubError::new(Reason::Malformed, detail));
    }
    if !reason.is_empty() && !Reason::ALL.iter().any(|known| known.as_str() == reason) {
        let near = spelling::nearest(reason, Reason::ALL.iter().map(|known| known.as_str()));
        let detail = format!("reason: there is no {reason}; did you mean {near}?");
        return Err(HubError::new(Reason::Malformed, detail));
    }
    Ok(())
}
