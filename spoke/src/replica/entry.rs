//! Outbox entries: local mutations on their way to the hub and back.

use semantics::clock::HybridTime;
use semantics::envelope::{Base, Mutation};
use semantics::ids::{CommitNumber, Digest, Dot, MutationId, Revision, Writer};
use semantics::outcome::Outcome;
use semantics::reason::Refusal;
use serde::{Deserialize, Serialize};

/// Provisional counters start here: no hub hands out so many, so they never meet a given one.
pub const PROVISIONAL_N_MIN: u64 = 1 << 62;

/// Where an entry stands on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Not sent: its dot is provisional, its base may rest on an earlier entry by mutation id.
    Queued,
    /// Has its dot; sent, or about to be, and not answered.
    Dotted {
        /// Digest of exactly what is sent.
        digest: Digest,
        /// Whether a withdrawal is sent in its place.
        withdraw: bool,
    },
    /// Took effect; shown until a cut at or past the revision brings it back.
    Answered {
        /// Its revision.
        revision: Revision,
        /// What became of it.
        outcome: Outcome,
    },
    /// Refused; has no effect here, and waits for a person.
    SetAside {
        /// Why.
        refusal: Refusal,
    },
}

/// One local mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Place in the queue: unique; what is sent again after a withdrawal takes a new one.
    pub order: u64,
    /// The mutation as it was or would be sent; its dot is provisional until it is given one.
    pub mutation: Mutation,
    /// The confirmed part of what it was made on: never holds a dot whose outcome is open. The mutation's base is
    /// made from it with the dot.
    pub footing: Base,
    /// Greatest hybrid time in that confirmed part.
    pub base_time: HybridTime,
    /// The entry of the same record it was made on, while that one is in the outbox.
    pub after: Option<MutationId>,
    /// Last commit of the cursor when it was written: whatever became of it, or of its copy in another replica,
    /// stands in a later commit.
    pub since: CommitNumber,
    /// Body of the confirmed record, where it was made on that directly; kept until it is settled.
    pub base_body: Option<Vec<u8>>,
    /// Where it stands.
    pub state: EntryState,
    /// Why the rules as known here would refuse it; it is sent all the same, the hub decides.
    pub refused_here: Option<Refusal>,
    /// Under which epoch it was answered before, while it is asked for again: by a log that need not be the hub's. Another
    /// copy of the replica was answered the same, so that what is not told now is not sent again by itself.
    pub answered_epoch: Option<u32>,
}

impl Entry {
    /// Its mutation's id.
    #[must_use]
    pub fn id(&self) -> MutationId {
        self.mutation.id
    }
    /// Bytes it counts in the outbox.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let body = self.mutation.op.bytes() + self.base_body.as_ref().map_or(0, Vec::len);
        u64::try_from(body).unwrap_or(u64::MAX).saturating_add(ENTRY_OVERHEAD_BYTES)
    }
    /// Whether it counts in what the replica shows (everything but what was set aside).
    #[must_use]
    pub fn is_shown(&self) -> bool {
        !matches!(self.state, EntryState::SetAside { .. })
    }
    /// Whether it waits for its dot.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.state == EntryState::Queued
    }
    /// Whether its dot is given and unanswered.
    #[must_use]
    pub fn is_dotted(&self) -> bool {
        matches!(self.state, EntryState::Dotted { .. })
    }
    /// Whether a withdrawal of it is under way.
    #[must_use]
    pub fn is_withdrawing(&self) -> bool {
        matches!(self.state, EntryState::Dotted { withdraw: true, .. })
    }
    /// The revision at which it took effect.
    #[must_use]
    pub fn answered_revision(&self) -> Option<Revision> {
        match &self.state {
            EntryState::Answered { revision, .. } => Some(*revision),
            _ => None,
        }
    }
    /// Name of the state in JSON and logs.
    #[must_use]
    pub const fn state_name(&self) -> &'static str {
        match &self.state {
            EntryState::Queued => "queued",
            EntryState::Dotted { withdraw: false, .. } => "sent",
            EntryState::Dotted { withdraw: true, .. } => "withdrawing",
            EntryState::Answered { .. } => "answered",
            EntryState::SetAside { .. } => "set_aside",
        }
    }
    /// What was answered is as good as not sent, until its outcome is told again; or a person has looked at it.
    pub(crate) fn doubt(&mut self, writer: Writer) {
        self.answered_epoch = Some(self.mutation.dot.writer.epoch);
        self.requeue(writer, self.order);
    }
    /// Takes its dot away: it stands in the queue again at `order`.
    pub(crate) fn requeue(&mut self, writer: Writer, order: u64) {
        self.order = order;
        self.mutation.dot = provisional(writer, order);
        self.state = EntryState::Queued;
    }
}

/// Bytes an entry takes beside its bodies, roughly.
pub const ENTRY_OVERHEAD_BYTES: u64 = 512;

/// The dot that stands in for one not yet given.
#[must_use]
pub fn provisional(writer: Writer, order: u64) -> Dot {
    Dot { writer, n: PROVISIONAL_N_MIN.saturating_add(order) }
}
