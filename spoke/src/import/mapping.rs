//! A mapping: how the rows of a file's collections become records. Data, in YAML or JSON.

use std::collections::{BTreeMap, BTreeSet};

use semantics::ids::Kind;
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest mapping, bytes.
pub const MAPPING_BYTES_MAX: usize = 64 * 1024;

/// By collection name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The collections.
    #[serde(default)]
    pub collections: BTreeMap<String, Collection>,
}

/// How one collection's rows become records: fields are dropped, then renamed, then constants are added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collection {
    /// Kind of the records.
    pub kind: Option<Kind>,
    /// Fields that may hold the id; the first present one counts.
    pub id: Vec<String>,
    /// Fields left out.
    pub drop: BTreeSet<String>,
    /// Old name → new name.
    pub rename: BTreeMap<String, String>,
    /// Fields every record gets.
    pub set: Map<String, Value>,
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
}

impl Collection {
    /// A row's body as the mapping wants it.
    #[must_use]
    pub fn shape(&self, row: Map<String, Value>) -> Map<String, Value> {
        let kept = row.into_iter().filter(|(name, _)| !self.drop.contains(name));
        let mut body: Map<String, Value> =
            kept.map(|(name, value)| (self.rename.get(&name).cloned().unwrap_or(name), value)).collect();
        body.extend(self.set.clone());
        body
    }
}
