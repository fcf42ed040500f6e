//! A client at work at a spoke: puts, patches, deletions and groups, on records of its own and on one that all share,
//! and after each write a look at what it wrote and at what others did. What it did and was shown is its history.
#![allow(clippy::panic, clippy::expect_used, reason = "harness of tests: a panic is how a test fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proto::v1;
use semantics::reason::Reason;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::fleet::Spoke;
use crate::history::{Client, Event, Numbers, Read, Shown, Write};

/// The record that all clients share, each with a field of its own.
pub const BOARD: &str = "entity/board";
/// After so many writes a client begins again with what it does.
const TURN: u64 = 32;
/// Which write of a turn makes the record that the last one deletes.
const SHORT_LIVED: u64 = 9;

/// Who works at the same time.
#[derive(Debug)]
pub struct Crew {
    names: Vec<String>,
    /// The number of the last record of its own that each made.
    latest: Vec<AtomicU64>,
    writes: AtomicU64,
}

impl Crew {
    /// Of clients with these names, which are those of their spokes.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let latest = names.iter().map(|_| AtomicU64::new(0)).collect();
        Self { names, latest, writes: AtomicU64::new(0) }
    }

    /// How often they have written.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Records of which the log holds more than what stands in the end.
    #[must_use]
    pub fn rewritten(&self, clients: &[Client]) -> Vec<String> {
        let pairs = self.names.iter().flat_map(|name| pair(name));
        let gone = clients.iter().flat_map(|client| &client.events).filter_map(|event| match event {
            Event::Wrote(write) if write.is_delete => write.records.first().cloned(),
            _ => None,
        });
        [BOARD.to_owned()].into_iter().chain(pairs).chain(gone).collect()
    }
}

/// The two records that a client writes together.
fn pair(name: &str) -> [String; 2] {
    ["left", "right"].map(|side| format!("note/{side}-{name}"))
}

/// A record of a client's own.
fn own(name: &str, number: u64) -> String {
    format!("moment/{name}-{number:06}")
}

/// One that goes again, by the last write of its turn.
fn short_lived(name: &str, number: u64) -> String {
    format!("note/short-{name}-{:06}", number / TURN)
}

/// A client.
#[derive(Debug)]
pub struct Worker<'a> {
    spoke: &'a Spoke,
    crew: &'a Crew,
    place: usize,
    runtime: Runtime,
    writes: u64,
    history: Client,
}

impl<'a> Worker<'a> {
    /// The client that has this place in its crew, at this spoke.
    ///
    /// # Panics
    /// When there is no such place, or no runtime can be made.
    #[must_use]
    pub fn new(spoke: &'a Spoke, crew: &'a Crew, place: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let name = crew.names.get(place).expect("a place").clone();
        let history = Client { name, events: Vec::new() };
        Self { spoke, crew, place, runtime: runtime.expect("a runtime"), writes: 0, history }
    }

    /// What it did and was shown.
    #[must_use]
    pub fn into_history(self) -> Client {
        self.history
    }

    /// What it did and was shown up to now.
    #[must_use]
    pub fn history(&self) -> &Client {
        &self.history
    }

    /// Makes the next write, and looks around.
    pub fn step(&mut self) {
        let name = self.history.name.clone();
        let number = self.writes + 1;
        let records = match number % TURN {
            0 => {
                self.delete(&short_lived(&name, number - 1));
                vec![short_lived(&name, number - 1)]
            }
            SHORT_LIVED => {
                self.put(&short_lived(&name, number));
                vec![short_lived(&name, number)]
            }
            turn if turn % 4 == 3 => {
                self.patch(BOARD);
                vec![BOARD.to_owned()]
            }
            turn if turn % 8 == 6 => {
                self.group(&pair(&name));
                pair(&name).to_vec()
            }
            _ => {
                self.put(&own(&name, number));
                if let Some(latest) = self.crew.latest.get(self.place) {
                    latest.store(number, Ordering::SeqCst);
                }
                vec![own(&name, number)]
            }
        };
        self.look(&records);
        self.look(&self.of_others());
    }

    /// What somebody else did last.
    fn of_others(&self) -> Vec<String> {
        let names = &self.crew.names;
        let step = 1 + usize::try_from(self.writes).unwrap_or_default() % (names.len() - 1).max(1);
        let place = (self.place + step) % names.len();
        let (Some(other), Some(latest)) = (names.get(place), self.crew.latest.get(place)) else {
            return Vec::new();
        };
        let latest = latest.load(Ordering::SeqCst);
        let mut records = vec![own(other, latest)];
        records.extend(pair(other));
        records.push(BOARD.to_owned());
        // What it made before comes last: whoever showed the rest has to show it.
        records.extend((1..=2).filter_map(|before| Some(own(other, latest.checked_sub(before)?))));
        records.push(short_lived(other, latest.saturating_sub(TURN)));
        records
    }

    /// Puts a record through the command.
    pub fn put(&mut self, record: &str) {
        self.command("put", record);
    }

    /// Patches a record through the command.
    pub fn patch(&mut self, record: &str) {
        self.command("patch", record);
    }

    fn delete(&mut self, record: &str) {
        self.command("rm", record);
    }

    /// A command that could not answer may have written all the same.
    fn command(&mut self, command: &str, record: &str) {
        let (kind, id) = record.split_once('/').expect("kind/id");
        let body = self.body();
        let is_delete = command == "rm";
        let mut args = vec![command, kind, id];
        args.extend((!is_delete).then_some(body.as_str()));
        let is_acknowledged = self.spoke.run(&args).code == 0;
        self.note(Write { records: vec![record.to_owned()], is_delete, is_acknowledged });
    }

    /// Puts records together, through the daemon: the commands know no groups.
    pub fn group(&mut self, records: &[String]) {
        let body = self.body();
        let put = |record: &String| {
            let op = v1::record_write::Op::Put(body.clone().into_bytes());
            v1::RecordWrite { key: Some(key(record)), op: Some(op), placement: None }
        };
        let request = v1::WriteRecordsRequest { writes: records.iter().map(put).collect() };
        let is_acknowledged = self.runtime.block_on(async {
            match spoke::daemon::connect(&socket(self.spoke)).await {
                Ok(Some(mut daemon)) => daemon.write_records(request).await.is_ok(),
                _ => false,
            }
        });
        self.note(Write { records: records.to_vec(), is_delete: false, is_acknowledged });
    }

    /// The body of the next write.
    fn body(&self) -> String {
        serde_json::json!({&self.history.name: self.writes + 1}).to_string()
    }

    fn note(&mut self, write: Write) {
        self.writes += 1;
        self.crew.writes.fetch_add(1, Ordering::SeqCst);
        self.history.events.push(Event::Wrote(write));
    }

    /// Looks at records, one after the other. Where the daemon does not answer nothing was seen.
    pub fn look(&mut self, records: &[String]) {
        let reads = self.runtime.block_on(looked(self.spoke, records));
        self.history.events.extend(reads.into_iter().map(Event::Read));
    }

    /// Looks at everything: what is there, and that the rest is not.
    ///
    /// # Panics
    /// When the spoke cannot be asked.
    pub fn look_at_all(&mut self, known: &BTreeSet<String>) {
        let reads = listed(self.spoke);
        let there: BTreeSet<&String> = reads.iter().map(|read| &read.record).collect();
        let absent = known.iter().filter(|record| !there.contains(record));
        let absent = absent.map(|record| Read { record: record.clone(), shown: None });
        let events: Vec<Event> = absent.chain(reads.iter().cloned()).map(Event::Read).collect();
        self.history.events.extend(events);
    }
}

/// Everything of the clients' kinds that a spoke shows, through its commands.
///
/// # Panics
/// When it cannot be asked.
#[must_use]
pub fn listed(spoke: &Spoke) -> Vec<Read> {
    let mut reads = Vec::new();
    for kind in ["moment", "note", "entity"] {
        let listed = spoke.ok(&["ls", kind]).json();
        for record in listed["records"].as_array().unwrap_or_else(|| panic!("{listed}")) {
            let revision = record["revision"].as_u64().filter(|_| record["pending"] == false);
            let shown = Shown { revision, numbers: numbers(&record["body"]) };
            let id = record["id"].as_str().unwrap_or_default();
            reads.push(Read { record: format!("{kind}/{id}"), shown: Some(shown) });
        }
    }
    reads
}

async fn looked(spoke: &Spoke, records: &[String]) -> Vec<Read> {
    let mut reads = Vec::new();
    let Ok(Some(mut daemon)) = spoke::daemon::connect(&socket(spoke)).await else { return reads };
    for record in records {
        let shown = match daemon.get_record(v1::GetRecordRequest { key: Some(key(record)) }).await {
            Ok(answer) => {
                let view = answer.into_inner().record.unwrap_or_default();
                let body: Value = serde_json::from_slice(&view.body).unwrap_or_default();
                let revision = (!view.pending).then_some(view.revision);
                Some(Shown { revision, numbers: numbers(&body) })
            }
            Err(status) if proto::reason::refusal_of(&status).reason == Reason::RecordAbsent => None,
            Err(_) => break,
        };
        reads.push(Read { record: record.clone(), shown });
    }
    reads
}

/// Whose writes a body holds.
#[must_use]
pub fn numbers(body: &Value) -> Numbers {
    let fields = body.as_object().into_iter().flatten();
    fields.filter_map(|(name, number)| Some((name.clone(), number.as_u64()?))).collect()
}

fn key(record: &str) -> v1::Key {
    let (kind, id) = record.split_once('/').expect("kind/id");
    v1::Key { kind: kind.to_owned(), id: id.to_owned() }
}

fn socket(spoke: &Spoke) -> PathBuf {
    Path::new(&spoke.data).join("daemon.sock")
}
