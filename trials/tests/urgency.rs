//! How soon another node hears that a healthy identity has collapsed while a bulk import saturates the session that
//! brings it: figures to read, behind a flag.
//!
//!     cargo test --release --workspace --test urgency -- --ignored --nocapture
#![allow(clippy::panic, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::record_service_client::RecordServiceClient;
use serde_json::{Value, json};
use tonic::Streaming;
use tonic::transport::Channel;
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

/// Records that wait in the outbox.
const RECORDS: usize = 150_000;
/// Size of a record's body, about, bytes.
const BODY_BYTES: usize = 512;
/// Events, one after the other.
const EVENTS: usize = 100;
/// The bound, for all but one in a hundred.
const BOUND: Duration = Duration::from_millis(100);
/// Longest wait for one event.
const EVENT_WITHIN: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

async fn daemon(spoke: &Spoke) -> RecordServiceClient<Channel> {
    let socket = std::path::Path::new(&spoke.data).join("daemon.sock");
    spoke::daemon::connect(&socket).await.expect("it is ours").expect("it runs")
}

/// A state as a line of an import, or as it is put.
fn identity(id: &str, depth: u8) -> Value {
    let metrics = json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}});
    json!({"id": id, "identity_snapshot": {"stability_metrics": metrics}})
}

async fn put(spoke: &mut RecordServiceClient<Channel>, id: &str, depth: u8) {
    let body = identity(id, depth).to_string().into_bytes();
    let key = Some(v1::Key { kind: "identity".to_owned(), id: id.to_owned() });
    let op = Some(v1::record_write::Op::Put(body));
    let writes = vec![v1::RecordWrite { key, op, placement: None }];
    spoke.write_records(v1::WriteRecordsRequest { writes }).await.expect("it is written");
}

async fn waiting(spoke: &mut RecordServiceClient<Channel>) -> u64 {
    let status = spoke.get_status(v1::GetStatusRequest {}).await.expect("a status").into_inner().status;
    let status: Value = serde_json::from_slice(&status).expect("JSON");
    status["outbox"]["queued"].as_u64().unwrap_or_default()
}

/// The time until another node is told of it, each from when the write was answered and from when it was begun.
struct Took {
    answered: Vec<Duration>,
    begun: Vec<Duration>,
}

fn told(what: &str, mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    let at = |part: usize| all[(all.len() * part / 100).min(all.len() - 1)];
    println!("{what}: median {:.1?}, p99 {:.1?}, longest {:.1?}", at(50), at(99), at(100));
    at(99)
}

/// The next change of an identity.
async fn told_of(changes: &mut Streaming<v1::WatchRecordsResponse>, id: &str) -> v1::WatchRecordsResponse {
    loop {
        let change = tokio::time::timeout(EVENT_WITHIN, changes.message()).await.expect("in time");
        let change = change.expect("the watch goes on").expect("a change");
        let key = change.record.as_ref().and_then(|record| record.key.as_ref());
        if key.is_some_and(|key| key.id == id) {
            return change;
        }
    }
}

async fn measure(laptop: &Spoke, desktop: &Spoke) -> Took {
    let (mut from, mut to) = (daemon(laptop).await, daemon(desktop).await);
    let request = v1::WatchRecordsRequest { kind: "identity".to_owned(), after: None };
    let mut changes = to.watch_records(request).await.expect("a watch").into_inner();
    let mut took = Took { answered: Vec::new(), begun: Vec::new() };
    for n in 0..EVENTS {
        let id = format!("agent-{n}");
        let begun = now();
        put(&mut from, &id, 1).await;
        let answered = now();
        // The state that stands stays; the collapse is told beside it.
        while told_of(&mut changes, &id).await.kept_out.is_none() {}
        took.answered.push(answered.elapsed());
        took.begun.push(begun.elapsed());
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_collapse_is_known_elsewhere_at_once_while_an_import_saturates_the_session() {
    let folder = Folder::new("urgency");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let healthy: String = (0..EVENTS).map(|n| format!("{}\n", identity(&format!("agent-{n}"), 5))).collect();
    let file = folder.at("identities.jsonl");
    std::fs::write(&file, healthy).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "identity"]);
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    let mut lines = String::new();
    for n in 0..RECORDS {
        let text = format!("{n:06} ").repeat((BODY_BYTES - 30) / 7);
        writeln!(lines, r#"{{"id":"r{n:06}","n":{n},"text":"{text}"}}"#).expect("a text grows");
    }
    let file = folder.at("records.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "note"]);
    let (_writer, _reader) = (laptop.daemon(), desktop.daemon());
    let mut from = daemon(&laptop).await;
    let before = waiting(&mut from).await;
    let start = now();
    let took = measure(&laptop, &desktop).await;
    let (after, elapsed) = (waiting(&mut from).await, start.elapsed());
    println!("{before} records waited at first and {after} after {elapsed:.1?} and {EVENTS} events");
    assert!(after > 0, "the session was saturated all the time");
    told("from when the write was durable here", took.answered);
    let p99 = told("from when the write was begun", took.begun);
    assert!(p99 < BOUND, "the event waits behind what is not urgent");
}
