//! The words between the sync machine and what performs for it.

use semantics::cursor::{Cursor, Next, Page};
use semantics::ids::{Digest, Revision, Writer};
use semantics::reason::Refusal;
use semantics::recovery::RemnantPage;
use semantics::session::{
    ClientMessage, Hello, Push, Reconcile, Reconciliation, Results, ServerMessage, Welcome,
};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Sync, from now on. Also leaves a stop.
    Start,
    /// Nobody waits for more: close, and do nothing until the next start, which finds no failures counted.
    Rest,
    /// The connection that was asked for stands.
    Connected,
    /// It does not.
    ConnectFailed(Refusal),
    /// The hub said something. One connection's messages come in order and at most once each; after a `Close` or
    /// a `Disconnected` nothing of that connection comes any more.
    Received(ServerMessage),
    /// The connection ended without our asking.
    Disconnected(Option<Refusal>),
    /// Something was written locally. May be told late, and once for many writes, but never before the commit.
    OutboxChanged,
    /// A withdrawal was asked for: it is sent even where the stream waits.
    WithdrawAsked,
    /// The confirmed records are to be fetched anew; not while an epoch is being opened, or one is at it already.
    AnewAsked,
    /// A timer ran out.
    TimerFired(Timer),
    /// An endpoint was measured.
    Probed {
        /// Which.
        endpoint: usize,
        /// How long its answer took, microseconds; `None` = it did not answer.
        round_trip_us: Option<u64>,
    },
    /// A unary call was answered.
    ReconcileAnswer(Result<Reconciliation, Refusal>),

    /// The greeting is ready.
    HelloReady(Hello),
    /// This replica is a copy, or may be one: it needs an epoch of its own first.
    EpochNeeded,
    /// The replica is in a state that only a person leaves.
    Halted(Refusal),
    /// The hub's answer to the greeting fits the replica.
    WelcomeTaken(Writer),
    /// The next part of what the replica has of a log before a restore; `None` = the hub has all.
    RemnantsReady(Option<RemnantPage>),
    /// What is to be pushed now; `None` = nothing.
    PushReady(Option<Push>),
    /// Results are durable.
    Settled(Settled),
    /// A page is staged.
    Staged {
        /// Bytes of the page, see [`page_bytes`].
        bytes: u64,
    },
    /// A cut is applied.
    Applied(Applied),
    /// What was staged is not what came; the cut had no effect.
    StagedDamaged(Refusal),
    /// The staging area is empty and the resume position forgotten.
    ResumeForgotten,
    /// The replica starts anew; the outbox is kept.
    Rebootstrapped,
    /// The next request of a reconciliation.
    ReconcileReady(Reconcile),
    /// A page of reconciliation is durable; with `None` the new epoch is adopted.
    ReconcileSettled(Option<Reconcile>),
    /// The replica could not perform a step; it had no effect.
    StepFailed(Refusal),
}

/// What settling results came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Counters that were answered for the first time.
    pub answered: usize,
    /// When the stream may go on; `None` = now.
    pub retry_after_ms: Option<u64>,
}

/// What applying a cut came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Where the replica stands now.
    pub cursor: Cursor,
    /// Up to which counter of its stream it has the outcomes.
    pub answered_n: u64,
    /// Bytes of the page, see [`page_bytes`].
    pub bytes: u64,
    /// Whether the replica's digest equals the cut's, where the cut has one.
    pub digest_matches: Option<bool>,
    /// The replica's digest, where the cut has one.
    pub digest: Option<Digest>,
    /// What it did to the confirmed records.
    pub counts: Counts,
}

/// What became of confirmed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Not there before.
    pub added: u64,
    /// There before and after.
    pub updated: u64,
    /// No longer there, or no longer to be seen.
    pub deleted: u64,
}

impl Counts {
    /// A record that was live or not, and now is or not.
    pub fn note(&mut self, was_live: bool, is_live: bool) {
        match (was_live, is_live) {
            (false, true) => self.added = self.added.saturating_add(1),
            (true, true) => self.updated = self.updated.saturating_add(1),
            (true, false) => self.deleted = self.deleted.saturating_add(1),
            (false, false) => {}
        }
    }

    /// These and those.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            added: self.added.saturating_add(other.added),
            updated: self.updated.saturating_add(other.updated),
            deleted: self.deleted.saturating_add(other.deleted),
        }
    }
}

/// What is to be done next. In the order given; steps one at a time and each to its end before the next begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open a connection; answered with `Connected` or `ConnectFailed`.
    Connect {
        /// Which of the configured endpoints.
        endpoint: usize,
    },
    /// Send on the open connection.
    Send(ClientMessage),
    /// Measure how long an endpoint takes to answer, whatever else happens; answered with `Probed`, which may come in
    /// any phase, or never.
    Probe {
        /// Which.
        endpoint: usize,
    },
    /// Close the connection, or give up opening it. Not answered.
    Close,
    /// A unary call; answered with `ReconcileAnswer`.
    Reconcile {
        /// Which of the configured endpoints.
        endpoint: usize,
        /// The request.
        request: Reconcile,
    },
    /// Fire the timer once after so many milliseconds; replaces a running one of the same name.
    SetTimer {
        /// Which.
        timer: Timer,
        /// Milliseconds from now.
        after_ms: u64,
    },
    /// Something for the replica: [`crate::engine::Engine::perform`] does it and answers.
    Step(Step),
    /// Nothing more happens until `Start`: a person is needed.
    Stop(Refusal),
}

/// What the replica is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Answered with `HelloReady`, `EpochNeeded` or `Halted`.
    PrepareHello {
        /// Credit to grant in it.
        credit_bytes: u64,
    },
    /// Answered with `WelcomeTaken`, `EpochNeeded` or `Halted`.
    TakeWelcome(Welcome),
    /// Remembers the hub's time and what its backups hold. Not answered.
    NotePong {
        /// Milliseconds since 1970-01-01 UTC.
        hub_time_ms: u64,
        /// Up to which revision; `None` = none are made.
        backed_up: Option<Revision>,
    },
    /// What this replica has of a log before a restore; answered with `RemnantsReady`.
    PrepareRemnants,
    /// The hub has a part of it durably; answered with `RemnantsReady`.
    RemnantsTaken {
        /// Which part.
        page: u32,
    },
    /// Gives dots to what is queued; answered with `PushReady`.
    PreparePush {
        /// Most mutations that it takes in beside those that are repeated.
        items_max: usize,
    },
    /// Answered with `Settled` or `EpochNeeded`.
    Settle(Results),
    /// Stages a page that ends in a resume position; answered with `Staged`.
    Stage(Page),
    /// Stages a page and applies its cut; answered with `Applied` or `Halted`.
    Apply(Page),
    /// Answered with `ResumeForgotten`.
    ForgetResume,
    /// Answered with `Rebootstrapped`.
    Rebootstrap,
    /// Remembers that this replica needs an epoch of its own; answered with `EpochNeeded`.
    RequireEpoch,
    /// Answered with `ReconcileReady`.
    PrepareReconcile,
    /// Answered with `ReconcileSettled`.
    SettleReconciliation(Reconciliation),
    /// The hub can no longer tell what became of this replica's mutations: unanswered entries are set aside for a
    /// person, and the replica starts anew. Answered with `ReconcileReady`.
    GiveUpReconciling,
    /// Remembers that only a person may let this replica sync again; answered with `Halted`.
    Halt(Refusal),
}

/// Names of timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Connect again.
    Reconnect,
    /// The connection or the welcome took too long.
    Greeting,
    /// Time to ping, or to notice that nobody answers.
    Keepalive,
    /// The answer to a push took too long.
    Answer,
    /// The stream may go on.
    Push,
    /// Time to acknowledge what was applied.
    Ack,
    /// Time to measure the endpoints.
    Measure,
    /// Time to ask a hub whose log forked whether it takes back what it lost.
    Probe,
}

/// Bytes a page counts against credit: the weight of its changes, and at least 1. The hub counts the same.
#[must_use]
pub fn page_bytes(page: &Page) -> u64 {
    u64::try_from(page.weight()).unwrap_or(u64::MAX)
}

/// Whether a page ends in a cut.
#[must_use]
pub fn is_cut(page: &Page) -> bool {
    matches!(page.next, Next::Cut(_))
}
