//! NodeService.

use std::sync::Arc;

use proto::v1;
use proto::v1::node_service_server::NodeService;
use semantics::ids::{Revision, Writer};
use semantics::reason::Reason;
use semantics::session::About;
use tonic::{Request, Response, Status};

use super::{Gate, conflicts, lists, node_of, status};
use crate::hub::Principal;
use crate::hub::error::HubError;
use crate::store::Wanted;

/// The service.
#[derive(Debug, Clone)]
pub struct NodeHandler(pub Arc<Gate>);

#[tonic::async_trait]
impl NodeService for NodeHandler {
    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let v1::HeartbeatRequest { epoch, about } = request.into_inner();
        let about = about.map(About::try_from).transpose().map_err(status::shape)?.unwrap_or_default();
        let answer = self.beat(&who, epoch, &about).await.map_err(status::of)?;
        Ok(Response::new(answer))
    }

    async fn list_record_history(
        &self,
        request: Request<v1::ListRecordHistoryRequest>,
    ) -> Result<Response<v1::ListRecordHistoryResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let page = lists::node_history(&self.0.hub, &who, request.into_inner()).await.map_err(status::of)?;
        Ok(Response::new(page))
    }

    async fn get_record_conflict(
        &self,
        request: Request<v1::GetRecordConflictRequest>,
    ) -> Result<Response<v1::GetRecordConflictResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let found = conflicts::get_of_node(&self.0.hub, &who, &request.into_inner()).await;
        found.map(Response::new).map_err(status::of)
    }

    async fn resolve_record_conflict(
        &self,
        request: Request<v1::ResolveRecordConflictRequest>,
    ) -> Result<Response<v1::ResolveRecordConflictResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let done = conflicts::resolve_of_node(&self.0.hub, &who, request.into_inner()).await;
        done.map(Response::new).map_err(status::of)
    }

    async fn undo_record_resolution(
        &self,
        request: Request<v1::UndoRecordResolutionRequest>,
    ) -> Result<Response<v1::UndoRecordResolutionResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let done = conflicts::undo_of_node(&self.0.hub, &who, request.into_inner()).await;
        done.map(Response::new).map_err(status::of)
    }

    async fn count_seen(
        &self,
        request: Request<v1::CountSeenRequest>,
    ) -> Result<Response<v1::CountSeenResponse>, Status> {
        let (who, _) = node_of(&request)?;
        let revisions: Vec<Revision> = request.into_inner().revisions.into_iter().map(Revision).collect();
        let counts = self.0.hub.count_seen(&who, &revisions).await.map_err(status::of)?;
        Ok(Response::new(v1::CountSeenResponse { counts: counts.into_iter().map(Into::into).collect() }))
    }
}

impl NodeHandler {
    async fn beat(
        &self,
        who: &Principal,
        epoch: u32,
        about: &About,
    ) -> Result<v1::HeartbeatResponse, HubError> {
        let hub = &self.0.hub;
        // Who looks for the nearest gateway must not find one that is going.
        self.0.check_open()?;
        hub.active_node(who).await?;
        if epoch > 0 {
            let writer = Writer { node: who.node, epoch };
            let wanted = Wanted { writers: [writer].into(), ..Wanted::default() };
            if !hub.store().load(&who.tenant, &wanted).await?.writers.contains_key(&writer) {
                return Err(HubError::new(Reason::NotFound, format!("epoch {epoch} was not opened")));
            }
            hub.note_beat(who, writer, about).await?;
        }
        let head = hub.poll(&who.tenant).await?;
        let hub_time_ms = hub.clock().now_ms().max(head.time_ms);
        Ok(v1::HeartbeatResponse { hub_time_ms, revision: head.revision.0 })
    }
}
