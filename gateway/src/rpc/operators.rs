//! OperatorService: shape, one use case, answer. Whether the caller reaches the tenant is looked at before anything
//! else of a request.

use std::sync::Arc;

use proto::v1;
use proto::v1::operator_service_server::OperatorService;
use semantics::access::Event;
use semantics::ids::TenantId;
use semantics::role::Role;
use tonic::{Request, Response, Status};

use super::admin::malformed;
use super::paging::{size, text_position, token};
use super::{Gate, status};
use crate::access::Who;
use crate::auth::{Caller, Operator, OperatorBody, Trust, author_of, denied};
use crate::hub::error::HubError;

/// The service.
#[derive(Debug, Clone)]
pub struct OperatorHandler {
    /// What services share.
    pub gate: Arc<Gate>,
    /// Keys and credentials.
    pub trust: Arc<Trust>,
}

/// Who calls, and the request, if the caller reaches the tenant that it names: whatever else is wrong with it, and
/// whether there is such a tenant, is said to nobody else.
pub(super) fn within<T>(
    request: Request<T>,
    tenant: impl FnOnce(&T) -> &str,
) -> Result<(Operator, T), Status> {
    let operator = Caller::operator(request.extensions()).map_err(status::of)?;
    let request = request.into_inner();
    if operator.reaches(tenant(&request)) { Ok((operator, request)) } else { Err(status::of(denied())) }
}

fn tenant_id(text: &str) -> Result<TenantId, HubError> {
    TenantId::new(text).map_err(|e| malformed("tenant", &e))
}

#[tonic::async_trait]
impl OperatorService for OperatorHandler {
    async fn create_operator(
        &self,
        request: Request<v1::CreateOperatorRequest>,
    ) -> Result<Response<v1::CreateOperatorResponse>, Status> {
        let (by, request) = within(request, |request| &request.tenant)?;
        self.create(&by, request).await.map(Response::new).map_err(status::of)
    }

    async fn list_operators(
        &self,
        request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.list(&request).await.map(Response::new).map_err(status::of)
    }

    async fn rotate_operator(
        &self,
        request: Request<v1::RotateOperatorRequest>,
    ) -> Result<Response<v1::RotateOperatorResponse>, Status> {
        let (by, request) = within(request, |request| &request.tenant)?;
        self.rotate(&by, request).await.map(Response::new).map_err(status::of)
    }

    async fn revoke_operator(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorResponse>, Status> {
        let (by, request) = within(request, |request| &request.tenant)?;
        self.revoke(&by, &request).await.map(Response::new).map_err(status::of)
    }

    async fn issue_access_token(
        &self,
        request: Request<v1::IssueAccessTokenRequest>,
    ) -> Result<Response<v1::IssueAccessTokenResponse>, Status> {
        let by = Caller::operator(request.extensions()).map_err(status::of)?;
        // The layer has looked at it; here it is looked up which of the operator's credentials it is.
        let shown = request.metadata().get("authorization").map(|value| value.as_bytes());
        let issued = self.trust.issue_service_token(&by, shown).await.map_err(status::of)?;
        self.note(&by.tenant, &by, Event::AccessTokenIssued);
        Ok(Response::new(v1::IssueAccessTokenResponse { access_token: issued.0, expires_in_s: issued.1 }))
    }
}

impl OperatorHandler {
    /// Operators are records of the tenant `hub`, whose log a tenant's own admin does not read: the tenant's access
    /// log tells it who made, rotated or revoked one.
    fn note(&self, tenant: &TenantId, by: &Operator, event: Event) {
        self.gate.access.note(tenant, &Who::Operator(by.clone()), event);
    }

    async fn create(
        &self,
        by: &Operator,
        request: v1::CreateOperatorRequest,
    ) -> Result<v1::CreateOperatorResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let role = Role::from_name(&request.role);
        let role = role.ok_or_else(|| malformed("role", &"viewer, operator, arbiter or admin"))?;
        let new = Operator { tenant, name: request.name, role };
        let (token, expires_ms) = self.trust.create_operator(by, &new, request.ttl_s).await?;
        let role = role.as_str().to_owned();
        self.note(&new.tenant, by, Event::OperatorCreated { name: new.name, role, expires_ms });
        Ok(v1::CreateOperatorResponse { token, expires_ms })
    }

    async fn list(&self, request: &v1::ListOperatorsRequest) -> Result<v1::ListOperatorsResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let (size, scope) = (size(request.page_size)?, ["operators", tenant.as_str()]);
        let after = text_position(&scope, &request.page_token)?;
        self.gate.hub.store().head(&tenant).await?;
        let now_ms = self.gate.hub.clock().now_ms();
        let mut found = self.trust.operators(&tenant).await?;
        found.retain(|operator| after.as_deref().is_none_or(|after| operator.name.as_str() > after));
        let has_more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if has_more => token(&scope, last.name.as_bytes()),
            _ => String::new(),
        };
        let operators = found.iter().map(|operator| view(operator, now_ms)).collect();
        Ok(v1::ListOperatorsResponse { operators, next_page_token })
    }

    async fn rotate(
        &self,
        by: &Operator,
        request: v1::RotateOperatorRequest,
    ) -> Result<v1::RotateOperatorResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let whose = (&tenant, request.name.as_str());
        let grace_s = request.grace_s.unwrap_or_default();
        let (token, expires_ms) = self.trust.rotate_operator(by, whose, request.ttl_s, grace_s).await?;
        self.note(&tenant, by, Event::OperatorRotated { name: request.name, expires_ms });
        Ok(v1::RotateOperatorResponse { token, expires_ms })
    }

    async fn revoke(
        &self,
        by: &Operator,
        request: &v1::RevokeOperatorRequest,
    ) -> Result<v1::RevokeOperatorResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let revoked = self.trust.revoke_operator(by, &tenant, &request.name).await?;
        if revoked.is_new {
            self.note(&tenant, by, Event::OperatorRevoked { name: request.name.clone() });
        }
        Ok(v1::RevokeOperatorResponse { revision: revoked.revision.0 })
    }
}

fn view(operator: &OperatorBody, now_ms: u64) -> v1::OperatorView {
    v1::OperatorView {
        tenant: operator.tenant.to_string(),
        name: operator.name.clone(),
        role: operator.role.as_str().to_owned(),
        status: operator.status(now_ms).to_owned(),
        expires_ms: operator.credential.as_ref().and_then(|credential| credential.until_ms),
        author: author_of(&operator.tenant, &operator.name).as_bytes().to_vec(),
    }
}
