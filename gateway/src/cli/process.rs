//! The commands that run the hub itself.

use semantics::reason::{Reason, Refusal};
use serde_json::json;
use shell::Resolved;
use tokio::signal::unix::{SignalKind, signal};

use super::Format;
use super::output::Printer;
use crate::auth::OPERATOR_TOKEN_FILE;
use crate::config::{Config, Given};
use crate::hub::error::HubError;
use crate::{serve as server, telemetry};

fn checked(given: Given) -> Result<Config, Refusal> {
    telemetry::check_levels(given.log.as_deref().unwrap_or_default())?;
    given.check()
}

pub(super) async fn serve(given: Given) -> Result<(), Refusal> {
    let levels = given.log.clone().unwrap_or_default();
    let config = checked(given)?;
    telemetry::start_logs(&levels);
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

pub(super) async fn migrate(given: Given, printer: Printer) -> Result<(), Refusal> {
    let config = checked(given)?;
    let opened = server::open(&config).await.map_err(refusal)?;
    printer.object(&json!({
        "data": config.data,
        "ca_key_digest": opened.trust.ca_key_digest().to_string(),
        "operator_token_file": config.data.join(OPERATOR_TOKEN_FILE),
    }));
    Ok(())
}

pub(super) fn check(given: Given, settings: &Resolved, printer: Printer) -> Result<(), Refusal> {
    checked(given)?;
    printer.object(&settings.checked());
    Ok(())
}

pub(super) fn print(settings: &Resolved, printer: Printer) {
    match printer.format {
        Format::Json => printer.object(&settings.printed()),
        Format::Table => printer.text("settings", &settings.table()),
    }
}

fn refusal(error: HubError) -> Refusal {
    error.refusal
}
