//! Connections to a hub: pinned TLS, or clear text to this very machine while developing.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use semantics::ids::Digest;
use semantics::reason::{Reason, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use super::meter::{Meter, Metered};
use super::pin::client_config;

/// Connects to `https://` addresses of the hub with the pinned key; without a pin, to `http://` addresses of this
/// machine. Anything else is refused.
#[derive(Debug, Clone)]
pub struct PinnedConnector {
    tls: Option<Arc<ClientConfig>>,
    meter: Arc<Meter>,
}

impl PinnedConnector {
    /// A connector for what a join token pins.
    ///
    /// # Errors
    /// INTERNAL when the cryptography in use has no TLS 1.3.
    pub fn new(pin: Option<Digest>) -> Result<Self, Refusal> {
        Self::metered(pin, Arc::default())
    }

    /// One whose connections count their bytes.
    ///
    /// # Errors
    /// As [`PinnedConnector::new`].
    pub fn metered(pin: Option<Digest>, meter: Arc<Meter>) -> Result<Self, Refusal> {
        Ok(Self { tls: pin.map(client_config).transpose()?.map(Arc::new), meter })
    }

    /// Whether an address can be reached with this pin.
    ///
    /// # Errors
    /// MALFORMED for an address that is no hub's; PIN_MISMATCH for clear text where a key is pinned, and for
    /// anything but clear text to this machine where none is.
    pub fn check(&self, uri: &Uri) -> Result<(), Refusal> {
        let host = uri.host().ok_or_else(|| malformed(uri))?;
        match (uri.scheme_str(), &self.tls) {
            (Some("https"), Some(_)) => Ok(()),
            (Some("http"), None) if is_loopback(host) => Ok(()),
            (Some("http"), None) => Err(mismatch("clear text is spoken with this machine alone")),
            (Some("http"), Some(_)) => {
                Err(mismatch("the hub's key is pinned: its address begins with https://"))
            }
            (Some("https"), None) => Err(mismatch("no key is pinned: the hub is in dev mode, at http://")),
            (Some(_) | None, _) => Err(malformed(uri)),
        }
    }
}

fn malformed(uri: &Uri) -> Refusal {
    Refusal::new(Reason::Malformed, format!("{uri} is no address of a hub: https://HOST:PORT"))
}

fn mismatch(detail: &str) -> Refusal {
    Refusal::new(Reason::PinMismatch, detail)
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a host is this machine, by its name alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Service<Uri> for PinnedConnector {
    type Response = TokioIo<HubStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<HubStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await.map(TokioIo::new) })
    }
}

impl PinnedConnector {
    async fn connect(&self, uri: &Uri) -> io::Result<HubStream> {
        self.check(uri).map_err(io::Error::other)?;
        let host = bare(uri.host().unwrap_or_default());
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let tcp = Metered { tcp, meter: Arc::clone(&self.meter) };
        let Some(config) = &self.tls else { return Ok(HubStream::Plain(tcp)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
        Ok(HubStream::Tls(Box::new(stream)))
    }
}

/// A connection to a hub.
#[derive(Debug)]
pub enum HubStream {
    /// In clear text.
    Plain(Metered),
    /// Over TLS.
    Tls(Box<TlsStream<Metered>>),
}

impl AsyncRead for HubStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for HubStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
