//! Before and below any call.

use std::net::Ipv4Addr;

use gateway::rpc::shares::{CALLS_OF_ADDRESS_MAX, STREAMS_OF_ADDRESS_MAX};
use http::Request;
use proto::v1;
use proto::v1::session_request::Message as Say;
use semantics::reason::Reason::{JoinTokenInvalid, Overloaded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::body::Body;
use tower::ServiceExt;

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Line, PING, RST_STREAM, SETTINGS, call, frame,
};
use super::messages::{framed, heard_in};
use super::node::Key;
use super::table::{Heard, Row, attack, told};
use super::world::{SOON, World};

const HANDSHAKE: Heard = Heard::Closed("handshake");
const CALM: Heard = Heard::Ended("ENHANCE_YOUR_CALM");
const PUSH: &str = "/hubward.v1.SyncService/Push";
const CHECK: &str = "/grpc.health.v1.Health/Check";

pub fn rows() -> Vec<Row> {
    [doors(), frames(), floods(), crowds()].into_iter().flatten().collect()
}

fn counted(world: &World, cause: &str) -> u64 {
    named(world, "hubward_connections_closed_total", cause)
}

fn named(world: &World, counter: &str, name: &str) -> u64 {
    let text = world.hub.running.gate.metrics.text();
    let label = format!("{counter}{{name=\"{name}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&label)).map_or(0, |count| count.parse().unwrap())
}

/// Begins Joins from one address, on nine connections, and sends no message: whether they are refused but for its share,
/// and everybody else is served.
async fn begun_joins(world: &World) -> Heard {
    const LINES: u32 = 9;
    const CALLS: u32 = 250;
    let overloaded = || named(world, "hubward_refusals_total", Overloaded.as_str());
    let mut said = Vec::new();
    for n in 0..CALLS {
        said.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &call("/hubward.v1.AuthService/Join")));
    }
    let (before, mut lines) = (overloaded(), Vec::new());
    for _ in 0..LINES {
        let mut line = Line::greeted_from(&world.hub, Ipv4Addr::new(127, 0, 0, 3)).await;
        line.say(&said).await;
        lines.push(line);
    }
    let refused = u64::from(LINES * CALLS) - u64::try_from(CALLS_OF_ADDRESS_MAX).unwrap();
    let refusing = async {
        while overloaded() < before + refused {
            tokio::task::yield_now().await;
        }
    };
    let is_bounded = tokio::time::timeout(SOON, refusing).await.is_ok();
    let stranger = told(world.hub.auth().join(Key::new().asks("no token", "newcomer")).await);
    let is_served = stranger == Heard::Refused(JoinTokenInvalid) && world.serves().await;
    let operator = v1::ListTenantsRequest { page_size: 1, page_token: String::new() };
    let operator = world.hub.admin().list_tenants(world.hub.by_operator(operator)).await;
    if is_bounded && is_served && operator.is_ok() { Heard::Borne } else { Heard::Taken }
}

/// What the first of so many hears that does not get its stream.
async fn watches(world: &World) -> Heard {
    let mut held = Vec::new();
    for _ in 0..=STREAMS_OF_ADDRESS_MAX {
        let request = Request::post("https://localhost/grpc.health.v1.Health/Watch")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(axum::body::Body::from(framed(0, 0, &[]))))
            .unwrap();
        let response = world.hub.spokes.clone().oneshot(request).await.unwrap();
        let heard = heard_in(response.headers());
        if heard != Heard::Taken {
            return if held.len() == STREAMS_OF_ADDRESS_MAX { heard } else { Heard::Taken };
        }
        held.push(response);
    }
    Heard::Taken
}

/// Sends bytes to the port; whether the hub closes, and counts it as a handshake that failed.
async fn knocks(world: &World, bytes: &[u8]) -> Heard {
    let before = counted(world, "handshake");
    let mut tcp = TcpStream::connect(world.hub.running.at.listen).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, tcp.read_to_end(&mut answer)).await;
    is_counted(world, before, read.is_ok() && answer.len() < 16).await
}

async fn is_counted(world: &World, before: u64, is_closed: bool) -> Heard {
    let counting = async {
        while counted(world, "handshake") == before {
            tokio::task::yield_now().await;
        }
    };
    let is_counted = tokio::time::timeout(SOON, counting).await.is_ok();
    if is_closed && is_counted { HANDSHAKE } else { Heard::Taken }
}

fn doors() -> Vec<Row> {
    vec![
        attack!("HTTP in clear text on the port", Nobody, HANDSHAKE, |world| {
            knocks(world, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await
        }),
        attack!("HTTP/2 in clear text on the port", Nobody, HANDSHAKE, |world| {
            knocks(world, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await
        }),
        attack!("garbage on the port", Nobody, HANDSHAKE, |world| knocks(world, &[0xa5; 4_096]).await),
        attack!("a broken TLS record on the port", Nobody, HANDSHAKE, |world| {
            knocks(world, &[0x16, 3, 1, 0xff, 0xff]).await
        }),
        attack!("half a handshake, and gone", Nobody, HANDSHAKE, |world| {
            knocks(world, &[0x16, 3, 1, 0, 200, 1]).await
        }),
        attack!("TLS for HTTP/1.1", Nobody, HANDSHAKE, |world| {
            let before = counted(world, "handshake");
            let refused = Line::open(&world.hub, b"http/1.1").await.is_err();
            is_counted(world, before, refused).await
        }),
        attack!("300 handshakes from one address that never go on", Nobody, Heard::Borne, |world| {
            let mut silent = Vec::new();
            for _ in 0..300 {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                silent.push(socket.connect(world.hub.running.at.listen).await.unwrap());
            }
            let opened = tokio::time::timeout(SOON, Line::greeted(&world.hub)).await;
            if opened.is_ok() { Heard::Borne } else { Heard::Taken }
        }),
    ]
}

fn frames() -> Vec<Row> {
    vec![
        attack!(
            "another preface than that of HTTP/2",
            Nobody,
            Heard::Ended("closed without a word"),
            |world| {
                let mut line = Line::open(&world.hub, b"h2").await.unwrap();
                line.say(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n").await;
                line.ends().await
            }
        ),
        attack!("a frame of 1 MiB", Nobody, Heard::Ended("FRAME_SIZE_ERROR"), |world| {
            let mut line = Line::greeted(&world.hub).await;
            line.say(&frame(DATA, 0, 1, &vec![0; 1 << 20])[..20_000]).await;
            line.ends().await
        }),
        attack!("data of a call that does not exist", Nobody, Heard::Ended("PROTOCOL_ERROR"), |world| {
            let mut line = Line::greeted(&world.hub).await;
            line.say(&frame(DATA, 0, 7, b"hello")).await;
            line.ends().await
        }),
        attack!("headers that do not unpack", Nobody, Heard::Ended("PROTOCOL_ERROR"), |world| {
            let mut line = Line::greeted(&world.hub).await;
            line.say(&frame(HEADERS, END_HEADERS, 1, &[0xff; 40])).await;
            line.ends().await
        }),
        attack!("headers that never end", Nobody, CALM, |world| {
            let mut line = Line::greeted(&world.hub).await;
            line.say(&frame(HEADERS, 0, 1, &call(PUSH))).await;
            for _ in 0..2_000 {
                line.say(&frame(CONTINUATION, 0, 1, &[0, 1, b'x', 0])).await;
            }
            line.ends().await
        }),
    ]
}

fn floods() -> Vec<Row> {
    vec![
        attack!("5 000 calls begun and taken back", Nobody, CALM, |world| {
            let mut line = Line::greeted(&world.hub).await;
            let mut said = Vec::new();
            for n in 0..5_000_u32 {
                let stream = 2 * n + 1;
                said.extend(frame(HEADERS, END_HEADERS, stream, &call(CHECK)));
                said.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            line.say(&said).await;
            line.ends().await
        }),
        attack!("20 000 empty frames of data", Nobody, CALM, |world| {
            let mut line = Line::greeted(&world.hub).await;
            let mut said = frame(HEADERS, END_HEADERS, 1, &call(CHECK));
            for _ in 0..20_000 {
                said.extend(frame(DATA, 0, 1, &[]));
            }
            line.say(&said).await;
            line.ends().await
        }),
        attack!("20 000 pings", Nobody, Heard::Borne, |world| {
            let mut line = Line::greeted(&world.hub).await;
            flood(world, &mut line, &frame(PING, 0, 0, b"ping-any")).await
        }),
        attack!("20 000 settings", Nobody, Heard::Borne, |world| {
            let mut line = Line::greeted(&world.hub).await;
            flood(world, &mut line, &frame(SETTINGS, 0, 0, &[])).await
        }),
        attack!("20 000 answers to pings that were not asked", Nobody, Heard::Borne, |world| {
            let mut line = Line::greeted(&world.hub).await;
            flood(world, &mut line, &frame(PING, ACK, 0, b"ping-any")).await
        }),
    ]
}

/// Sends this many times without listening: others are served meanwhile, and so is the line afterwards.
async fn flood(world: &World, line: &mut Line, frame: &[u8]) -> Heard {
    let thousand = frame.repeat(1_000);
    for _ in 0..20 {
        use tokio::io::AsyncWriteExt;
        // It is not read from once its answers wait: then no more is sent.
        let said = line.0.write_all(&thousand);
        if tokio::time::timeout(std::time::Duration::from_millis(100), said).await.is_err() {
            return if world.serves().await { Heard::Borne } else { Heard::Taken };
        }
    }
    if world.serves().await && line.answers().await { Heard::Borne } else { Heard::Taken }
}

fn crowds() -> Vec<Row> {
    vec![
        attack!("300 calls at once on one connection", Nobody, Heard::Borne, |world| {
            let mut line = Line::greeted(&world.hub).await;
            let mut said = Vec::new();
            for n in 0..300_u32 {
                said.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &call("/hubward.v1.AuthService/Join")));
            }
            line.say(&said).await;
            if world.serves().await && line.answers().await { Heard::Borne } else { Heard::Taken }
        }),
        attack!("2 250 Joins from one address without a message", Nobody, Heard::Borne, |world| {
            begun_joins(world).await
        }),
        attack!("33 streams at once of an unknown caller", Nobody, Heard::Refused(Overloaded), |world| {
            watches(world).await
        }),
        attack!("calls that end at once, 5 000", Nobody, Heard::Borne, |world| {
            let mut line = Line::greeted(&world.hub).await;
            let mut said = Vec::new();
            for n in 0..5_000_u32 {
                said.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &call(PUSH)));
            }
            line.say(&said[..said.len() / 10]).await;
            if world.serves().await && line.answers().await { Heard::Borne } else { Heard::Taken }
        }),
        attack!("a 17th session of one node", Node, Heard::Refused(Overloaded), |world| {
            let mut held = Vec::new();
            for _ in 0..gateway::rpc::SESSIONS_PER_NODE_MAX {
                held.push(world.talker.talk().await);
            }
            world.talker.hello(super::node::hello()).await
        }),
        attack!("pulls beside 16 sessions of one node", Node, Heard::Refused(Overloaded), |world| {
            let mut held = Vec::new();
            while held.len() < gateway::rpc::SESSIONS_PER_NODE_MAX {
                // The seats of the attack before are given back as it ends.
                let hello = Say::Hello(super::node::hello());
                if let Ok(talk) = world.talker.open(hello).await {
                    held.push(talk);
                }
            }
            let pull = v1::PullRequest { from: Some(v1::pull_request::From::Start(v1::Start {})) };
            told(world.talker.sync().pull(world.talker.by(pull)).await)
        }),
    ]
}
