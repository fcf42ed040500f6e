//! AdminService: shape, one use case, answer.

use std::sync::Arc;

use proto::v1;
use proto::v1::admin_service_server::AdminService;
use semantics::access::Event;
use semantics::ids::{IdError, Key, TenantId};
use semantics::kind::Declaration;
use semantics::reason::{Reason, Refusal};
use semantics::view::View;
use tonic::{Request, Response, Status};

use super::operators::within;
use super::{
    Gate, conflicts, identities, lists, nodes, policies, precedents, recovery, status, tokens, topologies,
};
use crate::access::Who;
use crate::auth::{self, Caller, Operator, Trust};
use crate::hub::error::HubError;

/// Uses of a join token when none are named.
const TOKEN_USES_DEFAULT: u32 = 1;
/// Seconds a join token is valid when none are named.
const TOKEN_TTL_S_DEFAULT: u64 = 3_600;
/// Longest kind declaration, bytes of JSON.
const DECLARATION_BYTES_MAX: usize = 256 * 1024;

/// The service.
#[derive(Debug, Clone)]
pub struct AdminHandler {
    /// What services share.
    pub gate: Arc<Gate>,
    /// Keys and tokens.
    pub trust: Arc<Trust>,
}

type Reply<T> = Result<Response<T>, Status>;

fn reply<T>(answer: Result<T, HubError>) -> Reply<T> {
    answer.map(Response::new).map_err(status::of)
}

pub(super) fn malformed(field: &str, error: &impl ToString) -> HubError {
    HubError::new(Reason::Malformed, format!("{field}: {}", error.to_string()))
}

pub(super) fn tenant_id(text: &str) -> Result<TenantId, HubError> {
    let tenant = TenantId::new(text).map_err(|e: IdError| malformed("tenant", &e))?;
    if tenant == auth::hub_tenant()? {
        return Err(HubError::new(Reason::PermissionDenied, format!("the tenant {tenant} is the hub's own")));
    }
    Ok(tenant)
}

pub(super) fn request_key(key: Option<v1::Key>) -> Result<Key, HubError> {
    let key = key.ok_or_else(|| malformed("key", &"absent"))?;
    Key::try_from(key).map_err(|error| Refusal::from(error).into())
}

#[tonic::async_trait]
impl AdminService for AdminHandler {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Reply<v1::CreateTenantResponse> {
        let by = Caller::operator(request.extensions()).map_err(status::of)?;
        reply(self.make_tenant(by, &request.into_inner().tenant).await)
    }

    async fn list_tenants(&self, request: Request<v1::ListTenantsRequest>) -> Reply<v1::ListTenantsResponse> {
        reply(lists::tenants(&self.gate.hub, &request.into_inner()).await)
    }

    async fn apply_kind(&self, request: Request<v1::ApplyKindRequest>) -> Reply<v1::ApplyKindResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(self.declare(&by, request).await)
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Reply<v1::ListPoliciesResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(policies::list(&self.gate.hub, &request).await)
    }

    async fn list_identity_health(
        &self,
        request: Request<v1::ListIdentityHealthRequest>,
    ) -> Reply<v1::ListIdentityHealthResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(identities::health(&self.gate.hub, &request).await)
    }

    async fn list_identity_divergence(
        &self,
        request: Request<v1::ListIdentityDivergenceRequest>,
    ) -> Reply<v1::ListIdentityDivergenceResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(identities::divergence(&self.gate.hub, &request).await)
    }

    async fn list_identity_convergence(
        &self,
        request: Request<v1::ListIdentityConvergenceRequest>,
    ) -> Reply<v1::ListIdentityConvergenceResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(identities::convergence(&self.gate.hub, &request).await)
    }

    async fn set_policy(&self, request: Request<v1::SetPolicyRequest>) -> Reply<v1::SetPolicyResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(policies::set(&self.gate.hub, &by, request).await)
    }

    async fn get_topology(&self, request: Request<v1::GetTopologyRequest>) -> Reply<v1::GetTopologyResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(topologies::get(&self.gate.hub, &request).await)
    }

    async fn set_topology(&self, request: Request<v1::SetTopologyRequest>) -> Reply<v1::SetTopologyResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(topologies::set(&self.gate.hub, &by, request).await)
    }

    async fn list_kinds(&self, request: Request<v1::ListKindsRequest>) -> Reply<v1::ListKindsResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(lists::kinds(&self.gate.hub, &request).await)
    }

    async fn set_view(&self, request: Request<v1::SetViewRequest>) -> Reply<v1::SetViewResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(self.set_node_view(&by, request).await)
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Reply<v1::CreateTokenResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(self.make_token(by, request).await)
    }

    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Reply<v1::ListTokensResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(tokens::list(&self.trust, &request).await)
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Reply<v1::RevokeTokenResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(self.take_back_token(by, &request).await)
    }

    async fn get_ca(&self, _: Request<v1::GetCaRequest>) -> Reply<v1::GetCaResponse> {
        let key_digest = self.trust.ca_key_digest().as_bytes().to_vec();
        reply(Ok(v1::GetCaResponse { certificate: self.trust.ca_pem().to_owned(), key_digest }))
    }

    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Reply<v1::ListNodesResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(nodes::list(&self.gate.hub, &request).await)
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Reply<v1::GetNodeResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        let v1::GetNodeRequest { tenant, node } = request;
        reply(nodes::get(&self.gate.hub, &tenant, &node).await)
    }

    async fn revoke_node(&self, request: Request<v1::RevokeNodeRequest>) -> Reply<v1::RevokeNodeResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(self.revoke(&by, &request.tenant, &request.node).await)
    }

    async fn set_node_capabilities(
        &self,
        request: Request<v1::SetNodeCapabilitiesRequest>,
    ) -> Reply<v1::SetNodeCapabilitiesResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(nodes::set_capabilities(&self.gate.hub, by.author(), request).await)
    }

    async fn list_node_types(
        &self,
        request: Request<v1::ListNodeTypesRequest>,
    ) -> Reply<v1::ListNodeTypesResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(nodes::types(&self.gate.hub, &request.tenant).await)
    }

    async fn set_node_type(
        &self,
        request: Request<v1::SetNodeTypeRequest>,
    ) -> Reply<v1::SetNodeTypeResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(nodes::set_type(&self.gate.hub, by.author(), request).await)
    }

    async fn get_hub_record(
        &self,
        request: Request<v1::GetHubRecordRequest>,
    ) -> Reply<v1::GetHubRecordResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(self.record(request).await)
    }

    async fn list_hub_records(
        &self,
        request: Request<v1::ListHubRecordsRequest>,
    ) -> Reply<v1::ListHubRecordsResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(lists::records(&self.gate.hub, request).await)
    }

    async fn list_history(&self, request: Request<v1::ListHistoryRequest>) -> Reply<v1::ListHistoryResponse> {
        let (_, mut request) = within(request, |request| &request.tenant)?;
        let key = request_key(request.key.take()).map_err(status::of)?;
        reply(lists::history(&self.gate.hub, &request, &key).await)
    }

    async fn list_conflicts(
        &self,
        request: Request<v1::ListConflictsRequest>,
    ) -> Reply<v1::ListConflictsResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(conflicts::list(&self.gate.hub, &request).await)
    }

    async fn get_conflict(&self, request: Request<v1::GetConflictRequest>) -> Reply<v1::GetConflictResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(conflicts::get(&self.gate.hub, &request).await)
    }

    async fn resolve_conflict(
        &self,
        request: Request<v1::ResolveConflictRequest>,
    ) -> Reply<v1::ResolveConflictResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(conflicts::resolve(&self.gate.hub, &by, request).await)
    }

    async fn list_precedents(
        &self,
        request: Request<v1::ListPrecedentsRequest>,
    ) -> Reply<v1::ListPrecedentsResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(precedents::list(&self.gate.hub, &request).await)
    }

    async fn revoke_precedent(
        &self,
        request: Request<v1::RevokePrecedentRequest>,
    ) -> Reply<v1::RevokePrecedentResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(precedents::revoke(&self.gate.hub, &by, &request).await)
    }

    async fn preview_policy(
        &self,
        request: Request<v1::PreviewPolicyRequest>,
    ) -> Reply<v1::PreviewPolicyResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        reply(precedents::preview(&self.gate.hub, &request).await)
    }

    async fn undo_resolution(
        &self,
        request: Request<v1::UndoResolutionRequest>,
    ) -> Reply<v1::UndoResolutionResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(conflicts::undo(&self.gate.hub, &by, request).await)
    }

    async fn recover_log(&self, request: Request<v1::RecoverLogRequest>) -> Reply<v1::RecoverLogResponse> {
        let (by, request) = within(request, |request| &request.tenant)?;
        reply(recovery::recover(&self.gate, by, &request).await)
    }

    async fn get_view_digest(
        &self,
        request: Request<v1::GetViewDigestRequest>,
    ) -> Reply<v1::GetViewDigestResponse> {
        let (_, request) = within(request, |request| &request.tenant)?;
        let v1::GetViewDigestRequest { tenant, node } = request;
        reply(self.digest(&tenant, &node).await)
    }
}

impl AdminHandler {
    async fn make_tenant(&self, by: Operator, tenant: &str) -> Result<v1::CreateTenantResponse, HubError> {
        let tenant = tenant_id(tenant)?;
        if !self.gate.hub.create_tenant(&tenant).await? {
            return Err(HubError::new(Reason::AlreadyExists, format!("the tenant {tenant} exists")));
        }
        self.gate.access.note(&tenant, &Who::Operator(by), Event::TenantCreated);
        let head = self.gate.hub.store().head(&tenant).await?;
        Ok(v1::CreateTenantResponse { log_id: head.log_id.as_bytes().to_vec() })
    }

    async fn declare(
        &self,
        by: &Operator,
        request: v1::ApplyKindRequest,
    ) -> Result<v1::ApplyKindResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let bytes = request.declaration.len();
        if bytes > DECLARATION_BYTES_MAX {
            let detail = format!("declaration: {bytes} bytes, at most {DECLARATION_BYTES_MAX} are allowed");
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        let declaration: Declaration =
            serde_json::from_slice(&request.declaration).map_err(|e| malformed("declaration", &e))?;
        let revision = self.gate.hub.apply_kind(&tenant, by.author(), &declaration).await?;
        Ok(v1::ApplyKindResponse { revision: revision.0 })
    }

    async fn set_node_view(
        &self,
        by: &Operator,
        request: v1::SetViewRequest,
    ) -> Result<v1::SetViewResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let view = request.view.ok_or_else(|| malformed("view", &"absent"))?;
        let view = View::try_from(view).map_err(Refusal::from)?;
        let (node, _) = nodes::find(&self.gate.hub, &tenant, &request.node).await?;
        let revision = self.gate.hub.set_view(&tenant, by.author(), node, &view).await?;
        Ok(v1::SetViewResponse { revision: revision.0 })
    }

    async fn make_token(
        &self,
        by: Operator,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        self.gate.hub.store().head(&tenant).await?;
        let uses = request.uses.unwrap_or(TOKEN_USES_DEFAULT);
        let ttl_s = request.ttl_s.unwrap_or(TOKEN_TTL_S_DEFAULT);
        let made = self.trust.create_token(&tenant, uses, ttl_s).await?;
        let event = Event::JoinTokenCreated { id: made.id.clone(), uses, expires_ms: made.expires_ms };
        self.gate.access.note(&tenant, &Who::Operator(by), event);
        Ok(v1::CreateTokenResponse { token: made.token, expires_ms: made.expires_ms, id: made.id })
    }

    async fn take_back_token(
        &self,
        by: Operator,
        request: &v1::RevokeTokenRequest,
    ) -> Result<v1::RevokeTokenResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let revoked = self.trust.revoke_token(&tenant, &request.id).await?;
        let event = Event::JoinTokenRevoked { id: revoked.id.clone(), uses_left: revoked.uses_left };
        self.gate.access.note(&tenant, &Who::Operator(by), event);
        Ok(v1::RevokeTokenResponse { token: Some(tokens::view(revoked)) })
    }

    async fn revoke(
        &self,
        by: &Operator,
        tenant: &str,
        node: &str,
    ) -> Result<v1::RevokeNodeResponse, HubError> {
        let tenant = tenant_id(tenant)?;
        let (node, _) = nodes::find(&self.gate.hub, &tenant, node).await?;
        let revision = self.gate.hub.revoke_node(&tenant, by.author(), node).await?;
        Ok(v1::RevokeNodeResponse { revision: revision.0 })
    }

    async fn record(&self, request: v1::GetHubRecordRequest) -> Result<v1::GetHubRecordResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let key = request_key(request.key)?;
        let found = self.gate.hub.record(&tenant, &key).await?;
        let found = found.ok_or_else(|| HubError::new(Reason::NotFound, format!("no record {key}")))?;
        Ok(v1::GetHubRecordResponse { record: Some(super::view::record(found)) })
    }

    async fn digest(&self, tenant: &str, node: &str) -> Result<v1::GetViewDigestResponse, HubError> {
        let tenant = tenant_id(tenant)?;
        let (node, _) = nodes::find(&self.gate.hub, &tenant, node).await?;
        let (head, digest) = self.gate.hub.digest(&tenant, node).await?;
        Ok(v1::GetViewDigestResponse { revision: head.revision.0, digest: digest.as_bytes().to_vec() })
    }
}
