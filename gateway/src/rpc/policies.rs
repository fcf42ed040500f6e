//! Which policy settles the concurrent changes of each kind, and setting it.

use proto::v1;
use semantics::ids::Kind;
use semantics::kind::Policy;

use super::admin::{malformed, tenant_id};
use super::lists::page_of_kinds;
use super::paging::size;
use crate::auth::Operator;
use crate::hub::Hub;
use crate::hub::error::HubError;

/// What who sets the policy `resolver` is told by a hub that has none.
const NO_RESOLVER: &str =
    "this gateway has no resolver: conflicts of the kind wait for a person until it is started with one";

/// What who gives identities to the stamp alone is told.
const NO_GUARD: &str =
    "under this policy the stamp alone decides: a collapsed state takes the place of a healthy one";

pub(super) async fn list(
    hub: &Hub,
    request: &v1::ListPoliciesRequest,
) -> Result<v1::ListPoliciesResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let (declared, next_page_token) =
        page_of_kinds(hub, &tenant, size(request.page_size)?, &request.page_token).await?;
    let mut policies = Vec::new();
    for declaration in declared {
        let (found, newer) = hub.policy_told(&tenant, &declaration.name).await?;
        policies.push(v1::PolicyView {
            kind: declaration.name.to_string(),
            assigned: found.set.is_some() || newer.is_some(),
            policy: newer.unwrap_or_else(|| found.policy().name().to_owned()),
            declared: found.declaration.policy.name().to_owned(),
            version: found.version.0,
        });
    }
    Ok(v1::ListPoliciesResponse { policies, next_page_token })
}

pub(super) async fn set(
    hub: &Hub,
    by: &Operator,
    request: v1::SetPolicyRequest,
) -> Result<v1::SetPolicyResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let kind = Kind::new(request.kind).map_err(|e| malformed("kind", &e))?;
    let policy = request.policy.as_deref().map(Policy::from_name).transpose()?;
    let is_identity = kind.as_str() == semantics::identity::KIND;
    let revision = hub.set_policy(&tenant, by.author(), &kind, policy).await?;
    let asks_nobody = policy == Some(Policy::Resolver) && !hub.has_resolver();
    let is_unguarded = is_identity && policy.is_some_and(|policy| !policy.is_ordered());
    let note = match (asks_nobody, is_unguarded) {
        (true, _) => NO_RESOLVER,
        (false, true) => NO_GUARD,
        (false, false) => "",
    };
    Ok(v1::SetPolicyResponse { revision: revision.0, note: note.to_owned() })
}
