//! Records that are moved to and fro between two domains, while those who read them lag by pages: they lose touch at one
//! moment and come back at one moment, most of them slow, often to one gateway, which gives them the same pages.

use semantics::envelope::Placement;
use semantics::ids::{Domain, Key, NodeId};
use semantics::view::Selector;
use spoke::replica::{Write, WriteOp};
use spoke::sync::Event as Told;

use super::app::DOMAINS;
use super::oracle::Checked;
use super::world::{Event, World};

/// Most records that go together.
const RECORDS_MAX: u64 = 3;
/// Most times that they cross over.
const CROSSINGS_MAX: u64 = 40;
/// Longest time for which readers are away, milliseconds.
const AWAY_MS_MAX: u64 = 1_500;
/// Longest time for which the records go on once the readers are back, milliseconds.
const BACK_MS_MAX: u64 = 4_000;

/// Records that go to and fro.
#[derive(Debug, Clone)]
pub struct Ferry {
    machine: usize,
    keys: Vec<Key>,
    between: [Domain; 2],
    every_ms: u64,
    left: u64,
}

impl World {
    /// Somebody begins to move records to and fro, and everybody else loses touch.
    pub(super) fn begin_ferry(&mut self) {
        let is_up = |m: &usize| self.machines[*m].engine.is_some() && !self.is_offline(*m);
        let up: Vec<usize> = (0..self.machines.len()).filter(is_up).collect();
        let Some(machine) = self.rng.pick(&up).copied() else { return };
        let count = self.rng.range(1, RECORDS_MAX);
        let keys: Vec<Key> = (0..count).filter_map(|_| self.key()).collect();
        let Some([from, to]) = self.shores(machine) else { return };
        let (away_ms, every_ms) = (self.rng.range(200, AWAY_MS_MAX), self.rng.range(40, 400));
        let left = ((away_ms + self.rng.range(500, BACK_MS_MAX)) / every_ms).min(CROSSINGS_MAX) + 1;
        self.stats.ferries += 1;
        self.note(|| format!("machine {machine} moves {keys:?} between {from} and {to}, {left} times"));
        self.strand_readers(machine, away_ms);
        self.after(every_ms, Event::Ferry(Ferry { machine, keys, between: [from, to], every_ms, left }));
    }

    /// Two domains that a machine may both write to, and that as many others as can be see one of.
    fn shores(&self, mover: usize) -> Option<[Domain; 2]> {
        let who = &self.nodes[self.machines[mover].node].who;
        let oracle = self.store.oracle();
        let log = oracle.logs.get(&who.tenant)?;
        let sees = |node: NodeId, domain: &Domain| {
            let whole = Selector { domain: domain.clone(), kind: None, facet: None };
            log.view_at(node, log.head.revision).1.cells.contains(&whole)
        };
        let mine = DOMAINS.iter().filter_map(|name| Domain::new(*name).ok());
        let mine: Vec<Domain> = mine.filter(|domain| sees(who.node, domain)).collect();
        let pairs = mine.iter().flat_map(|from| mine.iter().map(move |to| [from, to]));
        let see_one = |[from, to]: &[&Domain; 2]| {
            let nodes = self.nodes.iter().filter(|node| node.who.tenant == who.tenant);
            nodes.filter(|node| sees(node.who.node, from) && !sees(node.who.node, to)).count()
        };
        let best = pairs.filter(|[from, to]| from != to).max_by_key(see_one)?;
        Some(best.map(Clone::clone))
    }

    fn strand_readers(&mut self, mover: usize, away_ms: u64) {
        let tenant = self.nodes[self.machines[mover].node].who.tenant.clone();
        for m in (0..self.machines.len()).filter(|m| *m != mover) {
            if self.nodes[self.machines[m].node].who.tenant != tenant || !self.rng.permille(700) {
                continue;
            }
            if self.rng.permille(600) {
                self.machines[m].slow_ms = self.rng.range(20, 300);
                self.machines[m].takes_one = true;
            }
            self.machines[m].offline_until_ms = self.now_ms() + away_ms;
            self.lose_connection(m);
        }
        if !self.rng.permille(600) {
            return;
        }
        // A gateway that has just come up has none of it in its ring: who comes back is given pages of the log.
        let first = self.rng.index(self.gateways.len());
        for g in 0..self.gateways.len() {
            self.kill_gateway(g);
            let late_ms = if g == first { 0 } else { self.rng.range(1_000, 4_000) };
            self.after(away_ms / 2 + late_ms, Event::Restart(g));
        }
    }

    /// They cross over once more.
    pub(super) fn ferry(&mut self, mut ferry: Ferry) -> Checked {
        ferry.left -= 1;
        let to = ferry.between[usize::from(ferry.left.is_multiple_of(2))].clone();
        for key in ferry.keys.clone() {
            let value = self.next_id();
            let op = WriteOp::Put(self.body(&key, value));
            let placement = Some(Placement { domain: to.clone(), subject: None });
            self.write(ferry.machine, Write { key, op, placement })?;
        }
        self.feed(ferry.machine, Told::OutboxChanged)?;
        if ferry.left > 0 && !self.is_healing {
            self.after(ferry.every_ms, Event::Ferry(ferry));
        }
        Ok(())
    }
}
