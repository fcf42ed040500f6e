//! Joining: a join token and a key become a node.

use ed25519_dalek::{Signature, VerifyingKey};
use semantics::ids::{Domain, Key, Kind, NodeId, RecordId, TenantId};
use semantics::kind;
use semantics::node::{self, NodeType};
use semantics::reason::Reason;

use super::issues::Issues;
use super::tokens;
use crate::hub::control::Registered;
use crate::hub::error::HubError;
use crate::hub::known::{NodeBody, NodeStatus, control_body};
use crate::hub::{Hub, Principal};
use crate::store::Space;

/// Signed before the token's text, so that this signature can never pass for another.
pub const JOIN_CONTEXT: &[u8] = b"hubward join v1";
/// Domain of a node that names none.
const DEFAULT_DOMAIN: &str = "default";

/// Who wants to join, as sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Joiner {
    /// The join token.
    pub token: String,
    /// What people call the node.
    pub name: String,
    /// `desktop`, `cloud`, `mobile`, `edge` or `agent`.
    pub node_type: String,
    /// Empty = `default`.
    pub domain: String,
    /// What the node can do.
    pub capabilities: Vec<String>,
    /// Ed25519 public key.
    pub public_key: Vec<u8>,
    /// Signature over [`JOIN_CONTEXT`] and the token.
    pub proof: Vec<u8>,
}

/// What a join came to.
#[derive(Debug)]
pub(super) struct Joined {
    /// The node.
    pub(super) principal: Principal,
    /// Whether it became one by this, and was none before.
    pub(super) is_new: bool,
}

/// Makes a node of a joiner, or finds the one it became before.
pub(super) async fn join(hub: &Hub, rate: &Issues, joiner: &Joiner) -> Result<Joined, HubError> {
    let (store, now_ms) = (hub.store(), hub.clock().now_ms());
    let shown = tokens::check(store, &joiner.token, now_ms).await?;
    check_proof(joiner)?;
    let body = body_of(joiner)?;
    let fingerprint = tokens::fingerprint(&body.name, &joiner.public_key);
    rate.take(&shown.tenant, &fingerprint, now_ms)?;
    // A revoked node must not come back on a use that it had before.
    let is_revoked = matches!(status(hub, &shown.tenant, &body.name).await?, Some(NodeStatus::Revoked));
    let is_taken = tokens::take(store, &shown, &fingerprint, is_revoked).await?;
    match hub.register(&shown.tenant, &body).await {
        Ok(Registered { node, is_new }) => {
            Ok(Joined { principal: Principal { tenant: shown.tenant, node }, is_new })
        }
        Err(error) => {
            if is_taken && error.retry_after_ms.is_none() {
                tokens::give_back(store, &shown, &fingerprint).await?;
            }
            Err(error)
        }
    }
}

fn check_proof(joiner: &Joiner) -> Result<(), HubError> {
    let malformed = |what: &str| HubError::new(Reason::Malformed, format!("{what} has the wrong length"));
    let key = <[u8; 32]>::try_from(joiner.public_key.as_slice()).map_err(|_| malformed("public_key"))?;
    let proof = <[u8; 64]>::try_from(joiner.proof.as_slice()).map_err(|_| malformed("proof"))?;
    let mut signed = JOIN_CONTEXT.to_vec();
    signed.extend_from_slice(joiner.token.as_bytes());
    let key = VerifyingKey::from_bytes(&key).map_err(|_| bad_proof())?;
    key.verify_strict(&signed, &Signature::from_bytes(&proof)).map_err(|_| bad_proof())
}

fn bad_proof() -> HubError {
    HubError::new(Reason::BadSignature, "the proof is not the public key's signature of the token")
}

fn body_of(joiner: &Joiner) -> Result<NodeBody, HubError> {
    let malformed = |detail: String| HubError::new(Reason::Malformed, detail);
    // A node's name has the alphabet and the bound of a domain's.
    let name = Domain::new(joiner.name.as_str())
        .map_err(|e| malformed(format!("name: {}", e.to_string().replace("domain", "it"))))?;
    // What stands beside it in the audit must not read as the hub's own, or as another node's id.
    let is_id = name.as_str().len() == 32 && name.as_str().chars().all(|c| c.is_ascii_hexdigit());
    if name.as_str() == "hub" || is_id {
        let detail = format!("name: {name} would be taken for the hub or for a node's id: choose another");
        return Err(malformed(detail));
    }
    let node_type = NodeType::from_name(&joiner.node_type)?;
    let domain = if joiner.domain.is_empty() { DEFAULT_DOMAIN } else { joiner.domain.as_str() };
    let domain = Domain::new(domain).map_err(|e| malformed(format!("domain: {e}")))?;
    Ok(NodeBody {
        name: name.as_str().to_owned(),
        node_type: node_type.as_str().to_owned(),
        domain,
        capabilities: node::capabilities(&joiner.capabilities)?,
        assigned: None,
        public_key: hex::encode(&joiner.public_key),
        status: NodeStatus::Active,
    })
}

async fn status(hub: &Hub, tenant: &TenantId, name: &str) -> Result<Option<NodeStatus>, HubError> {
    let held = hub.store().plain_get(tenant, Space::Node, name.as_bytes()).await?;
    let Some(node) = held.and_then(|row| NodeId::from_slice(&row.value).ok()) else { return Ok(None) };
    Ok(registration(hub, tenant, node).await?.map(|body| body.status))
}

/// A node's registration.
pub(super) async fn registration(
    hub: &Hub,
    tenant: &TenantId,
    node: NodeId,
) -> Result<Option<NodeBody>, HubError> {
    let internal = |e: semantics::ids::IdError| HubError::internal(e.to_string());
    let id = RecordId::new(node.to_string()).map_err(internal)?;
    let key = Key { kind: Kind::new(kind::NODE).map_err(internal)?, id };
    Ok(control_body(hub.control(tenant, &key).await?.as_ref()))
}
