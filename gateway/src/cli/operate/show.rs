//! What the hub answers, as JSON for people and scripts.

use std::collections::BTreeSet;

use proto::v1;
use serde_json::{Value, json};

/// Bytes of JSON; what does not parse is shown as null.
pub(super) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub(super) fn tenant(tenant: &v1::TenantView) -> Value {
    json!({
        "tenant": tenant.tenant,
        "log_id": hex::encode(&tenant.log_id),
        "commit": tenant.commit,
        "revision": tenant.revision,
        "horizon": tenant.horizon,
    })
}

pub(super) fn node(node: &v1::NodeView) -> Value {
    let heard = node.last_heard.as_ref();
    let shown = json!({
        "node": hex::encode(&node.node),
        "name": node.name,
        "type": node.node_type,
        "domain": node.domain,
        "capabilities": node.capabilities,
        "declared_capabilities": node.declared_capabilities,
        "set_capabilities": node.assigned_capabilities.as_ref().map(|set| &set.names),
        "status": node.status,
        "health": node.health,
        "view": node.view.as_ref().map(view),
        "writers": node.writers.iter().map(writer).collect::<Vec<_>>(),
    });
    with(shown, heard.map_or_else(|| heard_of(&v1::WriterView::default()), heard_of))
}

pub(super) fn policy(row: &v1::PolicyView) -> Value {
    json!({
        "kind": row.kind,
        "policy": row.policy,
        "declared": row.declared,
        "set": row.assigned,
        "version": row.version,
    })
}

pub(super) fn node_type(row: &v1::NodeTypeView) -> Value {
    let kinds = row.kinds.as_ref().map(|kinds| &kinds.names);
    json!({"type": row.node_type, "capabilities": row.capabilities, "kinds": kinds, "set": row.assigned})
}

/// What a writer was heard to be; of a node, the writer heard last.
fn heard_of(writer: &v1::WriterView) -> Value {
    let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let known = |number: u64| Some(number).filter(|number| *number > 0);
    json!({
        "seen_ms": known(writer.seen_ms),
        "connected": writer.connected,
        "acknowledged": writer.acknowledged.as_ref().map(|cursor| cursor.revision),
        "lag_commits": writer.lag_commits,
        "clock_offset_ms": writer.clock_offset_ms,
        "protocol": known(u64::from(writer.protocol)),
        "software": told(&writer.software),
        "gateway": told(&writer.gateway),
    })
}

fn view(view: &v1::View) -> Value {
    let cell = |s: &v1::Selector| json!({"domain": s.domain, "kind": s.kind, "facet": s.facet});
    json!({"cells": view.cells.iter().map(cell).collect::<Vec<_>>()})
}

fn writer(writer: &v1::WriterView) -> Value {
    let own = json!({"epoch": writer.epoch, "open": writer.open, "last_n": writer.last_n});
    with(own, heard_of(writer))
}

fn content(record: Option<&v1::Record>) -> Value {
    let Some(record) = record else { return Value::Null };
    let (kind, id) = record.key.as_ref().map_or(("", ""), |key| (key.kind.as_str(), key.id.as_str()));
    let dots = record.version.as_ref().map_or(&[][..], |version| version.dots.as_slice());
    json!({
        "kind": kind,
        "id": id,
        "domain": record.placement.as_ref().map(|placement| placement.domain.clone()),
        "subject": record.placement.as_ref().and_then(|placement| placement.subject.clone()),
        "incarnation": record.incarnation,
        "version": dots.iter().map(dot).collect::<Vec<_>>(),
        "author": hex::encode(&record.author),
        "deleted": record.body.is_none(),
        "body": record.body.as_ref().map(|body| json(body)),
    })
}

fn dot(dot: &v1::Dot) -> Value {
    let writer = dot.writer.clone().unwrap_or_default();
    json!({"node": hex::encode(&writer.node), "epoch": writer.epoch, "n": dot.n})
}

/// Adds fields to an object.
fn with(object: Value, more: Value) -> Value {
    match (object, more) {
        (Value::Object(mut all), Value::Object(more)) => {
            all.extend(more);
            Value::Object(all)
        }
        (_, more) => more,
    }
}

pub(super) fn record(record: &v1::HubRecord) -> Value {
    let more = json!({
        "revision": record.revision,
        "digest": hex::encode(&record.digest),
        "conflicts": record.conflicts,
    });
    with(content(record.record.as_ref()), more)
}

pub(super) fn history(row: &v1::HistoryRow) -> Value {
    with(content(row.record.as_ref()), proto::told::history::row(row))
}

/// With the nodes that may speak and have told nothing: what they keep, if anything, is asked back from nobody else.
pub(super) fn recovery(recovered: &v1::RecoverLogResponse, registered: &[v1::NodeView]) -> Value {
    let is_back = |node: &v1::NodeView| recovered.nodes.iter().any(|back| back.node == node.node);
    let missing = registered.iter().filter(|node| node.status == "active" && !is_back(node));
    let node = |node: &v1::RecoveredNode| json!({"node": hex::encode(&node.node), "has_told_all": node.has_told_all});
    let only_state = |found: &v1::OnlyState| {
        let key = found.key.clone().unwrap_or_default();
        json!({
            "kind": key.kind,
            "id": key.id,
            "revision": found.revision,
            "deleted": found.deleted,
            "nodes": found.nodes.iter().map(hex::encode).collect::<Vec<_>>(),
        })
    };
    json!({
        "phase": recovered.phase,
        "predecessor": hex::encode(&recovered.predecessor),
        "backed_up_to": recovered.revision,
        "restored_ms": recovered.restored_ms,
        "nodes": recovered.nodes.iter().map(node).collect::<Vec<_>>(),
        "not_back": missing.map(|node| node.name.as_str()).collect::<BTreeSet<_>>(),
        "told": recovered.told,
        "only_state": recovered.only_state.iter().map(only_state).collect::<Vec<_>>(),
        "has_more": recovered.has_more,
    })
}
