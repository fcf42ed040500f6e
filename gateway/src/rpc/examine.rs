//! ExamineService: shape, one use case, answer.

use std::sync::Arc;

use proto::v1;
use proto::v1::examine_service_server::ExamineService;
use semantics::ids::{CommitNumber, Key, Kind, RecordId};
use semantics::reason::Reason;
use semantics::session::PROTOCOL_VERSION;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

use super::admin::tenant_id;
use super::operators::within;
use super::paging::{position, size, token};
use super::{Gate, status};
use crate::hub::error::HubError;
use crate::hub::examine::{Chain, LogState, Summed};
use crate::tls;

/// What the gateway says that it is.
pub const SOFTWARE: &str = concat!("hubward ", env!("CARGO_PKG_VERSION"));

/// Name under which a gateway says why it does not follow the key of access tokens, while that is so.
pub const TOKEN_KEY_FAILED: &str = "token_key_failed";

/// Name under which a gateway says how many connections of spokes it takes at once.
pub const CONNECTIONS_MAX: &str = "connections_max";

/// The service.
#[derive(Debug, Clone)]
pub struct ExamineHandler(pub Arc<Gate>);

/// Where a page of records begins.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    kind: Kind,
    id: RecordId,
}

#[tonic::async_trait]
impl ExamineService for ExamineHandler {
    async fn examine_hub(
        &self,
        _: Request<v1::ExamineHubRequest>,
    ) -> Result<Response<v1::ExamineHubResponse>, Status> {
        self.hub().await.map(Response::new).map_err(status::of)
    }

    async fn examine_log(
        &self,
        request: Request<v1::ExamineLogRequest>,
    ) -> Result<Response<v1::ExamineLogResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.log(&request).await.map(Response::new).map_err(status::of)
    }

    async fn examine_chain(
        &self,
        request: Request<v1::ExamineChainRequest>,
    ) -> Result<Response<v1::ExamineChainResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.chain(&request).await.map(Response::new).map_err(status::of)
    }

    async fn examine_records(
        &self,
        request: Request<v1::ExamineRecordsRequest>,
    ) -> Result<Response<v1::ExamineRecordsResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.records(&request).await.map(Response::new).map_err(status::of)
    }
}

impl ExamineHandler {
    async fn hub(&self) -> Result<v1::ExamineHubResponse, HubError> {
        let hub = &self.0.hub;
        let mut settings = hub.store().settings().await?;
        // Tokens are then signed with the key from before, which may be the one that was to go.
        if let Some(refusal) = &*self.0.key_failed.load() {
            settings.insert(TOKEN_KEY_FAILED, refusal.to_string());
        }
        settings.insert(CONNECTIONS_MAX, tls::Bounds::of_spokes().connections_max.to_string());
        let settings = settings.into_iter();
        let told = hub.store().check().await.err().map(HubError::from);
        Ok(v1::ExamineHubResponse {
            software: SOFTWARE.to_owned(),
            protocol: PROTOCOL_VERSION,
            time_ms: hub.clock().now_ms(),
            gateway: hub.name().unwrap_or_default().to_owned(),
            settings: settings
                .map(|(name, value)| v1::StoreSetting { name: name.to_owned(), value })
                .collect(),
            r#unsafe: told.map(|error| error.refusal.into()),
        })
    }

    async fn log(&self, request: &v1::ExamineLogRequest) -> Result<v1::ExamineLogResponse, HubError> {
        let hub = &self.0.hub;
        let LogState { head, leases, lowest_lease, backed_up, recovering } =
            hub.examine_log(&tenant_id(&request.tenant)?).await?;
        let retention = hub.parts().retention;
        Ok(v1::ExamineLogResponse {
            log_id: head.log_id.as_bytes().to_vec(),
            commit: head.commit.0,
            revision: head.revision.0,
            chain: head.chain.as_bytes().to_vec(),
            time_ms: head.time_ms,
            horizon: head.horizon.0,
            kept_revisions: retention.revisions_min,
            expiry_ms: retention.expiry_ms,
            leases: u64::try_from(leases).unwrap_or(u64::MAX),
            lowest_lease: lowest_lease.map_or(0, |revision| revision.0),
            backed_up: backed_up.map(|revision| revision.0),
            recovering,
        })
    }

    async fn chain(&self, request: &v1::ExamineChainRequest) -> Result<v1::ExamineChainResponse, HubError> {
        let hub = &self.0.hub;
        let tenant = tenant_id(&request.tenant)?;
        let size = size(request.page_size)?;
        let tail = format!("{:?}", request.tail);
        let scope = ["chain", tenant.as_str(), &tail];
        let bad = |_| HubError::new(Reason::BadToken, "page_token: not of this list");
        let after = match (position(&scope, &request.page_token)?, request.tail) {
            (Some(bytes), _) => u64::from_be_bytes(bytes.as_slice().try_into().map_err(bad)?),
            (None, Some(tail)) => hub.store().head(&tenant).await?.commit.0.saturating_sub(tail),
            (None, None) => 0,
        };
        let Chain { checked, faults, next } = hub.examine_chain(&tenant, CommitNumber(after), size).await?;
        let fault = |(commit, fault): (CommitNumber, semantics::commit::LinkFault)| v1::ChainFault {
            commit: commit.0,
            what: fault.as_str().to_owned(),
        };
        Ok(v1::ExamineChainResponse {
            first: checked.map_or(0, |(first, _)| first.0),
            last: checked.map_or(0, |(_, last)| last.0),
            faults: faults.into_iter().map(fault).collect(),
            next_page_token: next.map(|next| token(&scope, &next.0.to_be_bytes())).unwrap_or_default(),
        })
    }

    async fn records(
        &self,
        request: &v1::ExamineRecordsRequest,
    ) -> Result<v1::ExamineRecordsResponse, HubError> {
        let hub = &self.0.hub;
        let tenant = tenant_id(&request.tenant)?;
        let size = size(request.page_size)?;
        let scope = ["sums", tenant.as_str()];
        let bad = |_| HubError::new(Reason::BadToken, "page_token: not of this list");
        let after = match position(&scope, &request.page_token)? {
            Some(bytes) => {
                let After { kind, id } = serde_json::from_slice(&bytes).map_err(bad)?;
                Some(Key { kind, id })
            }
            None => None,
        };
        let page = hub.examine_records(&tenant, after, size).await?;
        let (mut next_page_token, mut kept) = (String::new(), None);
        match page.next {
            Some(Key { kind, id }) => {
                let after = serde_json::to_vec(&After { kind, id });
                let after = after.map_err(|error| HubError::internal(error.to_string()))?;
                next_page_token = token(&scope, &after);
            }
            None => kept = hub.kept_sums(&tenant).await?,
        }
        let sum = |(cell, summed): (&semantics::envelope::Cell, &Summed)| v1::ScopeSum {
            scope: Some(cell.into()),
            live: summed.live,
            tombstones: summed.tombstones,
            sum: summed.sum.as_bytes().to_vec(),
        };
        Ok(v1::ExamineRecordsResponse {
            revision: page.revision.0,
            sums: page.cells.iter().map(sum).collect(),
            damaged: page.damaged.iter().map(Into::into).collect(),
            next_page_token,
            kept: kept.map(|(revision, scopes)| v1::KeptSums {
                revision: revision.0,
                scopes: scopes.iter().map(Into::into).collect(),
            }),
        })
    }
}
