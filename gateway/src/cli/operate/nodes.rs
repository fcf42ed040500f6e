//! `hubward node` and `hubward node-type`.

use std::collections::BTreeSet;

use clap::Subcommand;
use proto::v1;
use semantics::node::NodeType;
use semantics::reason::Refusal;
use serde_json::json;

use super::{OfTenant, PAGE_SIZE, refused, show};
use crate::cli::client::Client;
use crate::cli::output::Printer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Node {
    /// Lists nodes.
    List {
        /// Only this type: desktop, cloud, mobile, edge or agent.
        #[arg(long = "type", value_name = "TYPE")]
        node_type: Option<String>,
        /// Only these: healthy (heard within 60 s), suspect (within 15 min) or offline.
        #[arg(long)]
        health: Option<String>,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows a node.
    Show {
        /// Node id or name.
        node: String,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Sets what a node can do, whatever it declared.
    Set {
        /// Node id or name.
        node: String,
        #[command(flatten)]
        can: Can,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Ends a node for good.
    Revoke {
        /// Node id or name.
        node: String,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NodeTypes {
    /// Lists the types and what they stand for.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Sets what nodes of a type can do that declare nothing themselves, and what they see when they join.
    Set {
        /// desktop, cloud, mobile, edge or agent.
        node_type: String,
        #[command(flatten)]
        set: TypeSet,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Can {
    /// Something it can do; may be given several times.
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// Nothing at all.
    #[arg(long)]
    nothing: bool,
    /// What it would be without having been set.
    #[arg(long)]
    reset: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(in crate::cli) struct TypeSet {
    /// Something it can do; may be given several times. Without, what was set before stays, --reset takes it back.
    #[arg(long = "capability", value_name = "NAME", conflicts_with_all = ["nothing", "reset"])]
    capabilities: Vec<String>,
    /// It can do nothing at all.
    #[arg(long, conflicts_with = "reset")]
    nothing: bool,
    /// A kind that its nodes see from the start, in their domain; may be given several times. Without, what was
    /// set before stays, --reset takes it back.
    #[arg(long = "kind", value_name = "KIND", conflicts_with = "reset")]
    kinds: Vec<String>,
    /// What it would be without having been set.
    #[arg(long)]
    reset: bool,
}

impl TypeSet {
    fn asked(self) -> (Option<v1::Capabilities>, Option<v1::Kinds>) {
        let can = self.nothing || !self.capabilities.is_empty();
        let sees = !self.kinds.is_empty();
        (
            can.then_some(v1::Capabilities { names: self.capabilities }),
            sees.then_some(v1::Kinds { names: self.kinds }),
        )
    }

    /// What to set: a half that is not named stays as it stands, because the hub sets both.
    fn over(self, stands: Option<v1::NodeTypeView>) -> (Option<v1::Capabilities>, Option<v1::Kinds>) {
        if self.reset {
            return (None, None);
        }
        let (capabilities, kinds) = self.asked();
        let Some(stands) = stands.filter(|stands| stands.assigned) else { return (capabilities, kinds) };
        // The hub shows what a type can do, whether that was set or not.
        let by_itself = NodeType::from_name(&stands.node_type).map(NodeType::defaults).ok();
        let can: BTreeSet<String> = stands.capabilities.into_iter().collect();
        let stood = (Some(&can) != by_itself.as_ref())
            .then(|| v1::Capabilities { names: can.iter().cloned().collect() });
        (capabilities.or(stood), kinds.or(stands.kinds))
    }
}

impl Can {
    fn asked(self) -> Option<v1::Capabilities> {
        (!self.reset).then_some(v1::Capabilities { names: self.capabilities })
    }
}

/// Every node that a request asks for, page after page.
pub(in crate::cli) async fn all(
    hub: &mut Client,
    request: v1::ListNodesRequest,
) -> Result<Vec<v1::NodeView>, Refusal> {
    let mut request = v1::ListNodesRequest { page_size: PAGE_SIZE, ..request };
    let mut nodes = Vec::new();
    loop {
        let page = hub.list_nodes(request.clone()).await.map_err(refused)?.into_inner();
        nodes.extend(page.nodes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(nodes);
        }
    }
}

impl Node {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::List { node_type, health, of } => {
                let request = v1::ListNodesRequest {
                    tenant: of.tenant,
                    node_type: node_type.unwrap_or_default(),
                    health: health.unwrap_or_default(),
                    ..v1::ListNodesRequest::default()
                };
                let rows = all(hub, request).await?.iter().map(show::node).collect();
                let columns = [
                    "name",
                    "type",
                    "domain",
                    "status",
                    "health",
                    "seen_ms",
                    "lag_commits",
                    "clock_offset_ms",
                    "software",
                    "gateway",
                    "node",
                ];
                out.list("nodes", rows, &columns);
            }
            Self::Show { node, of } => {
                let request = v1::GetNodeRequest { tenant: of.tenant, node };
                let found = hub.get_node(request).await.map_err(refused)?.into_inner();
                out.object(&show::node(&found.node.unwrap_or_default()));
            }
            Self::Set { node, can, of } => {
                let capabilities = can.asked();
                let request = v1::SetNodeCapabilitiesRequest { tenant: of.tenant, node, capabilities };
                let done = hub.set_node_capabilities(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
            Self::Revoke { node, of } => {
                let request = v1::RevokeNodeRequest { tenant: of.tenant, node };
                let done = hub.revoke_node(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
        }
        Ok(())
    }
}

impl NodeTypes {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::List { of } => {
                let request = v1::ListNodeTypesRequest { tenant: of.tenant };
                let found = hub.list_node_types(request).await.map_err(refused)?.into_inner();
                let rows = found.node_types.iter().map(show::node_type).collect();
                out.list("node_types", rows, &["type", "capabilities", "kinds", "set"]);
            }
            Self::Set { node_type, set, of } => {
                let all = v1::ListNodeTypesRequest { tenant: of.tenant.clone() };
                let all = hub.list_node_types(all).await.map_err(refused)?.into_inner().node_types;
                let stands = all.into_iter().find(|stands| stands.node_type == node_type);
                let (capabilities, kinds) = set.over(stands);
                let request = v1::SetNodeTypeRequest { tenant: of.tenant, node_type, capabilities, kinds };
                let done = hub.set_node_type(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn set(capabilities: &[&str], kinds: &[&str], reset: bool) -> TypeSet {
        TypeSet { capabilities: names(capabilities), nothing: false, kinds: names(kinds), reset }
    }

    #[test]
    fn setting_one_half_of_a_type_keeps_the_other() {
        let light = Some(v1::Capabilities { names: names(&["light"]) });
        let entity = Some(v1::Kinds { names: names(&["entity"]) });
        let view = |capabilities: Vec<String>, kinds: Option<v1::Kinds>| {
            let node_type = "mobile".to_owned();
            Some(v1::NodeTypeView { node_type, capabilities, assigned: true, kinds })
        };
        let by_itself = || NodeType::from_name("mobile").unwrap().defaults().into_iter().collect();
        let stands = view(by_itself(), entity.clone());
        assert_eq!(set(&["light"], &[], false).over(stands.clone()), (light.clone(), entity.clone()));
        assert_eq!(set(&[], &["entity"], false).over(view(by_itself(), None)), (None, entity.clone()));
        let stands = view(names(&["light"]), entity.clone());
        let note = Some(v1::Kinds { names: names(&["note"]) });
        assert_eq!(set(&[], &["note"], false).over(stands.clone()), (light.clone(), note));
        assert_eq!(set(&[], &[], true).over(stands), (None, None));
        assert_eq!(set(&["light"], &[], false).over(None), (light, None));
    }
}
