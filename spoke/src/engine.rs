//! The engine: the sync machine and the replica it speaks for. Whoever owns it opens connections, sends, and keeps
//! timers; everything else is done here, so that a simulation and a daemon run the same code.

use std::sync::Arc;

use semantics::cursor::Next;
use semantics::session::{About, Hello};

use crate::error::ReplicaError;
use crate::replica::{Greeting, Replica, WelcomeTaken};
use crate::sync::{Action, Config, Event, Status, Step, Sync, page_bytes};

/// What the hub is told that this program is.
pub const SOFTWARE: &str = concat!("spoke ", env!("CARGO_PKG_VERSION"));

/// A replica being synced.
///
/// The owner feeds every event to [`Engine::on`] and performs the actions in the order given; an
/// [`Action::Step`] is handed to [`Engine::perform`] and the event that comes back is fed before anything else
/// that happened since. A crash between any two of these calls loses nothing that was committed.
#[derive(Debug)]
pub struct Engine {
    replica: Arc<Replica>,
    sync: Sync,
}

impl Engine {
    /// A machine at rest over a replica.
    #[must_use]
    pub fn new(replica: Arc<Replica>, config: Config) -> Self {
        Self { replica, sync: Sync::new(config) }
    }

    /// The replica.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// What the machine is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.sync.status()
    }

    /// Takes an event; gives what is to be done, in order.
    pub fn on(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        self.sync.on(event, now_ms)
    }

    /// Performs a step of the replica; `None` where nothing is answered.
    ///
    /// # Errors
    /// [`ReplicaError`] when the store failed or the step was refused: it had no effect. Feed it back as
    /// [`Event::StepFailed`].
    pub async fn perform(&self, step: Step, now_ms: u64) -> Result<Option<Event>, ReplicaError> {
        let replica = &self.replica;
        Ok(Some(match step {
            Step::PrepareHello { credit_bytes } => match replica.prepare_hello(credit_bytes).await? {
                Greeting::Hello(hello) => {
                    let about = About { software: Some(SOFTWARE.to_owned()), time_ms: Some(now_ms) };
                    Event::HelloReady(Hello { about, ..hello })
                }
                Greeting::EpochNeeded => Event::EpochNeeded,
                Greeting::Halted(refusal) => Event::Halted(refusal),
            },
            Step::TakeWelcome(welcome) => match replica.take_welcome(&welcome, now_ms).await? {
                WelcomeTaken::Ready(writer) => Event::WelcomeTaken(writer),
                WelcomeTaken::EpochNeeded => Event::EpochNeeded,
                WelcomeTaken::Halted(refusal) => Event::Halted(refusal),
            },
            Step::NotePong { hub_time_ms, backed_up } => {
                replica.note_pong(hub_time_ms, backed_up, now_ms).await?;
                return Ok(None);
            }
            Step::PrepareRemnants => Event::RemnantsReady(replica.next_remnants().await?),
            Step::RemnantsTaken { page } => Event::RemnantsReady(replica.remnants_taken(page).await?),
            Step::PreparePush { items_max } => {
                Event::PushReady(replica.next_push_of(now_ms, items_max).await?)
            }
            Step::Settle(results) => match replica.settle(&results, now_ms).await? {
                Some(settled) => Event::Settled(settled),
                None => Event::EpochNeeded,
            },
            Step::Stage(page) => {
                let bytes = page_bytes(&page);
                if let Next::Resume(position) = page.next {
                    replica.stage(page.changes, page.departures, &position).await?;
                }
                Event::Staged { bytes }
            }
            Step::Apply(page) => match page.next.clone() {
                Next::Cut(cut) => match replica.apply_cut(page, &cut).await {
                    Ok(Ok(applied)) => Event::Applied(applied),
                    Ok(Err(refusal)) => Event::Halted(refusal),
                    Err(error @ ReplicaError::Staged(_)) => Event::StagedDamaged(error.refusal()),
                    Err(error) => return Err(error),
                },
                Next::Resume(_) => return Ok(None),
            },
            Step::ForgetResume => {
                replica.forget_resume().await?;
                Event::ResumeForgotten
            }
            Step::Rebootstrap => {
                replica.rebootstrap().await?;
                Event::Rebootstrapped
            }
            Step::RequireEpoch => {
                replica.require_epoch().await?;
                Event::EpochNeeded
            }
            Step::PrepareReconcile => Event::ReconcileReady(replica.prepare_reconcile().await?),
            Step::SettleReconciliation(page) => {
                Event::ReconcileSettled(replica.settle_reconciliation(&page).await?)
            }
            Step::GiveUpReconciling => Event::ReconcileReady(replica.give_up_reconciling().await?),
            Step::Halt(refusal) => {
                replica.halt(&refusal).await?;
                Event::Halted(refusal)
            }
        }))
    }

    /// Feeds an event and performs every step that follows from it; gives what is left for the owner, in order.
    /// A step that fails is fed back.
    pub async fn drive(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        let mut outside = Vec::new();
        let mut actions: std::collections::VecDeque<Action> = self.on(event, now_ms).into();
        while let Some(action) = actions.pop_front() {
            let Action::Step(step) = action else {
                outside.push(action);
                continue;
            };
            let answer = match self.perform(step, now_ms).await {
                Ok(answer) => answer,
                Err(error) => Some(Event::StepFailed(error.refusal())),
            };
            if let Some(answer) = answer {
                actions.extend(self.on(answer, now_ms));
            }
        }
        outside
    }
}
