//! The registry: what nodes can do, and how many of them live.

use std::collections::{BTreeMap, BTreeSet};

use semantics::health::Health;
use semantics::ids::{Kind, NodeId, Revision, TenantId};
use semantics::kind;
use semantics::node::{NodeType, Said};
use semantics::reason::Reason;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Hub;
use super::control::key_of;
use super::error::HubError;
use super::known::{NodeBody, NodeStatus, control_body};
use super::presence::joined;
use crate::store::{PointerQuery, Wanted};

/// Registrations read at once.
const PAGE_MAX: usize = 1_000;

/// What was set for a type of nodes: the body of its control record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeSet {
    /// What nodes of it can do that declare nothing; `None`: what the table of types says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<BTreeSet<String>>,
    /// The kinds of its domain that a node of it sees from the start; `None`: every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<Kind>>,
}

/// What was set for a tenant's node types; a type that is not in it stands for what the table of types says. `None`:
/// something was set that this gateway does not read, which a newer one wrote. It may be a limit, so a node of the type
/// can do nothing by it, and none joins here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeTypes(BTreeMap<NodeType, Option<TypeSet>>);

impl NodeTypes {
    /// What nodes of a type can do that declare nothing, and whether that was set for this tenant.
    #[must_use]
    pub fn of(&self, node_type: NodeType) -> (BTreeSet<String>, bool) {
        let said = self.said(node_type);
        (said.unwrap_or_else(|| node_type.defaults()), self.0.contains_key(&node_type))
    }

    /// The kinds that nodes of a type see from the start; `None`: every kind.
    ///
    /// # Errors
    /// PROTOCOL_VERSION where what was set is not read here.
    pub fn kinds(&self, node_type: NodeType) -> Result<Option<&BTreeSet<Kind>>, HubError> {
        match self.0.get(&node_type) {
            None => Ok(None),
            Some(Some(set)) => Ok(set.kinds.as_ref()),
            Some(None) => {
                let name = node_type.as_str();
                let detail =
                    format!("what was set for the node type {name} is of a newer version than this gateway");
                Err(HubError::new(Reason::ProtocolVersion, detail))
            }
        }
    }

    /// What was said of the capabilities of a type: none at all, where it is not read here.
    fn said(&self, node_type: NodeType) -> Option<BTreeSet<String>> {
        match self.0.get(&node_type)? {
            Some(set) => set.capabilities.clone(),
            None => Some(BTreeSet::new()),
        }
    }

    /// What a node can do.
    #[must_use]
    pub fn capabilities(&self, node: &NodeBody) -> BTreeSet<String> {
        // A registration of a type that is none was written by a program with other types.
        let Ok(node_type) = NodeType::from_name(&node.node_type) else { return node.capabilities.clone() };
        let of_type = self.said(node_type);
        let of_type = of_type.as_ref();
        let said = Said { assigned: node.assigned.as_ref(), declared: &node.capabilities, of_type };
        said.capabilities(node_type)
    }
}

impl Hub {
    /// What was set for a tenant's node types.
    ///
    /// # Errors
    /// Store errors.
    pub async fn node_types(&self, tenant: &TenantId) -> Result<NodeTypes, HubError> {
        let mut wanted = Wanted::default();
        for node_type in NodeType::all() {
            wanted.keys.insert(key_of(kind::NODE_TYPE, node_type.as_str())?);
        }
        let found = self.store().load(tenant, &wanted).await?.current;
        let mut types = BTreeMap::new();
        for current in found.values().filter(|current| !current.pointer.deleted) {
            let Ok(named) = NodeType::from_name(current.pointer.key.id.as_str()) else { continue };
            let set = control_body(Some(current));
            if set.is_none() {
                warn!(%tenant, node_type = named.as_str(), "what was set for it is not read here: nothing is taken for allowed");
            }
            types.insert(named, set);
        }
        Ok(NodeTypes(types))
    }

    /// Sets what nodes of a type can do that declare nothing themselves, and what they see from the start: nodes that
    /// have joined keep their view. With nothing set the type is what it is by itself.
    ///
    /// # Errors
    /// STALE; store errors.
    pub async fn set_node_type(
        &self,
        tenant: &TenantId,
        author: NodeId,
        node_type: NodeType,
        set: TypeSet,
    ) -> Result<Revision, HubError> {
        let key = key_of(kind::NODE_TYPE, node_type.as_str())?;
        if set != TypeSet::default() {
            return self.put_control(tenant, author, key, &set).await;
        }
        match self.control(tenant, &key).await? {
            Some(stands) => self.set_control(tenant, author, key, None, stands.pointer.revision).await,
            None => Ok(Revision::ZERO),
        }
    }

    /// Sets what a node can do; `None`: what it declared, or what its type stands for.
    ///
    /// # Errors
    /// NOT_FOUND; STALE; store errors.
    pub async fn set_capabilities(
        &self,
        tenant: &TenantId,
        author: NodeId,
        node: NodeId,
        assigned: Option<BTreeSet<String>>,
    ) -> Result<Revision, HubError> {
        self.change_node(tenant, author, node, |stands| NodeBody { assigned: assigned.clone(), ..stands })
            .await
    }

    /// How many of a tenant's active nodes are healthy, suspect and offline, as this gateway knows it.
    ///
    /// # Errors
    /// Store errors.
    pub async fn nodes_by_health(&self, tenant: &TenantId) -> Result<BTreeMap<Health, u64>, HubError> {
        let last = self.health(tenant).await?;
        let mut counts: BTreeMap<Health, u64> = Health::ALL.into_iter().map(|health| (health, 0)).collect();
        let kind = Kind::new(kind::NODE).map_err(|e| HubError::internal(e.to_string()))?;
        let mut query = PointerQuery { kind: Some(kind), rows_max: PAGE_MAX, ..PointerQuery::default() };
        loop {
            let page = self.records(tenant, query.clone()).await?;
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            for row in page.rows.iter().filter(|row| !row.pointer.deleted) {
                let is_active =
                    control_body::<NodeBody>(Some(row)).is_some_and(|node| node.status == NodeStatus::Active);
                let Ok(node) = row.pointer.key.id.as_str().parse::<NodeId>() else { continue };
                if is_active {
                    *counts.entry(last.get(&node).copied().unwrap_or(Health::Offline)).or_default() += 1;
                }
            }
            if page.is_last || query.after.is_none() {
                return Ok(counts);
            }
        }
    }

    /// How each node that was ever heard seems.
    pub(super) async fn health(&self, tenant: &TenantId) -> Result<BTreeMap<NodeId, Health>, HubError> {
        let now_ms = self.clock().now_ms();
        let mut last: BTreeMap<NodeId, u64> = BTreeMap::new();
        for seen in self.all_seen(tenant).await? {
            let here = self.live(tenant, seen.writer);
            if let Some(seen) = joined(Some(seen), here) {
                let seen_ms = last.entry(seen.writer.node).or_default();
                *seen_ms = seen.seen_ms.max(*seen_ms);
            }
        }
        Ok(last.into_iter().map(|(node, seen_ms)| (node, Health::of(Some(seen_ms), now_ms))).collect())
    }
}
