//! A machine with a replica: what survives its crashes, and what does not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use semantics::cursor::{Cut, Next, Page};
use semantics::ids::{Key, MutationId, Revision, Writer};
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, Reconcile};
use semantics::version::Version;
use serde_json::{Map, Value};
use spoke::engine::Engine;
use spoke::replica::memory::{MemoryStore, Snapshot};
use spoke::replica::{Identity, Replica};
use spoke::sync::{Action, Config, Event as Told, Status, Step, Timer};

use super::exec::at_once;
use super::fuse::FusedStore;
use super::names::{GIVE_UP, step_name, told_name};
use super::oracle::Checked;
use super::points::At;
use super::rng::SimEntropy;
use super::session::{ConnId, Inbox, serve};
use super::world::{BASE_MS, Conn, Event, World};

/// What a local write must show until somebody else's change comes.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The mutation.
    pub id: MutationId,
    /// The body; `None` = deleted.
    pub body: Option<Map<String, Value>>,
    /// What others had done to the record when it was written.
    pub others: Version,
    /// Whether there was a confirmed record at all.
    pub was_confirmed: bool,
}

/// A copy of a replica, for later.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its content.
    pub content: Snapshot,
    /// Which writes had been made.
    pub written: std::collections::BTreeSet<MutationId>,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Which node it speaks for.
    pub node: usize,
    /// Names file and host.
    pub place: String,
    /// The file.
    pub store: Arc<MemoryStore>,
    /// Its randomness.
    pub entropy: SimEntropy,
    /// The process, while it runs.
    pub engine: Option<Engine>,
    /// How that process sees the file.
    pub fuse: Option<FusedStore>,
    /// Which life of it.
    pub life: u64,
    /// How far its clock is ahead, milliseconds.
    pub ahead_ms: i64,
    /// Its connection.
    pub conn: Option<ConnId>,
    /// The gateway of the last session.
    pub last_gateway: Option<usize>,
    /// Settings of its timers.
    pub timers: BTreeMap<Timer, u64>,
    /// The unary call it waits for.
    pub call: u64,
    /// Until when it has no network, milliseconds.
    pub offline_until_ms: u64,
    /// What one message costs it, milliseconds.
    pub slow_ms: u64,
    /// Whether nothing is sent to it before it has taken what was.
    pub takes_one: bool,
    /// Ids of every mutation written here.
    pub written: Vec<MutationId>,
    /// What its records must show.
    pub expected: BTreeMap<Key, Expected>,
    /// Whether its node has written what is not known here, in another replica or in a former life of this one:
    /// then no change of a record is surely somebody else's.
    pub is_copied: bool,
    /// The greatest counter that it sent, of each epoch.
    pub sent: BTreeMap<Writer, u64>,
    /// Whether it stopped for good, because its node was revoked.
    pub is_stopped: bool,
    /// Pages since the last cut.
    pub pages: u64,
    /// It does not start before, milliseconds.
    pub away_until_ms: u64,
    /// A backup of it.
    pub backup: Option<Backup>,
}

impl Machine {
    /// A machine that has not started.
    #[must_use]
    pub fn new(node: usize, place: String, store: MemoryStore, entropy: SimEntropy) -> Self {
        Self {
            node,
            place,
            store: Arc::new(store),
            entropy,
            engine: None,
            fuse: None,
            life: 0,
            ahead_ms: 0,
            conn: None,
            last_gateway: None,
            timers: BTreeMap::new(),
            call: 0,
            offline_until_ms: 0,
            slow_ms: 0,
            takes_one: false,
            written: Vec::new(),
            expected: BTreeMap::new(),
            is_copied: false,
            sent: BTreeMap::new(),
            is_stopped: false,
            pages: 0,
            away_until_ms: 0,
            backup: None,
        }
    }

    /// Up to where it was told that backups hold the log.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn knows_backed_up(&self) -> Result<Option<Revision>, String> {
        let Some(replica) = self.replica() else { return Ok(None) };
        let status = at_once(replica.status()).ok_or("the status waits")?.map_err(|e| e.to_string())?;
        Ok(status.backups.revision)
    }

    /// The replica, while the process runs.
    #[must_use]
    pub fn replica(&self) -> Option<Arc<Replica>> {
        self.engine.as_ref().map(|engine| Arc::clone(engine.replica()))
    }

    /// What the sync machine does.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.engine.as_ref().map(Engine::status)
    }
}

impl World {
    /// A machine's wall clock.
    #[must_use]
    pub fn wall_ms(&self, m: usize) -> u64 {
        (BASE_MS + self.now_ms()).saturating_add_signed(self.machines[m].ahead_ms)
    }

    /// Starts the process.
    pub(super) fn start(&mut self, m: usize) -> Checked {
        if self.machines[m].engine.is_some() || self.now_ms() < self.machines[m].away_until_ms {
            return Ok(());
        }
        let config = self.config();
        let node = self.nodes[self.machines[m].node].clone();
        let machine = &mut self.machines[m];
        machine.life += 1;
        let identity = Identity { node: node.who.node, domain: node.domain, place: machine.place.clone() };
        let fuse = FusedStore::new(Arc::clone(&machine.store));
        machine.fuse = Some(fuse.clone());
        let store = Arc::new(fuse);
        let opened = at_once(Replica::open(store, identity, Arc::new(machine.entropy.clone())));
        let replica = opened.ok_or("opening a replica waits")?.map_err(|e| format!("machine {m}: {e}"))?;
        machine.engine = Some(Engine::new(Arc::new(replica), config));
        self.note(|| format!("machine {m} starts"));
        self.feed(m, Told::Start)
    }

    fn config(&mut self) -> Config {
        Config {
            endpoints: self.gateways.len(),
            measure_ms: 400,
            stay_ms: 800,
            seed: self.rng.next(),
            credit_bytes: self.profile.credit_bytes,
            ping_ms: 2_000,
            dead_peer_ms: 6_000,
            greeting_ms: 3_000,
            answer_ms: 5_000,
            ack_ms: 100,
            backoff_min_ms: 50,
            backoff_max_ms: 1_000,
            breaker_failures: 12,
            breaker_open_ms: 2_000,
            stall_ms: 200,
            probe_ms: 1_000,
        }
    }

    /// Kills the process where it stands.
    pub(super) fn kill_machine(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        machine.engine = None;
        machine.timers.clear();
        machine.call += 1;
        machine.pages = 0;
        if let Some(conn) = machine.conn.take() {
            self.cut(conn, false);
        }
    }

    fn is_crashing(&mut self, m: usize) -> bool {
        if self.is_healing
            || self.profile.spoke_crash == 0
            || self.rng.below(10_000) >= self.profile.spoke_crash
        {
            return false;
        }
        self.crash_machine(m);
        true
    }

    pub(super) fn crash_machine(&mut self, m: usize) {
        self.note(|| format!("machine {m} dies"));
        self.stats.spoke_crashes += 1;
        self.kill_machine(m);
        let ms = self.rng.range(10, 3_000);
        self.after(ms, Event::Start(m));
    }

    /// Tells the process what happened, and does what it asks for.
    pub(super) fn feed(&mut self, m: usize, told: Told) -> Checked {
        let now_ms = self.wall_ms(m);
        let Some(engine) = self.machines[m].engine.as_mut() else { return Ok(()) };
        let mut actions: VecDeque<Action> = engine.on(told, now_ms).into();
        while let Some(action) = actions.pop_front() {
            if self.is_crashing(m) {
                return Ok(());
            }
            let Action::Step(step) = action else {
                self.act(m, action)?;
                continue;
            };
            let answer = self.perform(m, step, now_ms)?;
            if self.is_crashing(m) {
                return Ok(());
            }
            if let (Some(answer), Some(engine)) = (answer, self.machines[m].engine.as_mut()) {
                actions.extend(engine.on(answer, now_ms));
            }
        }
        Ok(())
    }

    fn perform(&mut self, m: usize, step: Step, now_ms: u64) -> Result<Option<Told>, String> {
        let name = step_name(&step);
        if let Step::Apply(Page { next: Next::Cut(Cut { view: Some(_), .. }), .. }) = &step {
            // What a view brings back may hold own writes that nothing here knows any more.
            self.machines[m].expected.clear();
        }
        let Some(done) = self.try_step(m, step, now_ms)? else { return Ok(None) };
        let answer = done.map_err(|e| format!("machine {m}: {name}: {e}"))?;
        if answer.is_some() {
            self.note(|| {
                format!("machine {m}: {name} -> {}", answer.as_ref().map_or_else(String::new, told_name))
            });
        }
        match &answer {
            Some(Told::Applied(applied)) => {
                if applied.digest_matches == Some(false) {
                    return Err(format!("machine {m}: the digest differs at {:?}", applied.cursor));
                }
                self.check_cut(m)?;
            }
            Some(Told::Settled(_) | Told::ReconcileSettled(_)) => {
                self.check_expected(m)?;
                self.watch_for_rollback(m)?;
            }
            Some(Told::Staged { .. }) => self.watch_for_rollback(m)?,
            // What it set aside may have taken effect all the same.
            Some(Told::ReconcileReady(_)) if name == GIVE_UP => self.machines[m].is_copied = true,
            Some(Told::Halted(refusal)) if refusal.reason == Reason::LogForked => self.sees_fork(m)?,
            Some(Told::Halted(refusal)) => return Err(format!("machine {m} halts: {refusal}")),
            _ => {}
        }
        Ok(answer)
    }

    fn act(&mut self, m: usize, action: Action) -> Checked {
        match action {
            Action::Step(_) => {}
            Action::Connect { endpoint } => self.connect(m, endpoint % self.gateways.len()),
            Action::Send(message) => {
                if let ClientMessage::Push(push) = &message {
                    self.check_push(m, push)?;
                }
                self.send(m, message);
            }
            Action::Close => {
                if let Some(conn) = self.machines[m].conn.take() {
                    self.cut(conn, true);
                }
            }
            Action::Reconcile { endpoint, request } => {
                self.ask_reconcile(m, endpoint % self.gateways.len(), request);
            }
            Action::Probe { endpoint } => self.measure(m, endpoint),
            Action::SetTimer { timer, after_ms } => {
                let setting = self.next_id();
                self.machines[m].timers.insert(timer, setting);
                let life = self.machines[m].life;
                self.after(after_ms, Event::Timer { machine: m, life, timer, setting });
            }
            Action::Stop(refusal) => return self.stopped(m, &refusal),
        }
        Ok(())
    }

    fn stopped(&mut self, m: usize, refusal: &Refusal) -> Checked {
        let node = self.machines[m].node;
        self.note(|| format!("machine {m} stops: {refusal}"));
        if refusal.reason == Reason::NodeRevoked && self.nodes[node].is_revoked {
            self.machines[m].is_stopped = true;
            return Ok(());
        }
        if refusal.reason == Reason::LogForked {
            return self.sees_fork(m);
        }
        Err(format!("machine {m} stopped: {refusal}"))
    }

    pub(super) fn timer_fired(&mut self, m: usize, life: u64, timer: Timer, setting: u64) -> Checked {
        let machine = &mut self.machines[m];
        if machine.life != life || machine.timers.get(&timer) != Some(&setting) {
            return Ok(());
        }
        machine.timers.remove(&timer);
        self.feed(m, Told::TimerFired(timer))
    }

    fn latency(&mut self) -> u64 {
        let max = self.profile.latency_ms_max;
        self.rng.range(1, max)
    }

    pub(super) fn is_offline(&self, m: usize) -> bool {
        self.machines[m].offline_until_ms > self.now_ms()
    }

    fn connect(&mut self, m: usize, gateway: usize) {
        let id = self.next_id();
        let outgoing_max = if self.machines[m].takes_one { 1 } else { self.profile.outgoing_max };
        let conn = Conn {
            machine: m,
            gateway,
            life: self.gateways[gateway].life,
            spoke_open: true,
            hub_open: false,
            to_hub_ms: 0,
            to_spoke_ms: 0,
            inbox: Arc::new(Inbox::new(outgoing_max)),
            task: None,
        };
        self.conns.insert(id, conn);
        self.machines[m].conn = Some(id);
        self.note(|| format!("machine {m} connects to gateway {gateway} ({id})"));
        let ms = self.latency();
        self.after(ms, Event::Connected(id));
    }

    pub(super) fn connected(&mut self, id: ConnId) -> Checked {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.spoke_open) else { return Ok(()) };
        let (m, gateway) = (conn.machine, conn.gateway);
        let hub = self.gateways[gateway].hub.clone();
        let life = self.gateways[gateway].life;
        let (Some(hub), false) = (hub, self.is_offline(m)) else {
            self.conns.remove(&id);
            self.machines[m].conn = None;
            return self.feed(m, Told::ConnectFailed(Refusal::new(Reason::Unreachable, "no route")));
        };
        let who = self.nodes[self.machines[m].node].who.clone();
        let ctx = self.ctx.clone();
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.hub_open = true;
        conn.life = life;
        let task = serve(ctx, hub, who, id, Arc::clone(&conn.inbox));
        conn.task = Some(self.exec.spawn(life, task));
        let before = self.machines[m].last_gateway.replace(gateway);
        if before.is_some_and(|before| before != gateway) {
            self.stats.gateway_changes += 1;
        }
        self.feed(m, Told::Connected)
    }

    fn send(&mut self, m: usize, message: ClientMessage) {
        let Some(id) = self.machines[m].conn else { return };
        if let ClientMessage::Push(push) = &message {
            let n = push.items.len();
            self.note(|| format!("machine {m} pushes {n} items of {} on {id}", push.writer.epoch));
            if !self.is_healing && self.profile.trouble_ms_max > 0 && self.rng.permille(40) {
                let (node, ms) = (self.machines[m].node, self.rng.range(20, 4_000));
                self.after(ms, Event::LatePush(node, Box::new(push.clone())));
            }
        }
        let (ms, now_ms) = (self.latency(), self.now_ms());
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.to_hub_ms = conn.to_hub_ms.max(now_ms + ms);
        let at_ms = conn.to_hub_ms;
        self.at(at_ms, Event::ToHub(id, Box::new(message)));
    }

    /// A message leaves a hub.
    pub(super) fn send_to_spoke(&mut self, id: ConnId, event: impl FnOnce(ConnId) -> Event) {
        let (mut ms, now_ms) = (self.latency(), self.now_ms());
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.spoke_open) else { return };
        ms += self.machines[conn.machine].slow_ms;
        // One message at a time: who is slow takes the next only when it is done with this one.
        conn.to_spoke_ms = (conn.to_spoke_ms + self.machines[conn.machine].slow_ms).max(now_ms + ms);
        let at_ms = conn.to_spoke_ms;
        self.at(at_ms, event(id));
    }

    pub(super) fn arrive_at_spoke(
        &mut self,
        id: ConnId,
        message: semantics::session::ServerMessage,
    ) -> Checked {
        if let Some(conn) = self.conns.get(&id) {
            conn.inbox.taken();
        }
        let Some(m) = self.listener(id) else { return Ok(()) };
        self.count_page(m, &message);
        self.feed(m, Told::Received(message))
    }

    fn listener(&self, id: ConnId) -> Option<usize> {
        let m = self.conns.get(&id).filter(|conn| conn.spoke_open)?.machine;
        (self.machines[m].conn == Some(id)).then_some(m)
    }

    pub(super) fn spoke_sees_end(&mut self, id: ConnId) -> Checked {
        let Some(m) = self.listener(id) else { return Ok(()) };
        self.machines[m].conn = None;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.spoke_open = false;
        }
        self.note(|| format!("machine {m} sees the end of {id}"));
        self.feed(m, Told::Disconnected(None))
    }

    fn ask_reconcile(&mut self, m: usize, gateway: usize, request: Reconcile) {
        let call = self.next_id();
        self.machines[m].call = call;
        let Some(hub) = self.gateways[gateway].hub.clone().filter(|_| !self.is_offline(m)) else {
            let answer = Err(gateway::hub::error::HubError::new(Reason::Unreachable, "no route"));
            self.after(1, Event::Reconciled(m, call, Box::new(answer)));
            return;
        };
        let who = self.nodes[self.machines[m].node].who.clone();
        let ctx = self.ctx.clone();
        self.note(|| format!("machine {m} reconciles after commit {}", request.after));
        if let Some(epoch) = request.left.and_then(|left| left.epoch) {
            self.store.kept.note_left(&who.tenant, Writer { node: who.node, epoch });
        }
        self.exec.spawn(self.gateways[gateway].life, async move {
            ctx.suspend(At::Elsewhere).await;
            let answer = hub.reconcile(&who, &request).await;
            ctx.emit(super::world::Output::Reconciled { machine: m, call, answer });
        });
    }

    pub(super) fn reconciled(
        &mut self,
        m: usize,
        call: u64,
        answer: Result<semantics::session::Reconciliation, gateway::hub::error::HubError>,
    ) -> Checked {
        if self.machines[m].call != call {
            return Ok(());
        }
        self.feed(m, Told::ReconcileAnswer(answer.map_err(|error| error.refusal)))
    }
}
