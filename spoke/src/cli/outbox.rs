//! `spoke outbox`.

use proto::v1;
use proto::v1::settle_outbox_entry_request::Action;
use semantics::ids::MutationId;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::access::Access;
use super::args::OutboxCommand;
use super::print::Printer;
use crate::daemon::refusal_json;

/// The state of an entry that was set aside.
const SET_ASIDE: &str = "set_aside";
/// Rows asked for at once.
const PAGE_ROWS: i32 = 1000;

pub(super) async fn run(
    access: &mut Access,
    command: OutboxCommand,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        OutboxCommand::List => list(access, printer).await,
        OutboxCommand::Retry { mutation: Some(mutation), .. } => {
            settle(access, &mutation, Action::Retry, printer).await
        }
        OutboxCommand::Retry { mutation: None, .. } => retry_all(access, printer).await,
        OutboxCommand::Drop { mutation } => settle(access, &mutation, Action::Drop, printer).await,
    }
}

/// What is here of a log before a restore.
pub(super) async fn remnants(access: &mut Access, printer: Printer) -> Result<(), Refusal> {
    let mut request = v1::ListRemnantsRequest { page_size: PAGE_ROWS, page_token: String::new() };
    let mut records = Vec::new();
    loop {
        let page = access.remnants(request.clone()).await?;
        records.extend(page.remnants.into_iter().map(|record| {
            let key = record.key.unwrap_or_default();
            let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
            json!({
                "kind": key.kind,
                "id": key.id,
                "revision": record.revision,
                "deleted": record.deleted,
                "body": body,
            })
        }));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return printer.show(&json!({"remnants": records}));
        }
    }
}

async fn list(access: &mut Access, printer: Printer) -> Result<(), Refusal> {
    let mut request = v1::ListOutboxRequest { page_size: PAGE_ROWS, page_token: String::new() };
    let mut entries = Vec::new();
    loop {
        let page = access.outbox(request.clone()).await?;
        entries.extend(page.entries.into_iter().map(entry));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return printer.show(&json!({"entries": entries}));
        }
    }
}

pub(super) fn entry(entry: v1::OutboxEntry) -> Value {
    let key = entry.key.unwrap_or_default();
    let refusal = entry.refusal.and_then(|refusal| Refusal::try_from(refusal).ok());
    let mut shown = json!({
        "mutation": hex::encode(entry.mutation),
        "kind": key.kind,
        "id": key.id,
        "state": entry.state,
        "revision": entry.revision,
    });
    if let (Some(refusal), Some(shown)) = (refusal, shown.as_object_mut()) {
        shown.insert("reason".to_owned(), json!(refusal.reason.as_str()));
        shown.insert("refusal".to_owned(), refusal_json(&refusal));
    }
    shown
}

/// Every mutation that is set aside now, causes before what was made on them. One that cannot be written anew keeps
/// none of the others.
async fn retry_all(access: &mut Access, printer: Printer) -> Result<(), Refusal> {
    let mut request = v1::ListOutboxRequest { page_size: PAGE_ROWS, page_token: String::new() };
    let mut aside = Vec::new();
    loop {
        let page = access.outbox(request.clone()).await?;
        let is_aside = |entry: &v1::OutboxEntry| entry.state == SET_ASIDE;
        aside.extend(page.entries.into_iter().filter(is_aside).map(|entry| entry.mutation));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let (mut retried, mut stays) = (0_usize, 0_usize);
    let mut first = None;
    for mutation in aside {
        let request =
            v1::SettleOutboxEntryRequest { mutation: mutation.clone(), action: Action::Retry.into() };
        match access.settle(request).await {
            Ok(_) => retried += 1,
            Err(refusal) => {
                stays += 1;
                first.get_or_insert((hex::encode(mutation), refusal));
            }
        }
    }
    let Some((mutation, refusal)) = first else {
        return printer.show(&json!({"retried": retried}));
    };
    let detail = format!(
        "{stays} stay set aside, {retried} were written anew (`spoke outbox list`); the first that stays is {mutation}: {}",
        refusal.detail
    );
    Err(Refusal { detail, ..refusal })
}

async fn settle(
    access: &mut Access,
    mutation: &str,
    action: Action,
    printer: Printer,
) -> Result<(), Refusal> {
    let id: MutationId =
        mutation.parse().map_err(|e| Refusal::new(Reason::Malformed, format!("{mutation}: {e}")))?;
    let request = v1::SettleOutboxEntryRequest { mutation: id.as_bytes().to_vec(), action: action.into() };
    access.settle(request).await?;
    printer.show(&json!({"mutation": id, "settled": true}))
}
