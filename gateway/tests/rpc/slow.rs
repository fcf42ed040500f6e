//! A reader who takes one byte at a time, or nothing: HTTP/2 by hand, because no library reads so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use gateway::rpc::outflow::{ANSWER_BYTES_MIN, Outflow, UNTAKEN_OF_KNOWN_MAX, UNTAKEN_OF_UNKNOWN_MAX};
use gateway::rpc::queue::QUEUE_MESSAGES_MAX;
use prost::Message;
use proto::v1;
use proto::v1::operator_service_client::OperatorServiceClient;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Heard;
use semantics::reason::Reason;
use semantics::session::{MESSAGE_BYTES_MAX, PAGE_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::audit::access;
use super::layers::get;
use super::world::{Node, SOON, World, hello, with_token};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The first stream.
const STREAM: u32 = 1;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW_SETTING: u16 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header that is not compressed: lengths are written in the 7-bit form of RFC 7541, 5.1.
fn header(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128 + 128).unwrap());
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap());
        }
        block.extend_from_slice(text.as_bytes());
    }
}

/// A connection whose reader decides about each byte.
struct Slow {
    tcp: TcpStream,
    /// What came of the answers.
    data: Vec<u8>,
    /// The calls whose answers have begun.
    answered: BTreeSet<[u8; 4]>,
    is_over: bool,
}

impl Slow {
    /// Opens a session that grants a single byte of the answer.
    async fn open(world: &World, node: &Node) -> Self {
        let mut slow = Self::connect(world.running.at.listen, 1).await;
        let hello = Say::Hello(v1::Hello { credit_bytes: 1 << 40, ..hello() });
        let hello = v1::SessionRequest { message: Some(hello) };
        slow.call(STREAM, "/hubward.v1.SyncService/Session", &node.token, &hello, 0).await;
        slow
    }

    /// A connection that grants each answer so many bytes.
    async fn connect(address: SocketAddr, window: u32) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut slow = Self { tcp, data: Vec::new(), answered: BTreeSet::new(), is_over: false };
        slow.tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let window = [&WINDOW_SETTING.to_be_bytes()[..], &window.to_be_bytes()].concat();
        slow.say(SETTINGS, 0, 0, &window).await;
        slow
    }

    /// Begins a call.
    async fn call(&mut self, stream: u32, path: &str, token: &str, message: &impl Message, flags: u8) {
        let mut block = Vec::new();
        let bearer = format!("Bearer {token}");
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &bearer),
        ] {
            header(&mut block, name, value);
        }
        self.say(HEADERS, END_HEADERS, stream, &block).await;
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.say(DATA, flags, stream, &[&[0], &length[..], &message].concat()).await;
    }

    /// Begins a call in plain HTTP.
    async fn get(&mut self, stream: u32, path: &str) {
        let mut block = Vec::new();
        for (name, value) in
            [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        {
            header(&mut block, name, value);
        }
        self.say(HEADERS, END_HEADERS | END_STREAM, stream, &block).await;
    }

    async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.tcp.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    /// Grants so many bytes more.
    async fn grant(&mut self, bytes: u32) {
        self.say(WINDOW_UPDATE, 0, STREAM, &bytes.to_be_bytes()).await;
        self.say(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes()).await;
    }

    /// Takes one frame in, and answers what asks for an answer.
    async fn hear(&mut self) {
        let heard = async {
            let mut head = [0; 9];
            self.tcp.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
            self.tcp.read_exact(&mut payload).await.unwrap();
            (kind, flags, stream, payload)
        };
        let (kind, flags, stream, payload) = tokio::time::timeout(SOON, heard).await.expect("nothing came");
        match kind {
            DATA => self.data.extend_from_slice(&payload),
            SETTINGS if flags & ACK == 0 => self.say(SETTINGS, ACK, 0, &[]).await,
            HEADERS => drop(self.answered.insert(stream)),
            PING if flags & ACK == 0 => self.say(PING, ACK, 0, &payload).await,
            _ => {}
        }
        self.is_over |= matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
    }

    /// Waits until so many bytes of the answer are there.
    async fn hear_to(&mut self, bytes: usize) {
        while self.data.len() < bytes && !self.is_over {
            self.hear().await;
        }
    }

    /// The messages that came, each with its length in bytes.
    fn messages(&self) -> Vec<(usize, Heard)> {
        let (mut rest, mut messages) = (self.data.as_slice(), Vec::new());
        while let Some((head, after)) = rest.split_first_chunk::<5>() {
            let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).unwrap();
            let (message, after) = after.split_at(length);
            let message = v1::SessionResponse::decode(message).unwrap().message.unwrap();
            messages.push((length, message));
            rest = after;
        }
        messages
    }
}

/// Pages that wait to be read: more than the hub may hold for one reader.
const PAGES: usize = 12;
/// Notes in one push; their bodies are about half a page.
const NOTES: usize = 2;

async fn fill(node: &Node) {
    node.talk().await;
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(250 * 1024));
    for page in 0..2 * PAGES {
        let note = |n: usize| {
            let n = page * NOTES + n;
            let put = v1::Put { body: body.clone().into_bytes() };
            let op = Some(v1::mutation::Op::Put(put));
            v1::Mutation { op, ..node.note(u64::try_from(n).unwrap() + 1, &format!("n{n}")) }
        };
        let push = node.push((0..NOTES).map(note).collect());
        let answer = node.sync().push(node.by(push)).await.unwrap().into_inner();
        assert_eq!(answer.outcomes.len(), NOTES, "{:?}", answer.waits);
    }
}

#[tokio::test]
async fn a_client_that_reads_a_byte_at_a_time_holds_a_bounded_queue_and_is_cut() {
    let world = World::cutting_unread_after(1_000).await;
    let (writer, reader) = (world.node("writer").await, world.node("reader").await);
    fill(&writer).await;
    let mut slow = Slow::open(&world, &reader).await;
    slow.hear_to(1).await;
    // By steps: nobody takes a page a byte at a time before the session is over.
    let mut steps = 1;
    while steps < PAGE_BYTES_MAX / 4 && !is_cut(&world).await {
        steps += 1;
        slow.grant(1).await;
        slow.hear_to(steps).await;
    }
    assert_eq!(slow.data.len(), steps, "no byte came that was not asked for");
    let cut = access(&world, "acme", "session_cut").await;
    assert_eq!(cut.len(), 1, "after {steps} bytes it still stands");
    let details: serde_json::Value = serde_json::from_slice(&cut[0].details).unwrap();
    assert_eq!(details["reason"], "DEADLINE_EXCEEDED");
    // Whatever was kept for it comes now, and why the rest does not.
    slow.grant(1 << 30).await;
    slow.hear_to(usize::MAX).await;
    let messages = slow.messages();
    assert!(matches!(messages[0].1, Heard::Welcome(_)));
    let Heard::Goodbye(told) = &messages[messages.len() - 1].1 else { panic!("no goodbye") };
    let told = u16::try_from(told.refusal.as_ref().unwrap().reason).unwrap();
    assert_eq!(Reason::from_number(told), Some(Reason::DeadlineExceeded));
    let pages = &messages[1..messages.len() - 1];
    assert!(
        pages.iter().all(|(bytes, page)| *bytes <= MESSAGE_BYTES_MAX && matches!(page, Heard::Changes(_)))
    );
    // Those that wait, the one that is being written, and the one whose last byte was taken.
    let held = QUEUE_MESSAGES_MAX + 2;
    assert!((1..=held).contains(&pages.len()), "{} pages were kept of {PAGES}", pages.len());
}

/// Whether the hub has ended the slow session.
async fn is_cut(world: &World) -> bool {
    !access(world, "acme", "session_cut").await.is_empty()
}

/// Calls for a page each, more than one caller's share holds.
const CALLS: u32 = 20;

fn listing() -> v1::ListHubRecordsRequest {
    v1::ListHubRecordsRequest { tenant: "acme".to_owned(), page_size: 1_000, ..Default::default() }
}

/// The credential of a viewer.
async fn viewer(world: &World) -> String {
    let (tenant, role) = ("acme".to_owned(), "viewer".to_owned());
    let request = v1::CreateOperatorRequest { tenant, name: "ann".to_owned(), role, ttl_s: None };
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.create_operator(world.by_operator(request)).await.unwrap().into_inner().token
}

/// Asks for so many pages and takes of each answer no more than the window.
async fn unread(world: &World, token: &str, window: u32, calls: u32) -> Slow {
    let mut slow = Slow::connect(world.running.at.operator_listen, window).await;
    for n in 0..calls {
        let path = "/hubward.v1.AdminService/ListHubRecords";
        slow.call(STREAM + 2 * n, path, token, &listing(), END_STREAM).await;
    }
    while slow.answered.len() < usize::try_from(calls).unwrap() {
        slow.hear().await;
    }
    slow
}

async fn until_nothing_waits(untaken: &Outflow) {
    let waiting = async {
        while untaken.bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it is not given back");
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_and_taking_or_dropping_them_gives_the_room_back() {
    let world = World::new().await;
    fill(&world.node("writer").await).await;
    let (token, untaken) = (viewer(&world).await, &world.running.untaken[1]);
    let ask = || async { world.admin().list_hub_records(with_token(listing(), &token)).await };
    let page = ask().await.unwrap().into_inner().encoded_len();
    until_nothing_waits(untaken).await;
    // Nothing, then what the transport already counts as begun.
    for (window, is_dropped) in [(0, false), (1, true)] {
        let mut slow = unread(&world, &token, window, CALLS).await;
        let held = untaken.bytes();
        assert!(held <= UNTAKEN_OF_KNOWN_MAX && held + 2 * page > UNTAKEN_OF_KNOWN_MAX, "{held} bytes wait");
        let refused = ask().await.unwrap_err();
        assert!(proto::reason::retry_after_ms(&refused).is_some());
        assert_eq!(proto::reason::refusal_of(&refused).reason, Reason::Overloaded);
        world.admin().list_hub_records(world.by_operator(listing())).await.expect("others are served");
        if is_dropped {
            drop(slow);
        } else {
            slow.say(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
            for n in 0..CALLS / 2 {
                slow.say(WINDOW_UPDATE, 0, STREAM + 2 * n, &(1_u32 << 30).to_be_bytes()).await;
                slow.say(RST_STREAM, 0, STREAM + 2 * (CALLS / 2 + n), &8_u32.to_be_bytes()).await;
            }
            while untaken.bytes() > 0 {
                slow.hear().await;
            }
        }
        until_nothing_waits(untaken).await;
        ask().await.expect("there is room again");
        until_nothing_waits(untaken).await;
    }
    assert_eq!(world.running.untaken[0].bytes(), 0);
}

#[tokio::test]
async fn a_connection_on_which_an_answer_is_not_read_ends_and_nobody_elses() {
    let world = World::cutting_unread_after(1_000).await;
    fill(&world.node("writer").await).await;
    let token = viewer(&world).await;
    let mut slow = unread(&world, &token, 0, 1).await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(SOON, slow.tcp.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is left open");
    until_nothing_waits(&world.running.untaken[1]).await;
    let counted = || world.running.gate.metrics.text();
    assert!(counted().contains("hubward_connections_closed_total{name=\"unread\"} 1"), "{}", counted());
    // The same operator, on a connection that reads.
    world.admin().list_hub_records(with_token(listing(), &token)).await.expect("others are served");
    assert!(counted().contains("hubward_connections_closed_total{name=\"unread\"} 1"), "{}", counted());
}

/// Probes that ask on one connection.
const PROBES: u32 = 200;

#[tokio::test]
async fn probes_that_nobody_reads_are_bounded_and_get_their_room_back() {
    let world = World::new().await;
    let untaken = &world.running.untaken[1];
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut slow = Slow::connect(world.running.at.operator_listen, 0).await;
        for n in 0..PROBES {
            slow.get(STREAM + 2 * n, "/livez").await;
        }
        while slow.answered.len() < usize::try_from(PROBES).unwrap() {
            slow.hear().await;
        }
        connections.push(slow);
    }
    let held = untaken.bytes();
    assert!(
        held <= UNTAKEN_OF_UNKNOWN_MAX && held + ANSWER_BYTES_MIN > UNTAKEN_OF_UNKNOWN_MAX,
        "{held} bytes wait"
    );
    for path in ["/livez", "/metrics"] {
        let refused = get(&world, path).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{path}: {refused}");
    }
    world.admin().list_hub_records(world.by_operator(listing())).await.expect("operators are served");
    drop(connections);
    until_nothing_waits(untaken).await;
    let served = get(&world, "/livez").await;
    assert!(served.starts_with("HTTP/1.1 200") && served.contains("content-length: 3"), "{served}");
    until_nothing_waits(untaken).await;
}

/// More than the buffers of the system hold for one connection, both ways, bytes.
const PIPELINED_BYTES_MAX: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn who_reads_no_answer_in_http_1_is_not_read_from_either() {
    let world = World::new().await;
    // Without and with a body, which the hub could read to its end although nobody takes the answer.
    for request in [
        "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let mut connections = Vec::new();
        for _ in 0..2 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            let mut tcp = socket.connect(world.running.at.operator_listen).await.unwrap();
            let (asked, mut said) = (request.repeat(1_000).into_bytes(), 0);
            let stands = Duration::from_millis(250);
            while let Ok(sent) = tokio::time::timeout(stands, tcp.write(&asked[said % asked.len()..])).await {
                said += sent.unwrap();
                assert!(said < PIPELINED_BYTES_MAX, "it is read from for ever: {request:?}");
            }
            connections.push(tcp);
        }
        let held = world.running.untaken[1].bytes();
        assert!(held <= UNTAKEN_OF_UNKNOWN_MAX, "{held} bytes wait");
        assert!(get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
    }
}
