//! How much of messages that are not yet whole is held: of one caller, and of all together. A message is counted
//! from its first byte to its last; then it is parsed, and has bounds of its own.
//!
//! - `a_message_is_counted_until_it_is_whole`, however it is cut into pieces.
//! - `what_one_caller_may_hold_is_bounded`, and what all hold together; past it the call ends with OVERLOADED.
//! - `a_call_that_ends_gives_back_what_it_held`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use semantics::reason::Reason;
use tonic::Status;

use super::status;
use crate::auth::Caller;
use crate::hub::Principal;
use crate::hub::error::HubError;
use crate::tls::Peer;

/// Most bytes of unfinished messages on one listener.
pub const UNFINISHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Most of them of one node, or of one operator's address: four of the largest messages.
pub const UNFINISHED_OF_KNOWN_MAX: usize = 16 * 1024 * 1024;
/// Most of them from one address whose callers did not show who they are.
pub const UNFINISHED_OF_UNKNOWN_MAX: usize = 1024 * 1024;
/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Node(Principal),
    Operator(Option<IpAddr>),
    Unknown(Option<IpAddr>),
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    of: BTreeMap<Owner, usize>,
}

/// What is held on one listener.
#[derive(Debug, Clone)]
pub struct Inflow {
    all_max: usize,
    held: Arc<Mutex<Held>>,
}

impl Default for Inflow {
    fn default() -> Self {
        Self::new(UNFINISHED_BYTES_MAX)
    }
}

impl Inflow {
    /// With this bound for all callers together.
    #[must_use]
    pub fn new(all_max: usize) -> Self {
        Self { all_max, held: Arc::default() }
    }

    fn share(&self, owner: Owner) -> Share {
        let of_owner_max = match owner {
            Owner::Node(_) | Owner::Operator(_) => UNFINISHED_OF_KNOWN_MAX,
            Owner::Unknown(_) => UNFINISHED_OF_UNKNOWN_MAX,
        };
        Share { inflow: self.clone(), owner, of_owner_max, held: 0, message: Message::default() }
    }
}

/// Counts what comes in of a call.
pub async fn bound(State(inflow): State<Inflow>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<Peer>().map(Peer::holder);
    let owner = match request.extensions().get::<Caller>() {
        Some(Caller::Node { principal, .. }) => Owner::Node(principal.clone()),
        Some(Caller::Operator(_)) => Owner::Operator(address),
        Some(Caller::Anyone) | None => Owner::Unknown(address),
    };
    let mut share = inflow.share(owner);
    let request = request.map(|body| {
        let counted = body.into_data_stream().map(move |bytes| -> Result<Bytes, axum::BoxError> {
            let bytes = bytes?;
            share.take(&bytes).map_err(axum::BoxError::from)?;
            Ok(bytes)
        });
        Body::from_stream(counted)
    });
    next.run(request).await
}

/// Where a call stands in its message.
#[derive(Debug, Default)]
struct Message {
    header: Vec<u8>,
    missing: usize,
}

impl Message {
    /// Reads on; how many bytes of a message that is not whole there are after it, given how many there were before.
    fn read(&mut self, mut bytes: &[u8], before: usize) -> usize {
        let mut unfinished = before;
        while !bytes.is_empty() {
            if self.missing > 0 {
                let (taken, rest) = bytes.split_at(self.missing.min(bytes.len()));
                self.missing -= taken.len();
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
            }
        }
        unfinished
    }
}

/// What one call holds.
#[derive(Debug)]
struct Share {
    inflow: Inflow,
    owner: Owner,
    of_owner_max: usize,
    held: usize,
    message: Message,
}

impl Share {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let wanted = self.message.read(bytes, self.held);
        let mut held = self.inflow.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = held.of.get(&self.owner).copied().unwrap_or_default();
        let (all, of_owner) = (held.all - self.held + wanted, of_owner - self.held + wanted);
        if wanted > self.held && (all > self.inflow.all_max || of_owner > self.of_owner_max) {
            drop(held);
            let detail = "too many messages are under way that are not whole";
            return Err(status::of(HubError::transient(Reason::Overloaded, detail, 1_000)));
        }
        held.all = all;
        if of_owner == 0 {
            held.of.remove(&self.owner);
        } else {
            held.of.insert(self.owner.clone(), of_owner);
        }
        self.held = wanted;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.inflow.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= self.held;
        match held.of.get_mut(&self.owner) {
            Some(of_owner) if *of_owner > self.held => *of_owner -= self.held,
            Some(_) | None => drop(held.of.remove(&self.owner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(last: u8) -> Owner {
        Owner::Unknown(Some(IpAddr::from([127, 0, 0, last])))
    }

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        [vec![0], length.to_vec(), vec![7; bytes]].concat()
    }

    fn all(inflow: &Inflow) -> usize {
        inflow.held.lock().unwrap().all
    }

    #[test]
    fn a_message_is_counted_until_it_is_whole() {
        let inflow = Inflow::default();
        for piece in [1, 2, 3, 7, 1_000] {
            let mut share = inflow.share(unknown(1));
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
        let inflow = Inflow::new(UNFINISHED_OF_UNKNOWN_MAX + 1_000);
        let mut first = inflow.share(unknown(1));
        first.take(&message(10 << 20)[..UNFINISHED_OF_UNKNOWN_MAX]).unwrap();
        let mut second = inflow.share(unknown(1));
        let refused = second.take(&message(10_000)[..20]).unwrap_err();
        assert_eq!(proto::reason::refusal_of(&refused).reason, Reason::Overloaded);
        assert!(proto::reason::retry_after_ms(&refused).is_some());
        let mut other = inflow.share(unknown(2));
        other.take(&message(10_000)[..500]).unwrap();
        other.take(&message(10_000)[..1_000]).unwrap_err();
    }

    #[test]
    fn a_call_that_ends_gives_back_what_it_held() {
        let inflow = Inflow::default();
        let (mut one, mut two) = (inflow.share(unknown(1)), inflow.share(unknown(1)));
        one.take(&message(1_000)[..105]).unwrap();
        two.take(&message(1_000)[..205]).unwrap();
        drop(one);
        assert_eq!(all(&inflow), 200);
        drop(two);
        assert_eq!(all(&inflow), 0);
        assert!(inflow.held.lock().unwrap().of.is_empty());
    }
}
