//! `spoke conflicts` and `spoke history`: what the hub's log keeps of a record.

use proto::{told, v1};
use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, RecordId};
use semantics::kind::CONFLICT;
use semantics::reason::{Class, Reason, Refusal};
use serde_json::{Value, json};

use super::access::{Access, At};
use super::args::Filter;
use super::print::{Printer, line, note, record};
use super::{outbox, settle};

/// Rows asked for at once.
const PAGE_ROWS: i32 = 500;
/// Most pages of history read for one answer.
const HISTORY_PAGES_MAX: u32 = 100;

/// The conflicts of the replica: ids, revisions, and what they say.
pub(super) async fn inbox(access: &mut Access) -> Result<Vec<(String, u64, Conflict)>, Refusal> {
    let mut request =
        v1::ListRecordsRequest { page_size: PAGE_ROWS, kind: CONFLICT.to_owned(), ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = access.list(request.clone()).await?;
        for view in page.records {
            let conflict = serde_json::from_slice(&view.body)
                .map_err(|e| Refusal::new(Reason::StoreCorrupt, format!("a conflict cannot be read: {e}")))?;
            found.push((view.key.unwrap_or_default().id, view.revision, conflict));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// Whether filters leave a conflict.
pub(super) fn is_listed(filter: &Filter, conflict: &Conflict) -> bool {
    let is = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
    is(&filter.kind, conflict.subject.kind.as_str())
        && is(&filter.record, conflict.subject.id.as_str())
        && is(&filter.of_type, conflict.type_name())
}

pub(super) async fn list(
    access: &mut Access,
    filter: &Filter,
    is_state: impl Fn(bool) -> bool,
    printer: Printer,
) -> Result<(), Refusal> {
    let mut found = inbox(access).await?;
    found.retain(|(_, _, conflict)| is_state(conflict.open) && is_listed(filter, conflict));
    let conflicts: Vec<Value> =
        found.iter().map(|(id, revision, conflict)| entry(id, *revision, conflict)).collect();
    printer.show(&json!({"conflicts": conflicts}))
}

fn entry(id: &str, revision: u64, conflict: &Conflict) -> Value {
    json!({
        "id": id,
        "kind": conflict.subject.kind,
        "record": conflict.subject.id,
        "path": conflict.path,
        "type": conflict.type_name(),
        "override": Some(conflict.manual_name()).filter(|manual| !manual.is_empty()),
        "sides": 1 + conflict.losers.len(),
        "open": conflict.open,
        "revision": revision,
    })
}

/// A record's rows as the hub keeps them, newest first. The hub is asked directly: reading needs no replica.
pub(super) async fn hub_history(home: &At, key: &Key) -> Result<Vec<v1::HistoryRow>, Refusal> {
    let hub = settle::hub(home)?;
    let mut rows = Vec::new();
    let mut token = String::new();
    for _ in 0..HISTORY_PAGES_MAX {
        let page = hub.history(key, token).await?;
        rows.extend(page.rows);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok(rows)
}

pub(super) async fn history(home: &At, kind: &str, id: &str, printer: Printer) -> Result<(), Refusal> {
    let malformed = |e| Refusal::new(Reason::Malformed, format!("{kind}/{id}: {e}"));
    let key = Key { kind: Kind::new(kind).map_err(malformed)?, id: RecordId::new(id).map_err(malformed)? };
    match hub_history(home, &key).await {
        Ok(rows) => {
            let rows: Vec<Value> = rows.iter().map(told::history::row).collect();
            match printer.is_json() {
                true => printer.show(&json!({ "rows": rows })),
                false => line(&told::history::text(&rows)),
            }
        }
        Err(refusal) if refusal.reason.class() == Class::Network => {
            note(&format!("the hub cannot be reached ({}): this is what the replica knows", refusal.detail));
            let mut access = Access::open(home).await?;
            let shown = local_history(&mut access, &key, printer).await;
            access.close().await;
            shown
        }
        Err(refusal) => Err(refusal),
    }
}

/// The present state and what is under way.
async fn local_history(access: &mut Access, key: &Key, printer: Printer) -> Result<(), Refusal> {
    let wire = v1::Key::from(key);
    let present = match access.get(v1::GetRecordRequest { key: Some(wire.clone()) }).await {
        Ok(answer) => Some(record(&answer.record.unwrap_or_default())),
        Err(refusal) if refusal.reason == Reason::RecordAbsent => None,
        Err(refusal) => return Err(refusal),
    };
    let mut pending = Vec::new();
    let mut request = v1::ListOutboxRequest { page_size: PAGE_ROWS, page_token: String::new() };
    loop {
        let page = access.outbox(request.clone()).await?;
        let ours = page.entries.into_iter().filter(|entry| entry.key.as_ref() == Some(&wire));
        pending.extend(ours.map(outbox::entry));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return printer.show(&json!({"local": true, "record": present, "pending": pending}));
        }
    }
}
