//! Records and outbox entries as RecordService shows them.

use proto::v1;
use semantics::ids::{Key, Kind};
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;
use serde_json::{Map, Value};

use crate::replica::Item;
use crate::replica::entry::{Entry, EntryState, PROVISIONAL_N_MIN};

/// A record as applications see it. Dots that are not yet given stay out of the version.
pub(crate) fn view(item: &Item) -> v1::RecordView {
    let record = &item.record;
    let given: Version = record.version.dots().filter(|dot| dot.n < PROVISIONAL_N_MIN).collect();
    v1::RecordView {
        key: Some(record.key.clone().into()),
        revision: item.revision.0,
        version: Some(given.into()),
        body: record.body().unwrap_or_default().to_vec(),
        placement: Some(record.placement.clone().into()),
        pending: item.is_pending,
        deleted: record.is_deleted(),
    }
}

pub(super) fn entry(entry: &Entry) -> v1::OutboxEntry {
    let refusal = match &entry.state {
        EntryState::SetAside { refusal } => Some(refusal.clone()),
        _ => entry.refused_here.clone(),
    };
    v1::OutboxEntry {
        mutation: entry.id().as_bytes().to_vec(),
        key: Some(entry.mutation.key.clone().into()),
        state: entry.state_name().to_owned(),
        refusal: refusal.map(Into::into),
        revision: entry.answered_revision().map_or(0, |revision| revision.0),
    }
}

pub(super) fn key(key: Option<v1::Key>) -> Result<Key, Refusal> {
    let key = key.ok_or_else(|| Refusal::new(Reason::Malformed, "key: is needed"))?;
    Key::try_from(key).map_err(Refusal::from)
}

pub(super) fn kind(text: &str) -> Result<Kind, Refusal> {
    Kind::new(text).map_err(|e| Refusal::new(Reason::Malformed, format!("kind: {e}")))
}

/// A kind, or with an empty text every kind.
pub(crate) fn kind_or_all(text: &str) -> Result<Option<Kind>, Refusal> {
    if text.is_empty() { Ok(None) } else { kind(text).map(Some) }
}

/// A value as its canonical form reads: `5.0` and `5` are one number.
pub(crate) fn value(field: &str, text: &str) -> Result<Value, Refusal> {
    let malformed = |e: serde_json::Error| Refusal::new(Reason::Malformed, format!("{field}: not JSON: {e}"));
    let value: Value = serde_json::from_str(text).map_err(malformed)?;
    serde_json::from_slice(&semantics::canonical::to_canonical(&value)?).map_err(malformed)
}

pub(super) fn object(field: &str, bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    semantics::canonical::object_from_json(bytes)
        .map_err(|refusal| Refusal::new(refusal.reason, format!("{field}: {}", refusal.detail)))
}
