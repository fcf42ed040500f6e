//! A push of a session between its place in the committer's queue and its answer.

use std::sync::Arc;

use semantics::ids::{LogId, Writer};
use semantics::outcome::Transient;
use semantics::reason::Reason;
use semantics::session::Results;

use super::super::Tenant;
use super::super::error::HubError;
use super::super::push::Begun;

/// A push of a session.
#[derive(Debug)]
pub struct Pushed {
    pub(super) tenant: Arc<Tenant>,
    /// The log in which the spoke was greeted.
    pub(super) log_id: LogId,
    pub(super) writer: Writer,
    /// The counter that it begins with.
    pub(super) n: u64,
    pub(super) begun: Result<Begun, HubError>,
}

impl Pushed {
    /// Waits until its outcomes are durable, or says from where on it waits.
    ///
    /// # Errors
    /// What ends the session.
    pub async fn results(self) -> Result<Results, HubError> {
        let Self { tenant, log_id, writer, n, begun } = self;
        let results = match begun {
            Ok(begun) => begun.results().await,
            Err(error) => Err(error),
        };
        match results {
            Ok(results) => check_log(&tenant, log_id).map(|()| results),
            Err(HubError { refusal, retry_after_ms: Some(retry_after_ms) }) => {
                let waits = Transient { n, reason: refusal.reason, detail: refusal.detail, retry_after_ms };
                Ok(Results { writer, outcomes: Vec::new(), waits: Some(waits) })
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the log is still the one that a spoke was greeted in. Where it became another one under a gateway that went on
/// (its database was restored, say), a greeting decides what that means for the spoke: nothing of the new log is told in a
/// session of the one before.
pub(super) fn check_log(tenant: &Tenant, log_id: LogId) -> Result<(), HubError> {
    match tenant.feed.end() {
        Some(end) if end.log_id != log_id => {
            let detail = format!("the log {log_id} became {}: greet again", end.log_id);
            Err(HubError::new(Reason::Draining, detail))
        }
        _ => Ok(()),
    }
}
