//! Connections: what a client must speak to be served, and what those who speak otherwise meet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a surprise is a failure"
)]
#![allow(unreachable_pub, dead_code, missing_docs, reason = "shared with other test binaries")]

#[path = "support/ambient.rs"]
mod ambient;
#[path = "tls/resolver.rs"]
mod resolver;
#[path = "auth/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use gateway::telemetry::Metrics;
use gateway::tls::{Alpn, Bounds, Calls, Identity, Incoming, Room};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::ambient::TestClock;
use self::world::World;

/// What should come at once comes in this time: less than any bound of the hub's.
const SOON: Duration = Duration::from_secs(4);
/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(20);

struct Served {
    world: World,
    identity: Arc<Identity>,
    address: SocketAddr,
    room: Room,
    metrics: Metrics,
    calls: Arc<Mutex<Vec<Calls>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that echoes one byte per connection.
async fn serve(alpn: Alpn) -> Served {
    serve_in(alpn, Bounds::default()).await
}

async fn serve_in(alpn: Alpn, bounds: Bounds) -> Served {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = Arc::<TestClock>::clone(&world.clock);
    // Clients check certificates by the machine's clock.
    world.clock.set(gateway::ambient::Clock::now_ms(&gateway::ambient::SystemClock));
    let names = ["hub.example".to_owned()];
    let listen = listener.local_addr().unwrap();
    let identity = Arc::new(Identity::issue(world.trust.ca(), &[listen], &names, clock).unwrap());
    let metrics = Metrics::new();
    let room = Room::new(bounds, metrics.clone());
    let mut incoming = Incoming::tls(listener, room.clone(), Arc::clone(&identity), alpn).unwrap();
    let address = incoming.address();
    let calls = Arc::<Mutex<Vec<Calls>>>::default();
    let seen = Arc::clone(&calls);
    let task = tokio::spawn(async move {
        while let Some(connection) = incoming.next().await {
            let mut connection = connection.unwrap();
            assert!(connection.peer().is_tls);
            seen.lock().unwrap().push(connection.peer().calls.clone());
            tokio::spawn(async move {
                let byte = connection.read_u8().await?;
                connection.write_u8(byte).await?;
                connection.flush().await
            });
        }
    });
    Served { world, identity, address, room, metrics, calls, task }
}

fn roots(ca_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn client(ca_pem: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(ca_pem))
        .with_no_client_auth()
}

async fn connect(served: &Served, config: ClientConfig, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(served.address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn echo(stream: &mut TlsStream<TcpStream>) -> std::io::Result<u8> {
    stream.write_u8(42).await?;
    stream.flush().await?;
    stream.read_u8().await
}

fn tls13(served: &Served) -> ClientConfig {
    client(served.world.trust.ca_pem(), &[&rustls::version::TLS13])
}

async fn refused_becomes(served: &Served, count: u64) {
    let counted = async {
        while served.room.refused() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, counted).await.expect("a refused connection is counted");
}

#[tokio::test]
async fn a_client_speaks_tls_1_3_with_a_hybrid_key_exchange() {
    let served = serve(Alpn::H2).await;
    for name in ["localhost", "127.0.0.1", "hub.example"] {
        let mut config = tls13(&served);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut stream = connect(&served, config, name).await.unwrap();
        assert_eq!(echo(&mut stream).await.unwrap(), 42);
        let (_, state) = stream.get_ref();
        assert_eq!(state.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(state.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
        assert_eq!(state.alpn_protocol(), Some(b"h2".as_slice()));
    }
    assert_eq!(served.room.refused(), 0);
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused() {
    let served = serve(Alpn::H2).await;
    let old = client(served.world.trust.ca_pem(), &[&rustls::version::TLS12]);
    connect(&served, old, "localhost").await.unwrap_err();
    refused_becomes(&served, 1).await;
}

#[tokio::test]
async fn another_name_and_another_hub_are_not_trusted() {
    let served = serve(Alpn::H2).await;
    connect(&served, tls13(&served), "elsewhere.example").await.unwrap_err();
    let other = World::new().await;
    let foreign = client(other.trust.ca_pem(), &[&rustls::version::TLS13]);
    connect(&served, foreign, "localhost").await.unwrap_err();
    refused_becomes(&served, 2).await;
}

#[tokio::test]
async fn clear_text_and_garbage_close_the_connection_and_are_counted() {
    let served = serve(Alpn::H2AndHttp1).await;
    let texts: [&[u8]; 3] =
        [b"GET /readyz HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0x16, 3, 1, 0xff, 0xff]];
    for (count, text) in (1..).zip(texts) {
        let mut tcp = TcpStream::connect(served.address).await.unwrap();
        tcp.write_all(text).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(WITHIN, tcp.read_to_end(&mut answer)).await.expect("it is closed");
        assert!(read.is_err() || answer.len() < 16, "at most an alert: {answer:?}");
        refused_becomes(&served, count).await;
    }
    let mut stream = connect(&served, tls13(&served), "localhost").await.unwrap();
    assert_eq!(echo(&mut stream).await.unwrap(), 42);
}

#[tokio::test]
async fn those_who_are_silent_hold_up_nobody() {
    let served = serve(Alpn::H2).await;
    let mut silent = Vec::new();
    for _ in 0..served.room.bounds().handshakes_max * 2 {
        silent.push(from("127.0.0.2", &served).await);
    }
    let mut stream = tokio::time::timeout(SOON, connect(&served, tls13(&served), "localhost"))
        .await
        .expect("others are served at once")
        .unwrap();
    assert_eq!(echo(&mut stream).await.unwrap(), 42);
    drop(silent);
}

#[tokio::test]
async fn a_certificate_is_replaced_in_memory_before_it_ends() {
    let served = serve(Alpn::H2).await;
    let first = served.identity.current();
    let mut held = connect(&served, tls13(&served), "localhost").await.unwrap();
    served.world.clock.advance(44 * 24 * 3_600_000);
    assert_eq!(served.identity.current().cert, first.cert);
    served.world.clock.advance(2 * 24 * 3_600_000);
    assert_ne!(served.identity.current().cert[0], first.cert[0], "a fresh one");
    assert_eq!(served.identity.current().cert[1], first.cert[1], "of the same CA");
    assert_eq!(echo(&mut held).await.unwrap(), 42, "a connection that stands goes on");
    served.world.clock.set(0);
    assert_eq!(served.identity.current().cert.len(), 2, "a clock that steps back does no harm");
}

#[tokio::test]
async fn operators_reach_a_hub_under_its_ca_alone() {
    let served = serve(Alpn::H2AndHttp1).await;
    let url = format!("https://{}", served.address);
    let other = World::new().await;
    let refused = gateway::tls::client::channel(&url, Some(other.trust.ca_pem())).await.unwrap_err();
    assert_eq!(refused.reason(), semantics::reason::Reason::PinMismatch);
    let refused = gateway::tls::client::channel("http://hub.example:1", None).await.unwrap_err();
    assert_eq!(refused.reason(), semantics::reason::Reason::Malformed);
    let refused = gateway::tls::client::channel("http://127.0.0.1:1", None).await.unwrap_err();
    assert_eq!(refused.reason(), semantics::reason::Reason::Unreachable);
}

/// A connection from another address of this machine.
async fn from(address: &str, served: &Served) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// Waits until the other side has closed it.
async fn is_closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(WITHIN, stream.read_to_end(&mut rest)).await.expect("it is left open");
    assert!(read.is_err() || rest.is_empty(), "{rest:?}");
}

fn closed(served: &Served, cause: &str) -> bool {
    served.metrics.text().contains(&format!("hubward_connections_closed_total{{name=\"{cause}\"}}"))
}

#[tokio::test]
async fn past_the_room_connections_are_closed_at_once_and_counted() {
    let served = serve_in(Alpn::H2, Bounds { connections_max: 4, ..Bounds::default() }).await;
    let mut held = Vec::new();
    for address in ["127.0.0.2", "127.0.0.2", "127.0.0.3"] {
        held.push(from(address, &served).await);
    }
    is_closed(from("127.0.0.2", &served).await).await;
    assert!(closed(&served, "of_address"));
    let mut stream = connect(&served, tls13(&served), "localhost").await.unwrap();
    is_closed(from("127.0.0.4", &served).await).await;
    assert!(closed(&served, "full"));
    assert_eq!(echo(&mut stream).await.unwrap(), 42, "those who are in stay");
    drop(held);
    let left = async {
        while served.room.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, left).await.expect("a place is not given back");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let served = serve_in(Alpn::H2, Bounds { handshake_ms_max: 50, ..Bounds::default() }).await;
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(&[0x16, 3, 1]).await.unwrap();
    is_closed(half).await;
    assert!(closed(&served, "handshake"));
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_called_is_closed() {
    let bounds = Bounds { first_call_ms_max: 200, idle_ms_max: 200, ..Bounds::default() };
    let served = serve_in(Alpn::H2, bounds).await;
    is_closed(connect(&served, tls13(&served), "localhost").await.unwrap()).await;
    assert!(closed(&served, "idle"));
    let mut used = connect(&served, tls13(&served), "localhost").await.unwrap();
    let second = || served.calls.lock().unwrap().get(1).map(Calls::begin);
    let call = loop {
        match second() {
            Some(call) => break call,
            None => tokio::task::yield_now().await,
        }
    };
    let closes = tokio::time::timeout(Duration::from_millis(900), used.read_u8()).await;
    assert!(closes.is_err(), "a connection that is used was closed: {closes:?}");
    drop(call);
    is_closed(used).await;
}
