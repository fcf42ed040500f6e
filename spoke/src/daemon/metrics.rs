//! What syncing came to, for Prometheus: on a loopback address where the settings name one. Nothing of any record is
//! in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::{CONTENT_TYPE, HeaderName};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use semantics::reason::{Reason, Refusal};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::Spoke;
use crate::runtime::{Progress, Statistics};
use crate::sync::Phase;

/// The text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Most connections at once; one more waits.
const CONNECTIONS_MAX: usize = 8;
/// A connection lasts no longer than this.
const CONNECTION_LASTS: Duration = Duration::from_secs(10);
/// Before the next connection is taken when one could not be.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

/// Listens.
///
/// # Errors
/// `MALFORMED` when the address cannot be listened on.
pub(crate) async fn listener(address: SocketAddr) -> Result<TcpListener, Refusal> {
    let failed =
        |e| Refusal::new(Reason::Malformed, format!("metrics_listen: cannot listen on {address}: {e}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// Serves `/metrics` for as long as this is polled.
pub(crate) async fn serve(spoke: Arc<Spoke>, listener: TcpListener) {
    let routes = Router::new().route("/metrics", get(metrics)).with_state(spoke);
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(routes.clone());
        connections.spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            let serving = builder.serve_connection(TokioIo::new(stream), service);
            // Who asks wrongly, or too slowly, is not answered.
            drop(tokio::time::timeout(CONNECTION_LASTS, serving).await);
        });
    }
}

async fn metrics(State(spoke): State<Arc<Spoke>>) -> ([(HeaderName, &'static str); 1], String) {
    let progress = spoke.progress().borrow().clone();
    let replica = spoke.status().await.ok();
    let waiting = replica.map(|replica| replica.outbox.entries);
    ([(CONTENT_TYPE, OPEN_METRICS)], text(&progress, waiting, &spoke.endpoint_names()))
}

/// Everything in the OpenMetrics text format.
fn text(progress: &Progress, waiting: Option<u64>, endpoints: &[String]) -> String {
    let mut registry = <Registry>::with_prefix("spoke");
    sums(&mut registry, &progress.statistics);
    let is_live = progress.status.phase == Phase::Live;
    gauge(&mut registry, "connected", "Whether a session stands", i64::from(is_live));
    if let Some(waiting) = waiting {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        gauge(&mut registry, "outbox_entries", "Mutations that are not yet confirmed", waiting);
    }
    let round_trips: Family<Named, Gauge> = Family::default();
    for (name, known) in endpoints.iter().zip(progress.status.endpoints.all()) {
        if let Some(us) = known.round_trip_us.and_then(|us| i64::try_from(us).ok()) {
            round_trips.get_or_create(&Named { name: name.clone() }).set(us);
        }
    }
    registry.register("endpoint_round_trip_us", "Smoothed round trip to a hub, microseconds", round_trips);
    let mut text = String::new();
    // Writing to a string does not fail.
    encode(&mut text, &registry).unwrap_or_default();
    text
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn sums(registry: &mut Registry, statistics: &Statistics) {
    let total = &statistics.total;
    let counts = &total.counts;
    let records: Family<Named, Counter> = Family::default();
    for (name, count) in [("added", counts.added), ("updated", counts.updated), ("deleted", counts.deleted)] {
        records.get_or_create(&Named { name: name.to_owned() }).inc_by(count);
    }
    registry.register("sync_records", "What cuts did to confirmed records", records);
    let bytes: Family<Named, Counter> = Family::default();
    for (name, count) in [("sent", total.traffic.sent), ("received", total.traffic.received)] {
        bytes.get_or_create(&Named { name: name.to_owned() }).inc_by(count);
    }
    registry.register_with_unit("sync", "On the wire, compressed and encrypted", Unit::Bytes, bytes);
    for (name, help, count) in [
        ("sync_pushed", "Local mutations that were answered", total.pushed),
        ("syncs", "Syncs that came to their end", statistics.syncs),
        ("sync_duration_ms", "How long they took, milliseconds", total.duration_ms),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Sums, Traffic};
    use crate::sync::{Config, Counts, Sync};

    #[test]
    fn what_syncing_came_to_is_shown() {
        let mut status = Sync::new(Config { endpoints: 2, ..Config::default() }).status();
        status.endpoints.answered(1, Some(1_500));
        let total = Sums {
            counts: Counts { added: 3, updated: 2, deleted: 1 },
            pushed: 4,
            traffic: Traffic { sent: 50, received: 60 },
            duration_ms: 70,
        };
        let statistics = Statistics { total, syncs: 5, ..Statistics::default() };
        let progress = Progress { status, stopped: None, turns: 0, statistics };
        let text = text(&progress, Some(9), &["http://a".to_owned(), "http://b".to_owned()]);
        for line in [
            "spoke_sync_records_total{name=\"added\"} 3",
            "spoke_sync_records_total{name=\"deleted\"} 1",
            "spoke_sync_bytes_total{name=\"sent\"} 50",
            "spoke_sync_pushed_total 4",
            "spoke_syncs_total 5",
            "spoke_sync_duration_ms_total 70",
            "spoke_connected 0",
            "spoke_outbox_entries 9",
            "spoke_endpoint_round_trip_us{name=\"http://b\"} 1500",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("http://a"), "it was not measured");
    }
}
