//! A reader who decides about each byte: HTTP/2 by hand, because no library reads so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message;
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Heard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Node, World, hello};

/// Longest wait for a frame: longer than the hub gives any call, which may have to wait for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
pub const RST_STREAM: u8 = 3;
const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The first stream.
pub const STREAM: u32 = 1;
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
pub struct Slow {
    pub tcp: TcpStream,
    /// What came of the answers.
    pub data: Vec<u8>,
    /// The calls whose answers have begun.
    pub answered: BTreeSet<[u8; 4]>,
    is_over: bool,
}

impl Slow {
    /// Opens a session that grants a single byte of the answer.
    pub async fn open(world: &World, node: &Node) -> Self {
        let mut slow = Self::connect(world.running.at.listen, 1).await;
        let hello = Say::Hello(v1::Hello { credit_bytes: 1 << 40, ..hello() });
        let hello = v1::SessionRequest { message: Some(hello) };
        slow.call(STREAM, "/hubward.v1.SyncService/Session", &node.token, &hello, 0).await;
        slow
    }

    /// A connection that grants each answer so many bytes.
    pub async fn connect(address: SocketAddr, window: u32) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut slow = Self { tcp, data: Vec::new(), answered: BTreeSet::new(), is_over: false };
        slow.tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let window = [&WINDOW_SETTING.to_be_bytes()[..], &window.to_be_bytes()].concat();
        slow.say(SETTINGS, 0, 0, &window).await;
        slow
    }

    /// Begins a call.
    pub async fn call(&mut self, stream: u32, path: &str, token: &str, message: &impl Message, flags: u8) {
        self.call_with(stream, path, token, &message.encode_to_vec(), flags).await;
    }

    /// Begins a call with these bytes for a message.
    pub async fn call_with(&mut self, stream: u32, path: &str, token: &str, message: &[u8], flags: u8) {
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
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.say(DATA, flags, stream, &[&[0], &length[..], message].concat()).await;
    }

    /// Begins a call in plain HTTP.
    pub async fn get(&mut self, stream: u32, path: &str) {
        let mut block = Vec::new();
        for (name, value) in
            [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        {
            header(&mut block, name, value);
        }
        self.say(HEADERS, END_HEADERS | END_STREAM, stream, &block).await;
    }

    pub async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.tcp.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    /// Grants so many bytes more.
    pub async fn grant(&mut self, bytes: u32) {
        self.say(WINDOW_UPDATE, 0, STREAM, &bytes.to_be_bytes()).await;
        self.say(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes()).await;
    }

    /// Takes one frame in, and answers what asks for an answer.
    pub async fn hear(&mut self) {
        let heard = async {
            let mut head = [0; 9];
            self.tcp.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
            self.tcp.read_exact(&mut payload).await.unwrap();
            (kind, flags, stream, payload)
        };
        let (kind, flags, stream, payload) =
            tokio::time::timeout(PATIENCE, heard).await.expect("nothing came");
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
    pub async fn hear_to(&mut self, bytes: usize) {
        while self.data.len() < bytes && !self.is_over {
            self.hear().await;
        }
    }

    /// The messages that came, each with its length in bytes.
    pub fn messages(&self) -> Vec<(usize, Heard)> {
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
