//! Assertions: what a node signs with its own key to get an access token. Each is good once, on whichever gateway.

use jsonwebtoken::{Algorithm, DecodingKey};
use semantics::ids::{NodeId, TenantId};
use semantics::reason::Reason;
use serde::Deserialize;

use super::access::{LEEWAY_S, TOKEN_BYTES_MAX, validation};
use super::issues::Issues;
use super::join::registration;
use super::secret;
use crate::hub::error::HubError;
use crate::hub::known::NodeStatus;
use crate::hub::{Hub, Principal};
use crate::store::Space;

/// Audience of an assertion: this, and the tenant's name.
pub const ASSERTION_AUDIENCE: &str = "hubward/";
/// Longest life of an assertion, seconds.
pub const ASSERTION_LIFE_S: u64 = 60;
/// Longest `jti`, bytes.
const JTI_BYTES_MAX: usize = 64;

/// Claims of an assertion, every one of them of one JSON type and required, but for `nbf`.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: NodeId,
    sub: NodeId,
    aud: String,
    iat: u64,
    exp: u64,
    /// RFC 7523 leaves it to the signer, and binds the hub to it where it is given.
    #[serde(default)]
    nbf: Option<u64>,
    jti: String,
}

/// Checks an assertion and uses it up. Past the node's rate it stays what it is: it may be shown again.
pub(super) async fn check(hub: &Hub, rate: &Issues, assertion: &str) -> Result<Principal, HubError> {
    if assertion.len() > TOKEN_BYTES_MAX {
        return Err(refused("the assertion is too long"));
    }
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| refused("no assertion"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(refused("the assertion is not signed with EdDSA"));
    }
    // Only to learn whose key to check it with.
    let claimed: Claims = jsonwebtoken::dangerous::insecure_decode_claims(assertion)
        .map_err(|e| refused(format!("the assertion: {e}")))?;
    let principal = principal_of(&claimed)?;
    let Some(body) = known_node(hub, &principal).await? else { return Err(unknown()) };
    let public = hex::decode(&body.public_key).map_err(|_| unknown())?;
    if public.len() != 32 {
        return Err(unknown());
    }
    let mut validation = validation();
    validation.set_audience(&[&claimed.aud]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    let claims = jsonwebtoken::decode::<Claims>(assertion, &DecodingKey::from_ed_der(&public), &validation)
        .map_err(|_| unknown())?
        .claims;
    if body.status == NodeStatus::Revoked {
        return Err(HubError::new(Reason::NodeRevoked, format!("node {} was revoked", principal.node)));
    }
    let now_ms = hub.clock().now_ms();
    check_times(&claims, now_ms)?;
    let node = principal.node.to_string();
    rate.take(&principal.tenant, &node, now_ms)?;
    let used = use_up(hub, &principal, &claims).await;
    if used.is_err() {
        // Who repeats what it overheard takes nothing from the node.
        rate.give_back(&principal.tenant, &node);
    }
    used.map(|()| principal)
}

fn principal_of(claims: &Claims) -> Result<Principal, HubError> {
    let wrong = || refused("the assertion is not for this hub");
    let tenant = claims.aud.strip_prefix(ASSERTION_AUDIENCE).ok_or_else(wrong)?;
    let tenant = TenantId::new(tenant).map_err(|_| wrong())?;
    if claims.iss != claims.sub {
        return Err(refused("the assertion's issuer is not its subject"));
    }
    if claims.jti.is_empty() || claims.jti.len() > JTI_BYTES_MAX {
        return Err(refused(format!("the assertion's jti has not 1 to {JTI_BYTES_MAX} bytes")));
    }
    Ok(Principal { tenant, node: claims.sub })
}

/// An unknown tenant and an unknown node are one answer.
async fn known_node(hub: &Hub, who: &Principal) -> Result<Option<crate::hub::known::NodeBody>, HubError> {
    match registration(hub, &who.tenant, who.node).await {
        Err(error) if error.reason() == Reason::NotFound => Ok(None),
        other => other,
    }
}

fn check_times(claims: &Claims, now_ms: u64) -> Result<(), HubError> {
    let now_s = now_ms / 1_000;
    let out_of_time = |what: &str| refused(format!("the assertion {what}; the hub's time is {now_ms} ms"));
    if claims.exp.saturating_add(LEEWAY_S) <= now_s {
        return Err(out_of_time("has expired"));
    }
    if claims.iat.max(claims.nbf.unwrap_or(0)) > now_s.saturating_add(LEEWAY_S) {
        return Err(out_of_time("is not valid yet"));
    }
    if claims.exp > claims.iat.saturating_add(ASSERTION_LIFE_S) {
        return Err(refused(format!("the assertion is valid for more than {ASSERTION_LIFE_S} s")));
    }
    Ok(())
}

/// Writes the assertion's mark. The key begins with the expiry, so that sweeping reads only what goes.
async fn use_up(hub: &Hub, who: &Principal, claims: &Claims) -> Result<(), HubError> {
    let mut key = claims.exp.to_be_bytes().to_vec();
    key.extend_from_slice(who.node.as_bytes());
    key.extend_from_slice(&secret::hash(claims.jti.as_bytes()));
    if hub.store().plain_put(&who.tenant, Space::Assertion, &key, &[1], 0).await? {
        return Ok(());
    }
    Err(refused("the assertion was used before"))
}

/// Deletes the marks of assertions that nobody could use again, at most `max`.
pub(super) async fn sweep(hub: &Hub, tenant: &TenantId, max: usize) -> Result<(), HubError> {
    let now_s = hub.clock().now_ms() / 1_000;
    let mut left = max;
    while left > 0 {
        let page = hub.store().plain_page(tenant, Space::Assertion, None, left.min(100)).await?;
        for row in &page {
            let expiry = row.key.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            if expiry.is_some_and(|expiry| expiry.saturating_add(2 * LEEWAY_S) > now_s) {
                return Ok(());
            }
            hub.store().plain_delete(tenant, Space::Assertion, row).await?;
        }
        if page.is_empty() {
            return Ok(());
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

fn unknown() -> HubError {
    refused("there is no such node, or it did not sign the assertion")
}

fn refused(detail: impl Into<String>) -> HubError {
    HubError::new(Reason::Unauthenticated, detail)
}
