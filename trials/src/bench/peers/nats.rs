//! NATS JetStream's key-value store in files: a bucket is a stream that keeps one message of each subject, and who
//! watches it is a consumer of that stream. Spoken here as bare lines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prost::bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};

use super::{CONNECTIONS_MAX, Server, WATCHING_FIRST, line};
use crate::bench::catch_up::took;
use crate::bench::echo::Keys;
use crate::bench::fan_out::{Audience, Subscriber, WRITERS, paced, peak_of};
use crate::bench::figures::Figures;
use crate::bench::ground::Ground;
use crate::bench::idle::taken;
use crate::bench::load::{Client, Done, closed};
use crate::bench::machine::resident_kib;

pub(super) const NAME: &str = "NATS, flushed every 2 minutes";
pub(super) const ALWAYS: &str = "NATS, flushed each time";
/// Messages that were delivered and not yet looked at.
const DELIVERED_MAX: usize = 65_536;
/// Clients that fill it.
const FILLERS: usize = 64;

fn start(is_always: bool) -> Option<Server> {
    Server::start("nats-server", |folder, port| {
        let sync = if is_always { "sync_interval: always" } else { "" };
        let store = folder.at("data");
        let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\", {sync} }}\n");
        let file = folder.at("nats.conf");
        std::fs::write(&file, text).expect("a file");
        vec!["-c".to_owned(), file]
    })
}

/// A connection: what it asked waits for its answer by number; what is delivered to it is given by its place in the
/// stream.
#[derive(Debug, Clone)]
struct Connection {
    say: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Vec<u8>>>>>,
    next: Arc<AtomicU64>,
    inbox: Arc<str>,
}

struct Message {
    subject: String,
    reply: Option<String>,
    payload: Vec<u8>,
}

/// The next message; signs of life are answered.
async fn message(
    read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>,
    say: &mpsc::Sender<Vec<u8>>,
) -> Option<Message> {
    let mut line = String::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["MSG", subject, _, .., length] => {
                let mut payload = vec![0; length.parse::<usize>().ok()? + 2];
                read.read_exact(&mut payload).await.ok()?;
                payload.truncate(payload.len() - 2);
                let reply = (words.len() == 5).then(|| words.get(3).map(|&reply| reply.to_owned())).flatten();
                return Some(Message { subject: subject.to_owned(), reply, payload });
            }
            ["PING"] => say.send(b"PONG\r\n".to_vec()).await.ok()?,
            ["-ERR", ..] => panic!("NATS: {line}"),
            _ => {}
        }
    }
}

impl Connection {
    async fn open(server: &Server) -> (Self, mpsc::Receiver<u64>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (say, read) = line::connect(&server.address()).await;
        let inbox: Arc<str> = format!("b{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
        // A consumer wants a subscription of exactly the subject that it delivers to.
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB _INBOX.{inbox}.* 1\r\nSUB _DELIVER.{inbox} 2\r\n"
        );
        say.send(hello.into_bytes()).await.expect("there is room");
        let (deliver, delivered) = mpsc::channel(DELIVERED_MAX);
        let connection = Self { say: say.clone(), waiting: Arc::default(), next: Arc::default(), inbox };
        let waiting = Arc::clone(&connection.waiting);
        tokio::spawn(async move {
            let mut read = BufReader::new(read);
            while let Some(message) = message(&mut read, &say).await {
                let number = message.subject.rsplit('.').next().and_then(|word| word.parse::<u64>().ok());
                let asked =
                    number.and_then(|n| waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&n));
                if let Some(answer) = asked {
                    // Who asked may be gone.
                    let _ = answer.send(message.payload);
                    continue;
                }
                // $JS.ACK.<stream>.<consumer>.<delivered>.<place in the stream>. …
                let place = message.reply.and_then(|reply| reply.split('.').nth(5)?.parse().ok());
                if let Some(place) = place
                    && deliver.send(place).await.is_err()
                {
                    return;
                }
            }
        });
        (connection, delivered)
    }

    async fn ask(&self, subject: &str, payload: &[u8]) -> Value {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
        let mut line =
            format!("PUB {subject} _INBOX.{}.{number} {}\r\n", self.inbox, payload.len()).into_bytes();
        line.extend_from_slice(payload);
        line.extend_from_slice(b"\r\n");
        self.say.send(line).await.expect("the connection stands");
        let answer: Value = serde_json::from_slice(&answered.await.expect("NATS answers")).expect("JSON");
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    async fn put(&self, key: &str, value: &Bytes) -> u64 {
        let answer = self.ask(&format!("$KV.bench.{key}"), value).await;
        answer["seq"].as_u64().unwrap_or_else(|| panic!("NATS: {answer}"))
    }

    async fn make_bucket(&self) {
        let bucket = json!({
            "name": "KV_bench", "subjects": ["$KV.bench.>"], "max_msgs_per_subject": 1, "storage": "file",
            "num_replicas": 1, "retention": "limits", "discard": "new", "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "max_consumers": -1, "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
        });
        self.ask("$JS.API.STREAM.CREATE.KV_bench", bucket.to_string().as_bytes()).await;
    }

    /// From now on what comes new, or all there is first, is delivered to this connection.
    async fn consume(&self, policy: &str) {
        let to = format!("_DELIVER.{}", self.inbox);
        let consumer = json!({"stream_name": "KV_bench", "config": {
            "deliver_subject": to, "deliver_policy": policy, "ack_policy": "none", "max_deliver": 1,
            "mem_storage": true, "num_replicas": 1, "replay_policy": "instant",
        }});
        self.ask("$JS.API.CONSUMER.CREATE.KV_bench", consumer.to_string().as_bytes()).await;
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
        self.connection.put(&key, &value).await;
        Done { ops: 1, latency: begin.elapsed() }
    }
}

struct Watch {
    _connection: Connection,
    delivered: mpsc::Receiver<u64>,
}

impl Subscriber for Watch {
    fn at(&self) -> u64 {
        0
    }

    async fn next(&mut self) -> u64 {
        self.delivered.recv().await.expect("NATS goes on")
    }
}

async fn putters(server: &Server, count: usize) -> Vec<Putter> {
    let mut connections = Vec::new();
    for _ in 0..count.min(CONNECTIONS_MAX) {
        connections.push(Connection::open(server).await.0);
    }
    let of = |(n, connection): (usize, &Connection)| Putter {
        connection: connection.clone(),
        keys: Keys::new(n, count),
    };
    connections.iter().cycle().take(count).enumerate().map(of).collect()
}

async fn with_bucket(is_always: bool) -> Option<(Server, Connection)> {
    let server = start(is_always)?;
    let (connection, _) = Connection::open(&server).await;
    connection.make_bucket().await;
    Some((server, connection))
}

pub(super) async fn puts(ground: &Ground, count: usize, is_always: bool) -> Option<Figures> {
    let (server, _connection) = with_bucket(is_always).await?;
    let clients = putters(&server, count).await;
    Some(closed(clients, &ground.settings.times, &server.watched()).await)
}

async fn audience(server: &Server, count: usize, keep: bool) -> Audience {
    let mut all = Vec::new();
    for _ in 0..count {
        let (connection, delivered) = Connection::open(server).await;
        connection.consume("new").await;
        all.push(Watch { _connection: connection, delivered });
    }
    Audience::gather(all, keep)
}

pub(super) async fn receipt(ground: &Ground, count: usize) -> Option<Figures> {
    let (server, connection) = with_bucket(false).await?;
    let audience = audience(&server, count, true).await;
    let mut keys = Keys::new(0, 1);
    let write = |_| {
        let ((key, value), connection) = (keys.next(), connection.clone());
        async move { drop(tokio::spawn(async move { connection.put(&key, &value).await })) }
    };
    Some(paced(&ground.settings.times, &server.watched(), audience, 1, write).await)
}

pub(super) async fn peak(ground: &Ground, count: usize) -> Option<Figures> {
    let (server, _connection) = with_bucket(false).await?;
    let audience = audience(&server, count, false).await;
    let clients = putters(&server, WRITERS).await;
    Some(peak_of(clients, audience, &ground.settings.times, &server.watched()).await)
}

/// Those who watch and are given nothing: what each more of them takes.
pub(super) async fn idle(ground: &Ground, count: usize) -> Option<Figures> {
    let (server, _connection) = with_bucket(false).await?;
    let first = audience(&server, WATCHING_FIRST, false).await;
    let before = resident_kib(server.id());
    let all = audience(&server, count, false).await;
    let figures = taken(server.id(), before, count, ground.settings.times.measure).await;
    drop((first.end().await, all.end().await));
    Some(figures)
}

pub(super) async fn catch_up(records: usize) -> Option<Figures> {
    let (server, _connection) = with_bucket(false).await?;
    let mut filling = tokio::task::JoinSet::new();
    for (n, putter) in putters(&server, FILLERS).await.into_iter().enumerate() {
        filling.spawn(async move {
            for r in (n..records).step_by(FILLERS) {
                let (_, value) = Keys::new(r, 1).next();
                putter.connection.put(&format!("r-{r}"), &value).await;
            }
        });
    }
    filling.join_all().await;
    let (connection, mut delivered) = Connection::open(&server).await;
    let begin = Instant::now();
    connection.consume("all").await;
    for _ in 0..records {
        delivered.recv().await.expect("NATS goes on");
    }
    Some(took(begin.elapsed(), records))
}
