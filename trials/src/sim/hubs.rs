//! The hubs' side of the world: lives of gateways, connections, and what their tasks give out.

use std::sync::Arc;

use gateway::hub::error::HubError;
use gateway::hub::{Admission, Hub, Paging, Parts, Principal, Retention};
use semantics::cursor::{Change, Departure, Page};
use semantics::ids::NodeId;
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, Push, ServerMessage};

use super::answers::{PER_MINUTE, SimResolver};
use super::exec::Ctx;
use super::oracle::{Checked, Log, ensure};
use super::rng::SimEntropy;
use super::session::ConnId;
use super::world::{Event, Output, World};

/// Between two looks for others' commits, milliseconds.
const POLL_MS: u64 = 300;

/// Refuses by luck.
#[derive(Debug)]
struct Quota {
    ctx: Ctx,
    permille: u64,
}

impl Admission for Quota {
    fn admit(&self, _: &Principal, _: usize, _: u64) -> Option<u64> {
        let mut shared = self.ctx.lock();
        let refuses = !shared.is_quiet && self.permille > 0 && shared.rng.permille(self.permille);
        refuses.then(|| shared.rng.range(20, 500))
    }
}

impl World {
    /// Brings a gateway up: a new hub over the same store.
    pub(super) fn restart(&mut self, g: usize) {
        if self.gateways[g].hub.is_some() {
            return;
        }
        let parts = Parts {
            store: Arc::new(self.store.clone()),
            clock: Arc::new(self.gateways[g].clock.clone()),
            entropy: Arc::new(SimEntropy::new(self.rng.fork())),
            admission: Arc::new(Quota {
                ctx: self.ctx.clone(),
                permille: if self.is_healing { 0 } else { self.profile.quota },
            }),
            retention: Retention {
                revisions_min: self.profile.revisions_min,
                expiry_ms: self.profile.expiry_ms,
                settled_ms: self.profile.settled_ms,
            },
            paging: Paging {
                rows_max: self.profile.page_rows,
                latest_from: self.profile.latest_from(),
                ..Paging::default()
            },
        };
        let life = self.next_id();
        self.gateways[g].life = life;
        let hub = Hub::new(parts).named(gateway_name(g)).bounded(self.profile.bounds);
        let resolver = SimResolver { ctx: self.ctx.clone(), answers: self.answers.clone() };
        let hub = hub.resolving(Arc::new(resolver), PER_MINUTE);
        self.gateways[g].hub = Some(Arc::new(hub));
        self.note(|| format!("gateway {g} up as {life}"));
        let ms = self.rng.range(1, POLL_MS);
        self.after(ms, Event::Poll(g));
    }

    /// Kills a gateway: every future of it is dropped where it stands.
    pub(super) fn kill_gateway(&mut self, g: usize) {
        let life = self.gateways[g].life;
        if self.gateways[g].hub.take().is_none() {
            return;
        }
        self.ctx.lock().is_dying = true;
        let dropped = self.exec.kill_all(life);
        self.ctx.lock().is_dying = false;
        self.stalled.remove(&life);
        self.note(|| format!("gateway {g} ({life}) dies with {dropped} tasks"));
        self.stats.gateway_crashes += 1;
        let ids: Vec<ConnId> =
            self.conns.iter().filter(|(_, c)| c.life == life && c.hub_open).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.hub_open = false;
            }
            let ms = self.rng.range(1, 400);
            self.after(ms, Event::SpokeSeesEnd(id));
        }
    }

    /// Somebody walked into the trap: that gateway dies where it stands.
    pub(super) fn spring(&mut self, life: u64) {
        if let Some(g) = self.gateways.iter().position(|gateway| gateway.life == life) {
            self.kill_gateway(g);
            let ms = self.rng.range(10, 4_000);
            self.after(ms, Event::Restart(g));
        }
    }

    pub(super) fn poll(&mut self, g: usize) {
        let Some(hub) = self.gateways[g].hub.clone() else { return };
        let life = self.gateways[g].life;
        let tenants: Vec<_> = self.store.oracle().logs.keys().cloned().collect();
        let ctx = self.ctx.clone();
        self.exec.spawn(life, async move {
            for tenant in tenants {
                let result = hub.poll(&tenant).await.map(drop);
                ctx.emit(Output::Operated { what: "poll", result });
            }
        });
        self.after(POLL_MS, Event::Poll(g));
    }

    pub(super) fn tidy_up(&mut self) {
        let g = self.rng.index(self.gateways.len());
        if let Some(hub) = self.gateways[g].hub.clone() {
            let tenants: Vec<_> = self.store.oracle().logs.keys().cloned().collect();
            let ctx = self.ctx.clone();
            // A lease saves work and keeps nobody out.
            let asks = self.rng.permille(700);
            self.note(|| {
                format!("gateway {g} tidies up{}", if asks { " where it is the keeper" } else { "" })
            });
            self.exec.spawn(self.gateways[g].life, async move {
                for tenant in tenants {
                    let result = match hub.is_keeper(&tenant).await {
                        Ok(false) if asks => continue,
                        Ok(keeps) => {
                            if keeps {
                                ctx.emit(Output::Keeps { tenant: tenant.clone(), gateway: g });
                            }
                            hub.maintain(&tenant).await
                        }
                        Err(error) => Err(error),
                    };
                    ctx.emit(Output::Operated { what: "maintain", result });
                    hub.docket().first(&tenant);
                    let result = hub.arbitrate().await.map(drop);
                    ctx.emit(Output::Operated { what: "arbitrate", result });
                    hub.ask_due().await;
                }
            });
        }
    }

    /// Ends a connection from the spoke's side, or below both. What is on its way to the spoke is lost; what is on
    /// its way to the hub may still arrive.
    pub(super) fn cut(&mut self, id: ConnId, is_orderly: bool) {
        let arrives = is_orderly || self.rng.permille(500);
        let ms = self.rng.range(1, if is_orderly { 100 } else { 2_000 });
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.spoke_open = false;
        if !conn.hub_open {
            return;
        }
        if arrives {
            let at_ms = conn.to_hub_ms.max(self.ctx.now_ms() + ms);
            self.at(at_ms, Event::HubSeesEnd(id));
        } else {
            self.hub_sees_end(id);
        }
    }

    pub(super) fn arrive_at_hub(&mut self, id: ConnId, message: ClientMessage) {
        if let Some(conn) = self.conns.get(&id).filter(|conn| conn.hub_open) {
            conn.inbox.push(message);
        }
    }

    pub(super) fn hub_sees_end(&mut self, id: ConnId) {
        let is_orderly = self.rng.permille(500);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.hub_open) else { return };
        conn.hub_open = false;
        conn.inbox.close();
        let task = conn.task.filter(|_| !is_orderly);
        if let Some(task) = task {
            // Dropped in the middle of whatever it waits for.
            self.exec.kill(task);
        }
    }

    pub(super) fn late_push(&mut self, node: usize, push: Push) {
        let g = self.rng.index(self.gateways.len());
        let Some(hub) = self.gateways[g].hub.clone() else { return };
        self.stats.late_pushes += 1;
        let (who, ctx) = (self.nodes[node].who.clone(), self.ctx.clone());
        let count = push.items.len();
        self.note(|| format!("late push of {count} items of node {node} through gateway {g}"));
        self.exec.spawn(self.gateways[g].life, async move {
            let answer = hub.push(&who, push).await;
            ctx.emit(Output::Pushed { node, answer });
        });
    }

    pub(super) fn take_output(&mut self, output: Output) -> Checked {
        match output {
            Output::ToSpoke { conn, message } => {
                self.check_said(conn, &message)?;
                self.send_to_spoke(conn, |id| Event::ToSpoke(id, Box::new(message)));
            }
            Output::Ended { conn } => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.hub_open = false;
                }
                self.send_to_spoke(conn, Event::SpokeSeesEnd);
            }
            Output::Reconciled { machine, call, answer } => {
                if let Err(error) = &answer {
                    self.note(|| format!("reconcile of machine {machine}: {error}"));
                    if error.reason() == Reason::CursorExpired {
                        self.stats.expired += 1;
                    }
                    self.check_error("reconcile", error)?;
                }
                let ms = self.rng.range(1, self.profile.latency_ms_max);
                self.after(ms, Event::Reconciled(machine, call, Box::new(answer)));
            }
            Output::Pushed { node, answer } => {
                let tenant = &self.nodes[node].who.tenant;
                match answer {
                    Ok(results) => match self.store.oracle().logs.get(tenant) {
                        Some(log) => log.check_results(&results)?,
                        None => return Err("a push to no tenant was answered".to_owned()),
                    },
                    Err(error) => {
                        self.stats.full_queues += u64::from(is_of_the_queue(&error.refusal));
                        self.check_error("late push", &error)?;
                    }
                }
            }
            Output::Keeps { tenant, gateway } => {
                if self.keepers.insert(tenant, gateway).is_some_and(|before| before != gateway) {
                    self.stats.keeper_changes += 1;
                }
            }
            Output::Settled { tenant, expected, at } => {
                let oracle = self.store.oracle();
                let log = oracle.logs.get(&tenant).ok_or("a settlement of no tenant")?;
                let row = usize::try_from(at.0).ok().and_then(|at| log.rows.get(at.checked_sub(1)?));
                let stood = row.map(|row| row.previous);
                if self.disaster.is_none() && stood.is_some_and(|stood| stood != expected) {
                    return Err(format!(
                        "a decision on a conflict at {expected} was taken at {at}, over {stood:?}"
                    ));
                }
            }
            Output::Registered { who, domain } => self.came(who, domain),
            Output::Operated { what, result } => {
                if let Err(error) = result {
                    self.note(|| format!("{what}: {error}"));
                    self.check_error(what, &error)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a hub may say this.
    fn check_said(&mut self, conn: ConnId, message: &ServerMessage) -> Checked {
        let Some(m) = self.conns.get(&conn).map(|conn| conn.machine) else { return Ok(()) };
        let who = self.nodes[self.machines[m].node].who.clone();
        match message {
            ServerMessage::Results(results) => {
                let waits = results.waits.as_ref().map(|w| Refusal::new(w.reason, w.detail.clone()));
                self.stats.full_queues += u64::from(waits.as_ref().is_some_and(is_of_the_queue));
                match self.store.oracle().logs.get(&who.tenant) {
                    Some(log) => log.check_results(results),
                    None => Err("results for no tenant".to_owned()),
                }
            }
            ServerMessage::Changes(page) => {
                let oracle = self.store.oracle();
                let logs = [oracle.logs.get(&who.tenant), oracle.before.get(&who.tenant)];
                check_shown(&logs, who.node, page).map_err(|what| format!("machine {m} {what}"))
            }
            ServerMessage::Goodbye(refusal) => {
                self.note(|| format!("goodbye to machine {m} on {conn}: {refusal}"));
                if refusal.reason == Reason::CursorExpired {
                    self.stats.expired += 1;
                }
                self.check_reason("session", refusal.reason, &refusal.detail)
            }
            _ => Ok(()),
        }
    }
}

/// A reader is told of nothing that it could not see, and that something left only if it could have seen it before.
fn check_shown(logs: &[Option<&Log>], node: NodeId, page: &Page) -> Checked {
    let in_one = |is_it: &dyn Fn(&Log) -> bool| logs.iter().flatten().any(|log| is_it(log));
    for Change { revision, record } in &page.changes {
        let was_shown = in_one(&|log| log.was_shown(node, &record.key, *revision));
        ensure!(was_shown, "is sent {} of {revision}, which it could never see", record.key);
    }
    for Departure { revision, key } in &page.departures {
        let was_shown = in_one(&|log| log.was_shown_before(node, key, *revision));
        ensure!(was_shown, "is told that {key} left with {revision}, and could never see it");
    }
    Ok(())
}

/// Whether a push was put off because too much waits for the committer already.
fn is_of_the_queue(refusal: &Refusal) -> bool {
    refusal.reason == Reason::Overloaded && refusal.detail.starts_with("too many pushes wait")
}

/// By which gateways are told apart, in whichever life.
pub(super) fn gateway_name(g: usize) -> String {
    format!("gateway {g}")
}

impl World {
    fn check_error(&self, what: &str, error: &HubError) -> Checked {
        self.check_reason(what, error.reason(), &error.refusal.detail)
    }

    /// Some reasons speak of bugs, whatever the world did.
    fn check_reason(&self, what: &str, reason: Reason, detail: &str) -> Checked {
        let never = [Reason::Internal, Reason::StoreCorrupt, Reason::Malformed, Reason::TooLarge];
        let is_fork = reason == Reason::LogForked && self.disaster.is_none();
        if never.contains(&reason) || is_fork {
            return Err(format!("{what}: {}: {detail}", reason.as_str()));
        }
        Ok(())
    }

    /// How far a gateway is from a machine just now, as the machine will learn.
    pub(super) fn measure(&mut self, m: usize, endpoint: usize) {
        let at = endpoint % self.gateways.len();
        let is_there = self.gateways[at].hub.is_some() && !self.is_offline(m);
        let ms = self.rng.range(1, 2 * self.profile.latency_ms_max);
        let round_trip_us = is_there.then_some(ms * 1_000);
        let life = self.machines[m].life;
        self.after(ms, Event::Probed { machine: m, life, endpoint, round_trip_us });
    }
}
