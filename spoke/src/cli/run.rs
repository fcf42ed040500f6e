//! `spoke run` and `spoke adopt-log`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use semantics::identity::cadence::Cadence;
use semantics::levels;
use semantics::reason::{Reason, Refusal};
use semantics::schedule::Schedule;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::access::{At, about};
use super::print::{self, Printer};
use crate::ambient::{Clock as _, SystemClock, SystemEntropy};
use crate::client::Spoke;
use crate::client::open::open_replica;
use crate::daemon::{self, Records};
use crate::folder::Folder;

/// Owns the replica and syncs by the schedule until SIGTERM or SIGINT.
pub(super) async fn run(
    at: &At,
    (schedule, cadence): (Schedule, Cadence),
    metrics: Option<SocketAddr>,
) -> Result<(), Refusal> {
    log(log_filter()?);
    // Not refused here: Kubernetes gives every container variables that are named after its services.
    if let Err(refusal) = super::config::variables() {
        tracing::warn!("{}", refusal.detail);
    }
    let mut term = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let socket = crate::folder::Paths::new(&at.data).socket();
    daemon::check_socket(&socket)?;
    let spoke = Arc::new(Spoke::open_reaching(&at.data, &at.reach).await?);
    let stop = CancellationToken::new();
    let records = Records::new(Arc::clone(&spoke), about(at)?).shared_by(cadence);
    let serving = daemon::serve(records, &socket, stop.clone());
    let syncing = spoke.sync_by(schedule);
    let listener = match metrics {
        Some(address) => Some(daemon::metrics::listener(address).await?),
        None => None,
    };
    let metrics = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let counting = async {
        match listener {
            Some(listener) => daemon::metrics::serve(Arc::clone(&spoke), listener).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(serving, syncing, counting);
    let told = json!({
        "ready": true,
        "socket": socket.display().to_string(),
        "pid": std::process::id(),
        "metrics": metrics.map(|address| format!("http://{address}/metrics")),
    });
    let ended = tokio::select! {
        biased;
        ended = &mut serving => Some(ended),
        ended = &mut syncing => Some(ended),
        () = &mut counting => None,
        () = async {
            let _ = print::line(&told.to_string());
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        } => None,
    };
    tracing::info!("stopping");
    stop.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => serving.await,
    };
    spoke.shut().await;
    ended
}

fn on(kind: SignalKind) -> Result<Signal, Refusal> {
    signal(kind).map_err(|e| Refusal::new(Reason::Internal, format!("signals: {e}")))
}

/// The variable that says what the daemon logs.
pub(super) const LOG_VARIABLE: &str = "SPOKE_LOG";

/// What [`LOG_VARIABLE`] asks for.
pub(super) fn log_filter() -> Result<EnvFilter, Refusal> {
    let text = std::env::var_os(LOG_VARIABLE).map(|text| text.to_string_lossy().into_owned());
    levels::asked(LOG_VARIABLE, text.as_deref()).map(EnvFilter::new)
}

/// JSON logs to standard error.
fn log(filter: EnvFilter) {
    let logs = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    // A logger that is already there stays.
    let _ = logs.try_init();
}

/// Follows the hub's present log from here on. The replica as it was is kept aside, whole.
pub(super) async fn adopt_log(data: &Path, printer: Printer) -> Result<(), Refusal> {
    let folder = Folder::open(data)?;
    let config = folder.config()?;
    let replica = open_replica(&folder, &config, Arc::new(SystemEntropy)).await?;
    replica.check_stopped().await?;
    let aside = aside(&folder)?;
    replica.adopt_log().await?;
    printer.show(&json!({"adopted": true, "kept": aside.display().to_string()}))
}

/// Copies the replica's files while nobody writes to them: this process owns the folder.
fn aside(folder: &Folder) -> Result<PathBuf, Refusal> {
    let replica = folder.paths().replica();
    let failed =
        |e: std::io::Error| Refusal::new(Reason::StoreUnavailable, format!("keeping the old replica: {e}"));
    let aside = folder.paths().dir().join(format!("replica-kept-{}", SystemClock::new().now_ms()));
    std::fs::create_dir(&aside).map_err(failed)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut from = replica.clone().into_os_string();
        from.push(suffix);
        let from = PathBuf::from(from);
        if let Some(name) = from.file_name().filter(|_| from.exists()) {
            std::fs::copy(&from, aside.join(name)).map_err(failed)?;
        }
    }
    Ok(aside)
}
