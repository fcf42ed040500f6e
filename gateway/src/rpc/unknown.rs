//! How many calls of those who did not show who they are may be open at once: of one address, and of all together. Who
//! is known is not counted here, so that nobody unknown takes the room of those who are, also at the same address.
//!
//! - `one_address_takes_its_own_share_only`, and all together half of what a gateway works on; past it comes OVERLOADED.
//! - A call counts until it is answered, a stream until it ends or its connection does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use semantics::reason::Reason;

use super::layers::{CALLS_MAX, is_stream};
use super::status;
use crate::auth::Caller;
use crate::hub::error::HubError;
use crate::tls::Peer;

/// Most calls of unknown callers that wait for their answer on one listener.
pub const CALLS_OF_UNKNOWN_MAX: usize = CALLS_MAX / 2;
/// Most of them from one address (of IPv6, one /64).
pub const CALLS_OF_ADDRESS_MAX: usize = 128;
/// Most streams of unknown callers that are open on one listener: who watches whether it serves, who asks what it serves.
pub const STREAMS_OF_UNKNOWN_MAX: usize = 1_024;
/// Most of them from one address (of IPv6, one /64).
pub const STREAMS_OF_ADDRESS_MAX: usize = 32;

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: BTreeMap<Option<IpAddr>, usize>,
}

#[derive(Debug, Clone)]
struct Places {
    all_max: usize,
    address_max: usize,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    fn new(all_max: usize, address_max: usize) -> Self {
        Self { all_max, address_max, taken: Arc::default() }
    }

    fn take(&self, address: Option<IpAddr>) -> Result<Place, HubError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |what: &str| Err(HubError::transient(Reason::Overloaded, what, 1_000));
        if taken.all >= self.all_max {
            return full("too many calls of unknown callers are open");
        }
        let of_address = taken.of.get(&address).copied().unwrap_or_default();
        if of_address >= self.address_max {
            return full("too many calls of unknown callers at this address are open");
        }
        taken.all += 1;
        taken.of.insert(address, of_address + 1);
        Ok(Place { address, taken: Arc::clone(&self.taken) })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place {
    address: Option<IpAddr>,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.of.get_mut(&self.address) {
            Some(of_address) if *of_address > 1 => *of_address -= 1,
            Some(_) | None => drop(taken.of.remove(&self.address)),
        }
    }
}

/// The places for unknown callers on one listener.
#[derive(Debug, Clone)]
pub struct Unknown {
    calls: Places,
    streams: Places,
}

impl Default for Unknown {
    fn default() -> Self {
        Self {
            calls: Places::new(CALLS_OF_UNKNOWN_MAX, CALLS_OF_ADDRESS_MAX),
            streams: Places::new(STREAMS_OF_UNKNOWN_MAX, STREAMS_OF_ADDRESS_MAX),
        }
    }
}

/// Lets calls of unknown callers through for which there is a place.
pub async fn bound(State(unknown): State<Unknown>, request: Request, next: Next) -> Response {
    if let Some(Caller::Node { .. } | Caller::Operator(_)) = request.extensions().get::<Caller>() {
        return next.run(request).await;
    }
    let address = request.extensions().get::<Peer>().map(Peer::holder);
    let is_stream = is_stream(request.uri().path());
    let places = if is_stream { &unknown.streams } else { &unknown.calls };
    match places.take(address) {
        Err(error) => status::of(error).into_http::<Body>(),
        Ok(place) if is_stream => {
            let response = next.run(request).await;
            response.map(|inner| Body::new(Placed { inner, _place: place }))
        }
        Ok(_place) => next.run(request).await,
    }
}

/// The answer of a stream, which has a place until it is dropped.
struct Placed {
    inner: Body,
    _place: Place,
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
        let places = Places::new(5, 2);
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
