//! How the operator's commands reach a hub, and a hub its resolver.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use semantics::reason::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::hub::error::HubError;

/// Longest wait for a connection, milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;
/// Longest wait for an answer, milliseconds.
const ANSWER_MS_MAX: u64 = 30_000;

/// Connects to `https://HOST:PORT` under this CA, or without a CA to `http://` on this machine.
///
/// # Errors
/// MALFORMED for another address or a certificate that does not read; PIN_MISMATCH for a hub that is not under the
/// CA; UNREACHABLE.
pub async fn channel(uri: &str, ca_pem: Option<&str>) -> Result<Channel, HubError> {
    let (endpoint, tls) = at(uri, ca_pem)?;
    let connector = tower::service_fn(move |uri: Uri| connect(uri, tls.clone()));
    let endpoint = endpoint
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .timeout(Duration::from_millis(ANSWER_MS_MAX));
    endpoint.connect_with_connector(connector).await.map_err(|e| unreachable(uri, &e))
}

/// Whether [`channel`] has anything against an address and a CA, as far as that can be told without connecting.
///
/// # Errors
/// MALFORMED.
pub fn check(uri: &str, ca_pem: Option<&str>) -> Result<(), HubError> {
    at(uri, ca_pem).map(|_| ())
}

fn at(uri: &str, ca_pem: Option<&str>) -> Result<(Endpoint, Option<Arc<ClientConfig>>), HubError> {
    let malformed = |detail: String| HubError::new(Reason::Malformed, detail);
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|e| malformed(format!("{uri}: {e}")))?;
    let host = endpoint.uri().host().unwrap_or_default().to_owned();
    let tls = match (endpoint.uri().scheme_str(), ca_pem) {
        (Some("https"), Some(pem)) => Some(Arc::new(client_config(pem)?)),
        (Some("http"), _) if is_loopback(&host) => None,
        (Some("http"), _) => return Err(malformed(format!("{uri}: clear text is for this machine alone"))),
        (Some("https"), None) => return Err(malformed(format!("{uri}: the CA is needed"))),
        (Some(_) | None, _) => return Err(malformed(format!("{uri} is no https://HOST:PORT"))),
    };
    Ok((endpoint, tls))
}

fn client_config(ca_pem: &str) -> Result<ClientConfig, HubError> {
    let malformed = |e: &dyn std::fmt::Display| HubError::new(Reason::Malformed, format!("the CA: {e}"));
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|e| malformed(&e))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|e| malformed(&e))?;
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| HubError::internal(format!("TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn connect(uri: Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<TokioIo<HubStream>> {
    let host = bare(uri.host().unwrap_or_default()).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(TokioIo::new(HubStream::Plain(tcp))) };
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, tcp).await?;
    Ok(TokioIo::new(HubStream::Tls(Box::new(stream))))
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unreachable(uri: &str, error: &(dyn std::error::Error + 'static)) -> HubError {
    let causes: Vec<String> =
        std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    let detail = format!("{uri}: {}", causes.join(": "));
    let is_certificate = causes.iter().any(|cause| cause.contains("invalid peer certificate"));
    if is_certificate {
        return HubError::new(Reason::PinMismatch, detail);
    }
    HubError::transient(Reason::Unreachable, detail, 500)
}

/// A connection to a hub.
#[derive(Debug)]
enum HubStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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
