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
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use semantics::ids::{Key, Kind, RecordId};
use semantics::reason::{Reason, Refusal};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::mapping::{Collection, MAPPING_BYTES_MAX, Mapping};
pub use self::read::{FILE_BYTES_MAX, LINE_BYTES_MAX, LINES_FILE_BYTES_MAX, ROWS_FILE_MAX};
use self::read::{Row, Rows};
use crate::error::ReplicaError;
use crate::replica::{Replica, Write, WriteOp};

/// Rows that are read and written at once.
const CHUNK_ROWS: usize = 500;

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
    let mut rows = Rows::open(path)?;
    let mut rejected = Rejected::new(path, options);
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let (mut written, mut unchanged) = (0, 0);
    let mut bulk = replica.bulk(now_ms).await?;
    loop {
        let some = rows.next(CHUNK_ROWS)?;
        if some.is_empty() {
            break;
        }
        let (mut writes, mut places) = (Vec::new(), Vec::new());
        for row in some {
            let place = row.place.clone();
            match write_of(row, options, &mut seen) {
                Ok(write) => {
                    places.push((place, write.op.clone()));
                    writes.push(write);
                }
                Err((refusal, value)) => rejected.add(&place, &refusal, value)?,
            }
        }
        for (outcome, (place, op)) in bulk.write(writes).await?.into_iter().zip(places) {
            match (outcome, op) {
                (Ok(Some(_)), _) => written += 1,
                (Ok(None), _) => unchanged += 1,
                (Err(refusal), WriteOp::Put(body)) => rejected.add(&place, &refusal, Value::Object(body))?,
                (Err(refusal), WriteOp::Patch { .. } | WriteOp::Delete) => {
                    rejected.add(&place, &refusal, Value::Null)?;
                }
            }
        }
        progress(rows.progress());
    }
    let count = rejected.rows;
    let rejected_file = rejected.close()?;
    bulk.commit().await?;
    Ok(Summary { read: rows.progress().rows, written, unchanged, rejected: count, rejected_file })
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

/// The bad rows, written as they are found: how many there are does not matter to memory.
struct Rejected {
    to: PathBuf,
    rows: u64,
    file: Option<BufWriter<File>>,
}

impl Rejected {
    fn new(path: &Path, options: &Options) -> Self {
        let to = options.rejected.clone().unwrap_or_else(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".rejected.jsonl");
            PathBuf::from(name)
        });
        Self { to, rows: 0, file: None }
    }

    fn add(&mut self, place: &str, refusal: &Refusal, row: Value) -> Result<(), Refusal> {
        self.rows += 1;
        let line =
            json!({"at": place, "reason": refusal.reason.as_str(), "detail": refusal.detail, "row": row});
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => File::create(&self.to).map(BufWriter::new),
        };
        let written = file.and_then(|mut file| writeln!(file, "{line}").map(|()| file));
        self.file = Some(written.map_err(|e| self.unwritten(&e))?);
        Ok(())
    }

    fn close(mut self) -> Result<Option<PathBuf>, Refusal> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        file.flush().map_err(|e| self.unwritten(&e))?;
        Ok(Some(self.to))
    }

    fn unwritten(&self, error: &std::io::Error) -> Refusal {
        let detail = format!("the bad rows cannot be written to {}: {error}", self.to.display());
        Refusal::new(Reason::StoreUnavailable, detail)
    }
}
