//! The sync machine: events in, actions out. No input or output, no clock, no randomness but its seed; what it
//! knows beside the replica may be lost at any moment, and a new machine goes on from the replica.
//!
//! Rules it keeps: one push is in flight at a time; the outbox is drained by level: it is looked at with every session,
//! answer, cut and ping, and notices only make that sooner; whatever leads nowhere again and again is tried ever less
//! often, and the status says so; credit is granted anew for what was staged or applied, never for what was only
//! received; an acknowledgement names only cuts that are durable.

mod backoff;
mod config;
mod endpoints;
mod ends;
mod message;
mod pace;
mod timers;

use semantics::cursor::Cursor;
use semantics::endpoint::Endpoints;
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, Hello, Reconcile, ServerMessage, Summed};

use self::backoff::Backoff;
pub use self::config::Config;
pub use self::message::{Action, Applied, Counts, Event, Settled, Step, Timer, is_cut, page_bytes};
use self::pace::Pace;

/// What the machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started, or stopped.
    Idle,
    /// Waits before it connects again.
    Waiting,
    /// Prepares its greeting, then opens a connection: a hub is not called with nothing to say.
    Connecting,
    /// Has a connection and has sent its greeting.
    Greeting,
    /// In session.
    Live,
    /// Settles what became of its mutations, to open an epoch.
    Reconciling,
    /// Lets the replica start anew, or stop.
    Resetting,
}

/// What the machine reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Whether a cut was applied in this session.
    pub is_caught_up: bool,
    /// Whether in this session nothing was left to push and no answer is awaited.
    pub is_drained: bool,
    /// How often a push was answered or a page of a catch-up came; says only that it moved.
    pub moved: u64,
    /// How many sessions there have been.
    pub sessions: u64,
    /// What all cuts did to the confirmed records.
    pub counts: Counts,
    /// How many local mutations were answered.
    pub pushed: u64,
    /// What is known of the endpoints, and which is in use.
    pub endpoints: Endpoints,
    /// Failures in a row.
    pub failures: u32,
    /// Sessions and new beginnings in a row that led nowhere, the present one included until it has led somewhere.
    pub in_vain: u32,
    /// Why the stream of mutations waits, when the hub has said so.
    pub push_waits: Option<Refusal>,
    /// The last refusal that ended a connection or stopped the machine.
    pub last_refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushState {
    Idle,
    Preparing,
    InFlight,
    Waiting,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Sync {
    config: Config,
    backoff: Backoff,
    endpoints: Endpoints,
    /// How often the endpoints were measured in this session.
    probes: u64,
    /// The ping that waits for its pong, and when it was sent.
    pinged: Option<(u64, u64)>,
    phase: Phase,
    push: PushState,
    pace: Pace,
    /// The greeting for the connection that is being opened.
    hello: Option<Hello>,
    /// Whether the outbox may hold something that was not yet looked at.
    outbox_dirty: bool,
    consumed_bytes: u64,
    /// A cut that is applied, and up to where outcomes are here.
    ack: Option<(Cursor, u64)>,
    /// What the replica came to at the last cut that brought the hub's sum, not yet told.
    summed: Option<Summed>,
    is_caught_up: bool,
    heard_ms: u64,
    /// When the event came that is being taken.
    now_ms: u64,
    /// When the last try to connect began.
    tried_ms: u64,
    moved: u64,
    sessions: u64,
    counts: Counts,
    pushed: u64,
    nonce: u64,
    /// Whether the replica was rebuilt because its digest differed, and has not agreed since.
    was_rebuilt: bool,
    /// Whether what was staged is fetched anew because it was damaged, and no cut has come since.
    is_staged_anew: bool,
    /// Whether this reconciliation set entries aside because the hub could not tell what became of them: once is
    /// enough, a second refusal ends the attempt.
    gave_up: bool,
    /// Whether the hub was asked again with a new access token since it last took one.
    is_renewing: bool,
    last_refusal: Option<Refusal>,
    /// Answers in a row that settled nothing.
    stalls: u32,
    push_waits: Option<Refusal>,
    /// The last page of a reconciliation that was asked for: one that comes again leads nowhere.
    reconciled: Option<Reconcile>,
    /// Whether the hub takes back what its log lost, as it said in its welcome.
    is_asked_back: bool,
}

impl Sync {
    /// A machine at rest.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            backoff: Backoff::new(config.seed),
            endpoints: Endpoints::new(config.endpoints),
            probes: 0,
            pinged: None,
            phase: Phase::Idle,
            push: PushState::Idle,
            pace: Pace::new(),
            hello: None,
            outbox_dirty: true,
            consumed_bytes: 0,
            ack: None,
            summed: None,
            is_caught_up: false,
            heard_ms: 0,
            now_ms: 0,
            tried_ms: 0,
            moved: 0,
            sessions: 0,
            counts: Counts::default(),
            pushed: 0,
            nonce: 0,
            was_rebuilt: false,
            is_staged_anew: false,
            gave_up: false,
            is_renewing: false,
            last_refusal: None,
            stalls: 0,
            push_waits: None,
            reconciled: None,
            is_asked_back: false,
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            phase: self.phase,
            is_caught_up: self.is_caught_up,
            is_drained: self.phase == Phase::Live && self.push == PushState::Idle && !self.outbox_dirty,
            moved: self.moved,
            sessions: self.sessions,
            counts: self.counts,
            pushed: self.pushed,
            endpoints: self.endpoints.clone(),
            failures: self.backoff.failures(),
            in_vain: self.backoff.in_vain(),
            push_waits: self.push_waits.clone(),
            last_refusal: self.last_refusal.clone(),
        }
    }

    /// Takes an event; gives what is to be done, in order. Events that do not fit the phase change nothing.
    pub fn on(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        // A clock that stepped back must not make the hub seem heard for ever.
        self.heard_ms = self.heard_ms.min(now_ms);
        self.now_ms = now_ms;
        match event {
            Event::Start if self.phase == Phase::Idle || self.may_try_now() => self.connect(),
            Event::Start => Vec::new(),
            Event::Rest => {
                let mut actions = self.acknowledge();
                actions.extend(self.close());
                self.phase = Phase::Idle;
                self.backoff = self.backoff.rested();
                actions
            }
            Event::Connected => self.connected(now_ms),
            Event::ConnectFailed(refusal) if self.phase == Phase::Connecting => self.ended(refusal),
            Event::ConnectFailed(_) => Vec::new(),
            Event::Disconnected(refusal) if self.is_connected() => {
                let lost = || Refusal::new(Reason::Unreachable, "the connection was lost");
                self.ended(refusal.unwrap_or_else(lost))
            }
            Event::Disconnected(_) => Vec::new(),
            Event::Received(message) if self.is_connected() => {
                self.heard_ms = now_ms;
                self.received(message, now_ms)
            }
            Event::Received(_) => Vec::new(),
            Event::OutboxChanged => {
                self.outbox_dirty = true;
                self.push_if_idle()
            }
            Event::WithdrawAsked => {
                self.outbox_dirty = true;
                if self.push == PushState::Waiting {
                    self.push = PushState::Idle;
                }
                self.push_if_idle()
            }
            Event::AnewAsked if matches!(self.phase, Phase::Reconciling | Phase::Resetting) => Vec::new(),
            Event::AnewAsked => self.reset(Step::Rebootstrap),
            Event::TimerFired(timer) => self.timer(timer, now_ms),
            Event::Probed { endpoint, round_trip_us } => self.probed(endpoint, round_trip_us),
            Event::ReconcileAnswer(answer) if self.phase == Phase::Reconciling => match answer {
                Ok(page) => {
                    self.is_renewing = false;
                    vec![Action::Step(Step::SettleReconciliation(page))]
                }
                Err(refusal) => self.reconcile_refused(refusal),
            },
            Event::ReconcileAnswer(_) => Vec::new(),
            completion => self.completed(completion),
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Live)
    }

    /// Whether somebody who asks for a session is worth a try before its time: the hub may be back, and whoever asks
    /// again and again makes no more than one try in [`Config::stall_ms`].
    fn may_try_now(&self) -> bool {
        self.phase == Phase::Waiting && self.now_ms.abs_diff(self.tried_ms) >= self.config.stall_ms
    }

    fn connect(&mut self) -> Vec<Action> {
        self.phase = Phase::Connecting;
        self.tried_ms = self.now_ms;
        self.push = PushState::Idle;
        self.pace = Pace::new();
        self.outbox_dirty = true;
        self.consumed_bytes = 0;
        self.ack = None;
        self.summed = None;
        self.is_caught_up = false;
        self.hello = None;
        self.endpoints.choose();
        vec![
            Action::SetTimer { timer: Timer::Greeting, after_ms: self.config.greeting_ms },
            Action::Step(Step::PrepareHello { credit_bytes: self.config.credit_bytes }),
        ]
    }

    fn connected(&mut self, now_ms: u64) -> Vec<Action> {
        if self.phase != Phase::Connecting {
            return Vec::new();
        }
        let Some(hello) = self.hello.take() else { return Vec::new() };
        self.phase = Phase::Greeting;
        self.heard_ms = now_ms;
        vec![Action::Send(ClientMessage::Hello(hello))]
    }

    /// The answers of the replica.
    fn completed(&mut self, event: Event) -> Vec<Action> {
        match (event, self.phase) {
            (Event::StepFailed(refusal), _) if self.phase != Phase::Idle => self.step_failed(refusal),
            (Event::Halted(refusal), _) => self.stop(refusal),
            (Event::EpochNeeded, Phase::Connecting | Phase::Greeting | Phase::Live | Phase::Resetting) => {
                if matches!(self.phase, Phase::Connecting | Phase::Greeting) {
                    self.backoff.led_nowhere();
                }
                let mut actions = self.close();
                self.phase = Phase::Reconciling;
                self.gave_up = false;
                actions.push(Action::Step(Step::PrepareReconcile));
                actions
            }
            (Event::HelloReady(hello), Phase::Connecting) if self.hello.is_none() => {
                self.hello = Some(hello);
                vec![Action::Connect { endpoint: self.endpoints.current() }]
            }
            (Event::WelcomeTaken(_), Phase::Greeting) => {
                self.phase = Phase::Live;
                self.backoff.welcomed();
                self.is_renewing = false;
                self.sessions = self.sessions.wrapping_add(1);
                self.last_refusal = None;
                let after_ms = self.config.ping_ms;
                let mut actions = vec![Action::SetTimer { timer: Timer::Keepalive, after_ms }];
                actions.extend(self.welcomed());
                if self.is_asked_back {
                    actions.push(Action::Step(Step::PrepareRemnants));
                }
                actions.extend(self.push_if_idle());
                actions
            }
            (Event::PushReady(push), Phase::Live) if self.push == PushState::Preparing => {
                let Some(push) = push else {
                    self.push = PushState::Idle;
                    let actions = self.push_if_idle();
                    self.note_in_sync();
                    return actions;
                };
                self.push = PushState::InFlight;
                self.pace.sent(push.items.len());
                vec![
                    Action::Send(ClientMessage::Push(push)),
                    Action::SetTimer { timer: Timer::Answer, after_ms: self.config.answer_ms },
                ]
            }
            (Event::RemnantsReady(Some(page)), Phase::Live) => {
                vec![Action::Send(ClientMessage::Remnants(page))]
            }
            (Event::Settled(settled), Phase::Live) => self.settled(settled),
            (Event::Staged { bytes }, Phase::Live) => {
                self.backoff.staged();
                self.consumed(bytes)
            }
            (Event::Applied(applied), Phase::Live) => self.applied(applied),
            (Event::StagedDamaged(refusal), Phase::Live) => self.staged_damaged(refusal),
            (Event::ResumeForgotten | Event::Rebootstrapped, Phase::Resetting) => {
                let delay = self.backoff.delay(&self.config);
                self.wait(delay)
            }
            (Event::ReconcileReady(request), Phase::Reconciling) => self.reconcile(request),
            (Event::ReconcileSettled(next), Phase::Reconciling) => self.reconciled(next),
            _ => Vec::new(),
        }
    }

    fn received(&mut self, message: ServerMessage, now_ms: u64) -> Vec<Action> {
        match message {
            ServerMessage::Goodbye(refusal) => self.goodbye(refusal),
            ServerMessage::Welcome(welcome) if self.phase == Phase::Greeting => {
                self.is_asked_back = welcome.recovery.is_some();
                vec![Action::Step(Step::TakeWelcome(welcome))]
            }
            ServerMessage::Welcome(_) => Vec::new(),
            // Changes and results may follow the welcome before the replica has taken it; steps keep the order.
            ServerMessage::Results(results) => {
                let waits = results.waits.as_ref();
                self.push_waits = waits.map(|waits| Refusal::new(waits.reason, waits.detail.clone()));
                vec![Action::Step(Step::Settle(results))]
            }
            ServerMessage::Changes(page) if is_cut(&page) => vec![Action::Step(Step::Apply(page))],
            ServerMessage::Changes(page) => vec![Action::Step(Step::Stage(page))],
            ServerMessage::Pong { nonce, hub_time_ms, backup_watermark: backed_up } => {
                self.ponged(nonce, now_ms);
                vec![Action::Step(Step::NotePong { hub_time_ms, backed_up })]
            }
            ServerMessage::RemnantsTaken { page } => vec![Action::Step(Step::RemnantsTaken { page })],
        }
    }

    /// Looks for something to push, when nothing is under way and something may be there.
    fn push_if_idle(&mut self) -> Vec<Action> {
        if self.phase != Phase::Live || self.push != PushState::Idle || !self.outbox_dirty {
            return Vec::new();
        }
        self.push = PushState::Preparing;
        self.outbox_dirty = false;
        let items_max = self.pace.items();
        self.pace.begun(self.now_ms);
        vec![Action::Step(Step::PreparePush { items_max })]
    }

    fn settled(&mut self, settled: Settled) -> Vec<Action> {
        self.outbox_dirty = true;
        self.moved = self.moved.wrapping_add(u64::from(settled.answered > 0));
        self.pushed = self.pushed.saturating_add(u64::try_from(settled.answered).unwrap_or(u64::MAX));
        self.stalls = if settled.answered == 0 { self.stalls.saturating_add(1) } else { 0 };
        if settled.answered > 0 {
            self.backoff.moved();
            self.pace.settled(self.now_ms);
        }
        if self.push != PushState::InFlight {
            return self.push_if_idle();
        }
        // The hub names when it may be worth while to come again, not how often it was in vain before.
        let told_ms = settled.retry_after_ms;
        let first_ms =
            told_ms.map_or(self.config.stall_ms, |told_ms| told_ms.max(self.config.backoff_min_ms));
        let stalled = (self.stalls > 0).then(|| backoff::doubled(first_ms, self.stalls, &self.config));
        match told_ms.max(stalled) {
            Some(after_ms) => {
                self.push = PushState::Waiting;
                vec![Action::SetTimer { timer: Timer::Push, after_ms }]
            }
            None => {
                self.push = PushState::Idle;
                self.push_if_idle()
            }
        }
    }

    fn consumed(&mut self, bytes: u64) -> Vec<Action> {
        // What comes live is no sign that this replica gets on with what it waits for.
        self.moved = self.moved.wrapping_add(u64::from(!self.is_caught_up));
        self.consumed_bytes = self.consumed_bytes.saturating_add(bytes);
        // Half of the credit: the hub never runs dry, and small pages do not cost a message each.
        if self.consumed_bytes == 0 || self.consumed_bytes < self.config.credit_bytes / 2 {
            return Vec::new();
        }
        let bytes = std::mem::take(&mut self.consumed_bytes);
        vec![Action::Send(ClientMessage::Credit { bytes })]
    }

    fn applied(&mut self, applied: Applied) -> Vec<Action> {
        self.is_caught_up = true;
        self.is_staged_anew = false;
        self.counts = self.counts.plus(applied.counts);
        match applied.digest_matches {
            Some(false) if !self.was_rebuilt => {
                self.was_rebuilt = true;
                return self.reset(Step::Rebootstrap);
            }
            Some(true) => self.was_rebuilt = false,
            _ => {}
        }
        let revision = applied.cursor.revision;
        self.summed = applied.digest.map(|digest| Summed { revision, digest }).or(self.summed);
        let mut actions = self.consumed(applied.bytes);
        if self.ack.replace((applied.cursor, applied.answered_n)).is_none() {
            actions.push(Action::SetTimer { timer: Timer::Ack, after_ms: self.config.ack_ms });
        }
        // An answered entry that the cut brought back may have made room for others.
        actions.extend(self.push_if_idle());
        self.note_in_sync();
        actions
    }

    /// Nothing is left to fetch and nothing to send: whatever had been tried before has led somewhere.
    fn note_in_sync(&mut self) {
        if self.is_caught_up && self.push == PushState::Idle && !self.outbox_dirty {
            self.backoff.in_sync();
        }
    }

    /// Tells what is durable here, and what it comes to, if that was not told yet. Who ends a session does not wait for
    /// others to gather.
    fn acknowledge(&mut self) -> Vec<Action> {
        let Some((cursor, answered_n)) = self.ack.take().filter(|_| self.phase == Phase::Live) else {
            return Vec::new();
        };
        let (answered_n, summed) = (Some(answered_n), self.summed.take());
        vec![Action::Send(ClientMessage::Ack { cursor, answered_n, summed })]
    }
}
