//! One accepted connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::room::{self, Closed, Place};

/// Who is at the other end; in the extensions of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether nobody in between can read along.
    pub is_tls: bool,
    /// What the connection is used for.
    pub calls: Calls,
}

impl Peer {
    /// By whom what it holds is counted: its address, of IPv6 the /64.
    #[must_use]
    pub fn holder(&self) -> IpAddr {
        room::holder(self.address.ip())
    }
}

/// The calls on a connection, counted where they are served and looked at where the connection is read.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    begun: AtomicU64,
    ended: AtomicU64,
    /// An answer is not read.
    unread: CancellationToken,
}

/// A call that is under way, until the last clone of it is dropped: it keeps its connection open.
#[derive(Debug, Clone)]
pub struct Call(#[expect(dead_code, reason = "it is held for its end")] Arc<Ended>);

#[derive(Debug)]
struct Ended(Calls);

impl Calls {
    /// A call begins.
    #[must_use]
    pub fn begin(&self) -> Call {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Call(Arc::new(Ended(self.clone())))
    }

    /// Ends the connection, because nothing is taken of an answer that waits on it.
    pub fn cut(&self) {
        self.0.unread.cancel();
    }

    /// How many beginnings and ends there were, and whether a call is under way.
    fn look(&self) -> (u64, bool) {
        let ended = self.0.ended.load(Ordering::Acquire);
        let begun = self.0.begun.load(Ordering::Acquire);
        (begun.wrapping_add(ended), begun > ended)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// A connection. One on which nothing is called, or an answer is not read, ends with an error when its time is over.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    place: Place,
    /// Looked at when one of them came alone: a connection is read and written for each message.
    alarms: FuturesUnordered<Waited>,
    seen: u64,
    is_over: bool,
}

/// What a connection is looked at for.
#[derive(Debug)]
enum Alarm {
    /// Its time is over, unless it was used meanwhile.
    Time,
    /// An answer is not read.
    Unread,
}

type Waited = Pin<Box<dyn Future<Output = Alarm> + Send + Sync>>;

/// From now on.
fn after(ms: u64) -> impl Future<Output = Alarm> + Send + Sync {
    tokio::time::sleep(Duration::from_millis(ms)).map(|()| Alarm::Time)
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, address: SocketAddr, place: Place) -> Self {
        Self::new(Stream::Plain(stream), address, false, place)
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, address: SocketAddr, place: Place) -> Self {
        Self::new(Stream::Tls(Box::new(stream)), address, true, place)
    }

    fn new(stream: Stream, address: SocketAddr, is_tls: bool, place: Place) -> Self {
        let peer = Peer { address, is_tls, calls: Calls::default() };
        let first = after(place.room().bounds().first_call_ms_max);
        let unread = peer.calls.0.unread.clone().cancelled_owned().map(|()| Alarm::Unread);
        let alarms: [Waited; 2] = [Box::pin(first), Box::pin(unread)];
        let alarms = alarms.into_iter().collect();
        Self { stream, peer, place, alarms, seen: 0, is_over: false }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its time is over, unless anything was called since it was last looked at, or is.
    fn look(&mut self) {
        let (seen, is_used) = self.peer.calls.look();
        self.is_over = seen == self.seen && !is_used;
        if self.is_over {
            self.place.room().count(Closed::Idle);
        }
        self.seen = seen;
        self.alarms.push(Box::pin(after(self.place.room().bounds().idle_ms_max)));
    }

    /// An error once nothing has been called, or taken of an answer, for too long; wakes the connection's task then.
    fn check_used(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.is_over
            && let Poll::Ready(Some(alarm)) = self.alarms.poll_next_unpin(cx)
        {
            match alarm {
                Alarm::Time => self.look(),
                Alarm::Unread => {
                    self.is_over = true;
                    self.place.room().count(Closed::Unread);
                }
            }
        }
        if self.is_over {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing is called or read on this connection",
            ));
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_used(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Who does not read is not read from either: it is looked for here too.
        this.check_used(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_used(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
    /// So that a message leaves with its head: one system call, one packet, under TLS one record.
    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use io::IoSlice;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::telemetry::Metrics;
    use crate::tls::{Bounds, Room};

    #[tokio::test]
    async fn what_is_written_in_pieces_leaves_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let place = Room::new(Bounds::default(), Metrics::new()).enter(address.ip()).unwrap();
        let mut connection = Connection::plain(stream, address, place);
        assert!(connection.is_write_vectored());
        let pieces = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(connection.write_vectored(&pieces).await.unwrap(), 8);
    }
}
