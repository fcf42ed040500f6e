//! `spoke doctor`: prints a diagnosis.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::access::Access;
use super::print::{self, Printer};

/// Examines, compares, prints; an error with exit code 3 when something is wrong.
pub(super) async fn run(
    access: &mut Access,
    bundle: Option<&Path>,
    repair: bool,
    timeout_s: u64,
    printer: Printer,
) -> Result<(), Refusal> {
    let request = v1::DiagnoseRequest { timeout_ms: Some(timeout_s.saturating_mul(1_000)), repair };
    let answer = access.diagnose(request).await?;
    let report: Value = serde_json::from_slice(&answer.report)
        .map_err(|e| Refusal::new(Reason::Internal, format!("the report cannot be read: {e}")))?;
    if let Some(path) = bundle {
        write(path, &report)?;
    }
    if printer.is_json() {
        printer.show(&report)?;
    } else {
        show(&report, printer)?;
    }
    match report["problems"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        count => Err(Refusal::new(Reason::Unsound, format!("{count} problems were found"))),
    }
}

/// For people: the scopes, what differs, what is wrong.
fn show(report: &Value, printer: Printer) -> Result<(), Refusal> {
    printer.show(&json!({"scopes": report["scopes"]}))?;
    for name in ["differences", "damaged", "repaired", "problems"] {
        let list = report[name].as_array().filter(|list| !list.is_empty());
        if let Some(list) = list {
            print::line(&format!("\n{name}:"))?;
            printer.show(&json!({name: list}))?;
        }
    }
    let number = |value: &Value| value.as_i64().map_or("-".to_owned(), |n| n.to_string());
    let outbox = &report["status"]["outbox"];
    print::line(&format!(
        "\nrevision {}, clock {} ms ahead of the hub's, outbox {} entries ({} set aside), spoke {}, protocol {}",
        number(&report["revision"]),
        number(&report["clock_ahead_ms"]),
        number(&outbox["entries"]),
        number(&outbox["set_aside"]),
        report["versions"]["spoke"].as_str().unwrap_or("-"),
        number(&report["versions"]["protocol"]),
    ))?;
    match (report["healthy"] == json!(true), report["compared"] == json!(true)) {
        (true, true) => print::line("the replica is sound and equals the hub"),
        _ => Ok(()),
    }
}

/// Only for the owner, and never over another file.
fn write(path: &Path, report: &Value) -> Result<(), Refusal> {
    let failed = |e: std::io::Error| Refusal::new(Reason::Malformed, format!("{}: {e}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
