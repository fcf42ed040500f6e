//! What `spoke status` prints.

use semantics::endpoint::{Endpoint, State};
use semantics::reason::Refusal;
use serde_json::{Map, Value, json};

use crate::client::Spoke;
use crate::replica::Backups;
use crate::runtime::{Statistics, Sums};
use crate::sync::{Phase, Status};

/// The status as JSON.
pub(super) async fn of(spoke: &Spoke, about: &Map<String, Value>) -> Result<Value, Refusal> {
    let replica = spoke.status().await?;
    let progress = spoke.progress().borrow().clone();
    let outbox = replica.outbox;
    let mut status = about.clone();
    let facts = json!({
        "phase": phase(progress.status.phase),
        "caught_up": progress.status.is_caught_up,
        "failures": progress.status.failures,
        "in_vain": progress.status.in_vain,
        "push_waits": progress.status.push_waits.as_ref().map(refusal),
        "endpoints": endpoints(spoke.endpoint_names(), &progress.status),
        "last_refusal": progress.status.last_refusal.as_ref().map(refusal),
        "stopped": progress.stopped.as_ref().or(replica.condition.stopped.as_ref()).map(refusal),
        "needs_epoch": replica.condition.needs_epoch,
        "digest_mismatches": replica.condition.digest_mismatches,
        "revision": replica.cursor.map_or(0, |cursor| cursor.revision.0),
        "cursor": replica.cursor.map(|cursor| json!({
            "log_id": cursor.log_id.to_string(),
            "commit": cursor.commit,
            "revision": cursor.revision,
            "view_revision": cursor.view_revision,
        })),
        "position": spoke.replica().changes_end().await?,
        "view": replica.view,
        "writer": replica.writer.map(|writer| json!({"node": writer.node, "epoch": writer.epoch})),
        "outbox": {
            "entries": outbox.entries,
            "bytes": outbox.bytes,
            "queued": outbox.queued,
            "sent": outbox.dotted,
            "answered": outbox.answered,
            "set_aside": outbox.set_aside,
        },
        "sync": statistics(&progress.statistics),
        "acknowledged_kept": kept(&replica.backups),
        "remnants": replica.report.as_ref().map(|report| json!({
            "records": report.count,
            "of_log": report.predecessor.to_string(),
            "told": report.is_told,
        })),
    });
    if let Value::Object(facts) = facts {
        status.extend(facts);
    }
    Ok(Value::Object(status))
}

/// What is known of each endpoint, in the order of the settings.
fn endpoints(names: Vec<String>, status: &Status) -> Vec<Value> {
    let is_in_use = !matches!(status.phase, Phase::Idle | Phase::Waiting);
    let current = is_in_use.then_some(status.endpoints.current());
    let one = |(index, (name, known)): (usize, (String, &Endpoint))| {
        let health = match known.state {
            State::Untried => "untried",
            State::Healthy => "healthy",
            State::Failed(_) => "failed",
        };
        json!({
            "url": name,
            "health": health,
            "round_trip_us": known.round_trip_us,
            "in_use": current == Some(index),
        })
    };
    names.into_iter().zip(status.endpoints.all()).enumerate().map(one).collect()
}

/// What took effect and no backup of the hub holds.
fn kept(backups: &Backups) -> Value {
    let why = match (backups.revision, backups.given_up) {
        (None, _) => Some("the hub announces no backup schedule"),
        (Some(_), 0) => None,
        (Some(_), _) => Some("some were too old or too many to be kept until a backup held them"),
    };
    json!({
        "entries": backups.entries,
        "bytes": backups.bytes,
        "backed_up_to": backups.revision,
        "given_up": backups.given_up,
        "why": why,
    })
}

/// What syncing came to since this process opened the replica.
fn statistics(statistics: &Statistics) -> Value {
    let last = statistics.last.as_ref().map(|sums| {
        let mut last = sums_json(sums);
        last["ended_ms"] = json!(statistics.last_ended_ms);
        last
    });
    let mut total = sums_json(&statistics.total);
    total["syncs"] = json!(statistics.syncs);
    json!({"last": last, "total": total})
}

fn sums_json(sums: &Sums) -> Value {
    json!({
        "added": sums.counts.added,
        "updated": sums.counts.updated,
        "deleted": sums.counts.deleted,
        "pushed": sums.pushed,
        "sent_bytes": sums.traffic.sent,
        "received_bytes": sums.traffic.received,
        "duration_ms": sums.duration_ms,
    })
}

/// A refusal as JSON.
pub(crate) fn refusal(refusal: &Refusal) -> Value {
    json!({
        "reason": refusal.reason.as_str(),
        "class": refusal.reason.class().as_str(),
        "detail": refusal.detail,
        "remedy": refusal.reason.remedy(),
        "transient": refusal.reason.is_transient(),
    })
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Waiting => "waiting",
        Phase::Connecting => "connecting",
        Phase::Greeting => "greeting",
        Phase::Live => "live",
        Phase::Reconciling => "reconciling",
        Phase::Resetting => "resetting",
    }
}
