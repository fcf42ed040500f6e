//! Messages that are none, are too large, or do not fit together.

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use gateway::auth::rights::REFLECTION;
use http::{HeaderMap, Request};
use prost::Message;
use proto::v1;
use proto::v1::session_request::Message as Say;
use semantics::reason::Reason::{
    BadToken, DeadlineExceeded, Malformed, OutOfOrder, Overloaded, PermissionDenied, ProtocolVersion,
    TooLarge, Unauthenticated,
};
use semantics::session::MESSAGE_BYTES_MAX;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tower::ServiceExt;

use super::node::{Key, Talk, hello};
use super::table::{Heard, Row, answered, attack, told};
use super::world::{OTHER_TENANT, TENANT, World};

const MALFORMED: Heard = Heard::Refused(Malformed);
const TOO_LARGE: Heard = Heard::Refused(TooLarge);
const PUSH: &str = "/hubward.v1.SyncService/Push";

pub fn rows() -> Vec<Row> {
    [bytes(), sizes(), calls(), streams(), sessions(), pages()].into_iter().flatten().collect()
}

/// What these bytes hear as the body of a call by mallory.
async fn raw(world: &World, path: &str, encoding: Option<&str>, bytes: Vec<u8>) -> Heard {
    let mut request = Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", world.mallory.token));
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Body::new(axum::body::Body::from(bytes))).unwrap();
    let response = world.hub.spokes.clone().oneshot(request).await.unwrap();
    heard_in(response.headers())
}

pub fn heard_in(headers: &HeaderMap) -> Heard {
    let status = Status::from_header_map(headers);
    status.map_or(Heard::Taken, |status| Heard::Refused(proto::reason::refusal_of(&status).reason))
}

/// A message as gRPC frames it.
pub fn framed(is_compressed: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[is_compressed], &length[..], bytes].concat()
}

fn bytes() -> Vec<Row> {
    vec![
        attack!("a method that nobody serves", Nobody, Heard::Refused(PermissionDenied), |world| {
            raw(world, "/hubward.v1.AdminService/Destroy", None, framed(0, 0, &[])).await
        }),
        attack!("bytes that are no message", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(0, 64, &[0xff; 64])).await
        }),
        attack!("no message at all", Node, MALFORMED, |world| raw(world, PUSH, None, Vec::new()).await),
        attack!("a message that ends too early", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(0, 1_000, &[10; 10])).await
        }),
        attack!("a message of 4 GiB by its length", Node, TOO_LARGE, |world| {
            raw(world, PUSH, None, framed(0, 0xffff_ffff, &[0; 100])).await
        }),
        attack!("a frame whose first byte is 7", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(7, 3, b"abc")).await
        }),
        attack!("compressed, and not said how", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(1, 3, b"abc")).await
        }),
        attack!("compressed in a way that is not spoken", Wire, Heard::Refused(ProtocolVersion), |world| {
            raw(world, PUSH, Some("br"), framed(1, 3, b"abc")).await
        }),
        attack!("zstd that is none", Node, MALFORMED, |world| {
            raw(world, PUSH, Some("zstd"), framed(1, 64, &[0x5a; 64])).await
        }),
        attack!("groups nested 200 deep", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(0, 200, &[0x0b; 200])).await
        }),
    ]
}

fn huge(bytes: usize) -> v1::PushRequest {
    let mutation = v1::Mutation { salt: vec![0; bytes], ..v1::Mutation::default() };
    let item = v1::PushItem { item: Some(v1::push_item::Item::Mutation(Box::new(mutation))) };
    v1::PushRequest { items: vec![item], ..v1::PushRequest::default() }
}

fn sizes() -> Vec<Row> {
    vec![
        attack!("a message of more than 4 MiB", Node, TOO_LARGE, |world| {
            told(world.mallory.send(huge(MESSAGE_BYTES_MAX)).await)
        }),
        attack!("a decompression bomb: 64 MiB in a few KiB", Node, TOO_LARGE, |world| {
            let mut sync = world.mallory.sync().send_compressed(CompressionEncoding::Zstd);
            told(sync.push(world.mallory.by(huge(64 << 20))).await)
        }),
        attack!("the same in gzip", Node, TOO_LARGE, |world| {
            let mut sync = world.mallory.sync().send_compressed(CompressionEncoding::Gzip);
            told(sync.push(world.mallory.by(huge(64 << 20))).await)
        }),
        attack!("a push of 257 mutations", Node, TOO_LARGE, |world| {
            told(world.mallory.send(world.mallory.push(world.mallory.notes(257))).await)
        }),
        attack!("a push of more than 2 MiB of bodies", Node, TOO_LARGE, |world| {
            let mut notes = world.mallory.notes(9);
            for note in &mut notes {
                let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(240 * 1024));
                note.op = Some(v1::mutation::Op::Put(v1::Put { body: body.into_bytes() }));
            }
            told(world.mallory.send(world.mallory.push(notes)).await)
        }),
        attack!("a message of more than 64 KiB where anybody may call", Nobody, TOO_LARGE, |world| {
            let token = "x".repeat(70_000);
            told(world.hub.auth().join(Key::new().asks(&token, "newcomer")).await)
        }),
        attack!(
            "17 unfinished messages of 64 KiB from an unknown caller",
            Nobody,
            Heard::Refused(Overloaded),
            |world| { not_ended(world, &framed(0, 65_000, &[0; 64_990]), 17).await }
        ),
        attack!("a million empty items in a push of a few KiB", Node, TOO_LARGE, |world| {
            let mut sync = world.mallory.sync().send_compressed(CompressionEncoding::Gzip);
            told(sync.push(world.mallory.by(empty_items())).await)
        }),
    ]
}

/// Two bytes of each on the wire, and hundreds once they are read.
fn empty_items() -> v1::PushRequest {
    v1::PushRequest { items: vec![v1::PushItem::default(); 1 << 20], ..v1::PushRequest::default() }
}

/// Begins so many calls of nobody's with these bytes and ends none: what the first one hears that is answered.
async fn not_ended(world: &World, said: &[u8], calls: usize) -> Heard {
    let begin = || {
        let said = stream::iter([Ok::<_, std::io::Error>(said.to_vec())]).chain(stream::pending());
        let request = Request::post("https://localhost/hubward.v1.AuthService/Join")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(axum::body::Body::from_stream(said)))
            .unwrap();
        world.hub.spokes.clone().oneshot(request)
    };
    let mut calls: FuturesUnordered<_> = (0..calls).map(|_| begin()).collect();
    heard_in(calls.next().await.unwrap().unwrap().headers())
}

/// A join of so many bytes, and more.
fn join(bytes: usize) -> Vec<u8> {
    let join = Key::new().asks(&"x".repeat(bytes), "newcomer").encode_to_vec();
    framed(0, join.len(), &join)
}

fn calls() -> Vec<Row> {
    vec![
        attack!("a call with a second message", Node, MALFORMED, |world| {
            raw(world, PUSH, None, framed(0, 0, &[]).repeat(2)).await
        }),
        attack!(
            "a call that does not end after its message",
            Nobody,
            Heard::Refused(DeadlineExceeded),
            |world| { not_ended(world, &join(100), 1).await }
        ),
        attack!(
            "17 whole messages of 64 KB from an unknown caller that does not end the calls",
            Nobody,
            Heard::Refused(Overloaded),
            |world| { not_ended(world, &join(64_000), 17).await }
        ),
        attack!("reflection without a credential", Nobody, Heard::Refused(Unauthenticated), |world| {
            let request = Request::post(format!("https://localhost{REFLECTION}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(axum::body::Body::from(framed(0, 3, b":\x01*"))))
                .unwrap();
            heard_in(world.hub.operators.clone().oneshot(request).await.unwrap().headers())
        }),
    ]
}

fn streams() -> Vec<Row> {
    vec![
        attack!("a push without a writer", Node, MALFORMED, |world| {
            let push = v1::PushRequest { writer: None, ..world.mallory.push(Vec::new()) };
            told(world.mallory.send(push).await)
        }),
        attack!("an epoch of 0, which is the hub's own", Node, MALFORMED, |world| {
            let mut push = world.mallory.push(vec![world.mallory.note("m")]);
            push.writer.as_mut().unwrap().epoch = 0;
            told(world.mallory.send(push).await)
        }),
        attack!("counters with a gap in one push", Node, MALFORMED, |world| {
            let mut notes = world.mallory.notes(3);
            notes.remove(1);
            told(world.mallory.send(world.mallory.push(notes)).await)
        }),
        attack!("a counter of 0", Node, MALFORMED, |world| {
            let mut note = world.mallory.note("m");
            note.dot.as_mut().unwrap().n = 0;
            told(world.mallory.push_one(note).await)
        }),
        attack!("a counter of the future", Node, Heard::Waits(OutOfOrder), |world| {
            let mut note = world.mallory.note("m");
            note.dot.as_mut().unwrap().n += 1_000;
            answered(world.mallory.push_one(note).await)
        }),
        attack!("a dot of another writer inside a push", Node, MALFORMED, |world| {
            let mut note = world.mallory.note("m");
            note.dot.as_mut().unwrap().writer = Some(world.honest.writer());
            told(world.mallory.push_one(note).await)
        }),
    ]
}

fn sessions() -> Vec<Row> {
    const GOODBYE: Heard = Heard::Goodbye(Malformed);
    vec![
        attack!("a session that says nothing and ends", Node, MALFORMED, |world| {
            let path = "/hubward.v1.SyncService/Session";
            raw(world, path, None, Vec::new()).await
        }),
        attack!("a session that begins with a ping", Node, MALFORMED, |world| {
            let first = world.talker.open(Say::Ping(v1::Ping { nonce: 1, time_ms: None })).await;
            told(first.map(|talk: Talk| tonic::Response::new(talk.hear)))
        }),
        attack!("a hello of protocol 9", Node, Heard::Refused(ProtocolVersion), |world| {
            world.talker.hello(v1::Hello { protocol: 9, ..hello() }).await
        }),
        attack!("a hello that grants no credit", Node, MALFORMED, |world| {
            world.talker.hello(v1::Hello { credit_bytes: 0, ..hello() }).await
        }),
        attack!("a second hello", Node, GOODBYE, |world| world.talker.says(Say::Hello(hello())).await),
        attack!("a push of another writer in a session", Node, GOODBYE, |world| {
            world.talker.says(Say::Push(world.mallory.push(vec![world.mallory.note("m")]))).await
        }),
        attack!("a message of 5 MiB in a session", Node, Heard::Goodbye(TooLarge), |world| {
            world.talker.says(Say::Push(huge(5 << 20))).await
        }),
        attack!("a million empty items in a session", Node, Heard::Goodbye(TooLarge), |world| {
            world.talker.says(Say::Push(empty_items())).await
        }),
    ]
}

fn list(tenant: &str, page_size: i32, page_token: &str) -> v1::ListNodesRequest {
    v1::ListNodesRequest {
        tenant: tenant.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

async fn nodes(world: &World, ask: v1::ListNodesRequest) -> Heard {
    told(world.hub.admin().list_nodes(world.hub.by_operator(ask)).await)
}

/// The token of a good second page.
async fn page_token(world: &World) -> String {
    let first = world.hub.by_operator(list(TENANT, 2, ""));
    world.hub.admin().list_nodes(first).await.unwrap().into_inner().next_page_token
}

fn pages() -> Vec<Row> {
    const BAD_TOKEN: Heard = Heard::Refused(BadToken);
    vec![
        attack!("a page of -1 entries", Operator, MALFORMED, |world| nodes(world, list(TENANT, -1, ""))
            .await),
        attack!("a page token of another tenant", Operator, BAD_TOKEN, |world| {
            let token = page_token(world).await;
            nodes(world, list(OTHER_TENANT, 2, &token)).await
        }),
        attack!("a page token of another list", Operator, BAD_TOKEN, |world| {
            let page_token = page_token(world).await;
            let request = v1::ListKindsRequest { tenant: TENANT.to_owned(), page_size: 2, page_token };
            told(world.hub.admin().list_kinds(world.hub.by_operator(request)).await)
        }),
        attack!("a page token of one's own making", Operator, BAD_TOKEN, |world| {
            nodes(world, list(TENANT, 2, "AAAAAAAAAAAAAAAAAAAA")).await
        }),
        attack!("a page token of 100 000 letters", Operator, BAD_TOKEN, |world| {
            nodes(world, list(TENANT, 2, &"A".repeat(100_000))).await
        }),
        attack!("a kind declared with an unknown key", Operator, MALFORMED, |world| {
            let declaration = br#"{"name":"x","polcy":1}"#.to_vec();
            let request = v1::ApplyKindRequest { tenant: TENANT.to_owned(), declaration };
            told(world.hub.admin().apply_kind(world.hub.by_operator(request)).await)
        }),
    ]
}
