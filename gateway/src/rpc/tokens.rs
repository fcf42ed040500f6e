//! Join tokens, as operators see them: never the secret in them.

use proto::v1;

use super::admin::tenant_id;
use super::paging::{position, size, token};
use crate::auth::{JoinToken, Trust};
use crate::hub::error::HubError;

/// A page of a tenant's join tokens.
pub(super) async fn list(
    trust: &Trust,
    request: &v1::ListTokensRequest,
) -> Result<v1::ListTokensResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let (size, scope) = (size(request.page_size)?, ["tokens", tenant.as_str()]);
    let after = position(&scope, &request.page_token)?;
    let (found, next) = trust.tokens(&tenant, after, size).await?;
    let next_page_token = next.map(|at| token(&scope, &at)).unwrap_or_default();
    Ok(v1::ListTokensResponse { tokens: found.into_iter().map(view).collect(), next_page_token })
}

pub(super) fn view(token: JoinToken) -> v1::TokenView {
    v1::TokenView { id: token.id, uses_left: token.uses_left, expires_ms: token.expires_ms }
}
