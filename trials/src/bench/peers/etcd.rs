//! etcd, one member, its defaults: a write is flushed before it is answered. The messages are the few fields of its
//! protocol that are used here.

use std::time::Instant;

use http::uri::PathAndQuery;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::{CONNECTIONS_MAX, Server, WATCHING_FIRST, port};
use crate::bench::catch_up::took;
use crate::bench::echo::Keys;
use crate::bench::fan_out::{Audience, Subscriber, WRITERS, paced, peak_of};
use crate::bench::figures::Figures;
use crate::bench::ground::Ground;
use crate::bench::idle::taken;
use crate::bench::load::{Client, Done, closed};
use crate::bench::machine::resident_kib;

pub(super) const NAME: &str = "etcd";
/// Records of a page.
const PAGE: i64 = 5_000;
/// Its revision once the first write is in it: an empty one is at 1.
const FIRST: u64 = 2;
/// Clients that fill it.
const FILLERS: usize = 64;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(int64, tag = "3")]
    limit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchCreate {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreate>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

/// Every key: from the lowest on, without an end.
const ALL: &[u8] = &[0];

/// A server that takes writes, with one in it.
async fn start() -> Option<Server> {
    let server = started()?;
    Connection::open(&server).await.put("first".to_owned(), Bytes::new()).await;
    Some(server)
}

fn started() -> Option<Server> {
    Server::start("etcd-server", |folder, listen| {
        let (url, peers) = (format!("http://127.0.0.1:{listen}"), format!("http://127.0.0.1:{}", port()));
        let words = format!(
            "--data-dir {} --listen-client-urls {url} --advertise-client-urls {url} --listen-peer-urls {peers} \
             --initial-advertise-peer-urls {peers} --initial-cluster default={peers} \
             --quota-backend-bytes 8589934592 --log-level error",
            folder.at("data")
        );
        words.split_whitespace().map(str::to_owned).collect()
    })
}

#[derive(Debug, Clone)]
struct Connection(Channel);

impl Connection {
    async fn open(server: &Server) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).expect("a URL");
        Self(endpoint.tcp_nodelay(true).connect().await.unwrap_or_else(|e| panic!("etcd: {e}")))
    }

    async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.unwrap_or_else(|e| panic!("etcd: {e}"));
        grpc
    }

    async fn put(&self, key: String, value: Bytes) -> u64 {
        let (path, codec) = (
            PathAndQuery::from_static("/etcdserverpb.KV/Put"),
            ProstCodec::<PutRequest, PutResponse>::default(),
        );
        let put = PutRequest { key: key.into(), value };
        let answer = self.grpc().await.unary(Request::new(put), path, codec).await;
        let header = answer.unwrap_or_else(|e| panic!("etcd: {e}")).into_inner().header;
        header.map_or(0, |header| header.revision.unsigned_abs())
    }

    async fn range(&self, from: Bytes) -> RangeResponse {
        let (path, codec) = (
            PathAndQuery::from_static("/etcdserverpb.KV/Range"),
            ProstCodec::<RangeRequest, RangeResponse>::default(),
        );
        let ask = RangeRequest { key: from, range_end: Bytes::from_static(ALL), limit: PAGE };
        let answer = self.grpc().await.unary(Request::new(ask), path, codec).await;
        answer.unwrap_or_else(|e| panic!("etcd: {e}")).into_inner()
    }

    async fn watch(&self) -> Watch {
        let (say, said) = mpsc::channel(4);
        let all = WatchCreate { key: Bytes::from_static(ALL), range_end: Bytes::from_static(ALL) };
        say.send(WatchRequest { create: Some(all) }).await.expect("there is room");
        let (path, codec) = (
            PathAndQuery::from_static("/etcdserverpb.Watch/Watch"),
            ProstCodec::<WatchRequest, WatchResponse>::default(),
        );
        let answer = self.grpc().await.streaming(Request::new(ReceiverStream::new(said)), path, codec).await;
        let mut heard = answer.unwrap_or_else(|e| panic!("etcd: {e}")).into_inner();
        let first = heard.message().await.unwrap_or_else(|e| panic!("etcd: {e}")).expect("an answer");
        assert!(first.created, "{first:?}");
        Watch { _say: say, heard }
    }
}

struct Watch {
    _say: mpsc::Sender<WatchRequest>,
    heard: Streaming<WatchResponse>,
}

impl Subscriber for Watch {
    fn at(&self) -> u64 {
        FIRST
    }

    async fn next(&mut self) -> u64 {
        loop {
            let heard =
                self.heard.message().await.unwrap_or_else(|e| panic!("etcd: {e}")).expect("it goes on");
            if let Some(kv) = heard.events.last().and_then(|event| event.kv.as_ref()) {
                return kv.mod_revision.unsigned_abs();
            }
        }
    }
}

struct Putter {
    connection: Connection,
    keys: Keys,
}

impl Client for Putter {
    async fn step(&mut self) -> Done {
        let (key, value) = self.keys.next();
        let begin = Instant::now();
        self.connection.put(key, value).await;
        Done { ops: 1, latency: begin.elapsed() }
    }
}

async fn putters(server: &Server, count: usize) -> Vec<Putter> {
    let mut connections = Vec::new();
    for _ in 0..count.min(CONNECTIONS_MAX) {
        connections.push(Connection::open(server).await);
    }
    let of = |(n, connection): (usize, &Connection)| Putter {
        connection: connection.clone(),
        keys: Keys::new(n, count),
    };
    connections.iter().cycle().take(count).enumerate().map(of).collect()
}

pub(super) async fn puts(ground: &Ground, count: usize) -> Option<Figures> {
    let server = start().await?;
    let clients = putters(&server, count).await;
    Some(closed(clients, &ground.settings.times, &server.watched()).await)
}

async fn audience(server: &Server, count: usize, keep: bool) -> Audience {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Connection::open(server).await.watch().await);
    }
    Audience::gather(all, keep)
}

pub(super) async fn receipt(ground: &Ground, count: usize) -> Option<Figures> {
    let server = start().await?;
    let audience = audience(&server, count, true).await;
    let (connection, mut keys) = (Connection::open(&server).await, Keys::new(0, 1));
    let write = |_| {
        let ((key, value), connection) = (keys.next(), connection.clone());
        async move { drop(tokio::spawn(async move { connection.put(key, value).await })) }
    };
    Some(paced(&ground.settings.times, &server.watched(), audience, FIRST + 1, write).await)
}

pub(super) async fn peak(ground: &Ground, count: usize) -> Option<Figures> {
    let server = start().await?;
    let audience = audience(&server, count, false).await;
    let clients = putters(&server, WRITERS).await;
    Some(peak_of(clients, audience, &ground.settings.times, &server.watched()).await)
}

/// Those who watch and are given nothing: what each more of them takes.
pub(super) async fn idle(ground: &Ground, count: usize) -> Option<Figures> {
    let server = start().await?;
    let first = audience(&server, WATCHING_FIRST, false).await;
    let before = resident_kib(server.id());
    let all = audience(&server, count, false).await;
    let figures = taken(server.id(), before, count, ground.settings.times.measure).await;
    drop((first.end().await, all.end().await));
    Some(figures)
}

pub(super) async fn catch_up(records: usize) -> Option<Figures> {
    let server = start().await?;
    let mut filling = tokio::task::JoinSet::new();
    for (n, putter) in putters(&server, FILLERS).await.into_iter().enumerate() {
        filling.spawn(async move {
            for r in (n..records).step_by(FILLERS) {
                let (_, value) = Keys::new(r, 1).next();
                putter.connection.put(format!("r-{r}"), value).await;
            }
        });
    }
    filling.join_all().await;
    let connection = Connection::open(&server).await;
    let (begin, mut from, mut seen) = (Instant::now(), Bytes::from_static(ALL), 0);
    loop {
        let page = connection.range(from.clone()).await;
        seen += page.kvs.len();
        match page.kvs.last().filter(|_| page.more) {
            Some(last) => from = [&last.key[..], ALL].concat().into(),
            None => break,
        }
    }
    assert_eq!(seen, records + 1);
    Some(took(begin.elapsed(), records))
}
