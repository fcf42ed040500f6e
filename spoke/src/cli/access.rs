//! How a command reaches the replica: through the daemon when one answers, else by opening it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use proto::v1;
use proto::v1::record_service_client::RecordServiceClient;
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value, json};
use tonic::transport::Channel;

use crate::client::Spoke;
use crate::daemon::{self, Records};
use crate::folder::Paths;
use crate::settings::Reach;
use crate::transport::refusal;

/// How often a folder that is owned by a process that does not answer is tried again.
const OPEN_TRIES_MAX: u32 = 20;
/// Between two tries, milliseconds.
const OPEN_RETRY_MS: u64 = 100;

/// A data folder, and how its hubs are reached.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) data: PathBuf,
    pub(super) reach: Reach,
}

/// The replica, wherever it is open.
#[derive(Debug)]
pub(super) enum Access {
    Daemon(Box<RecordServiceClient<Channel>>),
    Local(Records),
}

/// Calls that are the same on both ways.
macro_rules! calls {
    ($($name:ident($request:ident) -> $response:ident = $remote:ident;)*) => {$(
        pub(super) async fn $name(&mut self, request: v1::$request) -> Result<v1::$response, Refusal> {
            match self {
                Self::Local(records) => records.$name(request).await,
                Self::Daemon(client) => client.$remote(request).await
                    .map(tonic::Response::into_inner)
                    .map_err(|status| refusal(&status)),
            }
        }
    )*};
}

impl Access {
    /// Finds the daemon of a folder, or opens the folder.
    ///
    /// # Errors
    /// `NOT_JOINED`; `REPLICA_LOCKED` when a process owns the folder and does not answer; `PERMISSION_DENIED` when the
    /// daemon is another user's.
    pub(super) async fn open(at: &At) -> Result<Self, Refusal> {
        let mut tries = 0;
        loop {
            if let Some(client) = daemon::connect(&Paths::new(&at.data).socket()).await? {
                return Ok(Self::Daemon(Box::new(client)));
            }
            match Spoke::open_reaching(&at.data, &at.reach).await {
                Ok(spoke) => return Ok(Self::Local(Records::new(Arc::new(spoke), about(at)?))),
                // Another command is about to end, or a daemon about to answer.
                Err(refusal) if refusal.reason == Reason::ReplicaLocked && tries < OPEN_TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(OPEN_RETRY_MS)).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    calls! {
        get(GetRecordRequest) -> GetRecordResponse = get_record;
        list(ListRecordsRequest) -> ListRecordsResponse = list_records;
        write(WriteRecordsRequest) -> WriteRecordsResponse = write_records;
        outbox(ListOutboxRequest) -> ListOutboxResponse = list_outbox;
        remnants(ListRemnantsRequest) -> ListRemnantsResponse = list_remnants;
        settle(SettleOutboxEntryRequest) -> SettleOutboxEntryResponse = settle_outbox_entry;
        sync(SyncNowRequest) -> SyncNowResponse = sync_now;
        wait(WaitForWritesRequest) -> WaitForWritesResponse = wait_for_writes;
        status(GetStatusRequest) -> GetStatusResponse = get_status;
        diagnose(DiagnoseRequest) -> DiagnoseResponse = diagnose;
        digest(GetDigestRequest) -> GetDigestResponse = get_digest;
    }

    /// Where a watch from now on begins.
    pub(super) async fn position(&mut self) -> Result<u64, Refusal> {
        let status = self.status(v1::GetStatusRequest {}).await?.status;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        let missing = || Refusal::new(Reason::Internal, "the status names no position");
        status.get("position").and_then(Value::as_u64).ok_or_else(missing)
    }

    pub(super) async fn watch(
        &mut self,
        request: v1::WatchRecordsRequest,
    ) -> Result<BoxStream<'static, Result<v1::WatchRecordsResponse, Refusal>>, Refusal> {
        match self {
            Self::Local(records) => Ok(daemon::changes(records.spoke().clone(), request).await?.boxed()),
            Self::Daemon(client) => streamed(client.watch_records(request).await),
        }
    }

    pub(super) async fn import(
        &mut self,
        request: v1::ImportFileRequest,
    ) -> Result<BoxStream<'static, Result<v1::ImportFileResponse, Refusal>>, Refusal> {
        match self {
            Self::Local(records) => Ok(daemon::import(records.spoke().clone(), request).boxed()),
            Self::Daemon(client) => streamed(client.import_file(request).await),
        }
    }

    pub(super) async fn export(
        &mut self,
        kind: String,
    ) -> Result<BoxStream<'static, Result<v1::ExportRecordsResponse, Refusal>>, Refusal> {
        match self {
            Self::Local(records) => {
                Ok(daemon::export(records.spoke().clone(), daemon::kind_or_all(&kind)?).boxed())
            }
            Self::Daemon(client) => streamed(client.export_records(v1::ExportRecordsRequest { kind }).await),
        }
    }

    /// Lets go of the replica.
    pub(super) async fn close(&self) {
        if let Self::Local(records) = self {
            records.spoke().shut().await;
        }
    }
}

type Streamed<T> = Result<BoxStream<'static, Result<T, Refusal>>, Refusal>;

fn streamed<T: Send + 'static>(
    answer: Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>,
) -> Streamed<T> {
    let stream = answer.map_err(|status| refusal(&status))?.into_inner();
    Ok(stream.map_err(|status| refusal(&status)).boxed())
}

/// What the status says of the folder.
pub(super) fn about(at: &At) -> Result<Map<String, Value>, Refusal> {
    let config = Paths::new(&at.data).load_config()?;
    let hubs = if at.reach.hubs.is_empty() { config.hubs } else { at.reach.hubs.clone() };
    let about = json!({
        "node": config.node,
        "name": config.name,
        "tenant": config.tenant,
        "type": config.node_type,
        "domain": config.domain,
        "hubs": hubs,
        "tls": config.ca_pin.is_some(),
    });
    Ok(about.as_object().cloned().unwrap_or_default())
}
