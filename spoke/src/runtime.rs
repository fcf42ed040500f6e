//! The shell around the engine: opens connections, sends, keeps timers, and feeds what happens back. One task owns
//! the engine; everyone else holds a [`Handle`].

mod rounds;
mod tally;
mod task;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use semantics::compare::{RangeAsk, RangeSum, Scopes};
use semantics::ids::Revision;
use semantics::reason::{Reason, Refusal};
use semantics::seen::Seen;
use semantics::session::{ClientMessage, Reconcile, Reconciliation, ServerMessage};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::rounds::{Round, Rounds};
pub use self::tally::{Statistics, Sums};
pub use self::task::run;
use crate::sync::Status;

/// Most messages that wait between the engine and a connection, each way.
pub const LINK_MESSAGES_MAX: usize = 32;
/// Most commands that wait for the engine.
const COMMANDS_MAX: usize = 16;

/// What comes over a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message.
    Message(ServerMessage),
    /// Nothing more comes; why, where that is known.
    Ended(Option<Refusal>),
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    /// To the hub.
    pub sender: mpsc::Sender<ClientMessage>,
    /// From the hub.
    pub receiver: mpsc::Receiver<Heard>,
    /// Ends what serves the connection.
    pub guard: tokio_util::sync::DropGuard,
}

/// How hubs are reached.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Opens a connection for a session; the hub has not been greeted when this returns.
    async fn open(&self, endpoint: usize) -> Result<Link, Refusal>;
    /// A page of reconciliation.
    async fn reconcile(&self, endpoint: usize, request: Reconcile) -> Result<Reconciliation, Refusal>;
    /// The revision at the hub's head.
    async fn head(&self) -> Result<Revision, Refusal>;
    /// The endpoints' names, in their order.
    fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }
    /// How long an endpoint takes to answer, microseconds; `None` = it does not, or is not measured.
    async fn probe(&self, _endpoint: usize) -> Option<u64> {
        None
    }
    /// The scopes of the node's view at the hub.
    async fn scopes(&self) -> Result<Scopes, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub to compare with"))
    }
    /// The sum of a range of records at the hub.
    async fn range(&self, _ask: &RangeAsk) -> Result<RangeSum, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub to compare with"))
    }
    /// How many other nodes hold changes that this node wrote, one count for each revision.
    async fn seen(&self, _revisions: &[Revision]) -> Result<Vec<Seen>, Refusal> {
        Err(Refusal::new(Reason::Unreachable, "there is no hub that counts"))
    }
    /// Waits until what was said last in sessions that have ended is heard, or its time is over.
    async fn closed(&self) {}
    /// Bytes that went over the wire so far, both ways.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Bytes on the wire, as the network sees them: after compression and encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To hubs.
    pub sent: u64,
    /// From hubs.
    pub received: u64,
}

/// What the shell tells of the engine. Sent anew after everything the engine did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What the machine is doing.
    pub status: Status,
    /// Why it does nothing more until it is started again.
    pub stopped: Option<Refusal>,
    /// How often the engine has done something; says only that it moved.
    pub turns: u64,
    /// What syncing came to since this process opened the replica.
    pub statistics: Statistics,
}

/// What others ask of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Sync from now on; also leaves a stop.
    Start,
    /// A withdrawal was asked for.
    Withdraw,
    /// Fetch the confirmed records anew.
    Anew,
}

/// Speaks to the task that owns the engine.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    nudge: Arc<Notify>,
    rounds: Arc<Rounds>,
    progress: watch::Receiver<Progress>,
}

/// The task's ends of a [`Handle`].
#[derive(Debug)]
pub struct Mailbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) nudge: Arc<Notify>,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) stop: CancellationToken,
}

/// A handle and what belongs to it; `stop` ends the task.
#[must_use]
pub fn handle(status: Status, stop: CancellationToken) -> (Handle, Mailbox) {
    let (to_task, commands) = mpsc::channel(COMMANDS_MAX);
    let statistics = Statistics::default();
    let (progress, seen) = watch::channel(Progress { status, stopped: None, turns: 0, statistics });
    let (nudge, rounds) = (Arc::new(Notify::new()), Arc::new(Rounds::default()));
    let handle =
        Handle { commands: to_task, nudge: Arc::clone(&nudge), rounds: Arc::clone(&rounds), progress: seen };
    (handle, Mailbox { commands, nudge, rounds, progress, stop })
}

impl Handle {
    /// Says that something was written. Costs nothing when the engine already knows.
    pub fn outbox_changed(&self) {
        self.nudge.notify_one();
    }

    /// Those who wait for the replica to be in sync.
    #[must_use]
    pub fn rounds(&self) -> &Arc<Rounds> {
        &self.rounds
    }

    /// Asks the engine.
    ///
    /// # Errors
    /// `INTERNAL` when the task that owns the engine has ended.
    pub async fn ask(&self, command: Command) -> Result<(), Refusal> {
        let ended = |_| Refusal::new(Reason::Internal, "the task that syncs has ended");
        self.commands.send(command).await.map_err(ended)
    }

    /// What the engine is doing, now and from now on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}
