//! The stream of connections that a server takes. Handshakes run side by side, each bounded in time, and so many at
//! most.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use super::identity::Identity;
use super::{Alpn, server_config};
use crate::hub::error::HubError;

/// Most handshakes at once; further connections wait to be accepted.
pub const HANDSHAKES_MAX: usize = 256;
/// Longest handshake, milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Pause after the machine could not accept, as when it is out of file descriptors, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// How many connections came to nothing.
#[derive(Debug, Default)]
pub struct Refused(AtomicU64);

impl Refused {
    /// So many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections, as they become ready to be served. Never an error: what fails is counted and closed.
pub struct Incoming {
    ready: BoxStream<'static, Connection>,
    refused: Arc<Refused>,
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
    pub fn plaintext(listener: TcpListener) -> Result<Self, HubError> {
        let address = address(&listener)?;
        let ready = accepted(listener).map(|(stream, peer)| Connection::plain(stream, peer)).boxed();
        Ok(Self { ready, refused: Arc::default(), address })
    }

    /// Connections over TLS.
    ///
    /// # Errors
    /// As [`server_config`]; INTERNAL when the listener has no address.
    pub fn tls(listener: TcpListener, identity: Arc<Identity>, alpn: Alpn) -> Result<Self, HubError> {
        let address = address(&listener)?;
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, alpn)?));
        let refused = Arc::<Refused>::default();
        let counted = Arc::clone(&refused);
        let ready = accepted(listener)
            .map(move |(stream, peer)| shake_hands(acceptor.clone(), stream, peer))
            .buffer_unordered(HANDSHAKES_MAX)
            .filter_map(move |result| {
                if let Err(error) = &result {
                    counted.0.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "a handshake failed");
                }
                std::future::ready(result.ok())
            })
            .boxed();
        Ok(Self { ready, refused, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts the connections that came to nothing, also after the stream has been given away.
    #[must_use]
    pub fn refused(&self) -> Arc<Refused> {
        Arc::clone(&self.refused)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_next_unpin(context).map(|next| next.map(Ok))
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, HubError> {
    listener.local_addr().map_err(|e| HubError::internal(e.to_string()))
}

fn accepted(listener: TcpListener) -> impl Stream<Item = (TcpStream, SocketAddr)> + Send {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Without it small messages wait for one another; a failure means the peer is gone already.
                    if stream.set_nodelay(true).is_ok() {
                        return Some(((stream, peer), listener));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            }
        }
    })
}

/// In a task of its own, so that handshakes use every core; it ends with whoever waits for it.
async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    let bound = Duration::from_millis(HANDSHAKE_MS_MAX);
    let shaking = AbortOnDropHandle::new(tokio::spawn(tokio::time::timeout(bound, acceptor.accept(stream))));
    let shaken = shaking.await.map_err(io::Error::other)?;
    Ok(Connection::tls(shaken.map_err(io::Error::other)??, peer))
}
