//! Work for the committer, and its answers.

use semantics::decide::Parsed;
use semantics::ids::{Digest, Key, Kind, MutationId, NodeId, RecordId, Revision, Salt, Writer};
use semantics::matrix::Away;
use semantics::precedent::{Binding, Signature};
use semantics::reason::Refusal;
use semantics::resolution::{Chosen, Wanted};
use semantics::session::Results;
use serde_json::{Map, Value};

/// One element of a writer's stream, parsed and hashed before it waits for the committer.
#[derive(Debug, Clone)]
pub enum Item {
    /// A mutation.
    Mutation {
        /// With its body parsed.
        parsed: Box<Parsed>,
        /// Its digest.
        digest: Digest,
    },
    /// A mutation that cannot be taken whatever the state is.
    Refused {
        /// Its counter.
        n: u64,
        /// Its id.
        mutation: MutationId,
        /// Its digest.
        digest: Digest,
        /// Group id and size it names, so that the group is refused whole.
        group: Option<semantics::envelope::GroupPlace>,
        /// Why.
        refusal: Refusal,
    },
    /// A withdrawal.
    Withdraw {
        /// The counter.
        n: u64,
        /// The id of the mutation taken back.
        mutation: MutationId,
        /// Its digest.
        digest: Digest,
    },
}

impl Item {
    /// Its counter.
    #[must_use]
    pub fn n(&self) -> u64 {
        match self {
            Self::Mutation { parsed, .. } => parsed.mutation.dot.n,
            Self::Refused { n, .. } | Self::Withdraw { n, .. } => *n,
        }
    }
    /// The digest that a repeat must show again.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Mutation { digest, .. } | Self::Refused { digest, .. } | Self::Withdraw { digest, .. } => {
                *digest
            }
        }
    }
    /// Its mutation's id.
    #[must_use]
    pub fn mutation_id(&self) -> MutationId {
        match self {
            Self::Mutation { parsed, .. } => parsed.mutation.id,
            Self::Refused { mutation, .. } | Self::Withdraw { mutation, .. } => *mutation,
        }
    }
    /// The group it names.
    #[must_use]
    pub fn group(&self) -> Option<semantics::envelope::GroupPlace> {
        match self {
            Self::Mutation { parsed, .. } => parsed.mutation.group,
            Self::Refused { group, .. } => *group,
            Self::Withdraw { .. } => None,
        }
    }
}

/// A push, ready to be decided.
#[derive(Debug, Clone)]
pub struct PushWork {
    /// Whose stream.
    pub writer: Writer,
    /// Outcomes received up to here.
    pub confirmed_n: u64,
    /// How far its replica had the log when it came back; none = nobody knows.
    pub away: Option<Away>,
    /// In counter order, each one more than the last.
    pub items: Vec<Item>,
}

/// A condition of a change: since a revision up to which somebody has looked, no conflict of a kind has been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoneOpened {
    /// The kind of the records that conflicts are about.
    pub kind: Kind,
    /// The revision.
    pub since: Revision,
}

/// A compare-and-set of a control record.
#[derive(Debug, Clone)]
pub struct ControlWork {
    /// Which record.
    pub key: Key,
    /// Its new body; `None` deletes it.
    pub body: Option<Map<String, Value>>,
    /// The revision it must stand at; zero = it must be absent or deleted.
    pub expected: Revision,
    /// What must hold beside.
    pub only_if: Option<NoneOpened>,
    /// Who changes it.
    pub author: NodeId,
    /// Hashed with the body.
    pub salt: Salt,
}

/// Who settles a conflict, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settler {
    /// As logs name it.
    pub author: NodeId,
    /// As people name it.
    pub name: String,
    /// Whether it is a node, which settles only what its view shows.
    pub is_node: bool,
    /// In words; may be empty.
    pub reason: String,
    /// Whether what is decided binds later conflicts like this one.
    pub binds: bool,
}

/// What settling a conflict has to do with a precedent.
#[derive(Debug, Clone, PartialEq)]
pub enum PrecedentWork {
    /// It becomes one.
    Sets {
        /// What conflicts it binds.
        signature: Signature,
        /// What is chosen of them.
        binding: Binding,
    },
    /// The one with this id settles it.
    Uses(RecordId),
}

impl PrecedentWork {
    /// Id of the precedent's control record.
    #[must_use]
    pub fn id(&self) -> RecordId {
        match self {
            Self::Sets { signature, .. } => signature.id(),
            Self::Uses(id) => id.clone(),
        }
    }
}

/// What is done to a conflict.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It is settled so.
    Resolve {
        /// As the conflict remembers it.
        choice: Chosen,
        /// What is to stand at its path.
        wanted: Wanted,
    },
    /// Its resolution is taken back.
    Undo {
        /// What stood at its path before.
        wanted: Wanted,
    },
}

/// A conflict settled, or opened again. What is to stand was read from rows of the log, which never change.
#[derive(Debug, Clone)]
pub struct SettleWork {
    /// Id of the conflict record.
    pub conflict: RecordId,
    /// The record it is about.
    pub subject: Key,
    /// The revision at which the conflict record must stand.
    pub expected: Revision,
    /// The revision at which its subject must stand; none = wherever it stands.
    pub over: Option<Revision>,
    /// What is done.
    pub act: Act,
    /// Who does it.
    pub by: Settler,
    /// The precedent that it sets or follows.
    pub precedent: Option<PrecedentWork>,
    /// Id of the mutation that changes the record.
    pub mutation: MutationId,
    /// Its salt.
    pub salt: Salt,
}

/// Where a conflict and its record stand once it was settled or opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Revision of the conflict record.
    pub conflict: Revision,
    /// Revision of the record it is about; unchanged when nothing had to be written.
    pub subject: Revision,
}

/// What the committer is asked to do.
#[derive(Debug, Clone)]
pub enum Work {
    /// Take mutations.
    Push(PushWork),
    /// Change a control record.
    Control(ControlWork),
    /// Settle a conflict, or open it again.
    Settle(Box<SettleWork>),
    /// Open an epoch for a node: the writer to open, one above every one it ever had.
    OpenEpoch(Writer),
    /// Open an epoch again that was closed, if it has consumed this much and no more.
    ReopenEpoch {
        /// Which.
        writer: Writer,
        /// The last counter that it consumed; its outcome is with the replica.
        last_n: u64,
    },
    /// Close epochs.
    CloseEpochs(Vec<Writer>),
    /// Outcomes of these streams are with their replicas up to these counters: they may be forgotten.
    Confirm(Vec<(Writer, u64)>),
    /// Move the horizon up.
    MoveHorizon(Revision),
}

/// What an element takes in memory beside its body and its base, bytes, about.
const ITEM_BYTES: usize = 1024;
/// What a dot of a base takes in memory, bytes.
const DOT_BYTES: usize = 40;

impl Work {
    /// How many elements it has.
    #[must_use]
    pub fn elements(&self) -> usize {
        match self {
            Self::Push(push) => push.items.len(),
            _ => 1,
        }
    }

    /// What it takes in memory, about: a body waits as it was sent and parsed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let body = |item: &Item| match item {
            Item::Mutation { parsed, .. } => {
                let mutation = &parsed.mutation;
                2 * mutation.op.bytes() + DOT_BYTES * mutation.base.version.len()
            }
            Item::Refused { .. } | Item::Withdraw { .. } => 0,
        };
        match self {
            Self::Push(push) => push.items.iter().map(|item| ITEM_BYTES + body(item)).sum(),
            _ => ITEM_BYTES,
        }
    }
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Outcomes, or why the whole push was refused.
    Push(Result<Results, Refusal>),
    /// The new revision, or why not.
    Control(Result<Revision, Refusal>),
    /// Where both stand, or why not.
    Settled(Result<Settled, Refusal>),
    /// Done. For an epoch: whether it is open, and as it was asked for.
    Done(bool),
}
