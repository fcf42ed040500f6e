//! The service as tonic calls it: unpack, call, pack.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt};
use proto::v1;
use proto::v1::record_service_server::RecordService;
use semantics::reason::{Reason, Refusal};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::service::Records;
use super::{files, watch, wire};

/// RecordService on the daemon's socket.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    pub(super) records: Records,
    /// Ends the streams.
    pub(super) stop: CancellationToken,
}

pub(super) type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RecordService for Rpc {
    type WatchRecordsStream = Streamed<v1::WatchRecordsResponse>;
    type ImportFileStream = Streamed<v1::ImportFileResponse>;
    type ExportRecordsStream = Streamed<v1::ExportRecordsResponse>;

    async fn get_record(&self, request: Request<v1::GetRecordRequest>) -> Answer<v1::GetRecordResponse> {
        answer(self.records.get(request.into_inner()).await)
    }
    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Answer<v1::ListRecordsResponse> {
        answer(self.records.list(request.into_inner()).await)
    }
    async fn write_records(
        &self,
        request: Request<v1::WriteRecordsRequest>,
    ) -> Answer<v1::WriteRecordsResponse> {
        answer(self.records.write(request.into_inner()).await)
    }
    async fn watch_records(
        &self,
        request: Request<v1::WatchRecordsRequest>,
    ) -> Answer<Self::WatchRecordsStream> {
        let changes = watch::changes(self.records.spoke().clone(), request.into_inner()).await;
        self.stream(changes.map_err(|refusal| status(&refusal))?)
    }
    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        answer(self.records.status(request.into_inner()).await)
    }
    async fn list_outbox(&self, request: Request<v1::ListOutboxRequest>) -> Answer<v1::ListOutboxResponse> {
        answer(self.records.outbox(request.into_inner()).await)
    }
    async fn list_remnants(
        &self,
        request: Request<v1::ListRemnantsRequest>,
    ) -> Answer<v1::ListRemnantsResponse> {
        answer(self.records.remnants(request.into_inner()).await)
    }
    async fn settle_outbox_entry(
        &self,
        request: Request<v1::SettleOutboxEntryRequest>,
    ) -> Answer<v1::SettleOutboxEntryResponse> {
        answer(self.records.settle(request.into_inner()).await)
    }
    async fn sync_now(&self, request: Request<v1::SyncNowRequest>) -> Answer<v1::SyncNowResponse> {
        answer(self.records.sync(request.into_inner()).await)
    }
    async fn wait_for_writes(
        &self,
        request: Request<v1::WaitForWritesRequest>,
    ) -> Answer<v1::WaitForWritesResponse> {
        let waited = self.records.wait(request.into_inner());
        // A daemon that stops does not wait with those who wait.
        answer(self.stop.run_until_cancelled(waited).await.unwrap_or_else(|| Err(draining())))
    }
    async fn diagnose(&self, request: Request<v1::DiagnoseRequest>) -> Answer<v1::DiagnoseResponse> {
        let diagnosed = self.records.diagnose(request.into_inner());
        answer(self.stop.run_until_cancelled(diagnosed).await.unwrap_or_else(|| Err(draining())))
    }
    async fn get_digest(&self, request: Request<v1::GetDigestRequest>) -> Answer<v1::GetDigestResponse> {
        answer(self.records.digest(request.into_inner()).await)
    }
    async fn import_file(&self, request: Request<v1::ImportFileRequest>) -> Answer<Self::ImportFileStream> {
        self.stream(files::import(self.records.spoke().clone(), request.into_inner()))
    }
    async fn export_records(
        &self,
        request: Request<v1::ExportRecordsRequest>,
    ) -> Answer<Self::ExportRecordsStream> {
        let kind = wire::kind_or_all(&request.into_inner().kind).map_err(|refusal| status(&refusal))?;
        self.stream(files::export(self.records.spoke().clone(), kind))
    }
}

impl Rpc {
    fn stream<T: 'static>(
        &self,
        items: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
    ) -> Answer<Streamed<T>> {
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(items.map_err(|refusal| status(&refusal)).take_until(stop).boxed()))
    }
}

fn draining() -> Refusal {
    Refusal::new(Reason::Draining, "the daemon stops; the writes are kept")
}

pub(super) fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Response::new).map_err(|refusal| status(&refusal))
}

pub(super) fn status(refusal: &Refusal) -> Status {
    proto::reason::status(refusal, None, "")
}
