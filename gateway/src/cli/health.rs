//! `hubward health`: a probe that needs no other tool.

use std::time::Duration;

use http::{Request, StatusCode};
use semantics::reason::{Reason, Refusal};
use serde_json::json;
use tower::{Service, ServiceExt};

use super::client::At;
use super::output::Printer;

/// The hub answers within this time, or is not healthy.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Asks the hub whether it is ready; needs no credential.
pub(super) async fn run(at: &At, out: Printer) -> Result<(), Refusal> {
    let late = |_| {
        let detail = format!("the hub did not answer in {} seconds", ANSWER_WITHIN.as_secs());
        Refusal::new(Reason::DeadlineExceeded, detail)
    };
    let url = tokio::time::timeout(ANSWER_WITHIN, ask(at)).await.map_err(late)??;
    out.object(&json!({"ready": true, "hub": url}));
    Ok(())
}

async fn ask(at: &At) -> Result<String, Refusal> {
    let (url, mut channel) = at.channel().await?;
    let failed = |what: String| Refusal::new(Reason::Unreachable, format!("{url}: {what}"));
    let request =
        Request::get("/readyz").body(tonic::body::Body::empty()).map_err(|e| failed(e.to_string()))?;
    let ready = channel.ready().await.map_err(|e| failed(e.to_string()))?;
    let answer = ready.call(request).await.map_err(|e| failed(e.to_string()))?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(url);
    }
    let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
    let text = String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned();
    let reason = match (status, text.as_str()) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining") => Reason::Draining,
        (StatusCode::SERVICE_UNAVAILABLE, _) => Reason::StoreUnavailable,
        (_, _) => return Err(super::client::not_operators(&url)),
    };
    Err(Refusal::new(reason, format!("{url}: {text}")))
}
