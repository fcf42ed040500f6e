//! The commands that run the hub itself.

use std::path::PathBuf;

use semantics::reason::{Reason, Refusal};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Printer;
use crate::auth::OPERATOR_TOKEN_FILE;
use crate::config::{Config, Given};
use crate::hub::error::HubError;
use crate::{serve as server, telemetry};

fn checked(given: Given, file: Option<PathBuf>, data: PathBuf) -> Result<Config, Refusal> {
    let from_file = file.map(|path| Given::read(&path)).transpose()?.unwrap_or_default();
    // The command line's folder wins unless it is only the default and the file names one.
    let is_default = data.as_os_str() == crate::config::DATA;
    let data = if is_default { from_file.data.clone().unwrap_or(data) } else { data };
    Given { data: Some(data), ..given }.or(from_file).check()
}

pub(super) async fn serve(given: Given, file: Option<PathBuf>, data: PathBuf) -> Result<(), Refusal> {
    let config = checked(given, file, data)?;
    telemetry::start_logs();
    let refused = |e: std::io::Error| Refusal::new(Reason::Internal, format!("cannot wait for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server::run(config, shutdown).await.map_err(refusal)
}

pub(super) async fn migrate(
    given: Given,
    file: Option<PathBuf>,
    data: PathBuf,
    printer: Printer,
) -> Result<(), Refusal> {
    let config = checked(given, file, data)?;
    let opened = server::open(&config).await.map_err(refusal)?;
    printer.object(&json!({
        "data": config.data,
        "ca_key_digest": opened.trust.ca_key_digest().to_string(),
        "operator_token_file": config.data.join(OPERATOR_TOKEN_FILE),
    }));
    Ok(())
}

fn refusal(error: HubError) -> Refusal {
    error.refusal
}
