//! Whoever changes the rules while clients work: says who writes, sets precedents and revokes them, and takes away the
//! program that is asked about conflicts and brings it back.

use serde_json::{Value, json};

use super::{ASKED, CALM, HABIT, RULED, VOTE};
use crate::chaos::Fleet;
use crate::fleet::Hub;
use crate::history::rules::Order;
use crate::process::{Process, until};

/// How long the hub waits for the program, milliseconds.
const ANSWER_WITHIN_MS: &str = "2000";

/// An operator, the program, and what the operator was told is done.
pub(super) struct Ruler {
    program: Option<Process>,
    address: String,
    turns: usize,
    orders: Vec<Order>,
}

impl Ruler {
    /// Starts the program, and has every gateway ask it.
    pub(super) fn start(fleet: &mut Fleet) -> Self {
        let (program, address) = start("127.0.0.1:0", 0);
        fleet.set(&[
            ("HUBWARD_RESOLVER", &format!("http://{address}")),
            ("HUBWARD_RESOLVER_TIMEOUT_MS", ANSWER_WITHIN_MS),
        ]);
        Self { program: Some(program), address, turns: 0, orders: Vec::new() }
    }

    /// What it was told is done.
    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// One act after the other. What is not answered may be done all the same.
    pub(super) fn turn(&mut self, hub: &Hub) {
        match self.turns % 4 {
            0 => drop(self.appoint(hub)),
            1 => self.decide(hub),
            2 => self.come_or_go(),
            _ => self.revoke(hub),
        }
        self.turns += 1;
    }

    /// One node writes.
    pub(super) fn let_one_write(&mut self, hub: &Hub) {
        until("one node may write", || self.appoint(hub));
    }

    /// Makes the next node the primary, if that is answered.
    fn appoint(&mut self, hub: &Hub) -> Option<()> {
        let listed = hub.admin(&["node", "list"]);
        let listed = (listed.code == 0).then(|| listed.json())?;
        let nodes = listed["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        let node = nodes.get(self.turns / 4 % nodes.len().max(1))?;
        let id = node["node"].as_str().map(str::to_owned);
        let primary = id.as_deref().unwrap_or_default();
        let set = ["topology", "set", "primary-replica", "--primary", primary, "--kind", RULED];
        let ran = hub.admin(&set);
        let told = (ran.code == 0).then(|| ran.json())?;
        self.orders.push(Order::Primary(id, revision(&told)));
        Some(())
    }

    /// Everybody writes again.
    pub(super) fn let_all_write(&mut self, hub: &Hub) {
        let told = until("everybody may write", || {
            let ran = hub.admin(&["topology", "set", "multi-master", "--kind", RULED]);
            (ran.code == 0).then(|| ran.json())
        });
        self.orders.push(Order::Primary(None, revision(&told)));
    }

    /// Settles the first conflict that precedents may speak about, so that others like it settle alone.
    pub(super) fn decide(&self, hub: &Hub) {
        let mut new: Vec<Value> = open(hub, HABIT).into_iter().filter(is_new).collect();
        new.sort_by_key(|conflict| conflict["record"] != json!(CALM));
        for conflict in &new {
            let id = conflict["id"].as_str().unwrap_or_default();
            let side = if self.turns.is_multiple_of(2) { "loser" } else { "primary" };
            let decides =
                ["conflict", "resolve", id, "--side", side, "--precedent", "--reason", "from now on"];
            if hub.admin(&decides).code == 0 {
                return;
            }
        }
    }

    fn revoke(&mut self, hub: &Hub) {
        let listed = hub.admin(&["precedent", "list"]);
        if listed.code != 0 {
            return;
        }
        let Some(id) = listed.json()["precedents"][0]["id"].as_str().map(str::to_owned) else { return };
        let ran = hub.admin(&["precedent", "revoke", &id]);
        if ran.code == 0 {
            self.orders.push(Order::Revoked(id, revision(&ran.json())));
        }
    }

    fn come_or_go(&mut self) {
        match self.program.take() {
            Some(program) => program.kill(),
            None => self.program = Some(start(&self.address, self.turns).0),
        }
    }

    /// Waits until nothing is left that a vote or the program settles: each may see two sides that it can read.
    pub(super) fn wait_for_answers(&mut self, hub: &Hub) {
        if self.program.is_none() {
            self.come_or_go();
        }
        for kind in [VOTE, ASKED, HABIT] {
            until("what is new is settled", || {
                let waits = |conflict: &&Value| is_new(conflict) && conflict["record"] == json!(CALM);
                open(hub, kind).iter().find(waits).is_none().then_some(())
            });
        }
    }

    /// Nobody is asked any more.
    pub(super) fn end(&mut self) {
        if let Some(program) = self.program.take() {
            program.kill();
        }
    }
}

/// Starts the program, which gives each time another name; gives where it listens.
fn start(address: &str, number: usize) -> (Process, String) {
    let name = format!("longest-{number}");
    let program = Process::start("examples/resolver", &["--listen", address, "--name", &name]);
    let line: Value = serde_json::from_str(&program.line()).expect("it says where it listens");
    (program, line["listen"].as_str().expect("an address").to_owned())
}

fn open(hub: &Hub, kind: &str) -> Vec<Value> {
    let listed = hub.admin(&["conflict", "list", "--kind", kind]);
    let listed = if listed.code == 0 { listed.json() } else { Value::Null };
    listed["conflicts"].as_array().cloned().unwrap_or_default()
}

/// Whether it has two sides, and nobody has settled it before.
fn is_new(conflict: &Value) -> bool {
    conflict["sides"] == json!(2) && conflict["resolution"].is_null()
}

fn revision(told: &Value) -> u64 {
    told["revision"].as_u64().unwrap_or_default()
}
