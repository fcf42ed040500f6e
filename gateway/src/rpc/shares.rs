//! How many calls may be open at once, and whose: of those who did not show who they are, of one address and of all
//! together; of one node; of one operator. Who is known is not counted among the unknown, so that nobody unknown takes
//! the room of those who are, also at the same address.
//!
//! - `one_address_takes_its_own_share_only`, and all together half of what a gateway works on; past it comes OVERLOADED.
//! - A call counts until it is answered, a stream of unknown callers until it ends or its connection does. A node's
//!   streams have a bound of their own ([`super::SESSIONS_PER_NODE_MAX`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use semantics::reason::Reason;

use super::layers::{Answer, CALLS_MAX, is_stream};
use super::owner::Owner;
use super::status;
use crate::hub::error::HubError;

/// Most calls of unknown callers that wait for their answer on one listener.
pub const CALLS_OF_UNKNOWN_MAX: usize = CALLS_MAX / 2;
/// Most of them from one address (of IPv6, one /64).
pub const CALLS_OF_ADDRESS_MAX: usize = 128;
/// Most calls of one node that wait for their answer on one listener.
pub const CALLS_OF_NODE_MAX: usize = CALLS_MAX / 8;
/// Most calls of one operator that wait for their answer on one listener.
pub const CALLS_OF_OPERATOR_MAX: usize = CALLS_MAX / 8;
/// Most streams of unknown callers that are open on one listener: who watches whether it serves.
pub const STREAMS_OF_UNKNOWN_MAX: usize = 1_024;
/// Most of them from one address (of IPv6, one /64).
pub const STREAMS_OF_ADDRESS_MAX: usize = 32;

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    of: BTreeMap<K, usize>,
}

/// Places for holders, each of which has a share of its own.
#[derive(Debug)]
struct Places<K> {
    all_max: usize,
    share_max: usize,
    /// Whose they are, all together and one.
    whose: [&'static str; 2],
    taken: Arc<Mutex<Taken<K>>>,
}

// By hand: a key need not be clonable for that.
impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self { taken: Arc::clone(&self.taken), ..*self }
    }
}

impl<K: Ord + Clone> Places<K> {
    fn new(all_max: usize, share_max: usize, whose: [&'static str; 2]) -> Self {
        let taken = Arc::new(Mutex::new(Taken { all: 0, of: BTreeMap::new() }));
        Self { all_max, share_max, whose, taken }
    }

    fn take(&self, holder: K) -> Result<Place<K>, HubError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |whose: &str| {
            Err(HubError::transient(Reason::Overloaded, format!("too many calls of {whose} are open"), 1_000))
        };
        let [all, one] = self.whose;
        if taken.all >= self.all_max {
            return full(all);
        }
        let of_holder = taken.of.get(&holder).copied().unwrap_or_default();
        if of_holder >= self.share_max {
            return full(one);
        }
        taken.all += 1;
        taken.of.insert(holder.clone(), of_holder + 1);
        Ok(Place { holder, taken: Arc::clone(&self.taken) })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place<K: Ord> {
    holder: K,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.of.get_mut(&self.holder) {
            Some(of_holder) if *of_holder > 1 => *of_holder -= 1,
            Some(_) | None => drop(taken.of.remove(&self.holder)),
        }
    }
}

/// The places of unknown callers, of each node and of each operator, on one listener.
#[derive(Debug, Clone)]
pub struct Shares {
    calls: Places<Option<IpAddr>>,
    streams: Places<Option<IpAddr>>,
    nodes: Places<Owner>,
    operators: Places<Owner>,
}

impl Default for Shares {
    fn default() -> Self {
        let unknown = ["unknown callers", "unknown callers at this address"];
        Self {
            calls: Places::new(CALLS_OF_UNKNOWN_MAX, CALLS_OF_ADDRESS_MAX, unknown),
            streams: Places::new(STREAMS_OF_UNKNOWN_MAX, STREAMS_OF_ADDRESS_MAX, unknown),
            nodes: Places::new(CALLS_MAX, CALLS_OF_NODE_MAX, ["nodes", "this node"]),
            operators: Places::new(CALLS_MAX, CALLS_OF_OPERATOR_MAX, ["operators", "this operator"]),
        }
    }
}

/// Lets calls through for which there is a place.
pub(super) async fn bound<A: Answer>(
    shares: &Shares,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let is_stream = is_stream(request.uri().path());
    let owner = Owner::of(request.extensions());
    let (places, address) = match owner {
        Owner::Node(..) => return known(&shares.nodes, owner, request, next).await,
        Owner::Operator(..) => return known(&shares.operators, owner, request, next).await,
        Owner::Unknown(address) if is_stream => (&shares.streams, address),
        Owner::Unknown(address) => (&shares.calls, address),
    };
    match places.take(address) {
        Err(error) => status::of(error).into_http::<Body>(),
        Ok(place) if is_stream => {
            let response = next(request).await;
            response.map(|inner| Body::new(Placed { inner, _place: place }))
        }
        Ok(_place) => next(request).await,
    }
}

async fn known<A: Answer>(
    places: &Places<Owner>,
    owner: Owner,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    match places.take(owner) {
        Err(error) => status::of(error).into_http::<Body>(),
        Ok(_place) => next(request).await,
    }
}

/// The answer of a stream, which has a place until it is dropped.
struct Placed {
    inner: Body,
    _place: Place<Option<IpAddr>>,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, address]))
    }

    #[test]
    fn one_address_takes_its_own_share_only() {
        let places = Places::new(5, 2, ["all", "one"]);
        let mut held = vec![places.take(at(1)).unwrap(), places.take(at(1)).unwrap()];
        let refused = places.take(at(1)).unwrap_err();
        assert_eq!(refused.reason(), Reason::Overloaded);
        assert!(refused.retry_after_ms.is_some());
        held.push(places.take(at(2)).unwrap());
        held.push(places.take(at(2)).unwrap());
        held.push(places.take(at(3)).unwrap());
        assert_eq!(places.take(at(4)).unwrap_err().reason(), Reason::Overloaded, "all together");
        held.remove(0);
        held.push(places.take(at(1)).unwrap());
        held.clear();
        let taken = places.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.of.is_empty(), "nothing is remembered of who is gone");
    }
}
