//! IdentityService on the daemon's socket: unpack, call, pack.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use proto::v1;
use proto::v1::identity_service_server::IdentityService;
use semantics::canonical::{object_from_json, to_canonical};
use semantics::identity::snapshot::Problem;
use semantics::identity::summary::Summary;
use semantics::ids::{MutationId, RecordId};
use semantics::reason::Refusal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::rpc::{Answer, answer, status};
use crate::identity::{ConflictEntry, Identities, Interaction, StateChange, SyncEvent, key};

/// The service. Cheap to copy.
#[derive(Debug, Clone)]
pub(super) struct IdentityRpc {
    pub(super) identities: Identities,
    /// Ends the streams.
    pub(super) stop: CancellationToken,
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl IdentityService for IdentityRpc {
    type WatchStatesStream = Streamed<v1::WatchStatesResponse>;
    type WatchSyncStream = Streamed<v1::WatchSyncResponse>;
    type GetConflictHistoryStream = Streamed<v1::GetConflictHistoryResponse>;

    async fn export_state(
        &self,
        request: Request<v1::ExportStateRequest>,
    ) -> Answer<v1::ExportStateResponse> {
        answer(self.export(&request.into_inner()).await)
    }
    async fn import_state(
        &self,
        request: Request<v1::ImportStateRequest>,
    ) -> Answer<v1::ImportStateResponse> {
        answer(self.import(&request.into_inner()).await)
    }
    async fn report_interaction(
        &self,
        request: Request<v1::ReportInteractionRequest>,
    ) -> Answer<v1::ReportInteractionResponse> {
        answer(self.interact(&request.into_inner()).await)
    }
    async fn validate_state(
        &self,
        request: Request<v1::ValidateStateRequest>,
    ) -> Answer<v1::ValidateStateResponse> {
        let judged = document("document", &request.into_inner().document).map(|document| {
            let problems = self.identities.validate_state(&document).into_iter().map(problem);
            v1::ValidateStateResponse { problems: problems.collect() }
        });
        answer(judged)
    }
    async fn resolve_states(
        &self,
        request: Request<v1::ResolveStatesRequest>,
    ) -> Answer<v1::ResolveStatesResponse> {
        answer(self.resolve(&request.into_inner()).await)
    }
    async fn watch_states(
        &self,
        request: Request<v1::WatchStatesRequest>,
    ) -> Answer<Self::WatchStatesStream> {
        let v1::WatchStatesRequest { identity, after } = request.into_inner();
        let only = asked(&identity).map_err(|refusal| status(&refusal))?;
        let changes = self.identities.on_state_change(after).await.map_err(|refusal| status(&refusal))?;
        self.stream(changes.try_filter_map(move |change| {
            let is_asked = only.as_ref().is_none_or(|id| *id == change.id);
            std::future::ready(if is_asked { changed(&change).map(Some) } else { Ok(None) })
        }))
    }
    async fn watch_sync(&self, _: Request<v1::WatchSyncRequest>) -> Answer<Self::WatchSyncStream> {
        self.stream(self.identities.on_sync_event().map(|event| Ok(told(event))))
    }
    async fn get_sync_health(
        &self,
        _: Request<v1::GetSyncHealthRequest>,
    ) -> Answer<v1::GetSyncHealthResponse> {
        answer(self.health().await)
    }
    async fn get_conflict_history(
        &self,
        request: Request<v1::GetConflictHistoryRequest>,
    ) -> Answer<Self::GetConflictHistoryStream> {
        let only = asked(&request.into_inner().identity).map_err(|refusal| status(&refusal))?;
        let found = self.identities.get_conflict_history(only.as_ref()).await;
        let found = found.map_err(|refusal| status(&refusal))?;
        self.stream(stream::iter(found.into_iter().map(|entry| Ok(conflict(&entry)))))
    }
}

impl IdentityRpc {
    fn stream<T: 'static>(
        &self,
        items: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
    ) -> Answer<Streamed<T>> {
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(items.map_err(|refusal| status(&refusal)).take_until(stop).boxed()))
    }

    async fn export(&self, request: &v1::ExportStateRequest) -> Result<v1::ExportStateResponse, Refusal> {
        let found = self.identities.export_state(&key(&request.identity)?.id).await?;
        Ok(v1::ExportStateResponse {
            identity: found.id.to_string(),
            document: to_canonical(&found.document)?,
            summary: Some(summary(&found.summary)),
            revision: found.revision.0,
            pending: found.is_pending,
        })
    }

    async fn import(&self, request: &v1::ImportStateRequest) -> Result<v1::ImportStateResponse, Refusal> {
        let document = document("document", &request.document)?;
        let id = Some(request.identity.as_str()).filter(|id| !id.is_empty());
        let taken = match request.restarted {
            true => self.identities.import_restarted(id, &document).await?,
            false => self.identities.import_state(id, &document).await?,
        };
        Ok(v1::ImportStateResponse {
            identity: taken.id.to_string(),
            mutation: mutation(taken.mutation),
            summary: Some(summary(&taken.summary)),
            problems: taken.problems.into_iter().map(problem).collect(),
        })
    }

    async fn interact(
        &self,
        request: &v1::ReportInteractionRequest,
    ) -> Result<v1::ReportInteractionResponse, Refusal> {
        let document = document("document", &request.document)?;
        let id = Some(request.identity.as_str()).filter(|id| !id.is_empty());
        Ok(interacted(self.identities.interact(id, &document, request.restarted).await?))
    }

    async fn resolve(
        &self,
        request: &v1::ResolveStatesRequest,
    ) -> Result<v1::ResolveStatesResponse, Refusal> {
        let theirs = document("theirs", &request.theirs)?;
        let ancestor = request.ancestor.as_deref().map(|bytes| document("ancestor", bytes)).transpose()?;
        let id = key(&request.identity)?.id;
        let settled = self.identities.resolve_conflict(&id, &theirs, ancestor.as_ref()).await?;
        Ok(v1::ResolveStatesResponse {
            choice: settled.choice.map(|choice| name(&choice)).unwrap_or_default(),
            clashes: settled.clashes,
            mutation: mutation(settled.mutation),
        })
    }

    async fn health(&self) -> Result<v1::GetSyncHealthResponse, Refusal> {
        let health = self.identities.get_sync_health().await?;
        Ok(v1::GetSyncHealthResponse {
            connected: health.is_connected,
            possibly_desynchronised: health.is_possibly_desynchronised,
            revision: health.cursor.map_or(0, |cursor| cursor.revision.0),
            waiting: health.waiting,
            set_aside: health.set_aside,
            failures: health.failures,
            last_refusal: health.last_refusal.map(Into::into),
            stopped: health.stopped.map(Into::into),
        })
    }
}

/// What became of an interaction, as a message.
pub(crate) fn interacted(told: Interaction) -> v1::ReportInteractionResponse {
    v1::ReportInteractionResponse {
        identity: told.id.to_string(),
        trigger: name(&told.trigger),
        priority: name(&told.priority),
        held: told.is_held,
        mutation: mutation(told.mutation),
        interactions: told.interactions,
        summary: Some(summary(&told.summary)),
        problems: told.problems.into_iter().map(problem).collect(),
    }
}

fn document(field: &str, bytes: &[u8]) -> Result<Value, Refusal> {
    let named = |refusal: Refusal| Refusal::new(refusal.reason, format!("{field}: {}", refusal.detail));
    object_from_json(bytes).map(Value::Object).map_err(named)
}

fn asked(identity: &str) -> Result<Option<RecordId>, Refusal> {
    if identity.is_empty() { Ok(None) } else { Ok(Some(key(identity)?.id)) }
}

fn mutation(id: Option<MutationId>) -> Vec<u8> {
    id.map(|id| id.as_bytes().to_vec()).unwrap_or_default()
}

fn problem(problem: Problem) -> v1::StateProblem {
    v1::StateProblem { path: problem.path, reason: problem.reason }
}

fn summary(summary: &Summary) -> v1::StateSummary {
    v1::StateSummary {
        state_hash: summary.hash.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default(),
        score: summary.score,
        status: summary.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        trend: summary.trend.map(|trend| trend.as_str().to_owned()).unwrap_or_default(),
    }
}

/// The name that a value has in JSON.
fn name(value: &impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

fn changed(change: &StateChange) -> Result<v1::WatchStatesResponse, Refusal> {
    Ok(v1::WatchStatesResponse {
        position: change.position,
        identity: change.id.to_string(),
        document: change.document.as_ref().map(to_canonical).transpose()?.unwrap_or_default(),
        summary: Some(summary(&change.summary)),
        trigger: name(&change.trigger),
        priority: name(&change.priority),
        pending: change.is_pending,
        revision: change.revision.0,
        kept_out: change.is_kept_out,
        conflict: change.conflict.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
}

fn told(event: SyncEvent) -> v1::WatchSyncResponse {
    let (event, count, refusal) = match event {
        SyncEvent::Connected => ("connected", 0, None),
        SyncEvent::CaughtUp => ("caught_up", 0, None),
        SyncEvent::Pushed(count) => ("pushed", count, None),
        SyncEvent::Received(count) => ("received", count, None),
        SyncEvent::Disconnected(refusal) => ("disconnected", 0, refusal),
        SyncEvent::Stopped(refusal) => ("stopped", 0, Some(refusal)),
    };
    v1::WatchSyncResponse { event: event.to_owned(), count, refusal: refusal.map(Into::into) }
}

fn conflict(entry: &ConflictEntry) -> v1::GetConflictHistoryResponse {
    let conflict = &entry.conflict;
    let account = conflict.resolution.as_ref().filter(|_| !conflict.open).map(|settled| &settled.account);
    v1::GetConflictHistoryResponse {
        conflict: entry.id.to_string(),
        identity: conflict.subject.id.to_string(),
        revision: entry.revision.0,
        open: conflict.open,
        path: conflict.path.clone(),
        r#type: conflict.type_name().to_owned(),
        settled_by: account.map(|account| account.name.clone()).unwrap_or_default(),
        reason: account.map(|account| account.reason.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use semantics::reason::Reason;

    use super::*;

    #[test]
    fn a_document_that_is_none_is_refused_by_its_fields_name() {
        let refusal = document("theirs", b"[1]").unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed);
        assert!(refusal.detail.starts_with("theirs: "), "{refusal}");
        assert_eq!(asked("").unwrap(), None);
        assert!(asked(&"x".repeat(300)).is_err());
    }
}
