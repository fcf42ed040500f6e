//! Import: files of JSON, JSON Lines or YAML become local writes, in one transaction.
//!
//! - `good_rows_are_kept`: what can be written is written, whatever else is in the file.
//! - `bad_rows_are_reported_by_number`: what cannot be written is counted and goes, with its number and the reason,
//!   to a file beside the input.
//! - `importing_twice_changes_nothing`: a row that already is as the file says makes no mutation.
//! - `hub_kinds_are_passed_over`: where rows name their kinds, those of the hub's own are counted and left alone.
//! - `one_transaction`: the replica holds all good rows or none, and other local writes wait meanwhile.
//!
//! Ids: the fields named in [`Options::id_fields`], else those of the mapping, else `id`; for a row of a named
//! collection (`suppliers`) also its singular with `_id`, `_code`, `_key` or `_number` (`supplier_id`). The first of
//! them that a row has is its id; a number stands for its decimal text. Two rows with one id: the second is bad.

mod mapping;
mod read;
mod rejected;
mod row;

use std::path::{Path, PathBuf};

use semantics::ids::Kind;
use semantics::reason::Reason;
use serde::Serialize;
use serde_json::Value;

pub use self::mapping::{BUILT_IN, Collection, MAPPING_BYTES_MAX, Mapping};
use self::read::Rows;
pub use self::read::{FILE_BYTES_MAX, Format, LINE_BYTES_MAX, LINES_FILE_BYTES_MAX, ROWS_FILE_MAX};
use self::rejected::Rejected;
use self::row::{Asked, Rules};
use crate::error::{ReplicaError, refused};
use crate::replica::{Replica, WriteOp};

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
    /// Rows of the hub's own kinds, which no import writes.
    pub passed_over: u64,
    /// Bad rows.
    pub rejected: u64,
    /// The file that holds them, when there are any.
    pub rejected_file: Option<PathBuf>,
}

/// Imports a file.
///
/// # Errors
/// `MALFORMED` for what is no regular file or of no known format, and for the memory of an MCP memory server where
/// neither a mapping nor an id is named: what its lines mean stands in a mapping; `TOO_LARGE` past the bounds, `OVERLOADED` when the
/// outbox is full; [`ReplicaError::Store`].
pub async fn run(
    replica: &Replica,
    path: &Path,
    options: &Options,
    now_ms: u64,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, ReplicaError> {
    let mut rules = Rules::new(options)?;
    if options.mapping == Mapping::default() && options.id_fields.is_empty() && read::is_memory(path)? {
        let detail = format!(
            "{}: this looks like the memory of an MCP memory server: import it with --mapping mcp-memory",
            path.display()
        );
        return refused(Reason::Malformed, detail);
    }
    let mut rows = Rows::open(path, options.mapping.format)?;
    let mut rejected = Rejected::new(path, options)?;
    let (mut written, mut unchanged, mut passed_over) = (0, 0, 0);
    let mut bulk = replica.bulk(now_ms).await?;
    loop {
        let some = rows.next(CHUNK_ROWS)?;
        if some.is_empty() {
            break;
        }
        let (mut writes, mut places) = (Vec::new(), Vec::new());
        for row in some {
            let place = row.place.clone();
            match rules.asked(row) {
                Ok(Asked::Nothing) => passed_over += 1,
                Ok(Asked::Write(write)) => {
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
    let read = rows.progress().rows;
    Ok(Summary { read, written, unchanged, passed_over, rejected: count, rejected_file })
}
