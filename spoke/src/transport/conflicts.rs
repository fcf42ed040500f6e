//! Conflicts at the hub: looked at, settled, opened again.

use proto::v1;
use proto::v1::node_service_client::NodeServiceClient;
use semantics::reason::Refusal;

use super::{DECODED_BYTES_MAX, HubTransport};

impl HubTransport {
    /// A conflict in the node's view.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of reaching a hub.
    pub async fn conflict(&self, id: &str) -> Result<v1::ConflictView, Refusal> {
        let message = v1::GetRecordConflictRequest { conflict: id.to_owned() };
        let found = self.anywhere(message, |channel, request| async {
            let mut client = NodeServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX);
            client.get_record_conflict(request).await
        });
        Ok(found.await?.conflict.unwrap_or_default())
    }

    /// Settles a conflict. After an answer that was lost the same again is `STALE`.
    ///
    /// # Errors
    /// As the hub says, and those of reaching one.
    pub async fn resolve_conflict(
        &self,
        message: v1::ResolveRecordConflictRequest,
    ) -> Result<v1::ResolveRecordConflictResponse, Refusal> {
        self.anywhere(message, |channel, request| async {
            NodeServiceClient::new(channel).resolve_record_conflict(request).await
        })
        .await
    }

    /// Takes a resolution back. After an answer that was lost the same again is `STALE`.
    ///
    /// # Errors
    /// As the hub says, and those of reaching one.
    pub async fn undo_resolution(
        &self,
        message: v1::UndoRecordResolutionRequest,
    ) -> Result<v1::UndoRecordResolutionResponse, Refusal> {
        self.anywhere(message, |channel, request| async {
            NodeServiceClient::new(channel).undo_record_resolution(request).await
        })
        .await
    }
}
