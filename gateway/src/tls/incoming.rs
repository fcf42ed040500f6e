//! The stream of connections that a server takes. Each gets a place in the [`Room`] or is closed at once; handshakes
//! run side by side, each bounded in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::identity::Identity;
use super::room::{Closed, Place, Room};
use super::{Alpn, server_config};
use crate::hub::error::HubError;

/// Pause after the machine could not accept, as when it is out of file descriptors, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Connections, as they become ready to be served. Never an error: what fails is counted and closed.
pub struct Incoming {
    ready: BoxStream<'static, Connection>,
    room: Room,
    address: SocketAddr,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Incoming {
    /// Connections in clear text.
    ///
    /// # Errors
    /// INTERNAL when the listener has no address.
    pub fn plaintext(listener: TcpListener, room: Room) -> Result<Self, HubError> {
        Self::new(listener, room, None)
    }

    /// Connections over TLS.
    ///
    /// # Errors
    /// As [`server_config`]; INTERNAL when the listener has no address.
    pub fn tls(
        listener: TcpListener,
        room: Room,
        identity: Arc<Identity>,
        alpn: Alpn,
    ) -> Result<Self, HubError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, alpn)?));
        Self::new(listener, room, Some(acceptor))
    }

    fn new(listener: TcpListener, room: Room, acceptor: Option<TlsAcceptor>) -> Result<Self, HubError> {
        let address = listener.local_addr().map_err(|e| HubError::internal(e.to_string()))?;
        let door = Door { listener, acceptor, room: room.clone(), shaking: JoinSet::new() };
        let ready = futures::stream::unfold(door, |mut door| async move {
            let connection = door.next().await;
            Some((connection, door))
        });
        Ok(Self { ready: ready.boxed(), room, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its connections take their places in; counts also after the stream has been given away.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room.clone()
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_next_unpin(context).map(|next| next.map(Ok))
    }
}

struct Door {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    room: Room,
    /// Handshakes under way, each in a task of its own, so that they use every core; they end with the door. As many
    /// as the room has places.
    shaking: JoinSet<Option<Connection>>,
}

impl Door {
    /// The next connection that is ready to be served.
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(shaken) = self.shaking.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.admit(stream, address),
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                    }
                },
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, address: SocketAddr) {
        let place = match self.room.enter(address.ip()) {
            Ok(place) => place,
            Err(closed) => return self.room.count(closed),
        };
        // Without it small messages wait for one another; a failure means the peer is gone already.
        if stream.set_nodelay(true).is_ok() {
            self.shaking.spawn(shake_hands(self.acceptor.clone(), stream, address, place));
        }
    }
}

async fn shake_hands(
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
) -> Option<Connection> {
    let Some(acceptor) = acceptor else { return Some(Connection::plain(stream, address, place)) };
    let room = place.room().clone();
    let bound = room.bounds().handshake();
    let Ok(Some(turn)) = tokio::time::timeout(bound, place.turn()).await else {
        room.count(Closed::Full);
        return None;
    };
    let shaken = tokio::time::timeout(bound, acceptor.accept(stream)).await;
    drop(turn);
    match shaken.map_err(io::Error::other).and_then(|shaken| shaken) {
        Ok(stream) => Some(Connection::tls(stream, address, place)),
        Err(error) => {
            tracing::debug!(%error, "a handshake failed");
            room.count(Closed::Handshake);
            None
        }
    }
}
