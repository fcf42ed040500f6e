//! `spoke conflicts resolve` and `undo`: the hub is asked directly, for a conflict is settled in its log alone.

use std::sync::Arc;

use proto::told::{self, Given};
use proto::v1;
use semantics::reason::{Class, Reason, Refusal};
use serde_json::{Value, json};

use super::access::{Access, At};
use super::args::{Choice, ConflictsCommand, Filter};
use super::conflicts::{self, inbox, is_listed};
use super::print::Printer;
use crate::ambient::{SystemClock, SystemEntropy};
use crate::client::open::hub_transport;
use crate::folder::Paths;
use crate::transport::HubTransport;

impl From<Choice> for Given {
    fn from(choice: Choice) -> Self {
        let Choice { keep, side, ancestor, value, policy } = choice;
        Self { side, value, policy, ancestor, keep }
    }
}

/// How the hub is reached; needs no replica, so it works beside a daemon.
pub(super) fn hub(at: &At) -> Result<HubTransport, Refusal> {
    let paths = Paths::new(&at.data);
    let config = paths.load_config()?;
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    hub_transport(&paths, &config, &at.reach, clock, entropy)
}

/// A refusal that only means that the hub is not there says so of what was asked.
pub(super) fn online(refusal: Refusal) -> Refusal {
    if refusal.reason.class() != Class::Network {
        return refusal;
    }
    let detail = format!("a conflict is settled at the hub, which cannot be reached: {}", refusal.detail);
    Refusal::new(refusal.reason, detail)
}

/// A command that needs the hub alone.
pub(super) async fn at_hub(at: &At, command: ConflictsCommand, printer: Printer) -> Result<(), Refusal> {
    match command {
        ConflictsCommand::Show { id } => show(at, &id, printer).await,
        ConflictsCommand::Undo { id, reason, expected } => undo(at, &id, &reason, expected, printer).await,
        ConflictsCommand::Resolve { id: Some(id), choice, reason, expected, .. } => {
            resolve(at, &id, &choice.into(), &reason, expected, printer).await
        }
        ConflictsCommand::List { .. } | ConflictsCommand::Resolve { id: None, .. } => Ok(()),
    }
}

/// A command that looks into the replica.
pub(super) async fn with_replica(
    access: &mut Access,
    at: &At,
    command: ConflictsCommand,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        ConflictsCommand::List { filter, resolved, all } => {
            conflicts::list(access, &filter, |open| all || open != resolved, printer).await
        }
        ConflictsCommand::Resolve { id: None, filter, choice, reason, .. } => {
            resolve_many(access, at, &filter, &choice.into(), &reason, printer).await
        }
        ConflictsCommand::Resolve { .. } | ConflictsCommand::Show { .. } | ConflictsCommand::Undo { .. } => {
            Ok(())
        }
    }
}

async fn show(at: &At, id: &str, printer: Printer) -> Result<(), Refusal> {
    let conflict = hub(at)?.conflict(id).await.map_err(|refusal| {
        if refusal.reason.class() != Class::Network {
            return refusal;
        }
        let detail = format!("the values of the sides are kept by the hub: {}", refusal.detail);
        Refusal::new(refusal.reason, detail)
    })?;
    printer.show(&told::shown(&conflict))
}

async fn resolve(
    at: &At,
    id: &str,
    given: &Given,
    reason: &str,
    expected: Option<u64>,
    printer: Printer,
) -> Result<(), Refusal> {
    let hub = hub(at)?;
    printer.show(&resolve_one(&hub, id, given, reason, expected).await?)
}

async fn resolve_one(
    hub: &HubTransport,
    id: &str,
    given: &Given,
    reason: &str,
    expected: Option<u64>,
) -> Result<Value, Refusal> {
    let conflict = hub.conflict(id).await.map_err(online)?;
    let request = v1::ResolveRecordConflictRequest {
        conflict: id.to_owned(),
        expected: expected.unwrap_or(conflict.revision),
        choice: Some(given.choice(&conflict)?),
        reason: reason.to_owned(),
    };
    let done = hub.resolve_conflict(request).await.map_err(online)?;
    Ok(settled(id, done.revision, done.record_revision))
}

fn settled(id: &str, revision: u64, record_revision: u64) -> Value {
    json!({"id": id, "revision": revision, "record_revision": record_revision})
}

/// Every open conflict that the replica knows of and the filters leave, each by itself: one that moves meanwhile is
/// refused and the others go on.
async fn resolve_many(
    access: &mut Access,
    at: &At,
    filter: &Filter,
    given: &Given,
    reason: &str,
    printer: Printer,
) -> Result<(), Refusal> {
    if !given.is_for_many() {
        let detail = "a side or a value is chosen for one conflict: give its id";
        return Err(Refusal::new(Reason::Malformed, detail));
    }
    let hub = hub(at)?;
    let (mut rows, mut first) = (Vec::new(), None);
    for (id, _, conflict) in inbox(access).await? {
        if !conflict.open || !is_listed(filter, &conflict) {
            continue;
        }
        match resolve_one(&hub, &id, given, reason, None).await {
            Ok(done) => rows.push(done),
            Err(refusal) => {
                rows.push(json!({"id": id, "refused": refusal.reason.as_str(), "detail": refusal.detail}));
                first.get_or_insert(refusal);
            }
        }
    }
    printer.show(&json!({"conflicts": rows}))?;
    first.map_or(Ok(()), Err)
}

async fn undo(
    at: &At,
    id: &str,
    reason: &str,
    expected: Option<u64>,
    printer: Printer,
) -> Result<(), Refusal> {
    let hub = hub(at)?;
    let expected = match expected {
        Some(expected) => expected,
        None => hub.conflict(id).await.map_err(online)?.revision,
    };
    let request =
        v1::UndoRecordResolutionRequest { conflict: id.to_owned(), expected, reason: reason.to_owned() };
    let done = hub.undo_resolution(request).await.map_err(online)?;
    printer.show(&settled(id, done.revision, done.record_revision))
}
