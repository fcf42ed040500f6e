//! The report for people: problems first.

use serde_json::{Value, json};

use super::super::Format;
use super::super::output::{Printer, line};

/// Prints a report.
pub(super) fn show(out: Printer, report: &Value) {
    if out.format == Format::Json {
        return out.object(report);
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let problems = list(&report["problems"]);
    if problems.is_empty() {
        line("the hub is sound");
    } else {
        line(&format!("{} problems, {} of them faults:", problems.len(), number(&report["faults"])));
        out.list("problems", problems, &["fault", "tenant", "what", "detail", "remedy"]);
    }
    if let Value::Object(store) = &report["hub"]["store"] {
        let told =
            |(name, value): (&String, &Value)| format!("{name} {}", value.as_str().unwrap_or_default());
        line(&format!("\nstore: {}", store.iter().map(told).collect::<Vec<_>>().join(", ")));
    }
    for tenant in list(&report["tenants"]) {
        line(&format!(
            "\ntenant {}: commit {}, revision {}, horizon {}, log {}, chain checked from {} to {}",
            text(&tenant["tenant"]),
            tenant["commit"],
            tenant["revision"],
            tenant["horizon"],
            text(&tenant["log_id"]),
            number(&tenant["chain"]["first"]),
            number(&tenant["chain"]["last"]),
        ));
        line(&format!(
            "keeps {} revisions, leases {} (lowest {}), backed up to {}",
            tenant["kept_revisions"],
            tenant["leases"],
            number(&tenant["lowest_lease"]),
            number(&tenant["backed_up"]),
        ));
        out.list("kinds", list(&tenant["kinds"]), &["kind", "records", "tombstones"]);
        let differ: Vec<Value> =
            list(&tenant["scopes"]).into_iter().filter(|scope| scope["equal"] == json!(false)).collect();
        if !differ.is_empty() {
            out.list("scopes", differ, &["domain", "kind", "facet", "records", "digest", "kept_digest"]);
        }
        let columns =
            ["name", "status", "health", "lag_commits", "clock_offset_ms", "software", "epochs_open"];
        out.list("nodes", list(&tenant["nodes"]), &columns);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn number(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), |number| number.to_string())
}
