//! Clients that write the same records whole and beside each other, settle the conflicts that come of it and take some
//! settlements back, while processes are killed, stopped and cut off.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "harness of tests: a panic is how a test fails"
)]

mod read;
mod ruler;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::chaos::{Database, Fleet, Raise};
use crate::fleet::{Hub, Spoke};
use crate::history::disputes::{Deed, Verdict, judge};
use crate::history::rules::{self, Order, Ruled};
use crate::process::{Folder, until};
use crate::settle::settle;
use crate::sim::rng::Rng;
use read::read;
use ruler::Ruler;

/// The kind that people settle: both sides are kept, and nothing settles itself.
pub const KIND: &str = "dispute";
/// The kind of which precedents settle what is like.
const HABIT: &str = "habit";
/// The kind whose states vote.
const VOTE: &str = "vote";
/// The kind that a program of the user's is asked about.
const ASKED: &str = "asked";
/// The kind that one node writes, or all.
pub const RULED: &str = "ruled";
/// Each with its policy.
const KINDS: [(&str, &str); 5] =
    [(KIND, "branch"), (HABIT, "branch"), (VOTE, "consensus"), (ASKED, "resolver"), (RULED, "last_writer")];
/// What a client writes, in turn; the number is that of the record.
const TURNS: [(&str, u64); 8] =
    [(KIND, 0), (VOTE, 0), (KIND, 1), (HABIT, 0), (KIND, 2), (ASKED, 0), (KIND, 0), (RULED, 0)];
/// The record that is written when all is calm.
const CALM: &str = "calm";
/// After so many writes a client looks into the inbox.
const LOOK_EVERY: u64 = 2;
/// How often each looks into it once all is calm.
const CALM_LOOKS: usize = 4;
/// Depths that a state may have.
const DEPTHS: u64 = 6;
/// Lengths that a text may have.
const TEXTS: u64 = 23;

/// Declares the kinds.
///
/// # Panics
/// When the hub refuses.
pub fn declare(folder: &Folder, hub: &Hub) {
    for (kind, policy) in KINDS {
        let file = folder.at(&format!("{kind}.json"));
        let declared = json!({"name": kind, "policy": policy, "schema": {"type": "object"}});
        std::fs::write(&file, declared.to_string()).expect("a file is written");
        let ran = hub.admin(&["kind", "apply", "--tenant", "default", &file]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

/// A client, and what it was told is done.
#[derive(Debug)]
pub struct Contender<'a> {
    spoke: &'a Spoke,
    place: u64,
    writes: u64,
    settlements: u64,
    /// Whether it takes back what it settles next.
    takes_back: bool,
    deeds: Vec<Deed>,
}

impl<'a> Contender<'a> {
    /// At this spoke, which is so many-th.
    #[must_use]
    pub const fn new(spoke: &'a Spoke, place: u64) -> Self {
        Self { spoke, place, writes: 0, settlements: 0, takes_back: true, deeds: Vec::new() }
    }

    /// What it was told is done.
    #[must_use]
    pub fn into_deeds(self) -> Vec<Deed> {
        self.deeds
    }

    fn step(&mut self) {
        let turn = usize::try_from(self.writes).unwrap_or_default() % TURNS.len();
        let (kind, record) = TURNS.get(turn).copied().unwrap_or((KIND, 0));
        self.write(kind, &format!("d{record}"));
        if self.writes.is_multiple_of(LOOK_EVERY) {
            self.settle_one();
        }
    }

    /// Writes a record whole.
    pub fn write(&mut self, kind: &str, record: &str) {
        self.writes += 1;
        let mut body = json!({"by": self.spoke.name, "n": self.writes});
        // No two clients go through them alike.
        let turn = self.writes * 5 + self.place;
        if kind == VOTE {
            let values = json!({"D": 1 + turn % DEPTHS, "C": 0.9, "R": 0.9});
            body["identity_snapshot"] = json!({"stability_metrics": {"parameter_values": values}});
        }
        if kind == ASKED {
            let dashes: String = (0..=turn % TEXTS).map(|_| '-').collect();
            // No text comes twice: one that is as it was before is no side's change, and the other's stands.
            body["text"] = format!("{dashes}{}{:04}", self.spoke.name, self.writes).into();
        }
        let body = body.to_string();
        if self.spoke.run(&["put", kind, record, &body]).code == 0 {
            self.deeds.push(Deed::Wrote(body));
        }
    }

    /// Settles the first conflict that waits, if one does: for the loser, what stood or what stands in turn; the first
    /// time, and every other one, it takes that back, or the next where it was not told that it did. What could not be
    /// answered may be done all the same.
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
        self.takes_back =
            !self.takes_back || self.spoke.run(&["conflicts", "undo", &id, "--reason", "a trial"]).code != 0;
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
pub fn run(database: Database, rounds: usize, seed: u64) -> Option<(Verdict, Ruled)> {
    let folder = Folder::new("disputes");
    let mut fleet = Fleet::start(&folder, database)?;
    declare(&folder, fleet.hub());
    let mut ruler = Ruler::start(&mut fleet);
    let spokes = fleet.clients();
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync"])));
    let mut contenders: Vec<Contender<'_>> =
        (0..).zip(&spokes).map(|(place, spoke)| Contender::new(spoke, place)).collect();
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
        for round in 1..=rounds {
            fleet.round(round, &mut rng);
            ruler.turn(fleet.hub());
        }
    });
    calm(&mut fleet, &mut ruler, &mut contenders);
    let deeds: Vec<Deed> = contenders.into_iter().flat_map(Contender::into_deeds).collect();
    let reader = Spoke::join(&folder, fleet.hub(), "reader");
    reader.ok(&["sync"]);
    Some(judged(&deeds, ruler.orders(), &reader, fleet.hub()))
}

/// What clients and an operator were told, held against the log.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn judged(deeds: &[Deed], orders: &[Order], reader: &Spoke, hub: &Hub) -> (Verdict, Ruled) {
    let disputed: Vec<_> = [KIND, HABIT, VOTE, ASKED].iter().flat_map(|kind| read(reader, kind)).collect();
    let ruled = read(reader, RULED);
    let rules = read::rules(hub, &disputed, orders);
    (judge(deeds, &disputed, &ruled), rules::judge(&rules, orders, &disputed, &ruled))
}

/// Whatever the faults came to: everybody writes once more what nobody else has seen, each rule has something to
/// settle, and everything arrives everywhere.
fn calm(fleet: &mut Fleet, ruler: &mut Ruler, contenders: &mut [Contender<'_>]) {
    let spokes = fleet.clients();
    ruler.let_one_write(fleet.hub());
    contenders.iter_mut().for_each(|contender| contender.write(RULED, CALM));
    spokes.iter().for_each(|spoke| drop(spoke.run(&["sync"])));
    ruler.let_all_write(fleet.hub());
    spokes.iter().for_each(send_what_is_aside);
    // First what both sides are made on, then a conflict that is decided, then one that is like it.
    for sides in [1, 2, 2] {
        agree(&spokes);
        fleet.without_hubs(|| {
            contenders.iter_mut().for_each(|contender| contender.write(KIND, "d0"));
            for contender in contenders.iter_mut().take(sides) {
                [HABIT, VOTE, ASKED].iter().for_each(|kind| contender.write(kind, CALM));
            }
        });
        agree(&spokes);
        ruler.decide(fleet.hub());
        ruler.wait_for_answers(fleet.hub());
    }
    ruler.end();
    agree(&spokes);
    let _ = settle(fleet.hub(), &spokes);
    for _ in 0..CALM_LOOKS {
        contenders.iter_mut().for_each(Contender::settle_one);
    }
    let _ = settle(fleet.hub(), &spokes);
}

/// Sends once more what was refused because somebody else was the primary.
fn send_what_is_aside(spoke: &Spoke) {
    until("what was set aside is sent", || {
        let _ = spoke.run(&["outbox", "retry", "--all"]);
        let is_sent = spoke.run(&["sync"]).code == 0;
        let entries = spoke.ok(&["status"]).json()["outbox"]["entries"].as_u64();
        (is_sent && entries == Some(0)).then_some(())
    });
}

/// Waits until all hold the same: rules settle what they speak about while the spokes sync.
fn agree(spokes: &[Spoke]) {
    until("the spokes hold the same", || {
        let is_sent = spokes.iter().chain(spokes).all(|spoke| spoke.run(&["sync"]).code == 0);
        let mut digests = spokes.iter().map(Spoke::digest);
        let first = digests.next();
        (is_sent && digests.all(|digest| Some(digest) == first)).then_some(())
    });
}
