//! Sessions whose messages are compressed, seen from the spoke's side of the wire.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Body;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Heard;
use proto::v1::sync_service_client::SyncServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use super::world::{Node, Talk, World, hello};

/// What went over the wire, each way: how its messages are encoded, and their bytes.
#[derive(Debug, Default)]
struct Seen {
    encodings: [Option<String>; 2],
    bytes: [Vec<u8>; 2],
}

const SENT: usize = 0;
const CAME: usize = 1;

/// A channel that is looked into.
#[derive(Debug, Clone)]
struct Watched(Channel, Arc<Mutex<Seen>>);

impl Watched {
    fn watch(&self, way: usize, headers: &http::HeaderMap, body: Body) -> Body {
        let encoding = headers.get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned());
        self.1.lock().unwrap().encodings[way] = encoding;
        let seen = Arc::clone(&self.1);
        let note = move |bytes: &bytes::Bytes| seen.lock().unwrap().bytes[way].extend_from_slice(bytes);
        Body::from_stream(body.into_data_stream().inspect_ok(note))
    }
}

impl tower::Service<http::Request<tonic::body::Body>> for Watched {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let body = self.watch(SENT, &parts.headers, Body::new(body));
        let called = self.0.call(http::Request::from_parts(parts, tonic::body::Body::new(body)));
        let this = self.clone();
        let watched = async move {
            let (parts, body) = called.await?.into_parts();
            let body = this.watch(CAME, &parts.headers, Body::new(body));
            Ok(http::Response::from_parts(parts, body))
        };
        watched.boxed()
    }
}

/// Opens a session whose messages are compressed so, both ways.
async fn open(world: &World, node: &Node, encoding: CompressionEncoding) -> (Talk, Arc<Mutex<Seen>>) {
    let seen = Arc::default();
    let mut client = SyncServiceClient::new(Watched(world.spokes.clone(), Arc::clone(&seen)))
        .send_compressed(encoding)
        .accept_compressed(encoding);
    let (say, said) = mpsc::channel(16);
    let hello = v1::SessionRequest { message: Some(Say::Hello(hello())) };
    say.send(hello).await.unwrap();
    let hear = client.session(node.by(ReceiverStream::new(said))).await.unwrap().into_inner();
    (Talk { say, hear }, seen)
}

/// Bodies of notes, each way.
const NOTES: u64 = 20;

fn body(n: u64) -> Vec<u8> {
    let words: Vec<String> = (0..400).map(|word| format!("word{}", (word * (n + 7)) % 101)).collect();
    format!(r#"{{"text":"{}"}}"#, words.join(" ")).into_bytes()
}

fn notes(node: &Node, from: &str) -> Vec<v1::Mutation> {
    let note = |n| {
        let op = Some(v1::mutation::Op::Put(v1::Put { body: body(n) }));
        v1::Mutation { op, ..node.note(n, &format!("{from}{n}")) }
    };
    (1..=NOTES).map(note).collect()
}

fn bodies(changes: Vec<v1::Change>) -> Vec<(String, Vec<u8>)> {
    let body = |change: v1::Change| {
        let record = change.record.unwrap();
        (record.key.unwrap().id, record.body.unwrap())
    };
    let mut bodies: Vec<_> = changes.into_iter().map(body).collect();
    bodies.sort();
    bodies
}

fn expected(from: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = (1..=NOTES).map(|n| (format!("{from}{n}"), body(n))).collect();
    all.sort();
    all
}

/// Takes a session through both ways, and gives the messages that came, as they were on the wire.
async fn round(encoding: CompressionEncoding, name: &str) -> Vec<Vec<u8>> {
    let world = World::new().await;
    let (plain, packed) = (world.node("plain").await, world.node("packed").await);
    let mut beside = plain.talk().await;
    plain.sync().push(plain.by(plain.push(notes(&plain, "a")))).await.unwrap();
    while bodies(beside.cut().await.1) != expected("a") {}
    let (mut talk, seen) = open(&world, &packed, encoding).await;
    assert!(matches!(talk.next().await, Heard::Welcome(_)));
    assert_eq!(bodies(talk.cut().await.1), expected("a"), "{name}");
    talk.say(Say::Push(packed.push(notes(&packed, "b")))).await;
    let results = loop {
        if let Heard::Results(results) = talk.next().await {
            break results;
        }
    };
    assert_eq!(results.outcomes.len(), 20, "{results:?}");
    assert_eq!(bodies(beside.cut().await.1), expected("b"), "{name}");
    drop(talk);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.encodings, [Some(name.to_owned()), Some(name.to_owned())]);
    let raw: usize = expected("a").iter().map(|(_, body)| body.len()).sum();
    for way in [SENT, CAME] {
        assert!(seen.bytes[way].len() < raw / 2, "{name}: {} bytes of {raw}", seen.bytes[way].len());
    }
    let (mut rest, mut came) = (seen.bytes[CAME].as_slice(), Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).unwrap();
        assert_eq!(head[0], 1, "a message that is not compressed");
        came.push(after[..length].to_vec());
        rest = &after[length..];
    }
    came
}

#[tokio::test]
async fn a_gzip_session_is_compressed_both_ways_and_its_records_are_the_same() {
    assert!(!round(CompressionEncoding::Gzip, "gzip").await.is_empty());
}

fn packed(raw: &[u8], level: i32) -> Vec<u8> {
    let (mut encoder, mut packed) = (zstd::stream::read::Encoder::new(raw, level).unwrap(), Vec::new());
    std::io::copy(&mut encoder, &mut packed).unwrap();
    packed
}

#[tokio::test]
async fn a_zstd_session_is_compressed_both_ways_at_the_level_that_is_stated() {
    let came = round(CompressionEncoding::Zstd, "zstd").await;
    let raw: Vec<Vec<u8>> =
        came.iter().map(|message| zstd::decode_all(message.as_slice()).unwrap()).collect();
    let again: Vec<Vec<u8>> = raw.iter().map(|raw| packed(raw, proto::ZSTD_LEVEL)).collect();
    assert!(again == came, "the messages were packed at another level");
    let faster: Vec<Vec<u8>> = raw.iter().map(|raw| packed(raw, 1)).collect();
    assert!(faster != came, "the level shows");
}
