//! Kinds as declarations: a name, a JSON Schema, a merge policy and defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Facet, Kind, Revision};

/// How concurrent changes of one record are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The greater stamp wins the whole body.
    LastWriter,
    /// Each top-level field is settled by its own stamp.
    Fields,
    /// Written once; a second body under the same id is kept aside, the smaller stamp stays.
    AppendOnly,
}

/// A kind as its control record declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The kind's name.
    pub name: Kind,
    /// How concurrent changes are settled.
    pub policy: Policy,
    /// JSON Schema (2020-12) of the body; `true` takes every object.
    #[serde(default = "any_object")]
    pub schema: serde_json::Value,
    /// Values for top-level fields that a put leaves out; the spoke fills them in before it sends.
    #[serde(default)]
    pub defaults: BTreeMap<String, serde_json::Value>,
    /// Top-level string field that divides the kind into cells.
    #[serde(default)]
    pub facet_field: Option<String>,
    /// Whether each mutation must carry a signature.
    #[serde(default)]
    pub signed: bool,
}

fn any_object() -> serde_json::Value {
    serde_json::Value::Bool(true)
}

/// Name of the kind that declarations are records of.
pub const KIND: &str = "kind";
/// Name of the kind that views are records of; the id is the node's id.
pub const VIEW: &str = "view";
/// Name of the kind that registered nodes are records of; the id is the node's id.
pub const NODE: &str = "node";
/// Name of the kind that policies are records of.
pub const POLICY: &str = "policy";
/// Name of the kind that conflicts are records of.
pub const CONFLICT: &str = "conflict";

/// Whether records of this kind are written by the hub and its administrators only, by compare-and-set.
#[must_use]
pub fn is_control(kind: &Kind) -> bool {
    matches!(kind.as_str(), KIND | VIEW | NODE | POLICY)
}
/// Whether it is the kind of kind declarations and policies, which travel with the kinds they speak about.
#[must_use]
pub fn is_declaration(kind: &Kind) -> bool {
    matches!(kind.as_str(), KIND | POLICY)
}
/// Whether it is the kind of conflict records.
#[must_use]
pub fn is_conflict(kind: &Kind) -> bool {
    kind.as_str() == CONFLICT
}
/// Whether a node may push records of this kind.
#[must_use]
pub fn is_pushable(kind: &Kind) -> bool {
    !is_control(kind) && !is_conflict(kind)
}

/// What `decide` needs of a kind: its policy, and the revision of the declaration it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// How concurrent changes are settled.
    pub policy: Policy,
    /// Field that gives the facet.
    pub facet_field: Option<String>,
    /// Revision of the declaration; [`Revision::ZERO`] for a built-in one.
    pub version: Revision,
}

impl Rule {
    /// The facet of a body in clear.
    #[must_use]
    pub fn facet_of(&self, body: &serde_json::Map<String, serde_json::Value>) -> Option<Facet> {
        let field = self.facet_field.as_ref()?;
        body.get(field)?.as_str().and_then(|text| Facet::new(text).ok())
    }
}
