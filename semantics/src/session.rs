//! The messages of a session, as values. The wire form stands in the `proto` crate; hub and spoke engines speak
//! these, so that both run in a simulation without a network.

use serde::{Deserialize, Serialize};

use crate::cursor::{Cursor, Page};
use crate::envelope::Mutation;
use crate::ids::{CommitNumber, Digest, LogId, MutationId, Revision, Writer};
use crate::outcome::{DotOutcome, Outcome, Transient};
use crate::recovery::{Recovery, RemnantPage};

/// Version of the session protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest version that a hub still speaks: the one before its own, where there is one.
pub const PROTOCOL_VERSION_OLDEST: u32 = older(PROTOCOL_VERSION);

/// The version before this one; the first has none before it.
const fn older(version: u32) -> u32 {
    if version > 1 { version - 1 } else { version }
}

/// The version in which a hub goes on with a spoke that asked for this one: the spoke's own. `None`: the hub does not
/// speak it.
#[must_use]
pub fn spoken(asked: u32) -> Option<u32> {
    (PROTOCOL_VERSION_OLDEST..=PROTOCOL_VERSION).contains(&asked).then_some(asked)
}
/// Most mutations of one writer that are dotted and unanswered (W).
pub const UNANSWERED_MAX: u64 = 256;
/// Largest message, bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bodies and patches in one push, bytes.
pub const PUSH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most changes in one page.
pub const PAGE_CHANGES_MAX: usize = 1000;
/// Target weight of a page, bytes; one change may pass it.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Where a writer's stream stands, as its replica remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The replica's epoch.
    pub epoch: u32,
    /// Last counter given to a mutation; 0 = none.
    pub last_n: u64,
    /// Digest of the mutation (or withdrawal) with that counter.
    pub last_digest: Option<Digest>,
    /// Last counter whose outcome is known here.
    pub answered_n: u64,
}

/// Opens a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol the spoke speaks.
    pub protocol: u32,
    /// The stream; `None` asks for a first epoch.
    pub stream: Option<StreamState>,
    /// Where the confirmed layer stands; `None` = empty replica.
    pub cursor: Option<Cursor>,
    /// Where an unfinished catch-up stands; opaque, given by the hub.
    pub resume: Option<Vec<u8>>,
    /// Bytes of changes the spoke takes before it grants more.
    pub credit_bytes: u64,
    /// Who says it.
    pub about: About,
    /// The logs that the cursor's log went on from, the nearest first, as far as they are known; at most
    /// [`crate::recovery::LINEAGE_MAX`].
    #[serde(default)]
    pub lineage: Vec<Recovery>,
}

/// What a spoke tells of itself beside its stream: for the registry alone, nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct About {
    /// The program and its version, at most [`crate::health::SOFTWARE_BYTES_MAX`] bytes.
    pub software: Option<String>,
    /// The spoke's time when it said so, milliseconds since 1970-01-01 UTC.
    pub time_ms: Option<u64>,
}

/// Accepts a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol in use.
    pub protocol: u32,
    /// The log.
    pub log_id: LogId,
    /// The stream's writer.
    pub writer: Writer,
    /// Last counter of it that the hub consumed.
    pub last_n: u64,
    /// The hub's time, milliseconds since 1970-01-01 UTC.
    pub hub_time_ms: u64,
    /// The hub's bounds.
    pub limits: Limits,
    /// Up to which revision backups hold the log; `None` = no backup schedule.
    pub backup_watermark: Option<Revision>,
    /// Present while the log takes back from spokes what it lost when it went on from a backup.
    pub recovery: Option<Recovery>,
    /// Present when the log went on from a backup of another one, for as long as it lives.
    #[serde(default)]
    pub origin: Option<Recovery>,
}

/// Bounds the hub applies. Zero never means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest body, bytes.
    pub body_bytes_max: u64,
    /// Largest message, bytes.
    pub message_bytes_max: u64,
    /// Most bodies and patches in one push, bytes.
    pub push_bytes_max: u64,
    /// Most dotted and unanswered mutations of one writer.
    pub unanswered_max: u64,
    /// Most mutations in one group.
    pub group_mutations_max: u64,
    /// Largest group, bytes.
    pub group_bytes_max: u64,
    /// How far a stamp may be ahead of the hub's time, milliseconds.
    pub clock_ahead_ms_max: u64,
}

/// One element of a writer's stream; elements come strictly in counter order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushItem {
    /// A mutation.
    Mutation(Box<Mutation>),
    /// Takes the place of a mutation that was dotted and not yet answered.
    Withdraw {
        /// Its counter.
        n: u64,
        /// Its mutation id.
        mutation: MutationId,
        /// Its digest.
        digest: Digest,
    },
}

/// Part of a writer's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Whose stream.
    pub writer: Writer,
    /// Outcomes up to this counter have been received and persisted: the hub may forget them.
    pub confirmed_n: u64,
    /// The elements, at most [`UNANSWERED_MAX`] and [`PUSH_BYTES_MAX`].
    pub items: Vec<PushItem>,
}

/// Answer to a [`Push`]: one outcome for each element up to where the stream waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Whose stream.
    pub writer: Writer,
    /// Outcomes in counter order.
    pub outcomes: Vec<DotResult>,
    /// Where and why the stream waits, when it does.
    pub waits: Option<Transient>,
}

/// Outcome of one dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotResult {
    /// The counter.
    pub n: u64,
    /// What became of it; `None` = ALREADY_CONFIRMED: it was answered before, and the answer confirmed.
    pub outcome: Option<Outcome>,
}

/// A replica's records at a cut, summed up by the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summed {
    /// Revision of the cut.
    pub revision: Revision,
    /// Digest of the live records of its view.
    pub digest: Digest,
}

/// From spoke to hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// First message of a session.
    Hello(Hello),
    /// Mutations.
    Push(Push),
    /// The spoke takes so many bytes of changes more.
    Credit {
        /// Bytes.
        bytes: u64,
    },
    /// Everything up to here is durable in the replica.
    Ack {
        /// A cut the replica applied.
        cursor: Cursor,
        /// Outcomes of its stream up to this counter have been received and persisted; `None` = not said.
        answered_n: Option<u64>,
        /// What its records came to at the last cut that brought the hub's sum; `None` = none came since.
        summed: Option<Summed>,
    },
    /// Asks for a pong with the same number.
    Ping {
        /// Echoed.
        nonce: u64,
        /// The spoke's time, milliseconds since 1970-01-01 UTC.
        time_ms: Option<u64>,
    },
    /// Records as the replica had them in the log before, while the log recovers; each part is answered.
    Remnants(RemnantPage),
}

/// From hub to spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// First message of a session.
    Welcome(Welcome),
    /// Answer to a push.
    Results(Results),
    /// Changes.
    Changes(Page),
    /// Answer to a ping.
    Pong {
        /// From the ping.
        nonce: u64,
        /// The hub's time, milliseconds since 1970-01-01 UTC.
        hub_time_ms: u64,
        /// Up to which revision backups hold the log; `None` = no backup schedule.
        backup_watermark: Option<Revision>,
    },
    /// A part of the remnants is durable.
    RemnantsTaken {
        /// Which.
        page: u32,
    },
    /// The session ends after this message.
    Goodbye(crate::reason::Refusal),
}

/// Asks for a page of reconciliation: what became of this node's dots above what a replica had confirmed, in all
/// its epochs. With the last page comes a new epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The replica's cursor; `None` = it never had one: then from the log's start.
    pub cursor: Option<Cursor>,
    /// Scan goes on after this commit.
    pub after: CommitNumber,
    /// What the replica has left for the hub's log: only for the first page. The hub then begins where the two logs
    /// parted, if that is sooner.
    pub left: Option<Left>,
}

/// A log that a replica has left for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The log.
    pub log_id: LogId,
    /// The epoch of the node that the replica had there, if it was its own: the hub closes it before it tells anything,
    /// so that what is still on its way under it has no effect any more.
    #[serde(default)]
    pub epoch: Option<u32>,
}

/// A page of reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Outcomes of this node's dots, in log order.
    pub outcomes: Vec<DotOutcome>,
    /// Ask again after this commit; `None` = that was all and `epoch` holds.
    pub next: Option<CommitNumber>,
    /// The new epoch, with the last page.
    pub epoch: Option<u32>,
    /// Up to this commit of the hub's log nothing is left to tell; with the last page.
    pub told_to: Option<CommitNumber>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_speaks_its_own_version_and_the_one_before() {
        assert_eq!((older(7), older(2), older(1)), (6, 1, 1));
        assert_eq!(spoken(PROTOCOL_VERSION), Some(PROTOCOL_VERSION));
        assert_eq!(spoken(PROTOCOL_VERSION_OLDEST), Some(PROTOCOL_VERSION_OLDEST));
        assert_eq!((spoken(PROTOCOL_VERSION + 1), spoken(PROTOCOL_VERSION_OLDEST - 1)), (None, None));
    }
}
