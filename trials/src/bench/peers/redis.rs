//! Redis with an append-only file.

use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};

use super::{CONNECTIONS_MAX, Server, line};
use crate::bench::echo::Keys;
use crate::bench::figures::Figures;
use crate::bench::ground::Ground;
use crate::bench::load::{Client, Done, closed};

pub(super) const ALWAYS: &str = "Redis, flushed each time";
pub(super) const EVERY_SECOND: &str = "Redis, flushed every second";
/// Commands of one connection that wait for their answers.
const UNANSWERED_MAX: usize = 1_024;

type Answer = oneshot::Sender<String>;

/// A connection that several clients share; answers come in the order of commands.
#[derive(Debug, Clone)]
struct Connection(mpsc::Sender<(Vec<u8>, Answer)>);

impl Connection {
    async fn open(address: &str) -> Self {
        let (say, read) = line::connect(address).await;
        let (ask, mut asked) = mpsc::channel::<(Vec<u8>, Answer)>(UNANSWERED_MAX);
        let (wait, mut waiting) = mpsc::channel::<Answer>(UNANSWERED_MAX);
        tokio::spawn(async move {
            while let Some((command, answer)) = asked.recv().await {
                if wait.send(answer).await.is_err() || say.send(command).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let (Some(answer), Ok(Some(line))) = (waiting.recv().await, lines.next_line().await) {
                // Who asked may be gone.
                let _ = answer.send(line);
            }
        });
        Self(ask)
    }

    async fn set(&self, key: &str, value: &[u8]) {
        let mut command =
            format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len()).into_bytes();
        command.extend_from_slice(value);
        command.extend_from_slice(b"\r\n");
        let (answer, answered) = oneshot::channel();
        self.0.send((command, answer)).await.expect("the connection stands");
        let line = answered.await.expect("Redis answers");
        assert_eq!(line, "+OK", "Redis took no write");
    }
}

struct Setter {
    connection: Connection,
    keys: Keys,
}

impl Client for Setter {
    async fn step(&mut self) -> Done {
        let (key, value) = self.keys.next();
        let begin = Instant::now();
        self.connection.set(&key, &value).await;
        Done { ops: 1, latency: begin.elapsed() }
    }
}

pub(super) async fn sets(ground: &Ground, count: usize, fsync: &str) -> Option<Figures> {
    let server = Server::start("redis-server", |folder, port| {
        let words = format!("--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync {fsync} --save");
        let mut args: Vec<String> = words.split(' ').map(str::to_owned).collect();
        args.extend([String::new(), "--dir".to_owned(), folder.path().display().to_string()]);
        args
    })?;
    let mut connections = Vec::new();
    for _ in 0..count.min(CONNECTIONS_MAX) {
        connections.push(Connection::open(&server.address()).await);
    }
    let setter = |(n, connection): (usize, &Connection)| Setter {
        connection: connection.clone(),
        keys: Keys::new(n, count),
    };
    let clients = connections.iter().cycle().take(count).enumerate().map(setter).collect();
    Some(closed(clients, &ground.settings.times, &server.watched()).await)
}
