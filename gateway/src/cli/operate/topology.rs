//! `hubward topology`: who writes.

use clap::{Args, Subcommand};
use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::{OfTenant, refused};
use crate::cli::client::Client;
use crate::cli::output::Printer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TopologyCommand {
    /// Shows who writes, of which kinds, and from which revision on.
    Show {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Sets who writes, from now on: what others send then is refused, and stays with them.
    Set {
        /// multi-master: every node. primary-replica: one. federation: in each site, which is a domain, one of its own.
        #[arg(value_parser = ["multi-master", "primary-replica", "federation"])]
        shape: String,
        #[command(flatten)]
        primaries: Primaries,
        /// Records of this kind; may be given several times; without, identity.
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Makes another node the primary; shape and kinds stay as they are.
    Promote {
        /// Node id or name.
        node: String,
        /// The site of a federation whose primary it becomes.
        #[arg(long, value_name = "DOMAIN")]
        site: Option<String>,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Primaries {
    /// Node id or name of the one that writes, with primary-replica.
    #[arg(long, value_name = "NODE", required_if_eq("shape", "primary-replica"))]
    primary: Option<String>,
    /// A site and its primary, with federation; may be given several times.
    #[arg(long = "site", value_name = "DOMAIN=NODE", required_if_eq("shape", "federation"))]
    sites: Vec<String>,
}

impl TopologyCommand {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        let request = match self {
            Self::Show { of } => {
                let request = v1::GetTopologyRequest { tenant: of.tenant };
                let found = hub.get_topology(request).await.map_err(refused)?.into_inner();
                out.object(&shown(&found));
                return Ok(());
            }
            Self::Set { shape, primaries, kinds, of } => v1::SetTopologyRequest {
                tenant: of.tenant,
                shape: shape.replace('-', "_"),
                kinds,
                primary: primaries.primary.unwrap_or_default(),
                sites: primaries.sites.iter().map(|text| site(text)).collect::<Result<_, _>>()?,
                expected_version: None,
            },
            Self::Promote { node, site, of } => {
                let request = v1::GetTopologyRequest { tenant: of.tenant.clone() };
                let stands = hub.get_topology(request).await.map_err(refused)?.into_inner();
                promoted(stands, node, site, of.tenant)?
            }
        };
        let done = hub.set_topology(request).await.map_err(refused)?.into_inner();
        out.object(&json!({"revision": done.revision}));
        Ok(())
    }
}

/// What stands, with another primary; only over what was looked at.
fn promoted(
    stands: v1::GetTopologyResponse,
    node: String,
    site: Option<String>,
    tenant: String,
) -> Result<v1::SetTopologyRequest, Refusal> {
    let malformed = |detail: String| Err(Refusal::new(Reason::Malformed, detail));
    let mut request = v1::SetTopologyRequest {
        tenant,
        shape: stands.shape.clone(),
        kinds: stands.kinds,
        expected_version: Some(stands.version),
        ..Default::default()
    };
    match (stands.shape.as_str(), site) {
        ("primary_replica", None) => request.primary = node,
        ("federation", Some(site)) => {
            if !stands.primaries.iter().any(|primary| primary.domain == site) {
                return malformed(format!("{site:?} is no site of the federation"));
            }
            let sites = stands.primaries.into_iter().map(|primary| {
                let named = if primary.domain == site { node.clone() } else { hex::encode(primary.node) };
                v1::TopologySite { domain: primary.domain, node: named }
            });
            request.sites = sites.collect();
        }
        ("federation", None) => return malformed("name the site: --site DOMAIN".to_owned()),
        (shape, _) => {
            let detail =
                format!("the topology is {shape}: nobody is promoted there; see `hubward topology set`");
            return malformed(detail);
        }
    }
    Ok(request)
}

fn site(text: &str) -> Result<v1::TopologySite, Refusal> {
    match text.split_once('=') {
        Some((domain, node)) if !domain.is_empty() && !node.is_empty() => {
            Ok(v1::TopologySite { domain: domain.to_owned(), node: node.to_owned() })
        }
        _ => Err(Refusal::new(Reason::Malformed, format!("--site {text:?} is not DOMAIN=NODE"))),
    }
}

fn shown(found: &v1::GetTopologyResponse) -> Value {
    let primaries = found.primaries.iter().map(|primary| {
        json!({
            "site": Some(&primary.domain).filter(|domain| !domain.is_empty()),
            "node": hex::encode(&primary.node),
            "name": primary.name,
            "status": primary.status,
        })
    });
    json!({
        "shape": found.shape,
        "kinds": found.kinds,
        "primaries": primaries.collect::<Vec<_>>(),
        "version": found.version,
    })
}
