//! `spoke identity export|import|watch|rollback`: states of identities in the replica.

use std::path::Path;

use proto::v1;
use semantics::canonical::{object_from_json, to_canonical};
use semantics::identity::KIND;
use semantics::identity::intake::admit;
use semantics::identity::rollback::{Kept, last_good};
use semantics::identity::summary::Summary;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::access::{Access, At};
use super::conflicts::hub_history;
use super::identity::{IdentityCommand, document};
use super::print::{self, Printer};
use super::watch as changes;
use crate::daemon::{connect_identities, interacted};
use crate::folder::Paths;
use crate::identity::{Told, key, key_for};
use crate::transport::refusal;

pub(super) async fn run(
    access: &mut Access,
    at: &At,
    command: IdentityCommand,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        IdentityCommand::Export { id } => export(access, &id).await,
        IdentityCommand::Import { file, id } => import(access, &file, id.as_deref(), printer).await,
        IdentityCommand::Interact { file, id, restarted } => {
            interact(access, at, (&file, id.as_deref(), restarted), printer).await
        }
        IdentityCommand::Rollback { id, to } => rollback(access, at, &id, to, printer).await,
        // These need no replica, or hold it themselves.
        IdentityCommand::Score { .. } | IdentityCommand::Validate { .. } | IdentityCommand::Watch { .. } => {
            Ok(())
        }
    }
}

async fn export(access: &mut Access, id: &str) -> Result<(), Refusal> {
    let key = Some(key(id)?.into());
    let answer = access.get(v1::GetRecordRequest { key }).await?;
    let body = answer.record.unwrap_or_default().body;
    // What is sealed for its readers is no document.
    object_from_json(&body)?;
    print::line(&String::from_utf8_lossy(&body))
}

async fn import(access: &mut Access, file: &Path, id: Option<&str>, printer: Printer) -> Result<(), Refusal> {
    let document = document(file)?;
    let told = of_file(file);
    let problems = admit(&document).map_err(&told)?;
    let key = key_for(id, &document).map_err(&told)?;
    let mutation = put(access, key.clone().into(), to_canonical(&document)?).await?;
    let mut shown = summed(&document);
    shown["id"] = json!(key.id);
    shown["mutation"] = json!(mutation);
    shown["problems"] = json!(problems);
    printer.show(&shown)
}

/// A refusal that names the file.
fn of_file(file: &Path) -> impl Fn(Refusal) -> Refusal {
    move |refusal: Refusal| Refusal::new(refusal.reason, format!("{}: {}", file.display(), refusal.detail))
}

async fn interact(
    access: &Access,
    at: &At,
    (file, id, restarted): (&Path, Option<&str>, bool),
    printer: Printer,
) -> Result<(), Refusal> {
    let document = document(file)?;
    let told = match access {
        Access::Local(records) => {
            let identities = records.identities();
            let told = identities.interact(id, &document, restarted).await.map_err(of_file(file))?;
            // Nobody would be there to share it later.
            identities.flush().await;
            v1::ReportInteractionResponse { held: false, ..interacted(told) }
        }
        Access::Daemon(_) => {
            let gone = || Refusal::new(Reason::Unreachable, "the daemon has ended: the same again");
            let socket = Paths::new(&at.data).socket();
            let mut daemon = connect_identities(&socket).await?.ok_or_else(gone)?;
            let request = v1::ReportInteractionRequest {
                identity: id.unwrap_or_default().to_owned(),
                document: to_canonical(&document)?,
                restarted,
            };
            let answer = daemon.report_interaction(request).await;
            answer.map_err(|status| of_file(file)(refusal(&status)))?.into_inner()
        }
    };
    let problems = told.problems.iter().map(|found| json!({"path": found.path, "reason": found.reason}));
    let mut shown = summed(&document);
    shown["id"] = json!(told.identity);
    shown["trigger"] = json!(told.trigger);
    shown["priority"] = json!(told.priority);
    shown["held"] = json!(told.held);
    shown["interactions"] = json!(told.interactions);
    shown["mutation"] = json!(Some(hex::encode(&told.mutation)).filter(|id| !id.is_empty()));
    shown["problems"] = problems.collect();
    printer.show(&shown)
}

async fn put(access: &mut Access, key: v1::Key, body: Vec<u8>) -> Result<Option<String>, Refusal> {
    let op = Some(v1::record_write::Op::Put(body));
    let write = v1::RecordWrite { key: Some(key), op, placement: None };
    let answer = access.write(v1::WriteRecordsRequest { writes: vec![write] }).await?;
    Ok(answer.mutations.first().filter(|id| !id.is_empty()).map(hex::encode))
}

fn summed(document: &Value) -> Value {
    json!(Summary::of(document))
}

/// Prints states as they become visible.
pub(super) async fn watch(at: &At, id: Option<String>, after: Option<u64>) -> Result<(), Refusal> {
    if let Some(id) = &id {
        key(id)?;
    }
    let mut told = Told::default();
    let mut tell = |change: &v1::WatchRecordsResponse| {
        let change = told.tell(change.clone())?;
        if id.as_deref().is_some_and(|id| id != change.id.as_str()) {
            return Ok(());
        }
        let mut line = json!(change.summary);
        line["id"] = json!(change.id);
        line["position"] = json!(change.position);
        line["revision"] = json!(change.revision);
        line["pending"] = json!(change.is_pending);
        line["trigger"] = json!(change.trigger);
        line["priority"] = json!(change.priority);
        line["kept_out"] = json!(change.is_kept_out);
        line["conflict"] = json!(change.conflict);
        line["document"] = json!(change.document);
        print::line(&line.to_string())
    };
    changes::run(at, Some(KIND.to_owned()), after, &mut tell).await
}

/// Writes an earlier state anew. What it replaces stays in history.
async fn rollback(
    access: &mut Access,
    at: &At,
    id: &str,
    to: Option<u64>,
    printer: Printer,
) -> Result<(), Refusal> {
    let key = key(id)?;
    let rows = hub_history(at, &key).await?;
    let state = |row: &v1::HistoryRow| {
        let body = row.record.as_ref().and_then(|record| record.body.as_ref());
        body.and_then(|body| serde_json::from_slice(body).ok())
    };
    let kept: Vec<Kept> = rows.iter().map(|row| Kept { revision: row.revision, state: state(row) }).collect();
    let good = last_good(&kept, to)
        .map_err(|refusal| Refusal::new(refusal.reason, format!("{}: {}", key.id, refusal.detail)))?;
    let document = good.state.as_ref().ok_or_else(|| Refusal::new(Reason::Internal, "no state"))?;
    let mutation = put(access, key.clone().into(), to_canonical(document)?).await?;
    let mut shown = summed(document);
    shown["id"] = json!(key.id);
    shown["to"] = json!(good.revision);
    shown["mutation"] = json!(mutation);
    printer.show(&shown)
}
