//! The handler of `AuthService`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::v1;
use proto::v1::auth_service_server::AuthService;
use semantics::access::Event;
use semantics::ids::{NodeId, TenantId};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::keys::TokenKey;
use super::layer::Refuse;
use super::{Rates, access, exchange, join};
use crate::access::{AccessLog, Who};
use crate::hub::Hub;
use crate::hub::error::HubError;

/// Trailer of a refused exchange: the hub's time, milliseconds since 1970-01-01 UTC, so that a node whose clock is
/// wrong can sign an assertion that is in time.
pub const HUB_TIME: &str = "hubward-time-ms";

/// Joins nodes and gives them access tokens.
#[derive(Debug, Clone)]
pub struct AuthHandler {
    pub(super) hub: Arc<Hub>,
    pub(super) issuer: String,
    pub(super) key: Arc<ArcSwap<TokenKey>>,
    pub(super) refuse: Refuse,
    pub(super) access: Option<AccessLog>,
    pub(super) rates: Rates,
}

impl AuthHandler {
    /// Notes who joined and who got a token.
    #[must_use]
    pub fn noting(self, access: AccessLog) -> Self {
        Self { access: Some(access), ..self }
    }

    fn note(&self, tenant: &TenantId, node: NodeId, event: Event) {
        if let Some(access) = &self.access {
            access.note(tenant, &Who::Node(node), event);
        }
    }

    async fn exchange(&self, assertion: &str) -> Result<String, HubError> {
        let principal = exchange::check(&self.hub, &self.rates.nodes, assertion).await?;
        self.note(&principal.tenant, principal.node, Event::AccessTokenIssued);
        access::sign(&self.key.load(), &self.issuer, &principal, self.hub.clock().now_ms())
    }

    fn refuse_with_time(&self, error: HubError) -> Status {
        let mut status = (self.refuse)(error);
        let now_ms = MetadataValue::from(self.hub.clock().now_ms());
        status.metadata_mut().insert(HUB_TIME, now_ms);
        status
    }
}

#[tonic::async_trait]
impl AuthService for AuthHandler {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let asked = request.into_inner();
        let joiner = join::Joiner {
            token: asked.token,
            name: asked.name,
            node_type: asked.node_type,
            domain: asked.domain,
            capabilities: asked.capabilities,
            public_key: asked.public_key.to_vec(),
            proof: asked.proof.to_vec(),
        };
        let join::Joined { principal, is_new } =
            join::join(&self.hub, &self.rates.joins, &joiner).await.map_err(self.refuse)?;
        if is_new {
            self.note(&principal.tenant, principal.node, Event::NodeJoined { name: joiner.name.clone() });
        }
        let node = principal.node.as_bytes().to_vec();
        Ok(Response::new(v1::JoinResponse { node, tenant: principal.tenant.into() }))
    }

    async fn exchange_assertion(
        &self,
        request: Request<v1::ExchangeAssertionRequest>,
    ) -> Result<Response<v1::ExchangeAssertionResponse>, Status> {
        let assertion = request.into_inner().assertion;
        let access_token = self.exchange(&assertion).await.map_err(|e| self.refuse_with_time(e))?;
        Ok(Response::new(v1::ExchangeAssertionResponse { access_token, expires_in_s: access::ACCESS_LIFE_S }))
    }
}
