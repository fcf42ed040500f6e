//! RecordService over a spoke: what the daemon serves on its socket, and what the commands call in their own
//! process when no daemon runs. One code path, so that both answer alike.

use std::sync::Arc;

use proto::v1;
use proto::v1::record_write::Op as WireOp;
use semantics::envelope::Placement;
use semantics::identity::cadence::Cadence;
use semantics::ids::{Key, MutationId};
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value};

use super::page::{PageToken, page_size};
use super::{diagnose, status, wait, wire};
use crate::client::Spoke;
use crate::identity::Identities;
use crate::replica::pages::Bounds;
use crate::replica::store::{ConfirmedRow, Range};
use crate::replica::{Item, Write, WriteOp};

/// How long nothing may move in a sync that names no time, milliseconds.
const SYNC_MS: u64 = 60_000;
/// Bodies in one page, bytes; one element is always given.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest time for which nothing may move in a sync, milliseconds.
const SYNC_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The service. Cheap to copy.
#[derive(Debug, Clone)]
pub struct Records {
    spoke: Arc<Spoke>,
    identities: Identities,
    about: Arc<Map<String, Value>>,
}

impl Records {
    /// Serves a spoke; `about` is what its status says beside what the replica knows.
    #[must_use]
    pub fn new(spoke: Arc<Spoke>, about: Map<String, Value>) -> Self {
        let identities = Identities::of(Arc::clone(&spoke));
        Self { spoke, identities, about: Arc::new(about) }
    }

    /// The same, with states of identities shared as often as this says.
    #[must_use]
    pub fn shared_by(self, cadence: Cadence) -> Self {
        let identities = Identities::shared_by(Arc::clone(&self.spoke), cadence);
        Self { identities, ..self }
    }

    /// The spoke's identities.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The spoke.
    #[must_use]
    pub fn spoke(&self) -> &Arc<Spoke> {
        &self.spoke
    }

    /// One record.
    ///
    /// # Errors
    /// `RECORD_ABSENT`, `MALFORMED`.
    pub async fn get(&self, request: v1::GetRecordRequest) -> Result<v1::GetRecordResponse, Refusal> {
        let key = wire::key(request.key)?;
        let absent = || Refusal::new(Reason::RecordAbsent, format!("there is no {key} here"));
        let item = self.spoke.get(&key).await?.ok_or_else(absent)?;
        Ok(v1::GetRecordResponse { record: Some(wire::view(&item)) })
    }

    /// A page of records.
    ///
    /// # Errors
    /// `MALFORMED`, `BAD_TOKEN`.
    pub async fn list(&self, request: v1::ListRecordsRequest) -> Result<v1::ListRecordsResponse, Refusal> {
        let limit = page_size(request.page_size)?;
        let query =
            format!("{:?}", (&request.kind, &request.prefix, &request.where_field, &request.where_value));
        let after = PageToken::read(&request.page_token, &query)?;
        let kind = wire::kind_or_all(&request.kind)?;
        if kind.is_none() && !request.prefix.is_empty() {
            return Err(Refusal::new(Reason::Malformed, "prefix: only with a kind"));
        }
        let range = Range { kind, prefix: request.prefix, after };
        let equals = match (request.where_field.is_empty(), request.where_value.is_empty()) {
            (true, true) => None,
            (false, false) => Some(wire::value("where_value", &request.where_value)?),
            _ => return Err(Refusal::new(Reason::Malformed, "where_field, where_value: both or neither")),
        };
        let equals = equals.as_ref().map(|value| (request.where_field.as_str(), value));
        let page = self.spoke.list_part(&range, equals, within(limit)).await?;
        let next_page_token = match page.items.last() {
            Some(last) if !page.is_last => PageToken::write(&last.record.key, &query),
            _ => String::new(),
        };
        let records = page.items.iter().map(wire::view).collect();
        Ok(v1::ListRecordsResponse { records, next_page_token })
    }

    /// One write, or a group.
    ///
    /// # Errors
    /// Those of [`Spoke::write`] and [`Spoke::group`].
    pub async fn write(&self, request: v1::WriteRecordsRequest) -> Result<v1::WriteRecordsResponse, Refusal> {
        let mut writes = request.writes.into_iter().map(write).collect::<Result<Vec<Write>, Refusal>>()?;
        let ids = match (writes.len(), writes.pop()) {
            (1, Some(only)) => vec![self.spoke.write(only).await?],
            (_, Some(last)) => {
                writes.push(last);
                self.spoke.group(writes).await?
            }
            (_, None) => return Err(Refusal::new(Reason::Malformed, "writes: at least one is needed")),
        };
        let bytes = |id: Option<MutationId>| id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        Ok(v1::WriteRecordsResponse { mutations: ids.into_iter().map(bytes).collect() })
    }

    /// How the replica stands.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn status(&self, _request: v1::GetStatusRequest) -> Result<v1::GetStatusResponse, Refusal> {
        let status = status::of(&self.spoke, &self.about).await?;
        Ok(v1::GetStatusResponse { status: status.to_string().into_bytes() })
    }

    /// A page of the outbox.
    ///
    /// # Errors
    /// `MALFORMED`, `BAD_TOKEN`.
    pub async fn outbox(&self, request: v1::ListOutboxRequest) -> Result<v1::ListOutboxResponse, Refusal> {
        let limit = page_size(request.page_size)?;
        let bad = |_| Refusal::new(Reason::BadToken, "page_token: not from a previous answer");
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse::<u64>().map_err(bad)?),
        };
        let page = self.spoke.replica().outbox_part(after, within(limit)).await?;
        let next_page_token = match page.items.last() {
            Some(last) if !page.is_last => last.order.to_string(),
            _ => String::new(),
        };
        let entries = page.items.iter().map(wire::entry).collect();
        Ok(v1::ListOutboxResponse { entries, next_page_token })
    }

    /// A page of what is here of a log before a restore.
    ///
    /// # Errors
    /// `MALFORMED`, `BAD_TOKEN`.
    pub async fn remnants(
        &self,
        request: v1::ListRemnantsRequest,
    ) -> Result<v1::ListRemnantsResponse, Refusal> {
        const QUERY: &str = "remnants";
        let limit = page_size(request.page_size)?;
        let after = PageToken::read(&request.page_token, QUERY)?;
        let page = self.spoke.replica().remnants_part(after.as_ref(), within(limit)).await?;
        let next_page_token = match page.items.last() {
            Some(last) if !page.is_last => PageToken::write(&last.record.key, QUERY),
            _ => String::new(),
        };
        let shown = |row: ConfirmedRow| {
            wire::view(&Item { record: row.record, revision: row.revision, is_pending: false })
        };
        Ok(v1::ListRemnantsResponse {
            remnants: page.items.into_iter().map(shown).collect(),
            next_page_token,
        })
    }

    /// Tries a set-aside entry again, or gives it up.
    ///
    /// # Errors
    /// `NOT_FOUND`, `MALFORMED`, those of a write.
    pub async fn settle(
        &self,
        request: v1::SettleOutboxEntryRequest,
    ) -> Result<v1::SettleOutboxEntryResponse, Refusal> {
        use v1::settle_outbox_entry_request::Action;
        let id = MutationId::from_slice(&request.mutation)
            .map_err(|e| Refusal::new(Reason::Malformed, format!("mutation: {e}")))?;
        match Action::try_from(request.action) {
            Ok(Action::Retry) => self.spoke.retry(id).await.map(drop)?,
            Ok(Action::Drop) => self.spoke.drop_entry(id).await?,
            Ok(Action::Unspecified) | Err(_) => {
                return Err(Refusal::new(Reason::Malformed, "action: retry or drop is needed"));
            }
        }
        Ok(v1::SettleOutboxEntryResponse {})
    }

    /// Pushes and pulls until nothing is left, and tells what the hub refused meanwhile.
    ///
    /// # Errors
    /// Those of [`Spoke::wait_until_synced`].
    pub async fn sync(&self, request: v1::SyncNowRequest) -> Result<v1::SyncNowResponse, Refusal> {
        let timeout_ms = request.timeout_ms.unwrap_or(SYNC_MS).min(SYNC_MS_MAX);
        let before = self.spoke.status().await?.outbox.set_aside;
        let revision = self.spoke.wait_until_synced(timeout_ms).await?;
        let set_aside = self.spoke.status().await?.outbox.set_aside.saturating_sub(before);
        Ok(v1::SyncNowResponse { revision: revision.0, set_aside, set_aside_before: before })
    }

    /// Waits for writes.
    ///
    /// # Errors
    /// Those of [`Spoke::wait_until`], `MALFORMED`.
    pub async fn wait(
        &self,
        request: v1::WaitForWritesRequest,
    ) -> Result<v1::WaitForWritesResponse, Refusal> {
        wait::wait(&self.spoke, request).await
    }

    /// Examines the replica and compares it with the hub.
    ///
    /// # Errors
    /// Those of the store, and of a repair.
    pub async fn diagnose(&self, request: v1::DiagnoseRequest) -> Result<v1::DiagnoseResponse, Refusal> {
        diagnose::diagnose(&self.spoke, &self.about, &request).await
    }

    /// Digest of the confirmed records, or of what they say.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn digest(&self, request: v1::GetDigestRequest) -> Result<v1::GetDigestResponse, Refusal> {
        let (revision, digest) = match request.content {
            true => self.spoke.content_digest().await?,
            false => self.spoke.digest().await?,
        };
        Ok(v1::GetDigestResponse { revision: revision.0, digest: digest.as_bytes().to_vec() })
    }
}

/// A page of the local API, which is held in memory twice: as it was read, and as it is sent.
fn within(rows: usize) -> Bounds {
    Bounds { rows, bytes: PAGE_BYTES_MAX }
}

fn write(write: v1::RecordWrite) -> Result<Write, Refusal> {
    let key: Key = wire::key(write.key)?;
    let placement = match write.placement {
        Some(placement) => Some(Placement::try_from(placement).map_err(Refusal::from)?),
        None => None,
    };
    let op = match write.op {
        Some(WireOp::Put(body)) => WriteOp::Put(wire::object("put", &body)?),
        Some(WireOp::Patch(patch)) => {
            let set = if patch.set.is_empty() { Map::new() } else { wire::object("patch.set", &patch.set)? };
            WriteOp::Patch { set, remove: patch.remove }
        }
        Some(WireOp::Delete(_)) => WriteOp::Delete,
        None => return Err(Refusal::new(Reason::Malformed, "op: put, patch or delete is needed")),
    };
    Ok(Write { key, op, placement })
}
