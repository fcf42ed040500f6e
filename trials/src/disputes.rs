//! Clients that write the same records whole and beside each other, settle the conflicts that come of it and take some
//! settlements back, while processes are killed, stopped and cut off.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "harness of tests: a panic is how a test fails"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::chaos::{Database, Fleet, Raise};
use crate::fleet::{Hub, Spoke};
use crate::history::disputes::{Deed, Disputed, Dot, Row, Settled, Stage, Verdict, judge};
use crate::process::Folder;
use crate::settle::settle;
use crate::sim::rng::Rng;

/// The kind of what is disputed: both sides are kept, and nothing settles itself.
pub const KIND: &str = "dispute";
/// Records that all write.
const RECORDS: u64 = 3;
/// After so many writes a client looks into the inbox.
const LOOK_EVERY: u64 = 2;
/// How often each looks into it once all is calm.
const CALM_LOOKS: usize = 4;

/// Declares the kind.
///
/// # Panics
/// When the hub refuses.
pub fn declare(folder: &Folder, hub: &Hub) {
    let file = folder.at("dispute.json");
    let declared = json!({"name": KIND, "policy": "branch", "schema": {"type": "object"}});
    std::fs::write(&file, declared.to_string()).expect("a file is written");
    let ran = hub.admin(&["kind", "apply", "--tenant", "default", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A client, and what it was told is done.
#[derive(Debug)]
pub struct Contender<'a> {
    spoke: &'a Spoke,
    writes: u64,
    settlements: u64,
    deeds: Vec<Deed>,
}

impl<'a> Contender<'a> {
    /// At this spoke.
    #[must_use]
    pub const fn new(spoke: &'a Spoke) -> Self {
        Self { spoke, writes: 0, settlements: 0, deeds: Vec::new() }
    }

    /// What it was told is done.
    #[must_use]
    pub fn into_deeds(self) -> Vec<Deed> {
        self.deeds
    }

    fn step(&mut self) {
        let record = format!("d{}", self.writes % RECORDS);
        self.write(&record);
        if self.writes.is_multiple_of(LOOK_EVERY) {
            self.settle_one();
        }
    }

    /// Writes a record whole.
    pub fn write(&mut self, record: &str) {
        self.writes += 1;
        let body = json!({"by": self.spoke.name, "n": self.writes}).to_string();
        if self.spoke.run(&["put", KIND, record, &body]).code == 0 {
            self.deeds.push(Deed::Wrote(body));
        }
    }

    /// Settles the first conflict that waits, if one does: for the loser, what stood or what stands in turn; the first
    /// time, and every other one, it takes that back. What could not be answered may be done all the same.
    pub fn settle_one(&mut self) {
        let listed = self.spoke.run(&["conflicts", "list", "--kind", KIND]);
        let Some(id) =
            answer(&listed.code, || listed.json()["conflicts"][0]["id"].as_str().map(str::to_owned))
        else {
            return;
        };
        let shown = self.spoke.run(&["conflicts", "show", &id]);
        let Some(shown) = answer(&shown.code, || Some(shown.json())) else { return };
        let (choice, says): (&[&str], _) = match self.settlements % 3 {
            0 => (&["--side", "1"], Some(&shown["losers"][0]["value"])),
            1 => (&["--side", "primary"], Some(&shown["primary"]["value"])),
            _ => (&["--keep"], None),
        };
        let expected = shown["revision"].to_string();
        let about = ["conflicts", "resolve", &id, "--expected", &expected, "--reason", "a trial"];
        let ran = self.spoke.run(&[&about, choice].concat());
        let Some(told) = answer(&ran.code, || Some(ran.json())) else { return };
        self.deeds.push(Deed::Settled {
            conflict: id.clone(),
            revision: told["revision"].as_u64().unwrap_or_default(),
            standing: told["record_revision"].as_u64().unwrap_or_default(),
            says: says.map(Value::to_string),
        });
        self.settlements += 1;
        if self.settlements % 2 == 1 {
            let _ = self.spoke.run(&["conflicts", "undo", &id, "--reason", "a trial"]);
        }
    }
}

/// What a command answered, if it did.
fn answer<T>(code: &i32, read: impl FnOnce() -> Option<T>) -> Option<T> {
    if *code == 0 { read() } else { None }
}

/// So many rounds of faults drawn from a seed; `None`, loudly, where the database is not installed.
///
/// # Panics
/// When a process does not come back, or replicas do not agree in the end.
#[must_use]
pub fn run(database: Database, rounds: usize, seed: u64) -> Option<Verdict> {
    let folder = Folder::new("disputes");
    let mut fleet = Fleet::start(&folder, database)?;
    declare(&folder, fleet.hub());
    let spokes = fleet.clients();
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync"])));
    let mut contenders: Vec<Contender<'_>> = spokes.iter().map(Contender::new).collect();
    let is_over = AtomicBool::new(false);
    let mut rng = Rng::new(seed);
    std::thread::scope(|scope| {
        // Also when a round panics: the scope waits for the clients.
        let _end = Raise(&is_over);
        for contender in &mut contenders {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    contender.step();
                }
            });
        }
        (1..=rounds).for_each(|round| fleet.round(round, &mut rng));
    });
    // Whatever the faults came to: nobody has seen what the others write now.
    fleet.without_hubs(|| contenders.iter_mut().for_each(|contender| contender.write("d0")));
    let _ = settle(fleet.hub(), &spokes);
    for _ in 0..CALM_LOOKS {
        contenders.iter_mut().for_each(Contender::settle_one);
    }
    let _ = settle(fleet.hub(), &spokes);
    let deeds: Vec<Deed> = contenders.into_iter().flat_map(Contender::into_deeds).collect();
    Some(judge(&deeds, &read(&folder, fleet.hub())))
}

/// Every disputed record, as a new spoke sees it.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(folder: &Folder, hub: &Hub) -> Vec<Disputed> {
    let reader = Spoke::join(folder, hub, "reader");
    reader.ok(&["sync"]);
    let mut found: BTreeMap<String, Disputed> = BTreeMap::new();
    for record in items(&reader.ok(&["ls", KIND]).json(), "records") {
        let id = text(record, "id");
        let rows = rows(&reader, KIND, &id, row);
        found.insert(id, Disputed { rows, conflicts: BTreeMap::new() });
    }
    for conflict in items(&reader.ok(&["conflicts", "list", "--all", "--kind", KIND]).json(), "conflicts") {
        let (id, record) = (text(conflict, "id"), text(conflict, "record"));
        let stages = rows(&reader, "conflict", &id, stage);
        found.entry(record).or_default().conflicts.insert(id, stages);
    }
    found.into_values().collect()
}

/// The rows of a record in the order of the log.
fn rows<T>(reader: &Spoke, kind: &str, id: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    let history = reader.ok(&["history", kind, id]).json();
    items(&history, "rows").iter().rev().map(read).collect()
}

fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or_else(|| panic!("{answer}"), Vec::as_slice)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_else(|| panic!("{of}")).to_owned()
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or_else(|| panic!("{of} is no number"))
}

/// As commands print it: the writer, a colon, the number.
fn dot(text: &str) -> Dot {
    let (writer, n) = text.rsplit_once(':').unwrap_or_else(|| panic!("{text}"));
    (writer.to_owned(), n.parse().unwrap_or_else(|_| panic!("{text}")))
}

fn row(row: &Value) -> Row {
    let version = row["base"]["version"].as_array().into_iter().flatten();
    let own = row["base"]["own"].as_str();
    let seen = version.filter_map(Value::as_str).chain(own).map(dot);
    Row {
        revision: number(&row["revision"]),
        dot: row["dot"].as_str().filter(|_| row["mutation"].is_string()).map(dot),
        seen: seen.fold(BTreeMap::new(), |mut seen, (writer, n)| {
            let before = seen.entry(writer).or_default();
            *before = n.max(*before);
            seen
        }),
        says: row["body"].to_string(),
        wrote: row["wrote"].to_string(),
    }
}

fn stage(row: &Value) -> Stage {
    let body = &row["body"];
    let side = |side: &Value| {
        let dot = &side["stamp"]["dot"];
        let writer = &dot["writer"];
        (format!("{}.{}", text(writer, "node"), number(&writer["epoch"])), number(&dot["n"]))
    };
    let resolution = Some(&body["resolution"]).filter(|resolution| resolution.is_object());
    Stage {
        revision: number(&row["revision"]),
        open: body["open"] == true,
        sides: items(body, "losers").iter().chain([&body["primary"]]).map(side).collect(),
        dropped: usize::try_from(number(&body["dropped"])).unwrap_or(usize::MAX),
        settled: resolution.map(|resolution| Settled {
            standing: number(&resolution["account"]["revision"]),
            before: number(&resolution["before"]),
            undone: resolution["undone"]["revision"].as_u64(),
        }),
    }
}
