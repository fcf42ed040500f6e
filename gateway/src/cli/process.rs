//! The commands that run the hub itself.

use std::path::PathBuf;

use semantics::reason::{Reason, Refusal};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::output::Printer;
use crate::auth::OPERATOR_TOKEN_FILE;
use crate::config::{self, Config, Given};
use crate::hub::error::HubError;
use crate::{open_files, serve as server, telemetry};

/// How the names of our variables begin.
const PREFIX: &str = "HUBWARD_";
/// Variables that no flag stands for.
const WITHOUT_FLAG: [&str; 3] = [telemetry::LOG_VARIABLE, "HUBWARD_TOKEN", semantics::fault::VARIABLE];

/// Every variable that some command reads.
fn known() -> Vec<String> {
    fn add(command: &clap::Command, all: &mut Vec<String>) {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        all.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|below| add(below, all));
    }
    let mut all: Vec<String> = WITHOUT_FLAG.map(str::to_owned).into();
    add(&super::command(), &mut all);
    all
}

fn environment() -> impl Iterator<Item = String> {
    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())
}

pub(super) fn checked(given: Given, file: Option<PathBuf>, data: PathBuf) -> Result<Config, Refusal> {
    let from_file = file.map(|path| Given::read(&path)).transpose()?.unwrap_or_default();
    // The command line's folder wins unless it is only the default and the file names one.
    let is_default = data.as_os_str() == config::DATA;
    let data = if is_default { from_file.data.clone().unwrap_or(data) } else { data };
    Given { data: Some(data), ..given }.or(from_file).check()
}

pub(super) async fn serve(given: Given, file: Option<PathBuf>, data: PathBuf) -> Result<(), Refusal> {
    let config = checked(given, file, data)?;
    telemetry::start_logs(telemetry::log_filter()?);
    open_files::raise();
    // Not refused here: Kubernetes gives every container variables that are named after its services.
    if let Err(refusal) = config::variables(PREFIX, &known(), environment()) {
        warn!("{}", refusal.detail);
    }
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
    opened.close().await;
    Ok(())
}

pub(super) fn check(given: Given, file: Option<PathBuf>, data: PathBuf, out: Printer) -> Result<(), Refusal> {
    let from = file.clone();
    config::variables(PREFIX, &known(), environment())?;
    telemetry::log_filter()?;
    checked(given, file, data)?;
    out.object(&json!({"valid": true, "file": from}));
    Ok(())
}

/// Every setting and where its value comes from: `said` tells it of the command line and the environment.
pub(super) fn print(
    given: Given,
    file: Option<PathBuf>,
    data: PathBuf,
    said: &dyn Fn(&str) -> Option<String>,
    out: Printer,
) -> Result<(), Refusal> {
    out.list("settings", settings(given, file, data, said)?, &["setting", "value", "from"]);
    Ok(())
}

fn settings(
    given: Given,
    file: Option<PathBuf>,
    data: PathBuf,
    said: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<serde_json::Value>, Refusal> {
    let from_file = file.as_deref().map(Given::read).transpose()?.unwrap_or_default();
    let at = |is_in_file: bool| match &file {
        Some(path) if is_in_file => format!("file {}", path.display()),
        _ => "default".to_owned(),
    };
    let data_in_file = from_file.data.clone();
    let data = if said("data").is_some() { data } else { data_in_file.clone().unwrap_or(data) };
    let in_file = from_file.clone();
    // A variable that is set and empty says nothing, and is not where the value comes from.
    let names_hosts = given.names_hosts();
    let said = |key: &str| said(key).filter(|_| key != "hostnames" || names_hosts);
    let all = given.or(from_file);
    let redacted = all.database_url.as_ref().map(|_| "(redacted)");
    // Whoever put a password into it is told so by the check.
    let resolver = all.resolver_url().map(|url| if url.contains('@') { "(redacted)" } else { url });
    let listen = all.listen.as_deref().unwrap_or(config::LISTEN);
    let operator_listen = all.operator_listen.as_deref().unwrap_or(config::OPERATOR_LISTEN);
    let rows = [
        ("data", json!(data), data_in_file.is_some()),
        ("database_url", json!(redacted), in_file.database_url.is_some()),
        ("database_url_file", json!(all.database_url_file), in_file.database_url_file.is_some()),
        ("dev", json!(all.dev), in_file.dev),
        ("drain_lead_s", json!(all.drain_lead_s.unwrap_or(0)), in_file.drain_lead_s.is_some()),
        ("hostnames", json!(all.hostnames), !in_file.hostnames.is_empty()),
        ("listen", json!(listen), in_file.listen.is_some()),
        (
            "metrics_tenant_labels",
            json!(all.metrics_tenant_labels.unwrap_or(true)),
            in_file.metrics_tenant_labels.is_some(),
        ),
        (
            "node_mutations_per_s",
            json!(all.node_mutations_per_s.unwrap_or(config::NODE_MUTATIONS_PER_S)),
            in_file.node_mutations_per_s.is_some(),
        ),
        ("operator_listen", json!(operator_listen), in_file.operator_listen.is_some()),
        ("resolver", json!(resolver), in_file.resolver.is_some()),
        ("resolver_ca_file", json!(all.resolver_ca_file), in_file.resolver_ca_file.is_some()),
        (
            "resolver_per_minute",
            json!(all.resolver_per_minute.unwrap_or(config::RESOLVER_PER_MINUTE)),
            in_file.resolver_per_minute.is_some(),
        ),
        (
            "resolver_timeout_ms",
            json!(all.resolver_timeout_ms.unwrap_or(config::RESOLVER_TIMEOUT_MS)),
            in_file.resolver_timeout_ms.is_some(),
        ),
        (
            "tenant_mutations_per_s",
            json!(all.tenant_mutations_per_s.unwrap_or(config::TENANT_MUTATIONS_PER_S)),
            in_file.tenant_mutations_per_s.is_some(),
        ),
    ];
    let row = |(key, value, is_in_file): (&str, serde_json::Value, bool)| {
        let from = said(key).unwrap_or_else(|| at(is_in_file && !value.is_null()));
        json!({"setting": key, "value": value, "from": from})
    };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn refusal(error: HubError) -> Refusal {
    error.refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostnames(names: &[&str]) -> serde_json::Value {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let given = Given { hostnames: names, ..Given::default() };
        let said = |key: &str| (key == "hostnames").then(|| "variable HUBWARD_HOSTNAMES".to_owned());
        let rows = settings(given, None, "data".into(), &said).unwrap();
        rows.into_iter().find(|row| row["setting"] == "hostnames").unwrap()
    }

    #[test]
    fn an_empty_variable_is_not_where_a_value_comes_from() {
        assert_eq!(hostnames(&[""]), json!({"setting": "hostnames", "value": [], "from": "default"}));
        let from = "variable HUBWARD_HOSTNAMES";
        assert_eq!(hostnames(&["hub"]), json!({"setting": "hostnames", "value": ["hub"], "from": from}));
    }
}
