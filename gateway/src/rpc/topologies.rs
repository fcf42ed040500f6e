//! Who writes in a tenant, as operators see and set it.

use std::collections::{BTreeMap, BTreeSet};

use proto::v1;
use semantics::ids::{Domain, Kind, NodeId, Revision, TenantId};
use semantics::reason::Reason;
use semantics::topology::{KINDS_MAX, SHAPES, SITES_MAX, Shape, Topology};

use super::admin::{malformed, tenant_id};
use super::nodes::find;
use crate::auth::Operator;
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::NodeStatus;

pub(super) async fn get(
    hub: &Hub,
    request: &v1::GetTopologyRequest,
) -> Result<v1::GetTopologyResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let (topology, version) = hub.topology(&tenant).await?;
    let mut primaries = Vec::new();
    for (domain, node) in topology.primaries() {
        primaries.push(primary(hub, &tenant, domain, node).await?);
    }
    Ok(v1::GetTopologyResponse {
        shape: topology.name().to_owned(),
        kinds: topology.kinds.iter().map(ToString::to_string).collect(),
        primaries,
        version: version.0,
    })
}

async fn primary(
    hub: &Hub,
    tenant: &TenantId,
    domain: Option<&Domain>,
    node: NodeId,
) -> Result<v1::TopologyPrimary, HubError> {
    let known = hub.registration(tenant, node).await?.map(|(_, body)| body);
    let status = match known.as_ref().map(|body| body.status) {
        Some(NodeStatus::Active) => "active",
        Some(NodeStatus::Revoked) | None => "revoked",
    };
    Ok(v1::TopologyPrimary {
        domain: domain.map(ToString::to_string).unwrap_or_default(),
        node: node.as_bytes().to_vec(),
        name: known.map(|body| body.name).unwrap_or_default(),
        status: status.to_owned(),
    })
}

pub(super) async fn set(
    hub: &Hub,
    by: &Operator,
    request: v1::SetTopologyRequest,
) -> Result<v1::SetTopologyResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    bounded(&request)?;
    let kinds: Result<BTreeSet<Kind>, _> = request.kinds.iter().map(|kind| Kind::new(&**kind)).collect();
    let kinds = Some(kinds.map_err(|e| malformed("kinds", &e))?).filter(|kinds| !kinds.is_empty());
    let shape = shape(hub, &tenant, &request).await?;
    let topology = Topology { shape, kinds: kinds.unwrap_or_else(|| Topology::default().kinds) };
    let expected = request.expected_version.map(Revision);
    let revision = hub.set_topology(&tenant, by.author(), &topology, expected).await?;
    Ok(v1::SetTopologyResponse { revision: revision.0 })
}

/// Before anything is looked up.
fn bounded(request: &v1::SetTopologyRequest) -> Result<(), HubError> {
    for (count, max, what) in
        [(request.kinds.len(), KINDS_MAX, "kinds"), (request.sites.len(), SITES_MAX, "sites")]
    {
        if count > max {
            let detail = format!("{count} {what}, at most {max} are allowed");
            return Err(HubError::new(Reason::TooLarge, detail));
        }
    }
    Ok(())
}

async fn shape(hub: &Hub, tenant: &TenantId, request: &v1::SetTopologyRequest) -> Result<Shape, HubError> {
    let has = (!request.primary.is_empty(), !request.sites.is_empty());
    match (request.shape.as_str(), has) {
        ("multi_master", (false, false)) => Ok(Shape::MultiMaster),
        ("primary_replica", (true, false)) => {
            let (primary, _) = find(hub, tenant, &request.primary).await?;
            Ok(Shape::PrimaryReplica { primary })
        }
        ("federation", (false, true)) => {
            let mut sites = BTreeMap::new();
            for site in &request.sites {
                let domain = Domain::new(&*site.domain).map_err(|e| malformed("sites.domain", &e))?;
                let (node, _) = find(hub, tenant, &site.node).await?;
                if sites.insert(domain, node).is_some() {
                    let detail = format!("the site {} is named twice: it has one primary", site.domain);
                    return Err(malformed("sites", &detail));
                }
            }
            Ok(Shape::Federation { sites })
        }
        (name, _) if !SHAPES.contains(&name) => {
            let detail = format!("{name:?} is none; there are {}", SHAPES.join(", "));
            Err(malformed("shape", &detail))
        }
        (name, _) => {
            let detail = format!(
                "{name} does not fit what is named: multi_master names no node, primary_replica one primary, federation \
                 its sites"
            );
            Err(malformed("shape", &detail))
        }
    }
}
