//! A mapping: how the rows of a file become records. Data, in YAML or JSON; some come with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use semantics::ids::Kind;
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read::{Format, open_regular};

/// Longest mapping, bytes.
pub const MAPPING_BYTES_MAX: usize = 64 * 1024;

/// Mappings that come with the program, by name.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("export", include_str!("../../mappings/export.yaml")),
    ("mcp-memory", include_str!("../../mappings/mcp-memory.yaml")),
];

/// How a file's rows become records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// What the file is written in; `None` = its name's ending tells.
    pub format: Option<Format>,
    /// Field that names a row's collection, in a file that does not.
    pub by: Option<String>,
    /// Rows of no collection.
    pub rows: Collection,
    /// Rows of collections, by name.
    pub collections: BTreeMap<String, Collection>,
}

/// How the rows of one collection become records. The body is the row, or one field of it: fields are dropped, then
/// renamed, then constants are added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collection {
    /// JSON Schema that a row satisfies, else it is bad.
    pub schema: Value,
    /// Kind of the records.
    pub kind: Option<Kind>,
    /// Field that names a record's kind; rows of the hub's own kinds are passed over.
    pub kind_field: Option<String>,
    /// Fields that may hold the id; the first present one counts.
    pub id: Vec<String>,
    /// Fields that are the id together: the JSON array of their texts, or where that is too long for an id,
    /// `sha256:` and its digest. Takes the place of `id`.
    pub id_of: Vec<String>,
    /// Field that holds the body.
    pub body_field: Option<String>,
    /// Field that may name the domain.
    pub domain_field: Option<String>,
    /// Field that may name the subject; only beside a domain.
    pub subject_field: Option<String>,
    /// Fields left out.
    pub drop: BTreeSet<String>,
    /// Old name → new name.
    pub rename: BTreeMap<String, String>,
    /// Fields every record gets.
    pub set: Map<String, Value>,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            schema: Value::Bool(true),
            kind: None,
            kind_field: None,
            id: Vec::new(),
            id_of: Vec::new(),
            body_field: None,
            domain_field: None,
            subject_field: None,
            drop: BTreeSet::new(),
            rename: BTreeMap::new(),
            set: Map::new(),
        }
    }
}

impl Mapping {
    /// Reads a mapping; YAML, of which JSON is a part.
    ///
    /// # Errors
    /// `TOO_LARGE` past [`MAPPING_BYTES_MAX`]; `MALFORMED`, naming the line.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAPPING_BYTES_MAX {
            let detail = format!("a mapping of {} bytes, at most {MAPPING_BYTES_MAX}", text.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        serde_yaml_ng::from_str(text).map_err(|e| Refusal::new(Reason::Malformed, format!("mapping: {e}")))
    }

    /// Whether a mapping of this name comes with the program.
    #[must_use]
    pub fn is_built_in(name: &str) -> bool {
        BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
    }

    /// The built-in mapping of this name, else the one in the file of this path.
    ///
    /// # Errors
    /// `MALFORMED` when there is neither, when it is no regular file, or as [`Mapping::parse`].
    pub fn load(name_or_path: &str) -> Result<Self, Refusal> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text);
        }
        let file = open_regular(Path::new(name_or_path)).map_err(|e| {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let detail = format!("mapping: {} (built in are {})", e.detail, names.join(", "));
            Refusal::new(Reason::Malformed, detail)
        })?;
        Self::read(file).map_err(|e| Refusal::new(e.reason, format!("{name_or_path}: {}", e.detail)))
    }

    fn read(file: File) -> Result<Self, Refusal> {
        // A longer one than its bound is cut, and then refused.
        let bound = u64::try_from(MAPPING_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let mut text = String::new();
        let unreadable = |e: std::io::Error| Refusal::new(Reason::Malformed, e.to_string());
        file.take(bound).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text)
    }
}

impl Collection {
    /// A row's body as the mapping wants it.
    ///
    /// # Errors
    /// `MALFORMED` when the field that holds it is missing or no object.
    pub fn shape(&self, mut row: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
        if let Some(field) = &self.body_field {
            let Some(Value::Object(body)) = row.remove(field) else {
                return Err(Refusal::new(Reason::Malformed, format!("no object in field {field:?}")));
            };
            row = body;
        }
        let kept = row.into_iter().filter(|(name, _)| !self.drop.contains(name));
        let mut body: Map<String, Value> =
            kept.map(|(name, value)| (self.rename.get(&name).cloned().unwrap_or(name), value)).collect();
        body.extend(self.set.clone());
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_mapping_can_be_read() {
        for (name, _) in BUILT_IN {
            assert!(Mapping::is_built_in(name));
            assert_eq!(Mapping::load(name).unwrap().format, Some(Format::Lines), "{name}");
        }
    }
}
