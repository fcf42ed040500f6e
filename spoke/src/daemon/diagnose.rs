//! What `spoke doctor` prints: the replica as it lies there, the hub beside it, and in a sentence what is wrong.

use proto::v1;
use semantics::compare::{Difference, Scope};
use semantics::envelope::Cell;
use semantics::ids::Key;
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value, json};

use super::status;
use crate::client::{Compared, DIFFERENCES_MAX, Spoke};
use crate::replica::examine::Examined;

/// How long nothing may move while it syncs, when no time is named, milliseconds.
const SYNC_MS: u64 = 20_000;
/// Longest such time, milliseconds.
const SYNC_MS_MAX: u64 = 600_000;
/// A clock that differs by more is named, milliseconds: half of what a hub takes.
const CLOCK_MS_MAX: u64 = semantics::clock::CLOCK_AHEAD_MS_MAX / 2;

/// What to do about records that are not what came.
const ANEW: &str = "fetch the records anew with `spoke doctor --repair`; check the disk if it comes again";

/// What is wrong, and what to do.
#[derive(Default)]
struct Problems(Vec<Value>);

impl Problems {
    fn add(&mut self, what: &str, detail: impl Into<String>, remedy: &str) {
        self.0.push(json!({"what": what, "detail": detail.into(), "remedy": remedy}));
    }

    fn refused(&mut self, what: &str, refusal: &Refusal) {
        self.add(what, format!("{}: {}", refusal.reason.as_str(), refusal.detail), refusal.reason.remedy());
    }
}

/// The diagnosis.
///
/// # Errors
/// When not even the status can be read, or a repair does not come to its end.
pub(super) async fn diagnose(
    spoke: &Spoke,
    about: &Map<String, Value>,
    request: &v1::DiagnoseRequest,
) -> Result<v1::DiagnoseResponse, Refusal> {
    let stalled_ms = request.timeout_ms.unwrap_or(SYNC_MS).min(SYNC_MS_MAX);
    let mut report = report(spoke, about, stalled_ms).await?;
    if request.repair && report["records_are_wrong"] == json!(true) {
        spoke.fetch_anew(stalled_ms).await?;
        let before = report["problems"].take();
        report = self::report(spoke, about, stalled_ms).await?;
        report["repaired"] = before;
    }
    Ok(v1::DiagnoseResponse { report: report.to_string().into_bytes() })
}

async fn report(spoke: &Spoke, about: &Map<String, Value>, stalled_ms: u64) -> Result<Value, Refusal> {
    let mut problems = Problems::default();
    let compared = spoke.compare(stalled_ms).await;
    let (here, beside) = match &compared {
        Ok(compared) => (Ok(compared.here.clone()), Some(compared)),
        Err(refusal) => {
            problems.refused("not compared with the hub", refusal);
            (spoke.replica().examine().await, None)
        }
    };
    let (here, unread) = match here.map_err(|error| error.refusal()) {
        Ok(here) => (Some(here), None),
        Err(refusal) if refusal.reason == Reason::StoreCorrupt => (None, Some(refusal)),
        Err(refusal) => {
            problems.refused("the replica cannot be read", &refusal);
            (None, None)
        }
    };
    let status = status::of(spoke, about).await?;
    let before = problems.0.len();
    unread.iter().for_each(|refusal| problems.add("damaged records", &refusal.detail, ANEW));
    here.iter().for_each(|here| look_here(here, &mut problems));
    beside.into_iter().for_each(|compared| look_beside(compared, &mut problems));
    let records_are_wrong = problems.0.len() > before;
    here.iter().for_each(|here| look_at_store(here, &mut problems));
    look_around(&status, here.as_ref(), &mut problems);
    Ok(json!({
        "healthy": problems.0.is_empty(),
        "problems": problems.0,
        "records_are_wrong": records_are_wrong,
        "compared": beside.is_some(),
        "revision": here.as_ref().map(|here| here.revision),
        "tombstones": here.as_ref().map(|here| here.tombstones),
        "clock_ahead_ms": here.as_ref().map(|here| here.hub_ahead_ms.saturating_neg()),
        "scopes": here.as_ref().map(|here| scopes(here, beside)),
        "differences": beside.map(|compared| compared.records.iter().map(difference).collect::<Vec<_>>()),
        "damaged": here.as_ref().map(|here| here.damaged.iter().map(key).collect::<Vec<_>>()),
        "store": here.as_ref().map(|here| &here.store),
        "versions": {"spoke": env!("CARGO_PKG_VERSION"), "protocol": semantics::session::PROTOCOL_VERSION},
        "status": status,
    }))
}

/// What is wrong with the replica taken for itself.
fn look_here(here: &Examined, problems: &mut Problems) {
    if let Some(first) = here.damaged.first() {
        let detail =
            format!("{} of them are not what came from the hub, the first is {first}", here.damaged.len());
        problems.add("damaged records", detail, ANEW);
    }
    if let Some(first) = here.stale.first() {
        let detail =
            format!("{} are not those of their records, the first is {}", here.stale.len(), name(first));
        problems.add("sums of scopes", detail, ANEW);
    }
}

/// What is wrong with the file, which fetching records anew does not mend.
fn look_at_store(here: &Examined, problems: &mut Problems) {
    const KEEP: &str = "stop the daemon, keep a copy of the folder and check the disk; then restore the folder from a \
                        backup, or join anew in another folder and write there what `spoke outbox list` still shows";
    if let Some(first) = here.store.first() {
        let more = here.store.len() - 1;
        problems.add("a damaged file", format!("{first} (and {more} more findings)"), KEEP);
    }
}

/// What is wrong with it beside the hub.
fn look_beside(compared: &Compared, problems: &mut Problems) {
    let remedy = "fetch the records anew with `spoke doctor --repair`, and send us the report";
    let scopes = compared.differ.len();
    let detail = match (compared.records.first(), compared.differ.first()) {
        (Some(record), cell) => {
            let more = if compared.records.len() < DIFFERENCES_MAX { "" } else { " or more" };
            let count = compared.records.len();
            let scopes = cell.map(|_| format!("{scopes} scopes and ")).unwrap_or_default();
            format!("{scopes}{count}{more} records differ, the first is {}", record.key)
        }
        (None, Some(first)) => format!(
            "{scopes} scopes differ, and none of their records: the hub keeps another sum of {}",
            name(first)
        ),
        (None, None) => return,
    };
    problems.add("the replica differs from the hub", detail, remedy);
}

/// What else keeps it from working.
fn look_around(status: &Value, here: Option<&Examined>, problems: &mut Problems) {
    if let Some(stopped) = status["stopped"].as_object() {
        let text = |name: &str| stopped.get(name).and_then(Value::as_str).unwrap_or_default();
        problems.add(
            "syncing has stopped",
            format!("{}: {}", text("reason"), text("detail")),
            text("remedy"),
        );
    }
    let set_aside = status["outbox"]["set_aside"].as_u64().unwrap_or_default();
    if set_aside > 0 {
        let detail = format!("{set_aside} writes were refused by the hub and wait for a decision");
        problems.add("writes set aside", detail, "`spoke outbox list`, then `retry` or `drop` each");
    }
    let ahead_ms = here.map_or(0, |here| here.hub_ahead_ms);
    if ahead_ms.unsigned_abs() > CLOCK_MS_MAX {
        let detail = format!("this machine differs from the hub by {} ms", ahead_ms.saturating_neg());
        problems.add("the clock", detail, "set the clock, best by NTP");
    }
}

fn scopes(here: &Examined, beside: Option<&Compared>) -> Vec<Value> {
    let beside = beside.and_then(|compared| compared.there.as_ref());
    let there = |cell: &Cell| beside.into_iter().flatten().find(|scope| scope.cell == *cell);
    let shown = |cell: &Cell, records: u64, ours: Option<&Scope>| {
        let theirs = there(cell);
        json!({
            "domain": cell.domain,
            "kind": cell.kind,
            "facet": cell.facet,
            "records": records,
            "digest": ours.map(|scope| scope.digest),
            "hub_digest": theirs.map(|scope| scope.digest),
            "equal": beside.map(|_| ours.map(|scope| scope.digest) == theirs.map(|scope| scope.digest)),
        })
    };
    let ours = here.scopes.iter().zip(&here.records);
    let mut all: Vec<Value> =
        ours.map(|(scope, records)| shown(&scope.cell, *records, Some(scope))).collect();
    let is_here = |cell: &Cell| here.scopes.iter().any(|scope| scope.cell == *cell);
    let missing = beside.into_iter().flatten().filter(|scope| !is_here(&scope.cell));
    all.extend(missing.map(|scope| shown(&scope.cell, 0, None)));
    all
}

fn difference(difference: &Difference) -> Value {
    let mut shown = key(&difference.key);
    shown["revision_here"] = json!(difference.here);
    shown["revision_at_hub"] = json!(difference.there);
    shown
}

fn key(key: &Key) -> Value {
    json!({"kind": key.kind, "id": key.id})
}

fn name(cell: &Cell) -> String {
    format!("{}/{}", cell.domain, cell.kind)
}
