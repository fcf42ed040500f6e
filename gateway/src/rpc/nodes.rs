//! The registry as operators see it.

use std::collections::BTreeSet;

use proto::v1;
use semantics::commit::Head;
use semantics::health::Health;
use semantics::ids::{Kind, NodeId, TenantId};
use semantics::kind;
use semantics::node::{self, NodeType};
use semantics::reason::Reason;
use semantics::view::{VIEW_SELECTORS_MAX, View};

use super::admin::tenant_id;
use super::lists::controls;
use super::paging::{size, text_position, token};
use crate::hub::error::HubError;
use crate::hub::known::{NodeBody, NodeStatus, control_body, view_key};
use crate::hub::presence::Seen;
use crate::hub::registry::{NodeTypes, TypeSet};
use crate::hub::{Hub, Principal};
use crate::store::{Space, WriterRow};

/// Most writers shown of one node.
const WRITERS_SHOWN_MAX: usize = 64;

/// What nodes are looked at against.
struct Frame<'a> {
    hub: &'a Hub,
    tenant: &'a TenantId,
    head: Head,
    types: NodeTypes,
    now_ms: u64,
}

impl<'a> Frame<'a> {
    async fn new(hub: &'a Hub, tenant: &'a TenantId) -> Result<Self, HubError> {
        let (head, types) = (hub.store().head(tenant).await?, hub.node_types(tenant).await?);
        Ok(Self { hub, tenant, head, types, now_ms: hub.clock().now_ms() })
    }
}

/// A page of nodes. What filters take away leaves the page shorter.
pub(super) async fn list(
    hub: &Hub,
    request: &v1::ListNodesRequest,
) -> Result<v1::ListNodesResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let asked = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let of_type = asked(&request.node_type).map(|name| NodeType::from_name(&name)).transpose()?;
    let of_health = asked(&request.health).map(|name| Health::from_name(&name)).transpose()?;
    let scope = ["nodes", tenant.as_str(), &request.node_type, &request.health];
    let size = size(request.page_size)?;
    let after = text_position(&scope, &request.page_token)?;
    let (rows, next) = controls(hub, &tenant, kind::NODE, after, size).await?;
    let next_page_token = next.map(|id| token(&scope, id.as_str().as_bytes())).unwrap_or_default();
    let frame = Frame::new(hub, &tenant).await?;
    let mut nodes = Vec::new();
    for row in &rows {
        let id = row.pointer.key.id.as_str().parse();
        let (Ok(id), Some(body)) = (id, control_body::<NodeBody>(Some(row))) else { continue };
        if of_type.is_some_and(|of_type| of_type.as_str() != body.node_type) {
            continue;
        }
        let view = view(&frame, id, body).await?;
        if of_health.is_none_or(|health| health.as_str() == view.health) {
            nodes.push(view);
        }
    }
    Ok(v1::ListNodesResponse { nodes, next_page_token })
}

/// A node by its id in hexadecimal, or by its name.
pub(super) async fn find(hub: &Hub, tenant: &TenantId, text: &str) -> Result<(NodeId, NodeBody), HubError> {
    let by_name = hub.store().plain_get(tenant, Space::Node, text.as_bytes()).await?;
    let by_name = by_name.and_then(|row| NodeId::from_slice(&row.value).ok());
    for id in [text.parse().ok(), by_name].into_iter().flatten() {
        if let Some((_, body)) = hub.registration(tenant, id).await? {
            return Ok((id, body));
        }
    }
    Err(HubError::new(Reason::NotFound, format!("no node {text:?} in {tenant}")))
}

/// One node.
pub(super) async fn get(hub: &Hub, tenant: &str, node: &str) -> Result<v1::GetNodeResponse, HubError> {
    let tenant = tenant_id(tenant)?;
    let (id, body) = find(hub, &tenant, node).await?;
    let frame = Frame::new(hub, &tenant).await?;
    Ok(v1::GetNodeResponse { node: Some(view(&frame, id, body).await?) })
}

/// A node and how its writers stand.
async fn view(frame: &Frame<'_>, id: NodeId, body: NodeBody) -> Result<v1::NodeView, HubError> {
    let (hub, tenant) = (frame.hub, frame.tenant);
    let sees: Option<View> = match view_key(id) {
        Some(key) => control_body(hub.control(tenant, &key).await?.as_ref()),
        None => None,
    };
    let who = Principal { tenant: tenant.clone(), node: id };
    let mut writers = Vec::new();
    for row in hub.store().writers(tenant, Some(id), None, WRITERS_SHOWN_MAX).await? {
        let (seen, connected) = hub.heard(&who, row.writer).await?;
        writers.push(writer(&frame.head, &row, seen, connected));
    }
    let last_heard = writers.iter().filter(|writer| writer.seen_ms > 0).max_by_key(|writer| writer.seen_ms);
    let health = Health::of(last_heard.map(|writer| writer.seen_ms), frame.now_ms);
    let status = match body.status {
        NodeStatus::Active => "active",
        NodeStatus::Revoked => "revoked",
    };
    Ok(v1::NodeView {
        node: id.as_bytes().to_vec(),
        capabilities: frame.types.capabilities(&body).into_iter().collect(),
        name: body.name,
        node_type: body.node_type,
        domain: body.domain.to_string(),
        status: status.to_owned(),
        view: sees.map(Into::into),
        health: health.as_str().to_owned(),
        last_heard: last_heard.cloned(),
        writers,
        declared_capabilities: body.capabilities.into_iter().collect(),
        assigned_capabilities: body.assigned.map(names),
    })
}

fn names(capabilities: BTreeSet<String>) -> v1::Capabilities {
    v1::Capabilities { names: capabilities.into_iter().collect() }
}

fn writer(head: &Head, row: &WriterRow, seen: Option<Seen>, connected: bool) -> v1::WriterView {
    let (epoch, open, last_n) = (row.writer.epoch, !row.closed, row.last_n);
    let Some(seen) = seen else {
        return v1::WriterView { epoch, open, last_n, connected, ..v1::WriterView::default() };
    };
    let acknowledged = seen.cursor.filter(|cursor| cursor.log_id == head.log_id);
    v1::WriterView {
        epoch,
        open,
        last_n,
        connected,
        acknowledged: seen.cursor.map(Into::into),
        seen_ms: seen.seen_ms,
        lag_commits: acknowledged.map(|cursor| head.commit.0.saturating_sub(cursor.commit.0)),
        clock_offset_ms: seen.told.clock_offset_ms,
        protocol: seen.told.protocol.unwrap_or_default(),
        software: seen.told.software.unwrap_or_default(),
        gateway: seen.told.gateway.unwrap_or_default(),
    }
}

fn set(capabilities: Option<v1::Capabilities>) -> Result<Option<BTreeSet<String>>, HubError> {
    Ok(capabilities.map(|given| node::capabilities(&given.names)).transpose()?)
}

/// Sets what a node can do.
pub(super) async fn set_capabilities(
    hub: &Hub,
    author: NodeId,
    request: v1::SetNodeCapabilitiesRequest,
) -> Result<v1::SetNodeCapabilitiesResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let assigned = set(request.capabilities)?;
    let (node, _) = find(hub, &tenant, &request.node).await?;
    let revision = hub.set_capabilities(&tenant, author, node, assigned).await?;
    Ok(v1::SetNodeCapabilitiesResponse { revision: revision.0 })
}

/// The types of nodes in a tenant.
pub(super) async fn types(hub: &Hub, tenant: &str) -> Result<v1::ListNodeTypesResponse, HubError> {
    let types = hub.node_types(&tenant_id(tenant)?).await?;
    let row = |node_type: NodeType| {
        let (capabilities, assigned) = types.of(node_type);
        let capabilities = capabilities.into_iter().collect();
        let names = |kinds: &BTreeSet<Kind>| kinds.iter().map(ToString::to_string).collect();
        let kinds = match types.kinds(node_type) {
            Ok(kinds) => kinds.map(|kinds| v1::Kinds { names: names(kinds) }),
            Err(_) => Some(v1::Kinds::default()),
        };
        v1::NodeTypeView { node_type: node_type.as_str().to_owned(), capabilities, assigned, kinds }
    };
    Ok(v1::ListNodeTypesResponse { node_types: NodeType::all().map(row).collect() })
}

/// The kinds a type's nodes see: as many as a view can name, and not none, which would sync nothing.
fn kinds(names: &[String]) -> Result<BTreeSet<Kind>, HubError> {
    let malformed = |detail: String| HubError::new(Reason::Malformed, detail);
    if names.is_empty() || names.len() > VIEW_SELECTORS_MAX {
        return Err(malformed(format!("kinds: {} names, 1 to {VIEW_SELECTORS_MAX} are needed", names.len())));
    }
    let kind = |name: &String| {
        let kind = Kind::new(name.as_str()).map_err(|e| malformed(format!("kinds: {name:?}: {e}")))?;
        match kind::is_pushable(&kind) {
            true => Ok(kind),
            false => {
                Err(malformed(format!("kinds: {kind} is the hub's own: it comes with the kinds it is about")))
            }
        }
    };
    names.iter().map(kind).collect()
}

/// Sets what nodes of a type can do, and see from the start.
pub(super) async fn set_type(
    hub: &Hub,
    author: NodeId,
    request: v1::SetNodeTypeRequest,
) -> Result<v1::SetNodeTypeResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let node_type = NodeType::from_name(&request.node_type)?;
    let kinds = request.kinds.map(|given| kinds(&given.names)).transpose()?;
    let set = TypeSet { capabilities: set(request.capabilities)?, kinds };
    let revision = hub.set_node_type(&tenant, author, node_type, set).await?;
    Ok(v1::SetNodeTypeResponse { revision: revision.0 })
}
