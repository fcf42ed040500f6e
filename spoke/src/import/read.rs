//! Reading a file's rows, within bounds.

use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use semantics::canonical::from_json;
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Progress;

/// Largest JSON or YAML file, which is read whole, bytes.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Largest JSON Lines file, bytes.
pub const LINES_FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Longest line of a JSON Lines file, bytes.
pub const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Most rows of one file.
pub const ROWS_FILE_MAX: usize = 1_000_000;
/// Longest part of a bad line that is kept, characters.
const BAD_LINE_CHARS_MAX: usize = 1_000;

/// Some programs begin every text file with it; it is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A row of a file.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it stands, for a person.
    pub(super) place: String,
    /// The named list it stands in.
    pub(super) collection: Option<String>,
    /// What it says, or why it cannot be read and its text.
    pub(super) value: Result<Value, (Refusal, String)>,
}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON document: `.json`.
    Json,
    /// A JSON value a line: `.jsonl`, `.ndjson`.
    Lines,
    /// One YAML document: `.yaml`, `.yml`.
    Yaml,
}

/// The rows of a file, one after the other: of JSON Lines one is in memory at a time, of the others all.
#[derive(Debug)]
pub(super) struct Rows {
    name: String,
    source: Source,
    rows: usize,
    bytes: u64,
    bytes_total: u64,
}

#[derive(Debug)]
enum Source {
    Lines { reader: BufReader<File>, number: u64 },
    Whole(std::vec::IntoIter<Row>),
}

impl Rows {
    /// Opens a file, in a format or in the one that its name tells; one that is no JSON Lines is read whole.
    pub(super) fn open(path: &Path, format: Option<Format>) -> Result<Self, Refusal> {
        let malformed =
            |detail: String| Refusal::new(Reason::Malformed, format!("{}: {detail}", path.display()));
        let file = open_regular(path)?;
        let about = file.metadata().map_err(|e| malformed(e.to_string()))?;
        let format = format.or_else(|| format_of(path)).ok_or_else(|| {
            malformed("the name ends in none of .json, .jsonl, .ndjson, .yaml, .yml".to_owned())
        })?;
        let bytes_max = if format == Format::Lines { LINES_FILE_BYTES_MAX } else { FILE_BYTES_MAX };
        if about.len() > bytes_max {
            let detail = format!("{}: {} bytes, at most {bytes_max}", path.display(), about.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let (source, bytes) = match format {
            Format::Lines => (Source::Lines { reader: BufReader::new(file), number: 0 }, 0),
            Format::Json | Format::Yaml => {
                let mut text = String::new();
                file.take(bytes_max).read_to_string(&mut text).map_err(|e| malformed(e.to_string()))?;
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                let value = match format {
                    Format::Yaml => serde_yaml_ng::from_str(text).map_err(|e| malformed(e.to_string()))?,
                    _ => from_json(text.as_bytes()).map_err(|refusal| malformed(refusal.detail))?,
                };
                let name = path.display().to_string();
                if rows_of(&value) > ROWS_FILE_MAX {
                    return Err(too_many_rows(&name));
                }
                (Source::Whole(shape(value).into_iter()), about.len())
            }
        };
        Ok(Self { name: path.display().to_string(), source, rows: 0, bytes, bytes_total: about.len() })
    }

    /// At most `rows_max` more rows; none when that was all.
    pub(super) fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, Refusal> {
        let mut found = Vec::new();
        while found.len() < rows_max {
            let row = match &mut self.source {
                Source::Whole(rows) => rows.next(),
                Source::Lines { reader, number } => next_line(reader, number, &mut self.bytes)
                    .map_err(|e| Refusal::new(Reason::Malformed, format!("{}: {e}", self.name)))?,
            };
            let Some(row) = row else { break };
            self.rows += 1;
            found.push(row);
        }
        if self.rows > ROWS_FILE_MAX {
            return Err(too_many_rows(&self.name));
        }
        Ok(found)
    }

    /// How far it has been read.
    pub(super) fn progress(&self) -> Progress {
        let rows = u64::try_from(self.rows).unwrap_or(u64::MAX);
        Progress { rows, bytes: self.bytes, bytes_total: self.bytes_total }
    }
}

/// Opens what is a regular file under its own name, and was none of another sort in between.
pub(super) fn open_regular(path: &Path) -> Result<File, Refusal> {
    let malformed = |detail: &str| Refusal::new(Reason::Malformed, format!("{}: {detail}", path.display()));
    let about = std::fs::symlink_metadata(path).map_err(|e| malformed(&e.to_string()))?;
    if !about.is_file() {
        return Err(malformed("not a regular file: links, pipes and folders are not imported"));
    }
    let file = File::open(path).map_err(|e| malformed(&e.to_string()))?;
    let opened = file.metadata().map_err(|e| malformed(&e.to_string()))?;
    if !is_same(&about, &opened) {
        return Err(malformed("it was exchanged while it was opened"));
    }
    Ok(file)
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a.is_file() && b.is_file()
}

/// Whether the first line of a file is one of the memory of an MCP memory server, whatever the file is called.
pub(super) fn is_memory(path: &Path) -> Result<bool, Refusal> {
    begins_a_memory(open_regular(path)?)
        .map_err(|e| Refusal::new(Reason::Malformed, format!("{}: {e}", path.display())))
}

/// No more is read for it than the longest line takes, whatever the file's size: that is looked at later.
fn begins_a_memory(file: impl Read) -> std::io::Result<bool> {
    let mut reader = BufReader::new(file.take(LINE_BYTES_MAX + 1));
    let first = next_line(&mut reader, &mut 0, &mut 0)?;
    let Some(Row { value: Ok(line), .. }) = first else { return Ok(false) };
    let has = |names: &[&str]| names.iter().all(|name| line.get(name).is_some());
    Ok(match line.get("type").and_then(Value::as_str) {
        Some("entity") => has(&["name", "entityType", "observations"]),
        Some("relation") => has(&["from", "relationType", "to"]),
        _ => false,
    })
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "jsonl" | "ndjson" => Some(Format::Lines),
        "yaml" | "yml" => Some(Format::Yaml),
        _ => None,
    }
}

fn too_many_rows(file: &str) -> Refusal {
    Refusal::new(Reason::TooLarge, format!("{file}: more than {ROWS_FILE_MAX} rows"))
}

/// How many rows [`shape`] makes of a document: a row takes several times what a number in a list does.
fn rows_of(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.len(),
        Value::Object(lists) if !lists.is_empty() && lists.values().all(is_list_of_objects) => {
            lists.values().filter_map(Value::as_array).map(Vec::len).sum()
        }
        _ => 1,
    }
}

/// Rows of a document: a list of rows, named lists of rows, or one row.
fn shape(value: Value) -> Vec<Row> {
    let row = |collection: Option<&str>, at: usize, value: Value| Row {
        place: format!("{}[{at}]", collection.unwrap_or("row")),
        collection: collection.map(str::to_owned),
        value: Ok(value),
    };
    match value {
        Value::Array(values) => values.into_iter().enumerate().map(|(at, v)| row(None, at, v)).collect(),
        Value::Object(lists) if !lists.is_empty() && lists.values().all(is_list_of_objects) => lists
            .into_iter()
            .flat_map(|(name, list)| {
                let values = if let Value::Array(values) = list { values } else { Vec::new() };
                values.into_iter().enumerate().map(|(at, v)| row(Some(&name), at, v)).collect::<Vec<_>>()
            })
            .collect(),
        one => vec![row(None, 0, one)],
    }
}

fn is_list_of_objects(value: &Value) -> bool {
    matches!(value, Value::Array(values) if values.iter().all(Value::is_object))
}

/// The next line that is not empty.
fn next_line(reader: &mut impl BufRead, number: &mut u64, bytes: &mut u64) -> std::io::Result<Option<Row>> {
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        *number += 1;
        *bytes += u64::try_from(read).unwrap_or(u64::MAX);
        let is_whole = line.last() == Some(&b'\n') || u64::try_from(read).is_ok_and(|n| n <= LINE_BYTES_MAX);
        let place = format!("line {number}");
        if !is_whole {
            *bytes += u64::try_from(reader.skip_until(b'\n')?).unwrap_or(u64::MAX);
            let refusal =
                Refusal::new(Reason::TooLarge, format!("a line has at most {LINE_BYTES_MAX} bytes"));
            return Ok(Some(Row { place, collection: None, value: Err((refusal, String::new())) }));
        }
        let text = match *number {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line),
            _ => line.as_slice(),
        };
        if !text.trim_ascii().is_empty() {
            return Ok(Some(Row { place, collection: None, value: parse_line(text) }));
        }
    }
}

fn parse_line(line: &[u8]) -> Result<Value, (Refusal, String)> {
    from_json(line).map_err(|refusal| {
        let text: String = String::from_utf8_lossy(line).chars().take(BAD_LINE_CHARS_MAX).collect();
        (refusal, text.trim_end().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_without_an_end_only_so_much_is_read_as_a_line_may_have() {
        assert!(!begins_a_memory(std::io::repeat(0)).unwrap());
        let line = br#"{"type":"relation","from":"a","relationType":"knows","to":"b"}"#;
        assert!(begins_a_memory(line.as_slice()).unwrap());
        assert!(begins_a_memory(line.as_slice().chain(b"\n".as_slice()).chain(std::io::repeat(0))).unwrap());
    }
}
