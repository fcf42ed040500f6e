//! A bare tonic server, in memory, in a process of its own: what the transport alone costs. It takes a write and says its
//! number, hands each write to everybody who watches, streams records that it has ready, and keeps streams open.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use prost::bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::figures::Figures;
use super::ground::Ground;
use super::load::{Client, Done, closed};
use super::machine::Watched;
use super::stream::{BODY_BYTES, RECORDS, body, text};
use crate::process::Process;
use crate::sim::rng::Rng;

/// What it is called in tables.
pub(crate) const NAME: &str = "bare tonic";
/// Writes that may wait for the slowest of those who watch.
const EVENTS_MAX: usize = 65_536;
/// Bytes on their way in one call, and on one connection.
const WINDOWS: (u32, u32) = (1024 * 1024, 4 * 1024 * 1024);

const PUT: &str = "/bare.Bare/Put";
const WATCH: &str = "/bare.Bare/Watch";
const LOAD: &str = "/bare.Bare/Load";
const STAY: &str = "/bare.Bare/Stay";

/// A write.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// Its answer.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Number {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: u64,
}

/// What those who watch are given.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) put: Option<Put>,
}

/// Some records at once.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Page {
    #[prost(message, repeated, tag = "1")]
    pub(crate) records: Vec<Put>,
}

/// Records that a page has.
const PAGE_RECORDS: u64 = 256;

#[derive(Debug, Clone)]
struct Bare {
    revision: Arc<AtomicU64>,
    events: broadcast::Sender<Event>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Bare {
    fn put(&self, put: Put) -> Number {
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        // Nobody may be watching.
        let _ = self.events.send(Event { revision, put: Some(put) });
        Number { revision }
    }

    fn watch(&self) -> Answers<Event> {
        let events = BroadcastStream::new(self.events.subscribe());
        // The first one says that it stands.
        let first = stream::iter([Ok(Event::default())]);
        Box::pin(first.chain(events.map(|event| event.map_err(|_| Status::data_loss("too slow")))))
    }

    fn load(count: u64) -> Answers<Page> {
        let value = Bytes::from(body(1, &text(&mut Rng::new(1), BODY_BYTES)));
        let page = move |from: u64| {
            let record = |n| Put { key: format!("r-{n}"), value: value.clone() };
            Ok(Page { records: (from..count.min(from + PAGE_RECORDS)).map(record).collect() })
        };
        Box::pin(stream::iter((0..count).step_by(PAGE_RECORDS as usize)).map(page))
    }
}

impl NamedService for Bare {
    const NAME: &'static str = "bare.Bare";
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                WATCH => {
                    let watch = move |_: Request<Number>| {
                        std::future::ready(Ok::<_, Status>(Response::new(bare.watch())))
                    };
                    let codec = ProstCodec::<Event, Number>::default();
                    tonic::server::Grpc::new(codec).server_streaming(service_fn(watch), request).await
                }
                LOAD => {
                    let load = |ask: Request<Number>| {
                        std::future::ready(Ok::<_, Status>(Response::new(Self::load(ask.get_ref().revision))))
                    };
                    let codec = ProstCodec::<Page, Number>::default();
                    tonic::server::Grpc::new(codec).server_streaming(service_fn(load), request).await
                }
                STAY => {
                    let stay = |said: Request<Streaming<Put>>| {
                        let heard: Answers<Number> =
                            Box::pin(said.into_inner().map(|put| put.map(|_| Number { revision: 1 })));
                        std::future::ready(Ok::<_, Status>(Response::new(heard)))
                    };
                    let codec = ProstCodec::<Number, Put>::default();
                    tonic::server::Grpc::new(codec).streaming(service_fn(stay), request).await
                }
                _ => {
                    let put = move |put: Request<Put>| {
                        std::future::ready(Ok::<_, Status>(Response::new(bare.put(put.into_inner()))))
                    };
                    tonic::server::Grpc::new(ProstCodec::<Number, Put>::default())
                        .unary(service_fn(put), request)
                        .await
                }
            })
        })
    }
}

/// Serves until it is ended from outside.
pub(crate) async fn serve() {
    super::machine::raise_open_files();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let bare = Bare { revision: Arc::default(), events };
    let server = Server::builder().tcp_nodelay(true).add_service(bare);
    server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("it serves");
}

/// The server in a process of its own.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) process: Process,
    place: Place,
}

/// Where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn at(url: String) -> Self {
        Self(url)
    }

    pub(crate) fn url(&self) -> String {
        self.0.clone()
    }

    pub(crate) async fn connect(&self) -> Bearer {
        let (stream, connection) = WINDOWS;
        let endpoint = Endpoint::from_shared(self.0.clone()).expect("a URL").tcp_nodelay(true);
        let endpoint = endpoint.initial_stream_window_size(stream).initial_connection_window_size(connection);
        Bearer(endpoint.connect().await.unwrap_or_else(|e| panic!("the bare server: {e}")))
    }
}

impl Echo {
    pub(crate) fn start() -> Self {
        let process = Process::start("bench", &["echo"]);
        let place = Place(format!("http://{}", process.line()));
        Self { process, place }
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched::server(self.process.id())
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(crate) async fn connect(&self) -> Bearer {
        self.place.connect().await
    }
}

/// A connection to it.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Channel);

impl Bearer {
    async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap_or_else(|e| panic!("the bare server: {e}"));
        grpc
    }

    pub(crate) async fn put(&self, put: Put) -> u64 {
        let path = PathAndQuery::from_static(PUT);
        let answer =
            self.grpc().await.unary(Request::new(put), path, ProstCodec::<Put, Number>::default()).await;
        answer.unwrap_or_else(|e| panic!("the bare server: {e}")).into_inner().revision
    }

    pub(crate) async fn watch(&self) -> Streaming<Event> {
        let (path, codec) = (PathAndQuery::from_static(WATCH), ProstCodec::<Number, Event>::default());
        let answer = self.grpc().await.server_streaming(Request::new(Number::default()), path, codec).await;
        answer.unwrap_or_else(|e| panic!("the bare server: {e}")).into_inner()
    }

    pub(crate) async fn load(&self, count: u64) -> Streaming<Page> {
        let (path, codec) = (PathAndQuery::from_static(LOAD), ProstCodec::<Number, Page>::default());
        let answer =
            self.grpc().await.server_streaming(Request::new(Number { revision: count }), path, codec).await;
        answer.unwrap_or_else(|e| panic!("the bare server: {e}")).into_inner()
    }

    /// A stream both ways, on which one message was answered.
    pub(crate) async fn stay(&self) -> (tokio::sync::mpsc::Sender<Put>, Streaming<Number>) {
        let (say, said) = tokio::sync::mpsc::channel(16);
        say.send(Put::default()).await.expect("there is room");
        let said = tokio_stream::wrappers::ReceiverStream::new(said);
        let (path, codec) = (PathAndQuery::from_static(STAY), ProstCodec::<Put, Number>::default());
        let answer = self.grpc().await.streaming(Request::new(said), path, codec).await;
        let mut heard = answer.unwrap_or_else(|e| panic!("the bare server: {e}")).into_inner();
        heard.message().await.unwrap_or_else(|e| panic!("the bare server: {e}")).expect("an answer");
        (say, heard)
    }
}

/// The records that one of several clients writes again and again, and bodies for them.
#[derive(Debug)]
pub(crate) struct Keys {
    index: usize,
    share: u64,
    n: u64,
    text: String,
}

impl Keys {
    pub(crate) fn new(index: usize, clients: usize) -> Self {
        let share = (RECORDS / clients.max(1)) as u64;
        Self { index, share, n: 0, text: text(&mut Rng::new(index as u64), BODY_BYTES) }
    }

    pub(crate) fn next(&mut self) -> (String, Bytes) {
        self.n += 1;
        (format!("r-{}-{}", self.index, self.n % self.share), body(self.n, &self.text).into())
    }
}

/// A client that writes, one call after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    bearer: Bearer,
    keys: Keys,
}

impl Writer {
    pub(crate) fn new(bearer: Bearer, keys: Keys) -> Self {
        Self { bearer, keys }
    }
}

impl Client for Writer {
    async fn step(&mut self) -> Done {
        let (key, value) = self.keys.next();
        let begin = Instant::now();
        self.bearer.put(Put { key, value }).await;
        Done { ops: 1, latency: begin.elapsed() }
    }
}

/// Unary calls of so many clients.
pub(crate) async fn unary(ground: &Ground, count: usize, connections: usize) -> Figures {
    let echo = Echo::start();
    let mut bearers = Vec::new();
    for _ in 0..count.min(connections) {
        bearers.push(echo.connect().await);
    }
    let clients = bearers
        .iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(n, bearer)| Writer::new(bearer.clone(), Keys::new(n, count)));
    closed(clients.collect(), &ground.settings.times, &echo.watched()).await
}
