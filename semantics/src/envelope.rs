//! Envelopes: what travels, what is stored and what is hashed, around a body that may be sealed.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::{HybridTime, Stamp};
use crate::ids::{
    Domain, Dot, Facet, GroupId, Incarnation, Key, Kind, MutationId, NodeId, Revision, Salt, Subject,
};
use crate::version::Version;

/// Longest body, bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most top-level fields a body of a fields kind may have had, removed ones included.
pub const FIELDS_MAX: usize = 1024;
/// Longest field name, bytes.
pub const FIELD_NAME_BYTES_MAX: usize = 256;
/// Most mutations in one group.
pub const GROUP_MUTATIONS_MAX: usize = 64;
/// Largest group, bytes of bodies and patches.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// Longest signature, bytes.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;
/// Key id of a body that is canonical JSON in clear.
pub const KEY_ID_CLEAR: u64 = 0;

/// Where a record belongs: an own register beside the body, settled by its own stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The label that sharing speaks about.
    pub domain: Domain,
    /// Whom the data is about.
    pub subject: Option<Subject>,
}

/// What a mutation was made on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Base {
    /// Version of the record that the author saw; empty = the author saw no record.
    pub version: Version,
    /// Log revision of the confirmed record at the root of that version ([`Revision::ZERO`] = none); finds the
    /// ancestor in one look-up.
    pub revision: Revision,
    /// The writer's own previous mutation of this record, when it was not yet confirmed to the author.
    pub own: Option<Dot>,
}

/// A mutation's place in its group: the group's mutations have consecutive dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlace {
    /// Which group.
    pub id: GroupId,
    /// Position, from 0.
    pub index: u32,
    /// Mutations in the group, 1 to [`GROUP_MUTATIONS_MAX`].
    pub size: u32,
}

/// What a mutation does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets the whole body (key id 0: canonical JSON object).
    Put {
        /// The body.
        body: Bytes,
    },
    /// Sets and removes top-level fields of a fields kind. At least one of both is not empty.
    Patch {
        /// Canonical JSON object of the fields to set.
        set: Bytes,
        /// Fields to remove, sorted, none of them in `set`.
        remove: Vec<String>,
    },
    /// Leaves a tombstone.
    Delete,
}

impl Op {
    /// Bytes of body or patch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { body } => body.len(),
            Self::Patch { set, remove } => set.len() + remove.iter().map(String::len).sum::<usize>(),
            Self::Delete => 0,
        }
    }
}

/// The mutation envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Given when it was written; never changes.
    pub id: MutationId,
    /// Given at first send.
    pub dot: Dot,
    /// Its place in a group.
    pub group: Option<GroupPlace>,
    /// The record.
    pub key: Key,
    /// What it does.
    pub op: Op,
    /// Where the record belongs from here on; `None` leaves it (a new record takes the writer's domain).
    pub placement: Option<Placement>,
    /// The incarnation it speaks about: one more than the tombstone's when it creates on one.
    pub incarnation: Incarnation,
    /// What it was made on.
    pub base: Base,
    /// Hybrid time: greater than that of everything in its base.
    pub time: HybridTime,
    /// The author's wall clock when it was written, milliseconds; data only, decides nothing.
    pub written_ms: u64,
    /// Who wrote it.
    pub author: NodeId,
    /// Key the body is sealed under; [`KEY_ID_CLEAR`] = in clear.
    pub key_id: u64,
    /// Hashed with the body.
    pub salt: Salt,
    /// Over the mutation's digest, where its kind asks for one.
    pub signature: Option<Vec<u8>>,
}

impl Mutation {
    /// Its stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { time: self.time, dot: self.dot }
    }
}

/// The write that a field of a fields kind stands at. Removed fields keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldStamp {
    /// Stamp of the write.
    pub stamp: Stamp,
    /// Whether that write removed the field.
    pub removed: bool,
}

/// A record's content: live with a body, or a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The body.
    Live(Bytes),
    /// A tombstone.
    Deleted,
}

/// The record envelope: a record's whole merge state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// Where it belongs.
    pub placement: Placement,
    /// Stamp of the mutation that placed it.
    pub placement_stamp: Stamp,
    /// Value of the kind's facet field; `None` for a tombstone or a kind without facet.
    pub facet: Option<Facet>,
    /// How often it was created again on its own tombstone.
    pub incarnation: Incarnation,
    /// The mutations it contains.
    pub version: Version,
    /// The greatest stamp among the mutations that shaped this incarnation's state.
    pub stamp: Stamp,
    /// Author of the mutation with that stamp.
    pub author: NodeId,
    /// Key its body is sealed under.
    pub key_id: u64,
    /// Salt of the body: the mutation's own, or made from `inputs` (see [`crate::digest::merged_salt`]).
    pub salt: Salt,
    /// Body or tombstone.
    pub content: Content,
    /// Fields kinds: the write each field stands at, removed fields included. Empty for other kinds.
    pub fields: BTreeMap<String, FieldStamp>,
    /// Fields kinds: salt of each mutation that still shapes the body, in stamp order. Empty for other kinds.
    pub inputs: BTreeMap<Stamp, Salt>,
}

impl Record {
    /// Whether it is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.content == Content::Deleted
    }
    /// The body of a live record.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Live(body) => Some(body),
            Content::Deleted => None,
        }
    }
    /// Bytes it takes in memory and on the wire, roughly; what bounds count.
    #[must_use]
    pub fn weight(&self) -> usize {
        let fields: usize = self.fields.keys().map(|name| name.len() + 40).sum();
        self.body().map_or(0, <[u8]>::len) + fields + self.version.len() * 28 + self.inputs.len() * 56 + 256
    }
    /// The cell it lies in.
    #[must_use]
    pub fn cell(&self) -> Cell {
        Cell { domain: self.placement.domain.clone(), kind: self.key.kind.clone(), facet: self.facet.clone() }
    }
}

/// What views are made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The record's domain.
    pub domain: Domain,
    /// The record's kind.
    pub kind: Kind,
    /// The record's facet.
    pub facet: Option<Facet>,
}
