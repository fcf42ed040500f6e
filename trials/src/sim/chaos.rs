//! What goes wrong, and what operators do.

use std::collections::BTreeSet;

use semantics::ids::{Domain, Kind, NodeId};
use semantics::kind::{Declaration, Policy};
use semantics::topology::{Shape, Topology};
use semantics::view::{Selector, View};
use serde_json::json;
use spoke::replica::memory::MemoryStore;

use super::app::DOMAINS;
use super::checks::outbox_entries;
use super::machine::{Backup, Machine};
use super::oracle::Checked;
use super::points::At;
use super::profile::Level;
use super::restore::Disaster;
use super::rng::SimEntropy;
use super::world::{Event, Output, World};

/// What kinds are settled by.
const POLICIES: [Option<Policy>; 7] = [
    Some(Policy::LastWriter),
    Some(Policy::ThreeWay),
    Some(Policy::Branch),
    Some(Policy::Consensus),
    Some(Policy::ByType),
    Some(Policy::Resolver),
    None,
];
/// Most replicas of all nodes together.
pub const MACHINES_MAX: usize = 8;
/// A restored machine was away for at least this long: what its former self had sent has arrived or is lost.
const RESTORE_MS: u64 = 15_000;

impl World {
    /// One trouble.
    pub(super) fn trouble(&mut self) -> Checked {
        let level = match self.rng.below(100) {
            0..50 => Level::Network,
            50..65 => Level::Crashes,
            65..77 => Level::Control,
            77..87 => Level::Clocks,
            _ => Level::Copies,
        };
        if level > self.profile.level {
            return Ok(());
        }
        match level {
            Level::Calm | Level::Network | Level::Retention => self.network_trouble(),
            Level::Crashes => self.crash(),
            Level::Control => self.operate(),
            Level::Clocks => self.move_clock(),
            Level::Copies => return self.copy_or_restore(),
        }
        Ok(())
    }

    fn any_machine(&mut self) -> usize {
        self.rng.index(self.machines.len())
    }

    fn network_trouble(&mut self) {
        let m = self.any_machine();
        match self.rng.below(4) {
            0 | 1 => self.lose_connection(m),
            2 => {
                let ms = self.rng.range(500, 15_000);
                self.machines[m].offline_until_ms = self.now_ms() + ms;
                self.note(|| format!("machine {m} is offline for {ms} ms"));
                self.lose_connection(m);
            }
            _ => {
                let slow = self.rng.permille(500);
                self.machines[m].slow_ms = if slow { self.rng.range(20, 800) } else { 0 };
            }
        }
    }

    pub(super) fn lose_connection(&mut self, m: usize) {
        let Some(id) = self.machines[m].conn else { return };
        if !self.conns.get(&id).is_some_and(|conn| conn.hub_open) {
            return;
        }
        self.stats.cuts += 1;
        self.note(|| format!("connection {id} of machine {m} breaks"));
        self.cut(id, false);
        // The spoke still believes in it; what comes from now on is lost.
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.spoke_open = true;
            conn.to_spoke_ms = u64::MAX / 2;
        }
        if self.rng.permille(800) {
            let ms = self.rng.range(1, 1_500);
            self.after(ms, Event::SpokeSeesEnd(id));
        }
    }

    fn crash(&mut self) {
        let g = self.rng.index(self.gateways.len());
        match self.rng.below(6) {
            0 | 1 => {
                let among = if self.rng.permille(500) { At::ALL } else { At::RARE };
                let at = self.rng.pick(among).copied();
                self.note(|| format!("who comes there first dies: {}", at.map_or("nobody", At::name)));
                self.ctx.lock().trap = at;
            }
            2 | 3 => {
                self.kill_gateway(g);
                let ms = self.rng.range(10, 4_000);
                self.after(ms, Event::Restart(g));
            }
            4 => {
                let (life, ms) = (self.gateways[g].life, self.rng.range(50, self.profile.standstill_ms_max));
                self.note(|| format!("gateway {g} stands still for {ms} ms"));
                self.stalled.insert(life);
                self.after(ms, Event::Resume(life));
            }
            _ => {
                let m = self.any_machine();
                if self.machines[m].engine.is_some() {
                    self.note(|| format!("machine {m} dies"));
                    self.stats.spoke_crashes += 1;
                    self.kill_machine(m);
                    let ms = self.rng.range(10, 6_000);
                    self.after(ms, Event::Start(m));
                }
            }
        }
    }

    fn operate(&mut self) {
        let g = self.rng.index(self.gateways.len());
        let Some(hub) = self.gateways[g].hub.clone() else { return };
        let n = self.rng.index(self.nodes.len());
        let who = self.nodes[n].who.clone();
        let (life, ctx) = (self.gateways[g].life, self.ctx.clone());
        match self.rng.below(24) {
            0 if self.can_revoke(n) => {
                self.nodes[n].is_revoked = true;
                self.stats.revocations += 1;
                self.note(|| format!("node {n} is revoked"));
                self.exec.spawn(life, async move {
                    let result = hub.revoke_node(&who.tenant, NodeId::HUB, who.node).await.map(drop);
                    ctx.emit(Output::Operated { what: "revoke", result });
                });
            }
            1..4 => {
                let Some(declaration) = task_kind(self.rng.permille(500)) else { return };
                self.note(|| "the declared kind changes".to_owned());
                self.exec.spawn(life, async move {
                    let result = hub.apply_kind(&who.tenant, NodeId::HUB, &declaration).await.map(drop);
                    ctx.emit(Output::Operated { what: "apply kind", result });
                });
            }
            4..11 => self.settle_some(g, n),
            11..14 => {
                let policy = self.rng.pick(&POLICIES).copied().flatten();
                let kinds = ["note", "knowledge", "identity"];
                let Ok(kind) = Kind::new(*self.rng.pick(&kinds).unwrap_or(&"note")) else { return };
                // A program is asked for where there is something to ask about.
                let disputed = self.disputed_kind(&who.tenant, &kinds);
                let kind = disputed.filter(|_| policy == Some(Policy::Resolver)).unwrap_or(kind);
                self.stats.policy_changes += 1;
                self.note(|| format!("{kind} is settled by {policy:?}"));
                self.exec.spawn(life, async move {
                    let result = hub.set_policy(&who.tenant, NodeId::HUB, &kind, policy).await.map(drop);
                    ctx.emit(Output::Operated { what: "set policy", result });
                    if policy == Some(Policy::Resolver) {
                        // It speaks of what is open at once, and as long as others have not settled that.
                        let result = hub.arbitrate().await.map(drop);
                        ctx.emit(Output::Operated { what: "arbitrate", result });
                        hub.ask_due().await;
                    }
                });
            }
            14..17 => self.move_primary(g, n),
            _ => {
                let own = self.nodes[n].domain.clone();
                let view = self.draw_view(&own);
                self.stats.view_changes += 1;
                self.note(|| format!("node {n} is to see {}", view_text(&view)));
                self.exec.spawn(life, async move {
                    let result = hub.set_view(&who.tenant, NodeId::HUB, who.node, &view).await.map(drop);
                    ctx.emit(Output::Operated { what: "set view", result });
                });
            }
        }
    }

    /// Who writes becomes another: everybody, one node, or in each site one.
    fn move_primary(&mut self, g: usize, n: usize) {
        let Some(hub) = self.gateways[g].hub.clone() else { return };
        let tenant = self.nodes[n].who.tenant.clone();
        let nodes = self.nodes.iter().filter(|node| node.who.tenant == tenant && !node.is_revoked);
        let nodes: Vec<NodeId> = nodes.map(|node| node.who.node).collect();
        let mut any = || self.rng.pick(&nodes).copied();
        let shape = match any().zip(any()) {
            Some((primary, _)) if self.rng.permille(300) => Shape::PrimaryReplica { primary },
            Some(two) if self.rng.permille(500) => {
                let domains = DOMAINS.iter().filter_map(|name| Domain::new(*name).ok());
                Shape::Federation { sites: domains.zip([two.0, two.1]).collect() }
            }
            _ => Shape::MultiMaster,
        };
        let kinds = ["note", "identity", "task"].into_iter().filter(|_| self.rng.permille(600));
        let kinds: BTreeSet<Kind> = kinds.filter_map(|kind| Kind::new(kind).ok()).collect();
        let kinds = if kinds.is_empty() { Topology::default().kinds } else { kinds };
        let topology = Topology { shape, kinds };
        self.stats.topology_changes += 1;
        self.note(|| format!("who writes: {topology:?}"));
        let (life, ctx) = (self.gateways[g].life, self.ctx.clone());
        self.exec.spawn(life, async move {
            let result = hub.set_topology(&tenant, NodeId::HUB, &topology, None).await.map(drop);
            ctx.emit(Output::Operated { what: "set topology", result });
        });
    }

    fn can_revoke(&self, n: usize) -> bool {
        let tenant = &self.nodes[n].who.tenant;
        let left = self.nodes.iter().filter(|node| node.who.tenant == *tenant && !node.is_revoked).count();
        left > 2 && !self.nodes[n].is_revoked
    }

    /// A view for a node: its own domain mostly, others, parts of others.
    pub(super) fn draw_view(&mut self, own: &Domain) -> View {
        let mut view = View::default();
        if self.rng.permille(900) {
            view.cells.insert(Selector { domain: own.clone(), kind: None, facet: None });
        }
        for name in DOMAINS {
            let Ok(domain) = Domain::new(name) else { continue };
            match self.rng.below(10) {
                0..4 => {
                    view.cells.insert(Selector { domain, kind: None, facet: None });
                }
                4 | 5 => {
                    let kind = self.rng.pick(&["entity", "resource", "note"]).copied().unwrap_or("entity");
                    let kind = Kind::new(kind).ok();
                    view.cells.insert(Selector { domain, kind, facet: None });
                }
                6 => {
                    let facet = semantics::ids::Facet::new("open").ok();
                    let kind = Kind::new("task").ok();
                    view.cells.insert(Selector { domain, kind, facet });
                }
                _ => {}
            }
        }
        view
    }

    fn move_clock(&mut self) {
        let hour_ms = 3_600_000;
        let ahead_ms: i64 = match self.rng.below(10) {
            0 => -hour_ms,
            1 => hour_ms,
            2 => 48 * hour_ms,
            3 => 50_000,
            4..7 => 0,
            _ => i64::try_from(self.rng.below(10_000)).unwrap_or(0) - 5_000,
        };
        if self.rng.permille(300) {
            let g = self.rng.index(self.gateways.len());
            // A hub's clock that runs ahead drags the tenant's time along for good: that is for its operators.
            let ahead_ms = ahead_ms.min(5_000);
            self.note(|| format!("gateway {g}'s clock is {ahead_ms} ms ahead"));
            self.gateways[g].clock.set(ahead_ms);
        } else {
            let m = self.any_machine();
            self.note(|| format!("machine {m}'s clock is {ahead_ms} ms ahead"));
            self.machines[m].ahead_ms = ahead_ms;
        }
    }

    fn copy_or_restore(&mut self) -> Checked {
        let m = self.any_machine();
        match self.rng.below(8) {
            0 | 1 => {
                let content = self.machines[m].store.snapshot();
                let written = self.machines[m].written.iter().copied().collect();
                self.machines[m].backup = Some(Backup { content, written });
                self.note(|| format!("machine {m} is backed up"));
                Ok(())
            }
            2 => self.restore(m),
            3 | 4 => self.copy(m),
            5 => self.back_up_hub(),
            _ => self.lose_hub(),
        }
    }

    /// An older state under the same place; what was written since is lost, as the disk is.
    fn restore(&mut self, m: usize) -> Checked {
        let Some(backup) = self.machines[m].backup.clone() else { return Ok(()) };
        if self.disaster.is_some() {
            return Ok(());
        }
        self.stats.restores += 1;
        self.note(|| format!("machine {m} is restored"));
        self.kill_machine(m);
        let machine = &mut self.machines[m];
        machine.life += 1;
        machine.store = std::sync::Arc::new(MemoryStore::new());
        machine.store.restore(&backup.content);
        machine.expected.clear();
        machine.is_copied = true;
        let before = machine.written.len();
        machine.written.retain(|id| backup.written.contains(id));
        let lost = before - machine.written.len();
        self.note(|| format!("machine {m} has lost {lost} writes"));
        // Nobody else starts it before: a crash may have planned to.
        self.machines[m].away_until_ms = self.now_ms() + RESTORE_MS;
        self.after(RESTORE_MS, Event::Start(m));
        Ok(())
    }

    /// What a machine holds that has had no effect: a copy of it may send the same.
    fn note_shared(&self, m: usize) -> Checked {
        let tenant = &self.nodes[self.machines[m].node].who.tenant;
        let entries = outbox_entries(&self.machines[m].store)?;
        let mut oracle = self.store.oracle();
        let oracle = &mut *oracle;
        let log = oracle.logs.get(tenant).ok_or("no tenant")?;
        for entry in entries.iter().filter(|entry| !log.effects.contains_key(&entry.id())) {
            *oracle.shared.entry(entry.id()).or_insert(1) += 1;
        }
        Ok(())
    }

    /// The folder is copied to another host, and both go on.
    fn copy(&mut self, m: usize) -> Checked {
        // Where an old disk was put back unsaid, an epoch may be given twice: copies are told apart no more.
        if self.machines.len() >= MACHINES_MAX || self.disaster == Some(Disaster::RolledBack) {
            return Ok(());
        }
        self.stats.copies += 1;
        let store = MemoryStore::new();
        store.restore(&self.machines[m].store.snapshot());
        self.note_shared(m)?;
        let new = self.machines.len();
        let place = format!("copy {new}");
        let machine = Machine::new(self.machines[m].node, place, store, SimEntropy::new(self.rng.fork()));
        self.machines.push(machine);
        self.machines[new].is_copied = true;
        self.machines[m].is_copied = true;
        self.note(|| format!("machine {new} is a copy of {m}"));
        let ms = self.rng.range(1, 5_000);
        self.after(ms, Event::Start(new));
        Ok(())
    }
}

/// The declared kind, in one of two forms.
#[must_use]
pub fn task_kind(has_default: bool) -> Option<Declaration> {
    serde_json::from_value(json!({
        "name": "task",
        "policy": "fields",
        "schema": {"type": "object", "required": ["title"]},
        "defaults": if has_default { json!({"prio": 1}) } else { json!({}) },
        "facet_field": "status",
    }))
    .ok()
}

fn view_text(view: &View) -> String {
    let cells = view.cells.iter().map(|cell| {
        let kind = cell.kind.as_ref().map_or("*", |kind| kind.as_str());
        format!("{}/{kind}", cell.domain)
    });
    cells.collect::<Vec<_>>().join(" ")
}
