//! SyncService.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use proto::v1;
use proto::v1::sync_service_server::SyncService;
use semantics::access::{Event, Sample};
use semantics::compare::RangeAsk;
use semantics::cursor::Next;
use semantics::ids::RecordId;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Hello, Push, Reconcile, ServerMessage};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::coming::coming;
use super::link::{Link, changes};
use super::pushes::Pushes;
use super::queue::{Last, Messages, Sender, queue, queue_with_last};
use super::{Gate, node_of, status};
use crate::access::Who;
use crate::ambient::Stopwatch;
use crate::hub::Principal;
use crate::hub::catch_up::{Caught, From as PullFrom};
use crate::hub::error::HubError;
use crate::hub::session::Session;
use crate::tls::Call;

/// A session says hello within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// What the access log calls a pull.
const PULL: &str = "/hubward.v1.SyncService/Pull";

/// The service.
#[derive(Debug, Clone)]
pub struct SyncHandler(pub Arc<Gate>);

/// Whose session it is, until when, the call that keeps its connection open, and the place of its last message.
struct Connected {
    who: Principal,
    expires_ms: u64,
    call: Option<Call>,
    last: Option<Last<v1::SessionResponse>>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SyncService for SyncHandler {
    type SessionStream = Messages<v1::SessionResponse>;
    type PullStream = Messages<v1::PullResponse>;

    async fn session(&self, request: Request<Streaming<v1::SessionRequest>>) -> Reply<Self::SessionStream> {
        let (who, expires_ms) = node_of(&request)?;
        let call = request.extensions().get::<Call>().cloned();
        let mut incoming = request.into_inner();
        let hello = hello(&mut incoming).await?;
        let seat = self.0.seats.take(&who).map_err(status::of)?;
        let (outgoing, last, messages) = queue_with_last(seat);
        let caller = Connected { who, expires_ms, call, last };
        self.open(caller, incoming, outgoing, &hello).await.map_err(status::of)?;
        Ok(Response::new(messages))
    }

    async fn push(&self, request: Request<v1::PushRequest>) -> Reply<v1::PushResponse> {
        let (who, _) = node_of(&request)?;
        let push = Push::try_from(request.into_inner()).map_err(status::shape)?;
        let results = self.push_whole(&who, push).await.map_err(status::of)?;
        Ok(Response::new(results))
    }

    async fn pull(&self, request: Request<v1::PullRequest>) -> Reply<Self::PullStream> {
        let (who, expires_ms) = node_of(&request)?;
        let call = request.extensions().get::<Call>().cloned();
        let from = pull_from(request.into_inner())?;
        self.0.check_open().map_err(status::of)?;
        let seat = self.0.seats.take(&who).map_err(status::of)?;
        let (sender, messages) = queue((seat, self.0.hub.readers().join()));
        let gate = Arc::clone(&self.0);
        let patience = Duration::from_millis(expires_ms.saturating_sub(gate.hub.clock().now_ms()));
        let work = async move {
            // Who does not read keeps neither the pages nor the connection for longer than the token is good.
            drop(tokio::time::timeout(patience, pages(&gate, &who, from, sender)).await);
            drop(call);
        };
        self.0.tasks.spawn(status::within(status::request_id(), work));
        Ok(Response::new(messages))
    }

    async fn reconcile(&self, request: Request<v1::ReconcileRequest>) -> Reply<v1::ReconcileResponse> {
        let (who, _) = node_of(&request)?;
        let ask = Reconcile::try_from(request.into_inner()).map_err(status::shape)?;
        let page = self.0.hub.reconcile(&who, &ask).await.map_err(status::of)?;
        Ok(Response::new(page.into()))
    }

    async fn compare_scopes(
        &self,
        request: Request<v1::CompareScopesRequest>,
    ) -> Reply<v1::CompareScopesResponse> {
        let (who, _) = node_of(&request)?;
        let scopes = self.0.hub.compare_scopes(&who).await.map_err(status::of)?;
        Ok(Response::new((&scopes).into()))
    }

    async fn compare_range(
        &self,
        request: Request<v1::CompareRangeRequest>,
    ) -> Reply<v1::CompareRangeResponse> {
        let (who, _) = node_of(&request)?;
        let ask = RangeAsk::try_from(request.into_inner()).map_err(status::shape)?;
        let sum = self.0.hub.compare_range(&who, &ask).await.map_err(status::of)?;
        Ok(Response::new((&sum).into()))
    }
}

impl SyncHandler {
    async fn open(
        &self,
        caller: Connected,
        incoming: Streaming<v1::SessionRequest>,
        outgoing: Sender<v1::SessionResponse>,
        hello: &Hello,
    ) -> Result<(), HubError> {
        let gate = &self.0;
        let Connected { who, expires_ms, call, last } = caller;
        gate.check_open()?;
        let own_id = RecordId::new(who.node.to_string()).ok();
        let kept = gate.keepers.keep(&who.tenant);
        // What changes from here on is noticed; what changed before, the greeting finds.
        let changes = gate.hub.tenant(&who.tenant).feed.changes_of(own_id);
        let (session, welcome) = Session::open(&gate.hub, who, hello).await?;
        let (tenant, writer) = (&session.who().tenant, session.writer());
        let event = Event::SessionOpened { epoch: writer.epoch };
        gate.access.note(tenant, &Who::Node(session.who().node), event);
        info!(%tenant, %writer, request_id = status::request_id(), "session opened");
        let welcome = v1::SessionResponse::from(ServerMessage::Welcome(welcome));
        if outgoing.send(Ok(Box::new(welcome))).await.is_err() {
            return Err(HubError::internal("a fresh channel is closed"));
        }
        let link = Box::new(Link {
            gate: Arc::clone(gate),
            session,
            incoming: stream::select_all([incoming]),
            coming: coming(gate, &outgoing, changes),
            outgoing,
            last,
            expires_ms,
            _call: call,
            kept,
            pushes: Pushes::default(),
            answers: VecDeque::new(),
        });
        gate.tasks.spawn(status::within(status::request_id(), link.run()));
        Ok(())
    }

    /// Takes a push. Who commits for all who wait does so in a task of its own: a caller that goes away does not stop a
    /// commit half-way.
    async fn push_whole(&self, who: &Principal, push: Push) -> Result<v1::PushResponse, HubError> {
        let gate = &self.0;
        gate.check_open()?;
        let (watch, _waits) = (Stopwatch::start(), gate.metrics.push_waits());
        let mut begun = gate.hub.begin_push(who, push, None).await?;
        let results = if begun.leads().await {
            let leading = gate.tasks.spawn(status::within(status::request_id(), begun.results()));
            leading.await.unwrap_or_else(|error| Err(HubError::internal(error.to_string())))?
        } else {
            begun.results().await?
        };
        gate.metrics.pushed(&results, watch.elapsed());
        Ok(results.into())
    }
}

async fn hello(incoming: &mut Streaming<v1::SessionRequest>) -> Result<Hello, Status> {
    let late = |_| status::of(HubError::transient(Reason::DeadlineExceeded, "no hello came in time", 1_000));
    let first = tokio::time::timeout(HELLO_WITHIN, incoming.message());
    let first = first.await.map_err(late)?.map_err(status::of_message)?;
    let first =
        first.ok_or_else(|| status::of(HubError::new(Reason::Malformed, "the session has no hello")))?;
    match ClientMessage::try_from(first).map_err(status::shape)? {
        ClientMessage::Hello(hello) => Ok(hello),
        _ => Err(status::of(HubError::new(Reason::Malformed, "a session starts with a hello"))),
    }
}

fn pull_from(request: v1::PullRequest) -> Result<PullFrom, Status> {
    Ok(match proto::convert::PullFrom::try_from(request).map_err(status::shape)? {
        proto::convert::PullFrom::Start => PullFrom::Start,
        proto::convert::PullFrom::Cursor(cursor) => PullFrom::Cursor(cursor),
        proto::convert::PullFrom::Resume(resume) => PullFrom::Resume(resume),
    })
}

/// Sends pages up to the next cut. While one is encoded the next is read: one page at most beside those in the queue.
async fn pages(gate: &Gate, who: &Principal, from: PullFrom, sender: Sender<v1::PullResponse>) {
    let mut caught = gate.hub.pull(who, &from).await;
    // Waits for room before it reads on.
    while let Ok(permit) = sender.reserve().await {
        let Caught { part, next, .. } = match caught {
            Ok(caught) => caught,
            Err(error) => {
                // The call was answered when it began: nobody else sees that it is refused after all.
                let sample = Sample::new(&status::request_id(), PULL, &error.refusal.detail);
                gate.access.refused(Some(who.tenant.clone()), &Who::Node(who.node), error.reason(), sample);
                gate.metrics.refused(error.reason());
                return permit.send(Err(status::of(error)));
            }
        };
        let send = async {
            let changes = changes(&part, &next);
            permit.send(Ok(Box::new(v1::PullResponse { changes: Some(changes) })));
        };
        match &next {
            Next::Resume(resume) => {
                let from = PullFrom::Resume(resume.clone());
                // Asked for first: the database is at it while this page is encoded.
                caught = futures::join!(gate.hub.pull(who, &from), send).0;
            }
            Next::Cut(_) => return send.await,
        }
    }
}
