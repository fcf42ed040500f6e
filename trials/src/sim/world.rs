//! The world: hubs on one store, nodes, replicas, what connects them, and the queue of what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway::hub::error::HubError;
use gateway::hub::{Hub, Principal};
use gateway::store::Append;
use semantics::envelope::Mutation;
use semantics::ids::{Digest, Domain, Revision, TenantId};
use semantics::recovery::Phase;
use semantics::session::{ClientMessage, Push, Reconciliation, Results, ServerMessage};
use spoke::sync::Timer;
use std::task::Waker;

use super::answers::Answers;
use super::clock::SimClock;
use super::exec::{Ctx, Executor};
use super::ferry::Ferry;
use super::machine::Machine;
use super::oracle::Checked;
use super::plan::{Operation, What};
use super::points::{Act, Death, Point, Reached};
use super::profile::{EXPIRY_NEVER_MS, Profile};
use super::report::{Stats, Trace};
use super::restore::{Disaster, HubBackup};
use super::rng::Rng;
use super::session::{ConnId, Inbox};
use super::store::SimStore;

/// When virtual time begins, milliseconds since 1970-01-01 UTC.
pub const BASE_MS: u64 = 1_750_000_000_000;

/// What tasks give out.
#[derive(Debug)]
pub enum Output {
    /// A session says something.
    ToSpoke {
        /// On which connection.
        conn: ConnId,
        /// What.
        message: ServerMessage,
    },
    /// A session ended by itself.
    Ended {
        /// On which connection.
        conn: ConnId,
    },
    /// A unary call was answered.
    Reconciled {
        /// Whose.
        machine: usize,
        /// Which call.
        call: u64,
        /// What.
        answer: Result<Reconciliation, HubError>,
    },
    /// A push outside of any session was answered.
    Pushed {
        /// Whose.
        node: usize,
        /// What.
        answer: Result<Results, HubError>,
    },
    /// A gateway looks after a tenant.
    Keeps {
        /// Whose log.
        tenant: TenantId,
        /// Which gateway.
        gateway: usize,
    },
    /// A conflict was settled, or opened again.
    Settled {
        /// Of which log.
        tenant: TenantId,
        /// The revision at which it was looked at.
        expected: Revision,
        /// The revision at which it stands now.
        at: Revision,
    },
    /// A node was registered late.
    Registered {
        /// Who it is.
        who: Principal,
        /// The domain of its records.
        domain: Domain,
    },
    /// Something an operator or the hub itself asked for was done.
    Operated {
        /// What.
        what: &'static str,
        /// How it went.
        result: Result<(), HubError>,
    },
}

/// What happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A task goes on.
    Wake(Waker),
    /// An append that everybody had given up happens.
    LateAppend(TenantId, Box<Append>),
    /// A connection stands, or could not be made.
    Connected(ConnId),
    /// A message arrives at the hub.
    ToHub(ConnId, Box<ClientMessage>),
    /// A message arrives at a spoke.
    ToSpoke(ConnId, Box<ServerMessage>),
    /// A spoke notices that its connection is gone.
    SpokeSeesEnd(ConnId),
    /// A hub notices that a connection is gone.
    HubSeesEnd(ConnId),
    /// A unary answer arrives.
    Reconciled(usize, u64, Box<Result<Reconciliation, HubError>>),
    /// A gateway was measured.
    Probed {
        /// Whose measurement.
        machine: usize,
        /// In which life.
        life: u64,
        /// Which endpoint.
        endpoint: usize,
        /// The round trip; `None` = no answer.
        round_trip_us: Option<u64>,
    },
    /// A push arrives that was sent long ago, or a second time.
    LatePush(usize, Box<Push>),
    /// A timer of one life of a machine.
    Timer {
        /// Whose.
        machine: usize,
        /// Which life.
        life: u64,
        /// Which.
        timer: Timer,
        /// Which setting of it.
        setting: u64,
    },
    /// A machine starts.
    Start(usize),
    /// A machine is told of its own writes.
    Notice(usize),
    /// What the plan says.
    Operation(Operation),
    /// A gateway looks for others' commits.
    Poll(usize),
    /// Operators let a restored log take back what it lost, or end that.
    Recover(Phase),
    /// Operators end the recovery, and people look at what is left.
    RecoveryEnds,
    /// A person looks at a machine.
    Person(usize),
    /// A gateway comes back.
    Restart(usize),
    /// A gateway that stood still goes on.
    Resume(u64),
    /// The hub's old disk is put back, and nobody says so.
    Rollback,
    /// A gateway's clock that jumped is right again.
    ClockIsRight(usize),
    /// Records cross over once more.
    Ferry(Ferry),
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Which life; owner of its tasks.
    pub life: u64,
    /// The hub, while it runs.
    pub hub: Option<Arc<Hub>>,
    /// Its clock.
    pub clock: SimClock,
}

/// A registered node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Who it is.
    pub who: Principal,
    /// The domain of its records.
    pub domain: Domain,
    /// Whether somebody has asked to revoke it.
    pub is_revoked: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Whose.
    pub machine: usize,
    /// To which gateway, and which life of it.
    pub gateway: usize,
    /// That life.
    pub life: u64,
    /// Whether the spoke still listens.
    pub spoke_open: bool,
    /// Whether the hub still listens.
    pub hub_open: bool,
    /// When the last message to the hub arrives, so that they keep their order.
    pub to_hub_ms: u64,
    /// When the last message to the spoke arrives.
    pub to_spoke_ms: u64,
    /// Where the hub's session finds its messages.
    pub inbox: Arc<Inbox>,
    /// The session.
    pub task: Option<u64>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// What this seed does.
    pub profile: Profile,
    /// Luck of everything but stores.
    pub rng: Rng,
    /// Shared with tasks.
    pub ctx: Ctx,
    /// The one store.
    pub store: SimStore,
    /// The tasks of all gateways.
    pub exec: Executor,
    /// What was ever pushed.
    pub sent: BTreeMap<Digest, Mutation>,
    /// Gateways.
    pub gateways: Vec<Gateway>,
    /// Lives that stand still.
    pub stalled: BTreeSet<u64>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Replicas.
    pub machines: Vec<Machine>,
    /// Connections.
    pub conns: BTreeMap<ConnId, Conn>,
    /// Which gateway looked after a tenant last.
    pub keepers: BTreeMap<TenantId, usize>,
    /// The hub's last backup.
    pub hub_backup: Option<HubBackup>,
    /// How the hub went on from one.
    pub disaster: Option<Disaster>,
    /// Whether the operators have ended the recovery.
    pub is_recovered: bool,
    /// What the program that settles conflicts has proposed.
    pub(super) answers: Answers,
    /// What happened.
    pub trace: Trace,
    /// Counts.
    pub stats: Stats,
    /// Where spokes died.
    pub reached: Reached,
    /// Whichever spoke comes there next dies there.
    pub snare: Option<(Death, Act)>,
    /// Whether the hub's old disk is put back at the next occasion.
    pub rolls_back: bool,
    /// Whether everything is being made well.
    pub is_healing: bool,
    /// Events handled.
    pub steps: u64,
    queue: BTreeMap<(u64, u64), Event>,
    last_id: u64,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(profile: Profile, mut rng: Rng, trace: Trace) -> Self {
        let ctx = Ctx::new(rng.fork());
        Self {
            profile,
            rng,
            store: SimStore::new(ctx.clone(), profile.expiry_ms < EXPIRY_NEVER_MS),
            ctx,
            exec: Executor::default(),
            gateways: Vec::new(),
            stalled: BTreeSet::new(),
            nodes: Vec::new(),
            sent: BTreeMap::new(),
            machines: Vec::new(),
            conns: BTreeMap::new(),
            keepers: BTreeMap::new(),
            hub_backup: None,
            disaster: None,
            is_recovered: false,
            answers: Answers::default(),
            trace,
            stats: Stats::default(),
            reached: Reached::default(),
            snare: None,
            rolls_back: false,
            is_healing: false,
            steps: 0,
            queue: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// A number never given before.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// True time, milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.ctx.now_ms()
    }

    /// Lets something happen at a time.
    pub fn at(&mut self, at_ms: u64, event: Event) {
        let id = self.next_id();
        self.queue.insert((at_ms, id), event);
    }

    /// Lets something happen after so many milliseconds.
    pub fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms() + ms, event);
    }

    /// What was under way to the hub's store when that was lost never comes there. What the hub had said arrives only
    /// where all have been told to keep what no backup holds: a cut that comes later ends what an answer had begun.
    pub(super) fn forget_under_way(&mut self) {
        let is_kept = self.profile.has_backups;
        self.queue.retain(|_, event| match event {
            Event::LateAppend(..) | Event::LatePush(..) => false,
            Event::ToSpoke(..) => is_kept,
            _ => true,
        });
    }

    /// Writes down what happened.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms();
        self.trace.note(now_ms, what);
    }

    /// Goes on until a time.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn run_until(&mut self, until_ms: u64) -> Checked {
        loop {
            self.settle()?;
            match self.queue.first_key_value() {
                Some(((at_ms, _), _)) if *at_ms <= until_ms => {}
                _ => break,
            }
            let Some(((at_ms, _), event)) = self.queue.pop_first() else { break };
            {
                let mut shared = self.ctx.lock();
                shared.now_ms = shared.now_ms.max(at_ms);
            }
            self.steps += 1;
            self.handle(event)?;
        }
        let mut shared = self.ctx.lock();
        shared.now_ms = shared.now_ms.max(until_ms);
        Ok(())
    }

    /// Lets tasks go on until all wait.
    fn settle(&mut self) -> Checked {
        loop {
            let more = self.exec.poll_one(&self.ctx, &mut self.rng, &self.stalled);
            let (sleeps, late, outputs, failure, trapped) = {
                let mut shared = self.ctx.lock();
                (
                    std::mem::take(&mut shared.sleeps),
                    std::mem::take(&mut shared.late),
                    std::mem::take(&mut shared.outputs),
                    shared.failure.take(),
                    shared.trapped.take(),
                )
            };
            if let Some(failure) = failure {
                return Err(failure);
            }
            for (at_ms, waker) in sleeps {
                self.at(at_ms, Event::Wake(waker));
            }
            for (at_ms, tenant, append) in late {
                self.at(at_ms, Event::LateAppend(tenant, Box::new(append)));
            }
            for output in outputs {
                self.take_output(output)?;
            }
            if let Some(life) = trapped {
                self.spring(life);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Does what the plan says, by the operation's own luck.
    fn operation(&mut self, operation: Operation) -> Checked {
        let luck = std::mem::replace(&mut self.rng, Rng::new(operation.luck));
        let done = match operation.what {
            What::Use(machine) => self.use_machine(machine),
            What::Trouble => self.trouble(),
            What::Tidy => {
                self.tidy_up();
                Ok(())
            }
            What::Die(Point::Hub(at)) => {
                self.ctx.lock().trap = Some(at);
                Ok(())
            }
            What::Die(Point::Spoke(death, act)) => {
                self.snare = Some((death, act));
                Ok(())
            }
            What::Rollback => self.await_rollback(),
            What::Jump => {
                self.jump();
                Ok(())
            }
            What::Ferry => {
                self.begin_ferry();
                Ok(())
            }
            What::Newcomers => {
                self.register_newcomers();
                Ok(())
            }
        };
        self.rng = luck;
        done
    }

    fn handle(&mut self, event: Event) -> Checked {
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::LateAppend(tenant, append) => {
                let number = append.commit.number;
                let done = self.store.append_now(&tenant, *append).map_err(|e| e.to_string())?;
                self.note(|| format!("late append of commit {number}: {done:?}"));
            }
            Event::Connected(conn) => return self.connected(conn),
            Event::ToHub(conn, message) => self.arrive_at_hub(conn, *message),
            Event::ToSpoke(conn, message) => return self.arrive_at_spoke(conn, *message),
            Event::SpokeSeesEnd(conn) => return self.spoke_sees_end(conn),
            Event::HubSeesEnd(conn) => self.hub_sees_end(conn),
            Event::Reconciled(machine, call, answer) => return self.reconciled(machine, call, *answer),
            Event::LatePush(node, push) => self.late_push(node, *push),
            Event::Timer { machine, life, timer, setting } => {
                return self.timer_fired(machine, life, timer, setting);
            }
            Event::Probed { machine, life, endpoint, round_trip_us } => {
                if self.machines[machine].life == life {
                    return self.feed(machine, spoke::sync::Event::Probed { endpoint, round_trip_us });
                }
            }
            Event::Start(machine) => return self.start(machine),
            Event::Notice(machine) => return self.feed(machine, spoke::sync::Event::OutboxChanged),
            Event::Operation(operation) => return self.operation(operation),
            Event::Poll(gateway) => self.poll(gateway),
            Event::Recover(phase) => self.recover(phase),
            Event::RecoveryEnds => self.end_recovery(),
            Event::Person(machine) => return self.look_at_stopped(machine),
            Event::Rollback => return self.roll_back(),
            Event::ClockIsRight(gateway) => self.gateways[gateway].clock.set(0),
            Event::Ferry(ferry) => return self.ferry(ferry),
            Event::Restart(gateway) => self.restart(gateway),
            Event::Resume(life) => {
                self.stalled.remove(&life);
            }
        }
        Ok(())
    }
}
