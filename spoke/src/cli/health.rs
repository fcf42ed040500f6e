//! `spoke health`: a probe that needs no other tool.

use std::path::Path;
use std::time::Duration;

use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::print::Printer;
use crate::daemon;
use crate::folder::Paths;
use crate::transport::refusal;

/// The daemon answers within this time, or is not healthy.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks the daemon of a folder how it is. Whether a hub can be reached makes no difference: it works without.
pub(super) async fn run(data: &Path, printer: Printer) -> Result<(), Refusal> {
    let socket = Paths::new(data).socket();
    let asked = async {
        let absent = || {
            Refusal::new(
                Reason::Unreachable,
                format!("no daemon answers on {}; `spoke run` starts one", socket.display()),
            )
        };
        let mut daemon = daemon::connect(&socket).await?.ok_or_else(absent)?;
        let answer = daemon.get_status(v1::GetStatusRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
    };
    let late = |_| {
        let detail = format!("the daemon did not answer in {} seconds", ANSWER_WITHIN.as_secs());
        Refusal::new(Reason::DeadlineExceeded, detail)
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(late)??;
    let status: Value = serde_json::from_slice(&answer.status).unwrap_or_default();
    printer.show(&json!({"ready": true, "phase": status["phase"], "socket": socket.display().to_string()}))
}
