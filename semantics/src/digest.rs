//! Digests: SHA-256 over salt and a fixed list of length-prefixed fields, never over a wire encoding. The lists
//! stand in docs/protocol.md, the test vectors in semantics/vectors.

use sha2::{Digest as _, Sha256};

use crate::clock::{HybridTime, Stamp};
use crate::envelope::{Cell, Content, FieldStamp, Mutation, Op, Record};
use crate::ids::{CommitNumber, Digest, Dot, Key, Kind, RecordId, Revision, Salt};
use crate::kind::is_pushable;
use crate::lthash::LtHash;
use crate::version::Version;

mod fields;
mod merkle;

pub use fields::FieldHasher;
pub use merkle::merkle_root;

/// Digest of a mutation: everything but its signature.
#[must_use]
pub fn mutation_digest(mutation: &Mutation) -> Digest {
    let hasher = FieldHasher::new("hubward/mutation/1")
        .bytes(1, mutation.id.as_bytes())
        .bytes(2, &dot_bytes(mutation.dot))
        .optional(3, mutation.group.map(group_bytes).as_deref())
        .bytes(4, mutation.key.kind.as_str().as_bytes())
        .bytes(5, mutation.key.id.as_str().as_bytes())
        .bytes(6, mutation.salt.as_bytes());
    let hasher = match &mutation.op {
        Op::Put { body } => hasher.bytes(7, &[1]).bytes(8, body),
        Op::Patch { set, remove } => hasher.bytes(7, &[2]).bytes(9, set).bytes(10, &texts_bytes(remove)),
        Op::Delete => hasher.bytes(7, &[3]),
    };
    let placement = mutation.placement.as_ref();
    let subject = placement.and_then(|p| p.subject.as_ref());
    hasher
        .optional(11, placement.map(|p| p.domain.as_str().as_bytes()))
        .optional(12, subject.map(|s| s.as_str().as_bytes()))
        .number(13, mutation.incarnation.0)
        .bytes(14, &version_bytes(&mutation.base.version))
        .number(15, mutation.base.revision.0)
        .optional(16, mutation.base.own.map(dot_bytes).as_ref().map(<[u8; 28]>::as_slice))
        .bytes(17, &time_bytes(mutation.time))
        .number(18, mutation.written_ms)
        .bytes(19, mutation.author.as_bytes())
        .number(20, mutation.key_id)
        .finish()
}

/// Digest of a record: the whole envelope, so that equal digests mean equal merge state.
#[must_use]
pub fn record_digest(record: &Record) -> Digest {
    let body = match &record.content {
        Content::Live(body) => Some(body.as_ref()),
        Content::Deleted => None,
    };
    FieldHasher::new("hubward/record/1")
        .bytes(1, record.key.kind.as_str().as_bytes())
        .bytes(2, record.key.id.as_str().as_bytes())
        .bytes(3, record.salt.as_bytes())
        .optional(4, body)
        .bytes(5, record.placement.domain.as_str().as_bytes())
        .optional(6, record.placement.subject.as_ref().map(|s| s.as_str().as_bytes()))
        .bytes(7, &stamp_bytes(record.placement_stamp))
        .optional(8, record.facet.as_ref().map(|f| f.as_str().as_bytes()))
        .number(9, record.incarnation.0)
        .bytes(10, &version_bytes(&record.version))
        .bytes(11, &stamp_bytes(record.stamp))
        .bytes(12, record.author.as_bytes())
        .number(13, record.key_id)
        .bytes(14, &fields_bytes(record))
        .bytes(15, &inputs_bytes(record))
        .finish()
}

/// Digest of what a record says, and of nothing that depends on where or when it was said: its key and its body. `None`
/// for a tombstone and for the hub's own kinds. It has no salt: who can guess a body can test the guess.
#[must_use]
pub fn content_digest(record: &Record) -> Option<Digest> {
    let Content::Live(body) = &record.content else { return None };
    let hasher = FieldHasher::new("hubward/content/1")
        .bytes(1, record.key.kind.as_str().as_bytes())
        .bytes(2, record.key.id.as_str().as_bytes())
        .bytes(3, body);
    is_pushable(&record.key.kind).then(|| hasher.finish())
}

/// Id of a conflict record: the digest of what it is about, in hexadecimal.
#[must_use]
pub fn conflict_id(subject: &Key, path: &str, first_loser: Dot) -> RecordId {
    let digest = FieldHasher::new("hubward/conflict/1")
        .bytes(1, subject.kind.as_str().as_bytes())
        .bytes(2, subject.id.as_str().as_bytes())
        .bytes(3, path.as_bytes())
        .bytes(4, &dot_bytes(first_loser))
        .finish();
    RecordId::from(digest)
}

/// Id of a precedent: the digest of the kind, the path and the other parts of its signature, in hexadecimal.
#[must_use]
pub fn precedent_id(kind: &Kind, path: &str, parts: &[u8]) -> RecordId {
    let digest = FieldHasher::new("hubward/precedent/1")
        .bytes(1, kind.as_str().as_bytes())
        .bytes(2, path.as_bytes())
        .bytes(3, parts)
        .finish();
    RecordId::from(digest)
}

/// Salt of a merged body: the first 16 bytes of SHA-256("merge" ‖ salts). The salts come in stamp order, so that
/// every replica makes the same one.
#[must_use]
pub fn merged_salt(salts_in_stamp_order: impl IntoIterator<Item = Salt>) -> Salt {
    let mut hasher = Sha256::new().chain_update(b"merge");
    for salt in salts_in_stamp_order {
        hasher.update(salt.as_bytes());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut salt = Salt::default();
    salt.0.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    salt
}

/// What one commit binds: the leaf of the chain, and later of the log's Merkle tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSummary {
    /// Its number.
    pub commit: CommitNumber,
    /// Its first revision; greater than `last` when it has none.
    pub first: Revision,
    /// Its last revision.
    pub last: Revision,
    /// Its time, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// The horizon from this commit on.
    pub horizon: Revision,
    /// [`merkle_root`] of the digests of all mutations and withdrawals that consumed a dot, rejected ones
    /// included, in the order they were decided.
    pub mutations_root: Digest,
    /// [`merkle_root`] of the [`record_digest`] of each row's result, in revision order.
    pub records_root: Digest,
    /// [`merkle_root`] of the [`cell_digest`] of each cell that changed, in cell order.
    pub cells_root: Digest,
}

/// The leaf of a commit.
#[must_use]
pub fn commit_leaf(summary: &CommitSummary) -> Digest {
    FieldHasher::new("hubward/commit/1")
        .number(1, summary.commit.0)
        .number(2, summary.first.0)
        .number(3, summary.last.0)
        .number(4, summary.time_ms)
        .number(5, summary.horizon.0)
        .bytes(6, summary.mutations_root.as_bytes())
        .bytes(7, summary.records_root.as_bytes())
        .bytes(8, summary.cells_root.as_bytes())
        .finish()
}

/// The chain after a commit. The chain of an empty log is 32 zero bytes.
#[must_use]
pub fn chain(previous: &Digest, leaf: &Digest) -> Digest {
    FieldHasher::new("hubward/chain/1").bytes(1, previous.as_bytes()).bytes(2, leaf.as_bytes()).finish()
}

/// Digest of one cell with the hash of its live records.
#[must_use]
pub fn cell_digest(cell: &Cell, state: &LtHash) -> Digest {
    FieldHasher::new("hubward/cell/1")
        .bytes(1, cell.domain.as_str().as_bytes())
        .bytes(2, cell.kind.as_str().as_bytes())
        .optional(3, cell.facet.as_ref().map(|f| f.as_str().as_bytes()))
        .bytes(4, state.as_bytes())
        .finish()
}

fn dot_bytes(dot: Dot) -> [u8; 28] {
    let mut bytes = [0; 28];
    let parts = [dot.writer.node.as_bytes(), &dot.writer.epoch.to_be_bytes(), &dot.n.to_be_bytes()];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

fn time_bytes(time: HybridTime) -> [u8; 12] {
    let mut bytes = [0; 12];
    let parts: [&[u8]; 2] = [&time.ms.to_be_bytes(), &time.counter.to_be_bytes()];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

fn stamp_bytes(stamp: Stamp) -> [u8; 40] {
    let mut bytes = [0; 40];
    let parts: [&[u8]; 2] = [&time_bytes(stamp.time), &dot_bytes(stamp.dot)];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

fn group_bytes(group: crate::envelope::GroupPlace) -> Vec<u8> {
    [group.id.as_bytes(), &group.index.to_be_bytes(), &group.size.to_be_bytes()].concat()
}

fn version_bytes(version: &Version) -> Vec<u8> {
    version.dots().flat_map(dot_bytes).collect()
}

fn text_bytes(text: &str, to: &mut Vec<u8>) {
    to.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(text.as_bytes());
}

fn texts_bytes(texts: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        text_bytes(text, &mut bytes);
    }
    bytes
}

fn fields_bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, FieldStamp { stamp, removed }) in &record.fields {
        text_bytes(name, &mut bytes);
        bytes.extend(stamp_bytes(*stamp));
        bytes.push(u8::from(*removed));
    }
    bytes
}

fn inputs_bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (stamp, salt) in &record.inputs {
        bytes.extend(stamp_bytes(*stamp));
        bytes.extend(salt.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
