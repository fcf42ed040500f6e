//! A reader who takes one byte at a time: HTTP/2 by hand, because no library reads so.

use gateway::rpc::queue::QUEUE_MESSAGES_MAX;
use prost::Message;
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Heard;
use semantics::reason::Reason;
use semantics::session::{MESSAGE_BYTES_MAX, PAGE_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::audit::access;
use super::world::{Node, SOON, World, hello};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The only stream.
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

/// A session whose reader decides about each byte.
struct Slow {
    tcp: TcpStream,
    /// What came of the answer.
    data: Vec<u8>,
    is_over: bool,
}

impl Slow {
    /// Opens a session that grants a single byte of the answer.
    async fn open(world: &World, node: &Node) -> Self {
        let tcp = TcpStream::connect(world.running.at.listen).await.unwrap();
        let mut slow = Self { tcp, data: Vec::new(), is_over: false };
        slow.tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let one_byte = [&WINDOW_SETTING.to_be_bytes()[..], &1_u32.to_be_bytes()].concat();
        slow.say(SETTINGS, 0, 0, &one_byte).await;
        let mut block = Vec::new();
        let bearer = format!("Bearer {}", node.token);
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/hubward.v1.SyncService/Session"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &bearer),
        ] {
            header(&mut block, name, value);
        }
        slow.say(HEADERS, END_HEADERS, STREAM, &block).await;
        let hello = Say::Hello(v1::Hello { credit_bytes: 1 << 40, ..hello() });
        let hello = v1::SessionRequest { message: Some(hello) }.encode_to_vec();
        let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
        slow.say(DATA, 0, STREAM, &[&[0], &length[..], &hello].concat()).await;
        slow
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
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
            self.tcp.read_exact(&mut payload).await.unwrap();
            (kind, flags, payload)
        };
        let (kind, flags, payload) = tokio::time::timeout(SOON, heard).await.expect("nothing came");
        match kind {
            DATA => self.data.extend_from_slice(&payload),
            SETTINGS if flags & ACK == 0 => self.say(SETTINGS, ACK, 0, &[]).await,
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
