//! How many connections may stand, and for how long one that is of no use. Counted from the moment a connection is
//! accepted, before anything of it is read.
//!
//! - `one_address_takes_half_of_the_room`: the other half is there for everybody else.
//! - `a_connection_gives_its_place_back`: also one whose handshake failed.
//! - `addresses_of_one_network_are_one`: of IPv6, the first 64 bits name the holder.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::open_files;
use crate::telemetry::Metrics;

/// Most connections of spokes at once, where the machine allows that many open files.
pub const CONNECTIONS_MAX: usize = 12_000;
/// Most connections of operators and probes at once.
pub const OPERATOR_CONNECTIONS_MAX: usize = 256;
/// Most handshakes at once; further connections wait for their turn.
pub const HANDSHAKES_MAX: usize = 256;
/// Longest wait for a turn at the handshake, milliseconds; and longest handshake.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// A connection makes its first call within this, milliseconds.
pub const FIRST_CALL_MS_MAX: u64 = 10_000;
/// A connection on which nothing is called is closed after this, milliseconds. Only calls of those who are known
/// keep it open for longer than they take to answer.
pub const IDLE_MS_MAX: u64 = 300_000;

/// The bounds of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections; one address holds half of them at most.
    pub connections_max: usize,
    /// Most handshakes at once; those of one address take half of them at most.
    pub handshakes_max: usize,
    /// Longest wait for a turn, and longest handshake, milliseconds.
    pub handshake_ms_max: u64,
    /// Longest time to the first call, milliseconds.
    pub first_call_ms_max: u64,
    /// Longest time without a call, milliseconds.
    pub idle_ms_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            handshakes_max: HANDSHAKES_MAX,
            handshake_ms_max: HANDSHAKE_MS_MAX,
            first_call_ms_max: FIRST_CALL_MS_MAX,
            idle_ms_max: IDLE_MS_MAX,
        }
    }
}

impl Bounds {
    /// For spokes: at most half of the files that this process may open, so that the store has the others.
    #[must_use]
    pub fn of_spokes() -> Self {
        let files = open_files::max().and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        Self { connections_max: CONNECTIONS_MAX.min(files / 2), ..Self::default() }
    }

    /// For operators and probes.
    #[must_use]
    pub fn of_operators() -> Self {
        Self { connections_max: OPERATOR_CONNECTIONS_MAX, ..Self::default() }
    }

    pub(super) fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms_max)
    }
}

/// Why the hub closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// There are too many.
    Full,
    /// Its address has too many.
    OfAddress,
    /// It shook no hands: garbage, clear text, another authority, or nothing in time.
    Handshake,
    /// Nothing was called on it.
    Idle,
    /// Nothing was taken of an answer for too long.
    Unread,
}

impl Closed {
    /// Its name among the counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::OfAddress => "of_address",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Unread => "unread",
        }
    }
}

#[derive(Debug)]
struct Holder {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    of: BTreeMap<IpAddr, Holder>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    metrics: Metrics,
    handshakes: Arc<Semaphore>,
    held: Mutex<Held>,
    refused: AtomicU64,
}

/// The room of one listener.
#[derive(Debug, Clone)]
pub struct Room(Arc<Shared>);

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: Metrics) -> Self {
        let handshakes = Arc::new(Semaphore::new(bounds.handshakes_max));
        let (held, refused) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Shared { bounds, metrics, handshakes, held, refused }))
    }

    /// Its bounds.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// How many connections stand.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// How many connections came to nothing.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection from this address.
    ///
    /// # Errors
    /// Why there is none.
    pub fn enter(&self, address: IpAddr) -> Result<Place, Closed> {
        let holder = holder(address);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.all >= self.0.bounds.connections_max {
            return Err(Closed::Full);
        }
        let shares = self.0.bounds.handshakes_max.div_ceil(2);
        let of = held
            .of
            .entry(holder)
            .or_insert_with(|| Holder { connections: 0, handshakes: Arc::new(Semaphore::new(shares)) });
        if of.connections >= self.0.bounds.connections_max.div_ceil(2) {
            return Err(Closed::OfAddress);
        }
        of.connections += 1;
        let handshakes = Arc::clone(&of.handshakes);
        held.all += 1;
        self.0.metrics.connections.inc();
        Ok(Place { holder, room: self.clone(), handshakes })
    }

    /// Counts a connection that was closed by the hub.
    pub fn count(&self, closed: Closed) {
        self.0.metrics.connection_closed(closed.as_str());
        if !matches!(closed, Closed::Idle | Closed::Unread) {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The one to whom an address belongs.
pub(super) fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    holder: IpAddr,
    room: Room,
    handshakes: Arc<Semaphore>,
}

/// A turn at the handshake.
#[derive(Debug)]
pub struct Turn {
    _of_address: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Place {
    /// The room it is in.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Waits for a turn at the handshake: behind those of the same address, and then behind all.
    pub async fn turn(&self) -> Option<Turn> {
        // Nobody closes the two.
        let of_address = Arc::clone(&self.handshakes).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.room.0.handshakes).acquire_owned().await.ok()?;
        Some(Turn { _of_address: of_address, _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.room.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        self.room.0.metrics.connections.dec();
        match held.of.get_mut(&self.holder) {
            Some(of) if of.connections > 1 => of.connections -= 1,
            Some(_) | None => drop(held.of.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(connections_max: usize) -> Room {
        Room::new(Bounds { connections_max, ..Bounds::default() }, Metrics::new())
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn one_address_takes_half_of_the_room() {
        let room = room(4);
        let mut held = vec![room.enter(at("10.0.0.1")).unwrap(), room.enter(at("10.0.0.1")).unwrap()];
        assert_eq!(room.enter(at("10.0.0.1")).unwrap_err(), Closed::OfAddress);
        assert_eq!(room.enter(at("::ffff:10.0.0.1")).unwrap_err(), Closed::OfAddress, "the same one");
        held.push(room.enter(at("10.0.0.2")).unwrap());
        held.push(room.enter(at("10.0.0.3")).unwrap());
        assert_eq!(room.enter(at("10.0.0.4")).unwrap_err(), Closed::Full);
    }

    #[test]
    fn a_connection_gives_its_place_back() {
        let room = room(2);
        let first = room.enter(at("10.0.0.1")).unwrap();
        assert_eq!(room.connections(), 1);
        drop(first);
        assert_eq!(room.connections(), 0);
        assert!(room.0.held.lock().unwrap().of.is_empty(), "nothing is remembered of who is gone");
        assert!(room.enter(at("10.0.0.1")).is_ok());
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let room = room(2);
        let _held = room.enter(at("2001:db8:1:2::1")).unwrap();
        assert_eq!(room.enter(at("2001:db8:1:2:ffff::9")).unwrap_err(), Closed::OfAddress);
        assert!(room.enter(at("2001:db8:1:3::1")).is_ok());
    }

    #[tokio::test]
    async fn the_handshakes_of_one_address_leave_half_of_the_turns() {
        let bounds = Bounds { handshakes_max: 4, ..Bounds::default() };
        let room = Room::new(bounds, Metrics::new());
        let silent: Vec<_> = (0..9).map(|_| room.enter(at("10.0.0.1")).unwrap()).collect();
        let mut turns = Vec::new();
        for place in &silent[..2] {
            turns.push(place.turn().await.unwrap());
        }
        let waits = tokio::time::timeout(Duration::from_millis(20), silent[2].turn()).await;
        assert!(waits.is_err(), "a third turn was given");
        let other = room.enter(at("10.0.0.2")).unwrap();
        assert!(other.turn().await.is_some());
    }
}
