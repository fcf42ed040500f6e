//! One session's stream, as a [`Link`].

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, ServerMessage};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use super::refusal;
use crate::runtime::{Heard, LINK_MESSAGES_MAX, Link};
use crate::trust::AccessTokens;

/// For a hub to hear what was said last in a session that ends, milliseconds.
const CLOSE_MS: u64 = 500;

/// Opens the stream. Returns at once: a hub answers only after it was greeted.
pub(super) fn open(
    client: SyncServiceClient<Channel>,
    metadata: MetadataMap,
    tokens: Arc<AccessTokens>,
    tasks: &TaskTracker,
) -> Link {
    let (sender, outgoing) = mpsc::channel::<ClientMessage>(LINK_MESSAGES_MAX);
    let (incoming, receiver) = mpsc::channel(LINK_MESSAGES_MAX);
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let messages = ReceiverStream::new(outgoing).map(v1::SessionRequest::from);
    let mut request = Request::new(messages);
    *request.metadata_mut() = metadata;
    tasks.spawn(async move { pump(client, request, &tokens, &incoming, &stop).await });
    Link { sender, receiver, guard }
}

async fn pump<S>(
    mut client: SyncServiceClient<Channel>,
    request: Request<S>,
    tokens: &AccessTokens,
    incoming: &mpsc::Sender<Heard>,
    stop: &CancellationToken,
) where
    S: tokio_stream::Stream<Item = v1::SessionRequest> + Send + 'static,
{
    let answer = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        answer = client.session(request) => answer,
    };
    let last = match answer {
        Ok(answer) => {
            let mut stream = answer.into_inner();
            tokio::select! {
                biased;
                () = stop.cancelled() => return drain(stream).await,
                last = forward(&mut stream, tokens, incoming) => last,
            }
        }
        Err(status) => ended(&status),
    };
    note(&last, tokens).await;
    // The receiver may be gone: then nobody wants to know.
    let _ = incoming.send(last).await;
}

/// What was said last is on its way: the hub ends the stream once it has heard that no more comes.
async fn drain(mut stream: Streaming<v1::SessionResponse>) {
    let rest = async { while let Ok(Some(_)) = stream.message().await {} };
    let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS), rest).await;
}

/// Hands messages on until the stream ends; gives how it ended.
async fn forward(
    stream: &mut Streaming<v1::SessionResponse>,
    tokens: &AccessTokens,
    incoming: &mpsc::Sender<Heard>,
) -> Heard {
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Heard::Ended(None),
            Err(status) => return ended(&status),
        };
        let message = match ServerMessage::try_from(message) {
            Ok(message) => message,
            Err(error) => return Heard::Ended(Some(Refusal::from(error))),
        };
        let heard = Heard::Message(message);
        note(&heard, tokens).await;
        if incoming.send(heard).await.is_err() {
            return Heard::Ended(None);
        }
    }
}

/// An access token that the hub does not take any more is not shown again, whatever our clock says of its life.
async fn note(heard: &Heard, tokens: &AccessTokens) {
    if let Heard::Message(ServerMessage::Goodbye(refusal)) = heard
        && refusal.reason == Reason::Unauthenticated
    {
        tokens.forget().await;
    }
}

/// A status that the hub gave is its goodbye; one that the connection gave is only the connection's end.
fn ended(status: &tonic::Status) -> Heard {
    let refusal = refusal(status);
    let is_from_hub = refusal.reason.class() != semantics::reason::Class::Network
        && !matches!(status.code(), Code::Cancelled | Code::Unknown);
    if is_from_hub { Heard::Message(ServerMessage::Goodbye(refusal)) } else { Heard::Ended(Some(refusal)) }
}
