//! Whose turn it is: calls that read much, or put a large answer together, are worked on a few at a time. Until an answer
//! is counted ([`super::outflow`]) nobody knows what its call holds, so the turn is held from before the first read until
//! then. Which calls these are stands in the table of rights ([`Wait`]).
//!
//! - `a_turn_is_given_back_when_its_call_ends`, however it ends.
//! - `one_caller_and_one_tenant_take_a_share_of_the_turns`: the others do not wait behind them.
//! - `past_the_bound_of_those_who_wait_a_call_is_refused`, with OVERLOADED and the time after which to come again.
//! - A call waits once its message is whole: who does not send it keeps nobody waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::BytesMut;
use futures::StreamExt;
use semantics::ids::TenantId;
use semantics::reason::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::layers::Answer;
use super::owner::Owner;
use super::status;
use crate::auth::rights::{Wait, wait_of};
use crate::hub::error::HubError;

/// Most calls that read at once on one listener.
pub const READS_AT_ONCE_MAX: usize = 8;
/// Most calls that read and then wait for a commit, at once on one listener.
pub const WRITES_AT_ONCE_MAX: usize = 8;
/// Most calls that wait for such a turn, or have one, on one listener; of one tenant half of them.
pub const WAITING_MAX: usize = 192;
/// Most of them of one caller.
pub const WAITING_OF_CALLER_MAX: usize = 32;
/// Longest message of a call that waits for a turn, bytes: it is held meanwhile.
pub const ASK_BYTES_MAX: usize = 320 * 1024;

/// How many may do what at once.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    turns: usize,
    turns_of_tenant: usize,
    turns_of_caller: usize,
    waiting: usize,
    waiting_of_tenant: usize,
    waiting_of_caller: usize,
}

impl Bounds {
    const fn of(turns: usize) -> Self {
        Self {
            turns,
            turns_of_tenant: turns - turns / 4,
            turns_of_caller: turns / 4,
            waiting: WAITING_MAX,
            waiting_of_tenant: WAITING_MAX / 2,
            waiting_of_caller: WAITING_OF_CALLER_MAX,
        }
    }
}

/// The line of one caller, or of one tenant.
#[derive(Debug)]
struct Line {
    turns: Arc<Semaphore>,
    calls: usize,
}

#[derive(Debug, Default)]
struct Lines {
    calls: usize,
    of_tenant: BTreeMap<Option<TenantId>, Line>,
    of_caller: BTreeMap<Owner, Line>,
}

/// The turns of one sort on one listener.
#[derive(Debug, Clone)]
struct Turns {
    bounds: Bounds,
    turns: Arc<Semaphore>,
    lines: Arc<Mutex<Lines>>,
}

/// A place in the line, until it is dropped.
#[derive(Debug)]
struct Place {
    owner: Owner,
    lines: Arc<Mutex<Lines>>,
}

/// A turn, until it is dropped: first the permits go back, then the place.
#[derive(Debug)]
struct Turn {
    _permits: [OwnedSemaphorePermit; 3],
    _place: Place,
}

impl Turns {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, turns: Arc::new(Semaphore::new(bounds.turns)), lines: Arc::default() }
    }

    /// Waits behind the caller's other calls, then behind those of its tenant, then behind all.
    async fn take(&self, owner: Owner) -> Result<Turn, HubError> {
        let (place, [of_caller, of_tenant]) = self.line_up(owner)?;
        // Nobody closes them.
        let closed = |_| HubError::internal("turns have ended");
        let of_caller = of_caller.acquire_owned().await.map_err(closed)?;
        let of_tenant = of_tenant.acquire_owned().await.map_err(closed)?;
        let of_all = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        Ok(Turn { _permits: [of_caller, of_tenant, of_all], _place: place })
    }

    fn line_up(&self, owner: Owner) -> Result<(Place, [Arc<Semaphore>; 2]), HubError> {
        let bounds = self.bounds;
        let tenant = owner.tenant().cloned();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = lines.of_tenant.get(&tenant).map_or(0, |line| line.calls);
        let of_caller = lines.of_caller.get(&owner).map_or(0, |line| line.calls);
        for (waiting, most, whose) in [
            (of_caller, bounds.waiting_of_caller, "of this caller "),
            (of_tenant, bounds.waiting_of_tenant, "of this tenant "),
            (lines.calls, bounds.waiting, ""),
        ] {
            if waiting >= most {
                let detail = format!("too many calls {whose}wait for a turn at reading");
                return Err(HubError::transient(Reason::Overloaded, detail, 1_000));
            }
        }
        lines.calls += 1;
        let line = |turns| Line { turns: Arc::new(Semaphore::new(turns)), calls: 0 };
        let of_caller = lines.of_caller.entry(owner.clone()).or_insert_with(|| line(bounds.turns_of_caller));
        of_caller.calls += 1;
        let of_caller = Arc::clone(&of_caller.turns);
        let of_tenant = lines.of_tenant.entry(tenant).or_insert_with(|| line(bounds.turns_of_tenant));
        of_tenant.calls += 1;
        let of_tenant = Arc::clone(&of_tenant.turns);
        drop(lines);
        Ok((Place { owner, lines: Arc::clone(&self.lines) }, [of_caller, of_tenant]))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let tenant = self.owner.tenant().cloned();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.calls = lines.calls.saturating_sub(1);
        leave(&mut lines.of_caller, &self.owner);
        leave(&mut lines.of_tenant, &tenant);
    }
}

fn leave<K: Ord>(lines: &mut BTreeMap<K, Line>, key: &K) {
    match lines.get_mut(key) {
        Some(line) if line.calls > 1 => line.calls -= 1,
        Some(_) | None => drop(lines.remove(key)),
    }
}

/// The turns of one listener.
#[derive(Debug, Clone)]
pub struct Queues {
    reads: Turns,
    writes: Turns,
}

impl Default for Queues {
    fn default() -> Self {
        let [reads, writes] = [READS_AT_ONCE_MAX, WRITES_AT_ONCE_MAX].map(Bounds::of).map(Turns::new);
        Self { reads, writes }
    }
}

/// Has a call wait for its turn, if it is one that does, and keeps it until the layers inside have counted the answer.
pub(super) async fn bound<A: Answer>(
    queues: &Queues,
    request: Box<Request>,
    next: impl FnOnce(Box<Request>) -> A + Send,
) -> Response {
    let turns = match wait_of(request.uri().path()) {
        Wait::Never => return next(request).await,
        Wait::ToRead => &queues.reads,
        Wait::ToWrite => &queues.writes,
    };
    let owner = Owner::of(request.extensions());
    let (parts, body) = (*request).into_parts();
    let message = match whole(body).await {
        Ok(message) => message,
        Err(refused) => return refused.into_http::<Body>(),
    };
    match turns.take(owner).await {
        Err(error) => status::of(error).into_http::<Body>(),
        Ok(_turn) => next(Box::new(Request::from_parts(parts, Body::from(message)))).await,
    }
}

/// All of a message.
async fn whole(body: Body) -> Result<Bytes, Status> {
    let (mut pieces, mut message) = (body.into_data_stream(), BytesMut::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Status::from_error(Box::new(error)))?;
        if message.len().saturating_add(piece.len()) > ASK_BYTES_MAX {
            let detail = format!("the message is larger than {ASK_BYTES_MAX} bytes");
            return Err(status::of(HubError::new(Reason::TooLarge, detail)));
        }
        message.extend_from_slice(&piece);
    }
    Ok(message.freeze())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use semantics::ids::NodeId;

    use super::*;

    fn node(tenant: &str, n: u8) -> Owner {
        Owner::Node(NodeId([n; 16]), TenantId::new(tenant).unwrap())
    }

    fn turns(turns: usize) -> Turns {
        Turns::new(Bounds::of(turns))
    }

    /// The turn, if there is one now.
    fn now(turns: &Turns, owner: Owner) -> Option<Turn> {
        turns.take(owner).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn a_turn_is_given_back_when_its_call_ends() {
        let turns = turns(4);
        let held = now(&turns, node("a", 1)).unwrap();
        let mut waits = Box::pin(turns.take(node("a", 1)));
        assert!(waits.as_mut().now_or_never().is_none(), "one of four is a caller's share");
        drop(held);
        let held = waits.now_or_never().unwrap().unwrap();
        assert!(now(&turns, node("a", 1)).is_none(), "and who gives up waiting leaves the line");
        drop(held);
        assert_eq!(turns.turns.available_permits(), 4);
        let lines = turns.lines.lock().unwrap();
        assert!(lines.calls == 0 && lines.of_tenant.is_empty() && lines.of_caller.is_empty());
    }

    #[test]
    fn one_caller_and_one_tenant_take_a_share_of_the_turns() {
        let turns = turns(8);
        let mut held: Vec<Turn> = (0..2).map(|_| now(&turns, node("a", 1)).unwrap()).collect();
        assert!(now(&turns, node("a", 1)).is_none());
        for n in [2, 3] {
            held.extend((0..2).map(|_| now(&turns, node("a", n)).unwrap()));
        }
        assert!(now(&turns, node("a", 4)).is_none(), "six of eight are a tenant's share");
        held.extend((0..2).map(|_| now(&turns, node("b", 1)).unwrap()));
        assert!(now(&turns, node("c", 1)).is_none(), "all together");
        drop(held);
        assert!(now(&turns, node("c", 1)).is_some());
    }

    #[test]
    fn past_the_bound_of_those_who_wait_a_call_is_refused() {
        let turns = turns(4);
        let waiting = |owner: &Owner| turns.line_up(owner.clone());
        let full = |owner: &Owner| {
            let error = waiting(owner).unwrap_err();
            assert!(error.reason() == Reason::Overloaded && error.retry_after_ms.is_some());
            error.refusal.detail
        };
        let mut held = Vec::new();
        for n in 0..3 {
            held.extend((0..WAITING_OF_CALLER_MAX).map(|_| waiting(&node("a", n)).unwrap()));
        }
        assert!(full(&node("a", 0)).contains("of this caller"));
        assert!(full(&node("a", 9)).contains("of this tenant"));
        for n in 0..3 {
            held.extend((0..WAITING_OF_CALLER_MAX).map(|_| waiting(&node("b", n)).unwrap()));
        }
        assert!(full(&node("c", 0)).starts_with("too many calls wait"));
        drop(held);
        assert!(waiting(&node("a", 0)).is_ok());
    }
}
