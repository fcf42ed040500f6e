//! `spoke conflicts` and `spoke history`: what the hub's log keeps of a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::v1;
use semantics::conflict::{Conflict, Side};
use semantics::ids::{Key, Kind, RecordId, Revision};
use semantics::kind::CONFLICT;
use semantics::reason::{Class, Reason, Refusal};
use serde_json::{Map, Value, json};

use super::access::{Access, At};
use super::outbox;
use super::print::{Printer, note, record};
use crate::ambient::{SystemClock, SystemEntropy};
use crate::client::open::hub_transport;
use crate::folder::Paths;

/// Rows asked for at once.
const PAGE_ROWS: i32 = 500;
/// Most pages of history read for one answer.
const HISTORY_PAGES_MAX: u32 = 100;

pub(super) async fn list(access: &mut Access, printer: Printer) -> Result<(), Refusal> {
    let mut request =
        v1::ListRecordsRequest { page_size: PAGE_ROWS, kind: CONFLICT.to_owned(), ..Default::default() };
    let mut conflicts = Vec::new();
    loop {
        let page = access.list(request.clone()).await?;
        for view in &page.records {
            let conflict = parsed(view)?;
            conflicts.push(json!({
                "id": view.key.as_ref().map(|key| &key.id),
                "kind": conflict.subject.kind,
                "record": conflict.subject.id,
                "path": conflict.path,
                "type": conflict.conflict_type,
                "sides": 1 + conflict.losers.len(),
                "open": conflict.open,
                "revision": view.revision,
            }));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return printer.show(&json!({"conflicts": conflicts}));
        }
    }
}

fn parsed(view: &v1::RecordView) -> Result<Conflict, Refusal> {
    serde_json::from_slice(&view.body)
        .map_err(|e| Refusal::new(Reason::StoreCorrupt, format!("a conflict cannot be read: {e}")))
}

pub(super) async fn show(access: &mut Access, home: &At, id: &str, printer: Printer) -> Result<(), Refusal> {
    let key = v1::Key { kind: CONFLICT.to_owned(), id: id.to_owned() };
    let answer = access.get(v1::GetRecordRequest { key: Some(key) }).await?;
    let conflict = parsed(&answer.record.unwrap_or_default())?;
    let rows = hub_history(home, &conflict.subject).await.map_err(|refusal| {
        let detail = format!("the values of the sides are kept by the hub: {}", refusal.detail);
        Refusal::new(refusal.reason, detail)
    })?;
    let rows: BTreeMap<u64, &v1::HistoryRow> = rows.iter().map(|row| (row.revision, row)).collect();
    let side = |side: &Side| side_json(&conflict.path, side, rows.get(&side.revision.0).copied());
    let ancestor = match conflict.ancestor {
        Revision::ZERO => Value::Null,
        revision => ancestor_json(&conflict.path, revision, rows.get(&revision.0).copied()),
    };
    printer.show(&json!({
        "id": id,
        "kind": conflict.subject.kind,
        "record": conflict.subject.id,
        "path": conflict.path,
        "type": conflict.conflict_type,
        "open": conflict.open,
        "primary": side(&conflict.primary),
        "losers": conflict.losers.iter().map(side).collect::<Vec<_>>(),
        "dropped": conflict.dropped,
        "ancestor": ancestor,
    }))
}

/// What one side wrote: its own mutation, not what became of the record.
fn side_json(path: &str, side: &Side, row: Option<&v1::HistoryRow>) -> Value {
    let mutation = row.and_then(|row| row.mutation.as_ref());
    json!({
        "revision": side.revision,
        "node": side.stamp.dot.writer.node,
        "epoch": side.stamp.dot.writer.epoch,
        "n": side.stamp.dot.n,
        "time_ms": side.stamp.time.ms,
        "value": mutation.map_or(Value::Null, |mutation| written(path, mutation)),
    })
}

fn written(path: &str, mutation: &v1::Mutation) -> Value {
    use v1::mutation::Op;
    match &mutation.op {
        Some(Op::Put(put)) => at(path, &put.body),
        Some(Op::Patch(patch)) if patch.remove.iter().any(|name| name == path) => Value::Null,
        Some(Op::Patch(patch)) => at(path, &patch.set),
        Some(Op::Delete(_)) => json!({"deleted": true}),
        None => Value::Null,
    }
}

fn ancestor_json(path: &str, revision: Revision, row: Option<&v1::HistoryRow>) -> Value {
    let body = row.and_then(|row| row.record.as_ref()).and_then(|record| record.body.as_ref());
    json!({"revision": revision, "value": body.map_or(Value::Null, |body| at(path, body))})
}

/// The value of a field, or with an empty path of all of them.
fn at(path: &str, body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!(hex::encode(body)));
    if path.is_empty() { body } else { body.get(path).cloned().unwrap_or(Value::Null) }
}

/// A record's rows as the hub keeps them, newest first. The hub is asked directly: reading needs no replica.
async fn hub_history(home: &At, key: &Key) -> Result<Vec<v1::HistoryRow>, Refusal> {
    let paths = Paths::new(&home.data);
    let config = paths.load_config()?;
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let hub = hub_transport(&paths, &config, &home.reach, clock, entropy)?;
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
        Ok(rows) => printer.show(&json!({"rows": rows.iter().map(row).collect::<Vec<_>>()})),
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

fn row(row: &v1::HistoryRow) -> Value {
    let mut shown = Map::new();
    shown.insert("revision".to_owned(), json!(row.revision));
    shown.insert("commit".to_owned(), json!(row.commit));
    shown.insert("outcome".to_owned(), json!(row.outcome));
    if let Some(mutation) = &row.mutation {
        shown.insert("author".to_owned(), json!(hex::encode(&mutation.author)));
        shown.insert("written_ms".to_owned(), json!(mutation.written_ms));
        shown.insert("wrote".to_owned(), written("", mutation));
    }
    match row.record.as_ref().map(|record| &record.body) {
        Some(Some(body)) => shown.insert("body".to_owned(), at("", body)),
        Some(None) => shown.insert("deleted".to_owned(), json!(true)),
        None => None,
    };
    Value::Object(shown)
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
