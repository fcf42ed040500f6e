//! Nodes that are registered while everything goes on: they read from nothing what others have read before them, and must
//! not learn what was gone before they came.

use gateway::hub::Principal;
use gateway::hub::control::plain_node;
use semantics::ids::{Domain, NodeId};
use spoke::replica::memory::MemoryStore;

use super::app::DOMAINS;
use super::machine::Machine;
use super::oracle::Log;
use super::rng::SimEntropy;
use super::world::{Event, Node, Output, World};

/// Most replicas with those of nodes that came late.
const MACHINES_LATE_MAX: usize = 12;

impl World {
    /// One node or two are registered in a tenant.
    pub(super) fn register_newcomers(&mut self) {
        for _ in 0..self.rng.range(1, 2) {
            let g = self.rng.index(self.gateways.len());
            let Some(hub) = self.gateways[g].hub.clone() else { return };
            if self.machines.len() >= MACHINES_LATE_MAX {
                return;
            }
            let n = self.rng.index(self.nodes.len());
            let tenant = self.nodes[n].who.tenant.clone();
            let Ok(domain) = Domain::new(*self.rng.pick(&DOMAINS).unwrap_or(&DOMAINS[0])) else { return };
            let view = if self.rng.permille(300) { self.wide_view() } else { self.draw_view(&domain) };
            let body = plain_node(&format!("late-{}", self.next_id()), domain.clone());
            let ctx = self.ctx.clone();
            self.exec.spawn(self.gateways[g].life, async move {
                match hub.register_node(&tenant, &body).await {
                    Ok(node) => {
                        let result = hub.set_view(&tenant, NodeId::HUB, node, &view).await.map(drop);
                        ctx.emit(Output::Operated { what: "set view", result });
                        ctx.emit(Output::Registered { who: Principal { tenant, node }, domain });
                    }
                    Err(error) => ctx.emit(Output::Operated { what: "register", result: Err(error) }),
                }
            });
        }
    }

    /// A node that was registered starts on a machine of its own.
    pub(super) fn came(&mut self, who: Principal, domain: Domain) {
        self.stats.newcomers += 1;
        let (n, m) = (self.nodes.len(), self.machines.len());
        // Put back meanwhile, the log may not know it.
        let log_knows = |log: &Log| log.is_registered(who.node);
        let is_revoked = !self.store.oracle().logs.get(&who.tenant).is_some_and(log_knows);
        self.nodes.push(Node { who, domain, is_revoked });
        let entropy = SimEntropy::new(self.rng.fork());
        self.machines.push(Machine::new(n, format!("newcomer {m}"), MemoryStore::new(), entropy));
        self.note(|| format!("node {n} has come, on machine {m}"));
        let ms = self.rng.range(1, 300);
        self.after(ms, Event::Start(m));
    }
}
