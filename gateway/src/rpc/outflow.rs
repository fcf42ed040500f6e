//! How much of answers that nobody has taken yet is held, in shares ([`super::held`]). A message of an answer
//! is counted from when it is put into bytes until the last of them has left for the network, or its call has ended:
//! each piece that is handed to the transport carries its count, so it does not matter where in there it waits. What a
//! call holds before that is bounded by turns (see [`super::turns`]).
//! Sessions and pulls are not counted here: their queues have bounds of their own.
//!
//! - `an_answer_is_counted_until_its_last_byte_is_taken`, or dropped.
//! - `what_waits_for_one_caller_is_bounded`, and what waits for all; past it the call is refused with OVERLOADED, before
//!   its work where the caller has no room already.
//! - `an_answer_of_which_nothing_is_taken_ends_its_connection`: nothing less gives back what the transport holds.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use semantics::reason::Reason;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::held::{Bounds, Held};
use super::layers::{self, is_long, is_stream};
use super::owner::Owner;
use super::status;
use crate::hub::error::HubError;
use crate::tls::{Calls, Peer};

/// Most bytes of answers that wait for their callers on one listener.
pub const UNTAKEN_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Most of them for one node or operator: four of the largest messages.
pub const UNTAKEN_OF_KNOWN_MAX: usize = 16 * 1024 * 1024;
/// Most of them for one address whose callers did not show who they are.
pub const UNTAKEN_OF_UNKNOWN_MAX: usize = 1024 * 1024;
/// The least that an answer counts, bytes: a call that waits holds more than its message.
pub const ANSWER_BYTES_MIN: usize = 2 * 1024;
/// An answer is handed to the transport in pieces of so many bytes, and one that is taken is a sign of life.
const PIECE_BYTES: usize = 16 * 1024;
/// Answers that nobody takes are looked for this often, milliseconds.
const TICK_MS: u64 = 250;

/// An answer that waits.
#[derive(Debug)]
struct Waiting {
    calls: Option<Calls>,
    /// For how many ticks nothing of it was taken.
    ticks: u64,
}

#[derive(Debug)]
struct Line {
    held: Held,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

/// What waits on one listener.
#[derive(Debug, Clone)]
pub struct Outflow {
    line: Arc<Mutex<Line>>,
}

impl Default for Outflow {
    fn default() -> Self {
        Self::new(UNTAKEN_BYTES_MAX)
    }
}

impl Outflow {
    /// With this bound for all callers together.
    #[must_use]
    pub fn new(all_max: usize) -> Self {
        let bounds =
            Bounds { all: all_max, of_known: UNTAKEN_OF_KNOWN_MAX, of_unknown: UNTAKEN_OF_UNKNOWN_MAX };
        let line = Line { held: Held::new(bounds), next: 0, waiting: BTreeMap::new() };
        Self { line: Arc::new(Mutex::new(line)) }
    }

    /// How many bytes wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.line().held.all()
    }

    /// Ends the connections of those who take nothing of an answer for longer than this, until it is stopped.
    pub async fn watch(self, unread_ms_max: u64, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.tick(unread_ms_max).iter().for_each(Calls::cut);
        }
    }

    /// At each tick: the connections on which an answer waits for too long.
    fn tick(&self, unread_ms_max: u64) -> Vec<Calls> {
        let mut line = self.line();
        let mut cut = Vec::new();
        for waiting in line.waiting.values_mut() {
            waiting.ticks = waiting.ticks.saturating_add(1);
            if waiting.ticks.saturating_mul(TICK_MS) > unread_ms_max {
                cut.extend(waiting.calls.clone());
            }
        }
        cut
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is room for so much more of this caller's.
fn check(held: &Held, owner: &Owner, bytes: usize) -> Result<(), HubError> {
    if bytes > held.bounds.of(owner) {
        return Err(HubError::new(Reason::TooLarge, "the answer is larger than any may be: ask for less"));
    }
    if !held.has_room(owner, bytes) {
        return Err(HubError::transient(Reason::Overloaded, "too many answers wait to be read", 1_000));
    }
    Ok(())
}

/// Whose answers these are.
#[derive(Debug, Clone)]
struct Share {
    outflow: Outflow,
    owner: Owner,
    calls: Option<Calls>,
}

impl Share {
    fn check(&self) -> Result<(), HubError> {
        check(&self.outflow.line().held, &self.owner, ANSWER_BYTES_MIN)
    }

    /// Counts a message, and cuts it into the pieces that carry its count.
    fn take(&self, bytes: Bytes) -> Result<VecDeque<Bytes>, HubError> {
        let counted = bytes.len().max(ANSWER_BYTES_MIN);
        let mut line = self.outflow.line();
        check(&line.held, &self.owner, counted)?;
        line.held.change(&self.owner, 0, counted);
        let id = line.next;
        line.next += 1;
        line.waiting.insert(id, Waiting { calls: self.calls.clone(), ticks: 0 });
        drop(line);
        let answer = Arc::new(Answer { share: self.clone(), counted, id });
        Ok(pieces(bytes, &answer))
    }
}

fn pieces(mut bytes: Bytes, answer: &Arc<Answer>) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::new();
    while !bytes.is_empty() {
        let bytes = bytes.split_to(bytes.len().min(PIECE_BYTES));
        pieces.push_back(Bytes::from_owner(Piece { bytes, answer: Arc::clone(answer) }));
    }
    pieces
}

/// A message of an answer, until its last piece is dropped: only then is its memory free.
#[derive(Debug)]
struct Answer {
    share: Share,
    counted: usize,
    id: u64,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut line = self.share.outflow.line();
        line.held.change(&self.share.owner, self.counted, 0);
        line.waiting.remove(&self.id);
    }
}

struct Piece {
    bytes: Bytes,
    answer: Arc<Answer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(waiting) = self.answer.share.outflow.line().waiting.get_mut(&self.answer.id) {
            waiting.ticks = 0;
        }
    }
}

/// Counts what goes out of a call.
pub(super) async fn bound<A: layers::Answer>(
    outflow: &Outflow,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    if is_long(request.uri().path()) {
        return next(request).await;
    }
    let peer = request.extensions().get::<Peer>();
    let calls = peer.map(|peer| peer.calls.clone());
    let share = Share { outflow: outflow.clone(), owner: Owner::of(request.extensions()), calls };
    if let Err(error) = share.check() {
        return status::of(error).into_http::<Body>();
    }
    let is_unary = !is_stream(request.uri().path());
    let (parts, inner) = next(request).await.into_parts();
    let mut counted = Counted::new(inner, share);
    // Its message is there already; looked at now, a refusal is still seen by the layers around.
    if is_unary && let Err(refused) = poll_fn(|cx| counted.poll_ahead(cx)).await {
        return refused.into_http::<Body>();
    }
    Response::from_parts(parts, Body::new(counted))
}

/// The same for those who ask in plain HTTP and show nothing: past the bound comes 503.
pub async fn bound_probe(State(outflow): State<Outflow>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    let owner = Owner::Unknown(peer.map(Peer::holder));
    let share = Share { outflow, owner, calls: peer.map(|peer| peer.calls.clone()) };
    if share.check().is_err() {
        return unavailable();
    }
    let (parts, inner) = next.run(request).await.into_parts();
    let mut counted = Counted::new(inner, share);
    if poll_fn(|cx| counted.poll_ahead(cx)).await.is_err() {
        return unavailable();
    }
    Response::from_parts(parts, Body::new(counted))
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many answers wait to be read\n").into_response()
}

/// An answer's body whose messages are counted.
struct Counted {
    inner: Body,
    share: Share,
    pieces: VecDeque<Bytes>,
    /// What comes after the pieces, if it was looked at: trailers, a failure, or the end.
    ahead: Option<Option<Result<Frame<Bytes>, axum::Error>>>,
}

impl Counted {
    fn new(inner: Body, share: Share) -> Self {
        Self { inner, share, pieces: VecDeque::new(), ahead: None }
    }

    /// Looks for what comes next, unless it is known.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        while self.pieces.is_empty() && self.ahead.is_none() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.pieces = self.share.take(bytes).map_err(status::of)?,
                    Err(trailers) => self.ahead = Some(Some(Ok(trailers))),
                },
                end => self.ahead = Some(end),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Err(refused) = ready!(self.poll_ahead(cx)) {
            // In the middle of a stream: its end says why.
            self.inner = Body::empty();
            let mut trailers = HeaderMap::new();
            let told = refused.add_header(&mut trailers).map_err(axum::Error::new);
            return Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))));
        }
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Ready(self.ahead.take().flatten()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !matches!(self.ahead, Some(Some(_))) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.pieces.iter().map(Bytes::len).fold(0_usize, usize::saturating_add);
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let (inner, mut hint) = (self.inner.size_hint(), SizeHint::new());
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn share(outflow: &Outflow, last: u8) -> Share {
        let owner = Owner::Unknown(Some(IpAddr::from([127, 0, 0, last])));
        Share { outflow: outflow.clone(), owner, calls: Some(Calls::default()) }
    }

    fn message(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    #[test]
    fn an_answer_is_counted_until_its_last_byte_is_taken() {
        let outflow = Outflow::default();
        let mut pieces = share(&outflow, 1).take(message(3 * PIECE_BYTES + 1)).unwrap();
        assert_eq!(
            pieces.iter().map(Bytes::len).collect::<Vec<_>>(),
            [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 1]
        );
        let mut last = pieces.pop_back().unwrap();
        drop(pieces);
        assert_eq!(outflow.bytes(), 3 * PIECE_BYTES + 1, "its memory is one");
        // However the transport cuts it.
        let cut = last.split_to(1);
        drop(last);
        assert_eq!(outflow.bytes(), 3 * PIECE_BYTES + 1);
        drop(cut);
        assert_eq!(outflow.bytes(), 0);
        assert!(share(&outflow, 1).take(Bytes::new()).unwrap().is_empty());
        assert_eq!(outflow.bytes(), 0);
    }

    #[test]
    fn what_waits_for_one_caller_is_bounded() {
        let outflow = Outflow::new(4 * (UNTAKEN_OF_UNKNOWN_MAX + 2 * ANSWER_BYTES_MIN));
        let too_large = share(&outflow, 1).take(message(UNTAKEN_OF_UNKNOWN_MAX + 1)).unwrap_err();
        assert_eq!(too_large.reason(), Reason::TooLarge, "to come again would not help");
        let held = share(&outflow, 1).take(message(UNTAKEN_OF_UNKNOWN_MAX)).unwrap();
        for refused in
            [share(&outflow, 1).take(message(1)).unwrap_err(), share(&outflow, 1).check().unwrap_err()]
        {
            assert_eq!(refused.reason(), Reason::Overloaded);
            assert!(refused.retry_after_ms.is_some());
        }
        let small =
            [share(&outflow, 2).take(message(1)).unwrap(), share(&outflow, 3).take(message(1)).unwrap()];
        assert_eq!(share(&outflow, 4).check().unwrap_err().reason(), Reason::Overloaded, "all together");
        drop(small);
        drop(held);
        share(&outflow, 1).check().unwrap();
    }

    #[test]
    fn an_answer_of_which_nothing_is_taken_ends_its_connection() {
        let outflow = Outflow::default();
        let mut pieces = share(&outflow, 1).take(message(2 * PIECE_BYTES)).unwrap();
        let until = |outflow: &Outflow| (1..100).find(|_| !outflow.tick(1_000).is_empty());
        assert_eq!(until(&outflow), Some(5));
        drop(pieces.pop_front());
        assert_eq!(until(&outflow), Some(5), "it counts from the last piece taken");
        drop(pieces);
        assert_eq!(until(&outflow), None);
    }
}
