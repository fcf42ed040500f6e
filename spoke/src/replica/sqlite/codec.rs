//! Domain values as columns. Records and mutations are kept as they travel; what only a spoke has is kept beside
//! them as JSON.

use prost::Message as _;
use proto::Wire as _;
use semantics::clock::HybridTime;
use semantics::envelope::{Base, Cell, Mutation, Record};
use semantics::ids::{CommitNumber, Digest, Domain, Facet, Key, Kind, MutationId, RecordId, Revision};
use semantics::reason::Refusal;
use serde::{Deserialize, Serialize};

use super::error::damaged;
use super::seal::{sealed, unsealed};
use crate::error::StoreError;
use crate::replica::entry::{Entry, EntryState};

/// No UTF-8 text holds this byte: it lies behind every key.
pub(super) const KEY_END: [u8; 1] = [0xff];
/// Separates kind and id; no kind holds it.
const SEPARATOR: u8 = 0;

/// A key, so that the order of the bytes is the order of the keys.
pub(super) fn key_bytes(key: &Key) -> Vec<u8> {
    let mut bytes = kind_bytes(&key.kind);
    bytes.extend(key.id.as_str().as_bytes());
    bytes
}

/// What every key of a kind starts with.
pub(super) fn kind_bytes(kind: &Kind) -> Vec<u8> {
    let mut bytes = kind.as_str().as_bytes().to_vec();
    bytes.push(SEPARATOR);
    bytes
}

/// A key read back.
pub(super) fn key_of(bytes: &[u8]) -> Result<Key, StoreError> {
    let mut parts = bytes.splitn(2, |byte| *byte == SEPARATOR);
    let mut text = || text_of(parts.next().unwrap_or_default());
    let (kind, id) = (text()?, text()?);
    let kind = Kind::new(kind).map_err(|e| damaged("key", e))?;
    let id = RecordId::new(id).map_err(|e| damaged("key", e))?;
    Ok(Key { kind, id })
}

fn text_of(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| damaged("key", format!("{} is no text", hex::encode(bytes))))
}

/// A cell.
pub(super) fn cell_bytes(cell: &Cell) -> Vec<u8> {
    let mut bytes = cell.domain.as_str().as_bytes().to_vec();
    bytes.push(SEPARATOR);
    bytes.extend(kind_bytes(&cell.kind));
    // A facet is never empty: nothing stands for none.
    bytes.extend(cell.facet.iter().flat_map(|facet| facet.as_str().bytes()));
    bytes
}

/// A cell read back.
pub(super) fn cell_of(bytes: &[u8]) -> Result<Cell, StoreError> {
    let mut parts = bytes.splitn(3, |byte| *byte == SEPARATOR);
    let mut text = || text_of(parts.next().unwrap_or_default());
    let (domain, kind, facet) = (text()?, text()?, text()?);
    Ok(Cell {
        domain: Domain::new(domain).map_err(|e| damaged("cell", e))?,
        kind: Kind::new(kind).map_err(|e| damaged("cell", e))?,
        facet: match facet.is_empty() {
            true => None,
            false => Some(Facet::new(facet).map_err(|e| damaged("cell", e))?),
        },
    })
}

/// A number as SQLite keeps it.
pub(super) fn column(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Unavailable(format!("{number} is too large to be kept")))
}

/// A number read back.
pub(super) fn number(column: i64) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| damaged("file", format!("{column} where a count should be")))
}

/// A limit as SQLite takes it.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit.min(crate::replica::store::ROWS_MAX)).unwrap_or(i64::MAX)
}

/// A record.
pub(super) fn record_bytes(record: &Record) -> Vec<u8> {
    record.to_wire()
}

/// A record read back, which must be the one of this key.
pub(super) fn record_of(what: &'static str, key: &[u8], bytes: &[u8]) -> Result<Record, StoreError> {
    let key = key_of(key)?;
    let wrong = |why: String| damaged(what, format!("record {key}: {why}"));
    let record = Record::from_wire(bytes).map_err(|e| wrong(e.to_string()))?;
    if record.key == key { Ok(record) } else { Err(wrong(format!("holds {}", record.key))) }
}

/// A record that has no digest beside it, with a sum over it and the place it belongs to.
pub(super) fn sealed_record(place: &[&[u8]], record: &Record) -> Vec<u8> {
    sealed(place, &record_bytes(record))
}

/// Such a record read back; the place begins with its key.
pub(super) fn unsealed_record(
    what: &'static str,
    place: &[&[u8]],
    bytes: &[u8],
) -> Result<Record, StoreError> {
    let key = place.first().copied().unwrap_or_default();
    record_of(what, key, unsealed(what, place, bytes)?)
}

/// A digest read back.
pub(super) fn digest_of(bytes: &[u8]) -> Result<Digest, StoreError> {
    Digest::from_slice(bytes).map_err(|e| damaged("confirmed layer", e))
}

/// An outbox entry: the mutation as it travels, a body, and the rest.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredEntry {
    #[prost(bytes = "vec", tag = "1")]
    mutation: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    base_body: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    rest: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    order: u64,
    footing: Base,
    base_time: HybridTime,
    after: Option<MutationId>,
    since: CommitNumber,
    state: EntryState,
    refused_here: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered_epoch: Option<u32>,
}

/// An entry.
pub(super) fn entry_bytes(entry: &Entry) -> Result<Vec<u8>, StoreError> {
    let rest = Rest {
        order: entry.order,
        footing: entry.footing.clone(),
        base_time: entry.base_time,
        after: entry.after,
        since: entry.since,
        state: entry.state.clone(),
        refused_here: entry.refused_here.clone(),
        answered_epoch: entry.answered_epoch,
    };
    let stored = StoredEntry {
        mutation: entry.mutation.to_wire(),
        base_body: entry.base_body.clone(),
        rest: serde_json::to_vec(&rest).map_err(|e| StoreError::Unavailable(e.to_string()))?,
    };
    Ok(sealed(&[entry.id().as_bytes()], &stored.encode_to_vec()))
}

/// An entry read back.
pub(super) fn entry_of(id: &[u8], bytes: &[u8]) -> Result<Entry, StoreError> {
    let wrong = |why: String| damaged("outbox", format!("mutation {}: {why}", hex::encode(id)));
    let bytes = unsealed("outbox", &[id], bytes)?;
    let stored = StoredEntry::decode(bytes).map_err(|e| wrong(e.to_string()))?;
    let mutation = Mutation::from_wire(&stored.mutation).map_err(|e| wrong(e.to_string()))?;
    if mutation.id.as_bytes() != id {
        return Err(wrong(format!("holds {}", mutation.id)));
    }
    let rest: Rest = serde_json::from_slice(&stored.rest).map_err(|e| wrong(e.to_string()))?;
    Ok(Entry {
        order: rest.order,
        mutation,
        footing: rest.footing,
        base_time: rest.base_time,
        after: rest.after,
        since: rest.since,
        base_body: stored.base_body,
        state: rest.state,
        refused_here: rest.refused_here,
        answered_epoch: rest.answered_epoch,
    })
}

/// A state's column.
pub(super) const fn state_column(state: &EntryState) -> i64 {
    match state {
        EntryState::Queued => 0,
        EntryState::Dotted { .. } => 1,
        EntryState::Answered { .. } => 2,
        EntryState::SetAside { .. } => 3,
    }
}

/// A revision's column.
pub(super) fn revision_column(revision: Revision) -> Result<i64, StoreError> {
    column(revision.0)
}
