//! How much of messages on their way in is held, in shares ([`super::held`]). A call's one message is counted
//! from its first byte until the call is answered, as what it takes once it is unpacked and read where that is more
//! ([`proto::codec`]); a message of a stream until its last byte, for then it is parsed, and has bounds of its own.
//!
//! - `a_message_of_a_stream_is_counted_until_it_is_whole`, however it is cut into pieces.
//! - `the_message_of_a_call_is_counted_until_it_is_answered_as_what_it_takes_once_it_is_read`.
//! - `a_call_has_one_message_and_ends_soon_after_it`: the library of the wire holds it until then.
//! - `what_one_caller_may_hold_is_bounded`, and what all hold together; past it the call ends with OVERLOADED.
//! - `a_call_that_ends_gives_back_what_it_held`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::stream::{Stream, StreamExt, try_unfold};
use semantics::reason::Reason;
use tonic::Status;

use super::held::{Bounds, Held};
use super::layers::Answer;
use super::owner::Owner;
use super::status;
use crate::auth::rights::REFLECTION;
use crate::hub::error::HubError;

/// Most bytes of messages on their way in on one listener.
pub const INCOMING_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Most of them of one node or operator: four of the largest messages, or one that takes the most once it is read.
pub const INCOMING_OF_KNOWN_MAX: usize = 16 * 1024 * 1024;
/// Most of them from one address whose callers did not show who they are.
pub const INCOMING_OF_UNKNOWN_MAX: usize = 1024 * 1024;
/// Longest time from the last byte of a call's message to the end of what it sends, milliseconds.
pub const ENDED_MS_MAX: u64 = 5_000;
/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// What is held on one listener.
#[derive(Debug, Clone)]
pub struct Inflow {
    held: Arc<Mutex<Held>>,
}

impl Default for Inflow {
    fn default() -> Self {
        Self::new(INCOMING_BYTES_MAX)
    }
}

impl Inflow {
    /// With this bound for all callers together.
    #[must_use]
    pub fn new(all_max: usize) -> Self {
        let bounds =
            Bounds { all: all_max, of_known: INCOMING_OF_KNOWN_MAX, of_unknown: INCOMING_OF_UNKNOWN_MAX };
        Self { held: Arc::new(Mutex::new(Held::new(bounds))) }
    }

    fn share(&self, owner: Owner, says: Says) -> Share {
        Share { inflow: self.clone(), owner, says, held: 0, message: Message::default() }
    }
}

/// Counts what comes in of a call.
pub(super) async fn bound<A: Answer>(
    inflow: &Inflow,
    mut request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let owner = Owner::of(request.extensions());
    let says = Says::of(request.uri().path());
    let share = Arc::new(Mutex::new(inflow.share(owner, says)));
    let counted = Arc::clone(&share);
    let body = std::mem::take(request.body_mut()).into_data_stream();
    *request.body_mut() = Body::from_stream(counting(body, counted));
    match says {
        Says::Many => {
            drop(share);
            next(request).await
        }
        Says::One => {
            let weighed = Arc::clone(&share);
            let told = Arc::new(move |bytes| locked(&weighed).weighs(bytes));
            let response = proto::codec::weighing(told, next(request)).await;
            drop(share);
            response
        }
    }
}

/// How many messages a caller sends in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    One,
    Many,
}

impl Says {
    fn of(path: &str) -> Self {
        let is_many = path.ends_with("/Session") || path == REFLECTION;
        if is_many { Self::Many } else { Self::One }
    }
}

fn locked(share: &Mutex<Share>) -> MutexGuard<'_, Share> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same bytes, counted.
fn counting<S>(pieces: S, share: Arc<Mutex<Share>>) -> impl Stream<Item = Result<Bytes, axum::BoxError>>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    try_unfold((pieces, share), |(mut pieces, share)| async move {
        let is_said = locked(&share).is_said();
        let next = if is_said { the_end(&mut pieces).await? } else { pieces.next().await };
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        locked(&share).take(&bytes)?;
        Ok(Some((bytes, (pieces, share))))
    })
}

/// What comes after a call's message: its end, if all is well.
async fn the_end<S>(pieces: &mut S) -> Result<Option<Result<Bytes, axum::Error>>, Status>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    let next = async {
        loop {
            match pieces.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                next => return next,
            }
        }
    };
    tokio::time::timeout(Duration::from_millis(ENDED_MS_MAX), next).await.map_err(|_| {
        let detail = "the call's message is there, and what it sends has not ended: end it with the message";
        status::of(HubError::transient(Reason::DeadlineExceeded, detail, 1_000))
    })
}

/// Where a call stands in its message.
#[derive(Debug, Default)]
struct Message {
    header: Vec<u8>,
    missing: usize,
    /// How many are whole.
    whole: usize,
}

impl Message {
    /// Reads on; how many bytes of a message that is not whole there are after it, given how many there were before.
    fn read(&mut self, mut bytes: &[u8], before: usize) -> usize {
        let mut unfinished = before;
        while !bytes.is_empty() {
            if self.missing > 0 {
                let (taken, rest) = bytes.split_at(self.missing.min(bytes.len()));
                self.missing -= taken.len();
                self.whole += usize::from(self.missing == 0);
                unfinished = if self.missing == 0 { 0 } else { unfinished.saturating_add(taken.len()) };
                bytes = rest;
                continue;
            }
            let (taken, rest) = bytes.split_at((HEADER_BYTES - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(taken);
            bytes = rest;
            if let [_, a, b, c, d] = *self.header.as_slice() {
                self.missing = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.header.clear();
                self.whole += usize::from(self.missing == 0);
            }
        }
        unfinished
    }

    /// Whether more came than one.
    fn is_past_one(&self) -> bool {
        self.whole > 1 || self.whole == 1 && (self.missing > 0 || !self.header.is_empty())
    }
}

/// What one call holds.
#[derive(Debug)]
struct Share {
    inflow: Inflow,
    owner: Owner,
    says: Says,
    held: usize,
    message: Message,
}

impl Share {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let unfinished = self.message.read(bytes, self.held);
        if self.says == Says::Many {
            return self.hold(unfinished);
        }
        if self.message.is_past_one() {
            let detail = "the call has one message, and more came after it";
            return Err(status::of(HubError::new(Reason::Malformed, detail)));
        }
        self.hold(self.held.saturating_add(bytes.len()))
    }

    /// Whether a call has said all that it has to.
    fn is_said(&self) -> bool {
        self.says == Says::One && self.message.whole > 0
    }

    /// Counts the call's message as what it takes, where that is more than its bytes were.
    fn weighs(&mut self, bytes: usize) -> Result<(), Status> {
        self.hold(self.held.max(bytes))
    }

    fn hold(&mut self, wanted: usize) -> Result<(), Status> {
        // So it is for each message of a stream that comes in one piece.
        if wanted == self.held {
            return Ok(());
        }
        let mut held = self.inflow.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.change(&self.owner, self.held, wanted) {
            drop(held);
            let detail = "too many messages are under way that are not whole, or not answered";
            return Err(status::of(HubError::transient(Reason::Overloaded, detail, 1_000)));
        }
        self.held = wanted;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.inflow.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.change(&self.owner, self.held, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use semantics::ids::TenantId;

    use super::*;

    fn unknown(last: u8) -> Owner {
        Owner::Unknown(Some(IpAddr::from([127, 0, 0, last])))
    }

    fn stream(inflow: &Inflow, last: u8) -> Share {
        inflow.share(unknown(last), Says::Many)
    }

    fn reason(refused: &Status) -> Reason {
        proto::reason::refusal_of(refused).reason
    }

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        [vec![0], length.to_vec(), vec![7; bytes]].concat()
    }

    fn all(inflow: &Inflow) -> usize {
        inflow.held.lock().unwrap().all()
    }

    #[test]
    fn a_message_of_a_stream_is_counted_until_it_is_whole() {
        let inflow = Inflow::default();
        for piece in [1, 2, 3, 7, 1_000] {
            let mut share = stream(&inflow, 1);
            let said = [message(100), message(0), message(13)].concat();
            for bytes in said.chunks(piece) {
                share.take(bytes).unwrap();
                assert!(all(&inflow) <= 100);
            }
            assert_eq!(all(&inflow), 0, "in pieces of {piece}");
            share.take(&message(100)[..55]).unwrap();
            assert_eq!(all(&inflow), 50);
        }
    }

    #[test]
    fn what_one_caller_may_hold_is_bounded() {
        let inflow = Inflow::new(4 * (INCOMING_OF_UNKNOWN_MAX + 1_000));
        let mut first = stream(&inflow, 1);
        first.take(&message(10 << 20)[..INCOMING_OF_UNKNOWN_MAX]).unwrap();
        let mut second = stream(&inflow, 1);
        let refused = second.take(&message(10_000)[..20]).unwrap_err();
        assert_eq!(reason(&refused), Reason::Overloaded);
        assert!(proto::reason::retry_after_ms(&refused).is_some());
        let mut other = stream(&inflow, 2);
        other.take(&message(10_000)[..500]).unwrap();
        other.take(&message(10_000)[..1_000]).unwrap_err();
    }

    #[test]
    fn a_call_that_ends_gives_back_what_it_held() {
        let inflow = Inflow::default();
        let (mut one, mut two) = (stream(&inflow, 1), stream(&inflow, 1));
        one.take(&message(1_000)[..105]).unwrap();
        two.take(&message(1_000)[..205]).unwrap();
        drop(one);
        assert_eq!(all(&inflow), 200);
        drop(two);
        assert_eq!(all(&inflow), 0);
    }

    #[test]
    fn the_message_of_a_call_is_counted_until_it_is_answered_as_what_it_takes_once_it_is_read() {
        let inflow = Inflow::default();
        let mut call = inflow.share(unknown(1), Says::One);
        for bytes in message(100).chunks(7) {
            assert!(!call.is_said());
            call.take(bytes).unwrap();
        }
        assert!(call.is_said());
        assert_eq!(all(&inflow), 105);
        call.weighs(20).unwrap();
        assert_eq!(all(&inflow), 105);
        call.weighs(2_000).unwrap();
        assert_eq!(all(&inflow), 2_000);
        let refused = call.weighs(INCOMING_OF_UNKNOWN_MAX + 1).unwrap_err();
        assert_eq!(reason(&refused), Reason::Overloaded);
        let known = Owner::Operator(TenantId::new("acme").unwrap(), "ann".to_owned());
        inflow.share(known, Says::One).weighs(proto::codec::READ_BYTES_MAX).unwrap();
        drop(call);
        assert_eq!(all(&inflow), 0);
    }

    /// What comes of these pieces, after which nothing comes any more.
    async fn heard(pieces: Vec<Vec<u8>>, is_ended: bool) -> Vec<Result<Bytes, Reason>> {
        let share = Arc::new(Mutex::new(Inflow::default().share(unknown(1), Says::One)));
        let pieces = futures::stream::iter(pieces).map(|bytes| Ok(Bytes::from(bytes)));
        let pieces = pieces.chain(futures::stream::pending().take(usize::from(!is_ended)));
        let counted = counting(Box::pin(pieces), share);
        let reasons = counted.map(|piece| piece.map_err(|e| reason(e.downcast_ref::<Status>().unwrap())));
        reasons.collect().await
    }

    #[tokio::test]
    async fn a_call_has_one_message_and_ends_soon_after_it() {
        let one = Bytes::from(message(10));
        assert_eq!(heard(vec![message(10), Vec::new()], true).await, [Ok(one.clone())]);
        for more in [message(0), message(1), vec![0]] {
            let expected = [Ok(one.clone()), Err(Reason::Malformed)];
            assert_eq!(heard(vec![message(10), more.clone()], true).await, expected);
            assert_eq!(heard(vec![[message(10), more].concat()], true).await, [Err(Reason::Malformed)]);
        }
        let never_ended = [Ok(one.clone()), Err(Reason::DeadlineExceeded)];
        assert_eq!(heard(vec![message(10), Vec::new(), Vec::new()], false).await, never_ended);
    }
}
