//! HTTP/2 by hand: what no library would send.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::table::Heard;
use super::world::{Hub, SOON};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The errors of RFC 9113, section 7.
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

fn literal(bytes: &mut Vec<u8>, text: &[u8]) {
    assert!(text.len() < 127);
    bytes.push(u8::try_from(text.len()).unwrap());
    bytes.extend_from_slice(text);
}

/// The headers of a call, uncompressed.
pub fn call(path: &str) -> Vec<u8> {
    let headers: [(&str, &str); 6] = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        literal(&mut block, name.as_bytes());
        literal(&mut block, value.as_bytes());
    }
    block
}

/// A connection to a hub's port for spokes.
pub struct Line(pub TlsStream<TcpStream>);

impl Line {
    /// After the handshake of TLS, which says that this protocol follows.
    pub async fn open(hub: &Hub, protocol: &[u8]) -> std::io::Result<Self> {
        Self::from(hub, protocol, Ipv4Addr::LOCALHOST).await
    }

    async fn from(hub: &Hub, protocol: &[u8], address: Ipv4Addr) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(hub.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let socket = TcpSocket::new_v4()?;
        socket.bind((address, 0).into())?;
        let tcp = socket.connect(hub.running.at.listen).await?;
        let name = ServerName::try_from("localhost").unwrap();
        Ok(Self(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?))
    }

    /// With the beginning of HTTP/2 said.
    pub async fn greeted(hub: &Hub) -> Self {
        Self::greeted_from(hub, Ipv4Addr::LOCALHOST).await
    }

    /// The same from another address of this machine.
    pub async fn greeted_from(hub: &Hub, address: Ipv4Addr) -> Self {
        let mut line = Self::from(hub, b"h2", address).await.unwrap();
        line.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        line.say(&frame(SETTINGS, 0, 0, &[])).await;
        line
    }

    /// Whether the other side still takes it is seen when it is listened to.
    pub async fn say(&mut self, bytes: &[u8]) {
        let said = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        drop(tokio::time::timeout(SOON, said).await.expect("nothing more is taken"));
    }

    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], payload))
    }

    /// Listens until the connection ends: with which error of HTTP/2.
    pub async fn ends(&mut self) -> Heard {
        let listened = async {
            let mut error = "closed without a word";
            while let Some((kind, payload)) = self.hear().await {
                if kind == GOAWAY {
                    error = ERRORS[usize::from(payload[7])];
                }
            }
            error
        };
        tokio::time::timeout(SOON, listened).await.map_or(Heard::Taken, Heard::Ended)
    }

    /// Whether a ping is answered after everything that was said.
    pub async fn answers(&mut self) -> bool {
        self.say(&frame(PING, 0, 0, b"the-last")).await;
        let answered = async {
            while let Some((kind, payload)) = self.hear().await {
                if kind == PING && payload == b"the-last" {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap_or(false)
    }
}
