//! The operators' listener: probes, counters, and AdminService.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{StatusCode, header};

use crate::rpc::Gate;
use crate::rpc::outflow::{self, Outflow};
use crate::store::StoreError;

/// The store answers a readiness probe within this time.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// The text format of the counters.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Probes and counters; they ask for no credential and tell nothing of any tenant's content. Answers that nobody reads
/// are bounded as those of an unknown caller; past that comes 503.
pub fn routes(gate: Arc<Gate>, untaken: &Outflow) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(gate)
        .route_layer(from_fn_with_state(untaken.clone(), outflow::bound_probe))
}

async fn ready(State(gate): State<Arc<Gate>>) -> (StatusCode, &'static str) {
    if gate.leaving.is_cancelled() || gate.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let store = gate.hub.store();
    let answers = async {
        store.check().await?;
        store.tenants(None, 1).await
    };
    match tokio::time::timeout(PROBE_WITHIN, answers).await {
        Ok(Ok(_)) => (StatusCode::OK, "ok\n"),
        Ok(Err(StoreError::Unsafe(_))) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the store's settings are not safe\n")
        }
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
    }
}

async fn metrics(State(gate): State<Arc<Gate>>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], gate.metrics.text())
}
