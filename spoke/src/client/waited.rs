//! Waiting until writes have come as far as is asked.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use semantics::ids::{MutationId, Revision};
use semantics::reason::{Class, Reason, Refusal};

use tokio::time::Sleep;

use super::Spoke;
use super::seen::Awaited;
use crate::replica::PLACES_MAX;
use crate::replica::entry::EntryState;
use crate::runtime::Progress;

/// Most writes that are waited for at once.
pub const WAITED_MAX: usize = 1000;

/// How far a write has come, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// Durable in this replica, on its way to the hub.
    Queued,
    /// Durable at the hub: answered, with a place in the tenant's log.
    Durable,
    /// Under a signed checkpoint. Not offered yet.
    Checkpointed,
    /// Durable in the replicas of so many other nodes, at least 1.
    Seen(u32),
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => f.write_str("queued"),
            Self::Durable => f.write_str("durable"),
            Self::Checkpointed => f.write_str("checkpointed"),
            Self::Seen(nodes) => write!(f, "seen={nodes}"),
        }
    }
}

impl FromStr for Grade {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seen = |nodes: &str| nodes.parse().ok().filter(|nodes| *nodes > 0).map(Self::Seen);
        match text {
            "queued" => Ok(Self::Queued),
            "durable" => Ok(Self::Durable),
            "checkpointed" => Ok(Self::Checkpointed),
            other => other
                .strip_prefix("seen=")
                .and_then(seen)
                .ok_or_else(|| "queued, durable, checkpointed or seen=N is needed, N from 1".to_owned()),
        }
    }
}

impl Grade {
    /// Whether this version can wait for it.
    ///
    /// # Errors
    /// `NOT_OFFERED` when it cannot; `MALFORMED` for no nodes at all.
    pub fn check(self) -> Result<(), Refusal> {
        match self {
            Self::Queued | Self::Durable | Self::Seen(1..) => Ok(()),
            Self::Seen(0) => Err(Refusal::new(Reason::Malformed, "seen_by: at least one node is waited for")),
            Self::Checkpointed => {
                let detail = "waiting for checkpoints is not offered yet";
                Err(Refusal::new(Reason::NotOffered, detail))
            }
        }
    }
}

/// What became of a write that was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The write.
    pub mutation: MutationId,
    /// Where it stands in the log, see [`crate::replica::Replica::place`].
    pub revision: Option<Revision>,
    /// Why it was set aside; it will not come further by itself.
    pub refusal: Option<Refusal>,
    /// Other nodes that have it, where that was waited for.
    pub seen: u32,
}

impl Spoke {
    /// Waits until each of these writes has come as far as `grade`, or was set aside; beyond [`Grade::Queued`] it
    /// syncs at once, whatever the schedule. In the order of `mutations`. A write that left the outbox when
    /// the hub's confirmation was applied here is durable, and is known for as long as the replica stays open and no
    /// more than [`PLACES_MAX`] left after it. For
    /// [`Grade::Seen`] it then asks the hub who holds each write. Ending the wait changes nothing: the writes go on.
    ///
    /// # Errors
    /// `NOT_FOUND`, naming it, for a write that is neither in the outbox nor known to have left it so: it was never
    /// written here, was given up by somebody, or was confirmed before; `TOO_LARGE` past [`WAITED_MAX`]; those of [`Grade::check`]; `DEADLINE_EXCEEDED` after `timeout_ms`, naming what
    /// is still open and the last trouble; before that what keeps the replica from syncing until a person acts. For
    /// [`Grade::Seen`] also `TOO_FEW_NODES` as soon as fewer other nodes see a record, and what else the hub refuses to
    /// count.
    pub async fn wait_until(
        &self,
        mutations: &[MutationId],
        grade: Grade,
        timeout_ms: u64,
    ) -> Result<Vec<Waited>, Refusal> {
        grade.check()?;
        if mutations.len() > WAITED_MAX {
            let detail = format!("{} writes are waited for, at most {WAITED_MAX}", mutations.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let deadline = tokio::time::sleep(Duration::from_millis(timeout_ms));
        tokio::pin!(deadline);
        let mut waited = self.until_durable(mutations, grade, timeout_ms, deadline.as_mut()).await?;
        if let Grade::Seen(nodes) = grade {
            let mut awaited = Awaited::new(nodes);
            tokio::select! {
                seen = self.until_seen(&mut waited, &mut awaited) => seen?,
                () = &mut deadline => return Err(awaited.late(timeout_ms)),
            }
        }
        Ok(waited)
    }

    /// Until each is durable at the hub, or where that is asked, here.
    async fn until_durable(
        &self,
        mutations: &[MutationId],
        grade: Grade,
        timeout_ms: u64,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<Vec<Waited>, Refusal> {
        // Whatever the schedule: who waits has the session stand.
        let _round = (grade != Grade::Queued).then(|| self.handle.rounds().begin());
        let before = self.progress().borrow().clone();
        let mut progress = self.progress();
        if grade != Grade::Queued {
            self.start().await?;
        }
        loop {
            // What moves from here on is seen by the next wait.
            let seen = progress.borrow_and_update().clone();
            let (waited, open) = self.waited(mutations, grade).await?;
            if open.is_empty() {
                return Ok(waited);
            }
            if let Some(refusal) = stopped(&seen, &before) {
                return Err(refusal);
            }
            tokio::select! {
                moved = progress.changed() => {
                    moved.map_err(|_| Refusal::new(Reason::Internal, "the task that syncs has ended"))?;
                }
                () = deadline.as_mut() => return Err(late(&open, timeout_ms, &seen)),
            }
        }
    }

    /// How each write stands, and those that have not come as far as asked.
    async fn waited(
        &self,
        mutations: &[MutationId],
        grade: Grade,
    ) -> Result<(Vec<Waited>, Vec<MutationId>), Refusal> {
        let entries = self.replica().entries(mutations).await?;
        let (mut waited, mut open) = (Vec::with_capacity(mutations.len()), Vec::new());
        for mutation in mutations {
            let entry = entries.iter().find(|entry| entry.id() == *mutation);
            let revision = self.replica().place(*mutation).await?;
            if entry.is_none() && revision.is_none() {
                return Err(unknown(*mutation));
            }
            let refusal = match entry.map(|entry| &entry.state) {
                Some(EntryState::SetAside { refusal }) => Some(refusal.clone()),
                Some(EntryState::Queued | EntryState::Dotted { .. }) if grade != Grade::Queued => {
                    open.push(*mutation);
                    None
                }
                _ => None,
            };
            waited.push(Waited { mutation: *mutation, revision, refusal, seen: 0 });
        }
        Ok((waited, open))
    }
}

/// Why waiting longer is of no use: the replica does not sync until a person acts. A hub that cannot be reached is
/// no such reason.
fn stopped(seen: &Progress, before: &Progress) -> Option<Refusal> {
    // What was so before the start that was just asked for says nothing yet.
    if seen.turns == before.turns {
        return None;
    }
    let refused = seen
        .status
        .last_refusal
        .as_ref()
        .filter(|refusal| seen.status.failures > 0 && refusal.reason.class() == Class::Authentication);
    seen.stopped.as_ref().or(refused).cloned()
}

fn unknown(mutation: MutationId) -> Refusal {
    let detail = format!(
        "mutation {mutation} is not in the outbox, nor among the last {PLACES_MAX} that were confirmed since the \
         replica was opened: it is long confirmed, was given up, or was never written here"
    );
    Refusal::new(Reason::NotFound, detail)
}

fn late(open: &[MutationId], timeout_ms: u64, seen: &Progress) -> Refusal {
    let first = open.first().map(|id| hex::encode(id.as_bytes())).unwrap_or_default();
    let mut detail =
        format!("after {timeout_ms} ms {} writes are still open, the first is {first}", open.len());
    if let Some(refusal) = &seen.status.last_refusal {
        detail.push_str(&format!("; last trouble: {refusal}"));
    }
    Refusal::new(Reason::DeadlineExceeded, detail)
}
