//! The export format: JSON Lines, one record a line, with everything that its digest covers, so that a stranger
//! can recompute the digest of a view from a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::clock::Stamp;
use crate::cursor::Change;
use crate::envelope::{Content, FieldStamp, KEY_ID_CLEAR, Placement, Record};
use crate::ids::{Domain, Facet, Incarnation, Key, Kind, NodeId, RecordId, Revision, Salt, Subject};
use crate::reason::{Reason, Refusal};
use crate::version::Version;

/// One line of an export. Exactly one of `body`, `body_hex` and `deleted` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportLine {
    /// Kind of record.
    pub kind: Kind,
    /// Id inside the kind.
    pub id: RecordId,
    /// The revision that gave the record this state; not part of the digest.
    pub revision: Revision,
    /// Where it belongs.
    pub domain: Domain,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Stamp of the mutation that placed it.
    pub placement_stamp: Stamp,
    /// Value of the kind's facet field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<Facet>,
    /// How often it was created again on its own tombstone.
    pub incarnation: Incarnation,
    /// The mutations it contains, in writer order.
    pub version: Version,
    /// Its greatest stamp.
    pub stamp: Stamp,
    /// Author of the mutation with that stamp.
    pub author: NodeId,
    /// Key its body is sealed under; 0 = in clear.
    pub key_id: u64,
    /// Salt of the body.
    pub salt: Salt,
    /// The body in clear; what is hashed is its canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Map<String, Value>>,
    /// A sealed body, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hex: Option<String>,
    /// Whether it is a tombstone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// Fields kinds: the write each field stands at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldStamp>,
    /// Fields kinds: salts of the mutations that still shape the body, in stamp order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<ExportInput>,
}

/// One input of a merged body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportInput {
    /// Stamp of the mutation.
    pub stamp: Stamp,
    /// Its salt.
    pub salt: Salt,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl ExportLine {
    /// The line of a record at a revision.
    #[must_use]
    pub fn of(record: &Record, revision: Revision) -> Self {
        let clear = record
            .body()
            .filter(|_| record.key_id == KEY_ID_CLEAR)
            .and_then(|body| canonical::parse_object(body).ok());
        let body_hex = match (&clear, record.body()) {
            (None, Some(body)) => Some(hex::encode(body)),
            _ => None,
        };
        Self {
            kind: record.key.kind.clone(),
            id: record.key.id.clone(),
            revision,
            domain: record.placement.domain.clone(),
            subject: record.placement.subject.clone(),
            placement_stamp: record.placement_stamp,
            facet: record.facet.clone(),
            incarnation: record.incarnation,
            version: record.version.clone(),
            stamp: record.stamp,
            author: record.author,
            key_id: record.key_id,
            salt: record.salt,
            body: clear,
            body_hex,
            deleted: record.is_deleted(),
            fields: record.fields.clone(),
            inputs: record
                .inputs
                .iter()
                .map(|(stamp, salt)| ExportInput { stamp: *stamp, salt: *salt })
                .collect(),
        }
    }

    fn content(&self) -> Result<Content, Refusal> {
        match (&self.body, &self.body_hex, self.deleted) {
            (Some(body), None, false) => {
                canonical::object_to_canonical(body).map(|body| Content::Live(body.into()))
            }
            (None, Some(text), false) => hex::decode(text)
                .map(|body| Content::Live(body.into()))
                .map_err(|e| Refusal::new(Reason::Malformed, format!("body_hex: {e}"))),
            (None, None, true) => Ok(Content::Deleted),
            _ => Err(Refusal::new(Reason::Malformed, "exactly one of body, body_hex and deleted is needed")),
        }
    }
}

impl From<&Change> for ExportLine {
    fn from(change: &Change) -> Self {
        Self::of(&change.record, change.revision)
    }
}

impl TryFrom<ExportLine> for Change {
    type Error = Refusal;

    /// The record and its revision again.
    ///
    /// # Errors
    /// `MALFORMED` when the content is missing, double or not hexadecimal, `UNSAFE_NUMBER` or `TOO_LARGE` when a
    /// body in clear has no canonical form.
    fn try_from(line: ExportLine) -> Result<Self, Refusal> {
        let content = line.content()?;
        let record = Record {
            key: Key { kind: line.kind, id: line.id },
            placement: Placement { domain: line.domain, subject: line.subject },
            placement_stamp: line.placement_stamp,
            facet: line.facet,
            incarnation: line.incarnation,
            version: line.version,
            stamp: line.stamp,
            author: line.author,
            key_id: line.key_id,
            salt: line.salt,
            content,
            fields: line.fields,
            inputs: line.inputs.into_iter().map(|input| (input.stamp, input.salt)).collect(),
        };
        Ok(Self { revision: line.revision, record })
    }
}

#[cfg(test)]
mod tests;
