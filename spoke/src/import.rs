//! Import: files of JSON, JSON Lines or YAML become local writes, in one transaction.
//!
//! - `good_rows_are_kept`: what can be written is written, whatever else is in the file.
//! - `bad_rows_are_reported_by_number`: what cannot be written is counted and goes, with its number and the reason,
//!   to a file beside the input.
//! - `importing_twice_changes_nothing`: a row that already is as the file says makes no mutation.
//! - `one_transaction`: the replica holds all good rows or none, and other local writes wait meanwhile.
//!
//! Ids: the fields named in [`Options::id_fields`], else those of the mapping, else `id`; for a row of a named
//! collection (`suppliers`) also its singular with `_id`, `_code`, `_key` or `_number` (`supplier_id`). The first of
//! them that a row has is its id; a number stands for its decimal text. Two rows with one id: the second is bad.

mod mapping;
mod read;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use semantics::ids::{Key, Kind, RecordId};
use semantics::reason::{Reason, Refusal};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::mapping::{Collection, MAPPING_BYTES_MAX, Mapping};
use self::read::Row;
pub use self::read::{FILE_BYTES_MAX, LINE_BYTES_MAX, LINES_FILE_BYTES_MAX, ROWS_FILE_MAX};
use crate::error::ReplicaError;
use crate::replica::{Replica, Write, WriteOp};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Kind of the records, unless the mapping names another for a collection.
    pub kind: Option<Kind>,
    /// Fields that may hold a row's id, the first present one counts. Empty: see the module.
    pub id_fields: Vec<String>,
    /// Mapping as data.
    pub mapping: Mapping,
    /// Where bad rows go; `None` = the input's path with `.rejected.jsonl`.
    pub rejected: Option<PathBuf>,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows read.
    pub read: u64,
    /// Rows that changed the replica.
    pub written: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Bad rows.
    pub rejected: u64,
    /// The file that holds them, when there are any.
    pub rejected_file: Option<PathBuf>,
}

/// Imports a file.
///
/// # Errors
/// `MALFORMED` for what is no regular file or of no known format, `TOO_LARGE` past the bounds, `OVERLOADED` when the
/// outbox is full; [`ReplicaError::Store`].
pub async fn run(
    replica: &Replica,
    path: &Path,
    options: &Options,
    now_ms: u64,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, ReplicaError> {
    let rows = read::rows(path, progress)?;
    let mut rejected = Rejected::default();
    let mut writes = Vec::new();
    let mut places = Vec::new();
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let read = count(rows.len());
    for row in rows {
        let place = row.place.clone();
        match write_of(row, options, &mut seen) {
            Ok(write) => {
                writes.push(write);
                places.push(place);
            }
            Err((refusal, value)) => rejected.add(&place, &refusal, value),
        }
    }
    let bodies: Vec<WriteOp> = writes.iter().map(|write| write.op.clone()).collect();
    let outcomes = replica.write_all(writes, now_ms).await?;
    let (mut written, mut unchanged) = (0, 0);
    for ((outcome, place), op) in outcomes.into_iter().zip(places).zip(bodies) {
        match (outcome, op) {
            (Ok(Some(_)), _) => written += 1,
            (Ok(None), _) => unchanged += 1,
            (Err(refusal), WriteOp::Put(body)) => rejected.add(&place, &refusal, Value::Object(body)),
            (Err(refusal), WriteOp::Patch { .. } | WriteOp::Delete) => {
                rejected.add(&place, &refusal, Value::Null)
            }
        }
    }
    let count = rejected.rows;
    let rejected_file = rejected.save(path, options)?;
    Ok(Summary { read, written, unchanged, rejected: count, rejected_file })
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The write a row asks for, or why it cannot be one.
fn write_of(row: Row, options: &Options, seen: &mut BTreeSet<Key>) -> Result<Write, (Refusal, Value)> {
    let value = match row.value {
        Ok(value) => value,
        Err((refusal, text)) => return Err((refusal, Value::String(text))),
    };
    let malformed = |detail: String| Refusal::new(Reason::Malformed, detail);
    let Value::Object(body) = value else {
        return Err((malformed("a row is a JSON object".to_owned()), value));
    };
    let collection = row.collection.as_deref();
    let mapped =
        collection.and_then(|name| options.mapping.collections.get(name)).cloned().unwrap_or_default();
    let key = key_of(&body, collection, &mapped, options).and_then(|key| {
        if seen.contains(&key) { Err(malformed(format!("{key} stands in this file twice"))) } else { Ok(key) }
    });
    let key = match key {
        Ok(key) => key,
        Err(refusal) => return Err((refusal, Value::Object(body))),
    };
    seen.insert(key.clone());
    Ok(Write { key, op: WriteOp::Put(mapped.shape(body)), placement: None })
}

fn key_of(
    body: &Map<String, Value>,
    collection: Option<&str>,
    mapped: &Collection,
    options: &Options,
) -> Result<Key, Refusal> {
    let malformed = |detail: String| Refusal::new(Reason::Malformed, detail);
    let kind = mapped.kind.clone().or_else(|| options.kind.clone());
    let kind = kind.ok_or_else(|| malformed("no kind is given: pass --kind".to_owned()))?;
    let candidates = id_candidates(collection, mapped, options);
    let found = candidates.iter().find_map(|field| body.get(field).map(|value| (field, value)));
    let (field, value) = found
        .ok_or_else(|| malformed(format!("no id: none of the fields {} is there", candidates.join(", "))))?;
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(malformed(format!("the id in field {field:?} is neither text nor a number"))),
    };
    let id = RecordId::new(id).map_err(|e| malformed(e.to_string()))?;
    Ok(Key { kind, id })
}

fn id_candidates(collection: Option<&str>, mapped: &Collection, options: &Options) -> Vec<String> {
    if !options.id_fields.is_empty() {
        return options.id_fields.clone();
    }
    if !mapped.id.is_empty() {
        return mapped.id.clone();
    }
    let mut fields = vec!["id".to_owned()];
    if let Some(name) = collection {
        let one = singular(name);
        fields.extend(["id", "code", "key", "number"].map(|end| format!("{one}_{end}")));
    }
    fields
}

fn singular(plural: &str) -> String {
    if let Some(stem) = plural.strip_suffix("ies") {
        return format!("{stem}y");
    }
    plural.strip_suffix('s').unwrap_or(plural).to_owned()
}

#[derive(Default)]
struct Rejected {
    rows: u64,
    lines: Vec<u8>,
}

impl Rejected {
    fn add(&mut self, place: &str, refusal: &Refusal, row: Value) {
        self.rows += 1;
        let line =
            json!({"at": place, "reason": refusal.reason.as_str(), "detail": refusal.detail, "row": row});
        self.lines.extend_from_slice(line.to_string().as_bytes());
        self.lines.push(b'\n');
    }

    fn save(self, path: &Path, options: &Options) -> Result<Option<PathBuf>, ReplicaError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let to = options.rejected.clone().unwrap_or_else(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".rejected.jsonl");
            PathBuf::from(name)
        });
        let saved = std::fs::File::create(&to).and_then(|mut file| file.write_all(&self.lines));
        match saved {
            Ok(()) => Ok(Some(to)),
            Err(e) => {
                let detail = format!("the bad rows cannot be written to {}: {e}", to.display());
                Err(Refusal::new(Reason::StoreUnavailable, detail).into())
            }
        }
    }
}
