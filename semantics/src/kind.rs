//! Kinds as declarations: a name, a JSON Schema, a merge policy and defaults.

mod made_of;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::envelope::{FIELD_NAME_BYTES_MAX, FIELDS_MAX};
use crate::ids::{Facet, Kind, Revision};
use crate::reason::{Reason, Refusal};
use crate::schema::CompiledSchema;

pub use made_of::{ID_FIELDS_MAX, id_of};

/// Most bytes of a declaration's defaults, as canonical JSON.
pub const DEFAULTS_BYTES_MAX: usize = 16 * 1024;

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
    /// What both sides made of their common ancestor is put together, path by path; where they clash the greater stamp
    /// stands, and the path is a conflict.
    ThreeWay,
    /// Both bodies are kept whole as branches; the greater stamp stands until they are merged.
    Branch,
    /// As branches, and the states vote: the heaviest is made to stand, see [`crate::identity::vote`].
    Consensus,
    /// As branches, and only a person settles it.
    Manual,
    /// As branches, and a program of the user's is asked, see [`crate::resolution::proposal`].
    Resolver,
    /// As branches, and how the sides came apart decides how it is settled, see [`crate::matrix`].
    ByType,
}

/// Every policy.
pub const POLICIES: [Policy; 9] = [
    Policy::LastWriter,
    Policy::Fields,
    Policy::AppendOnly,
    Policy::ThreeWay,
    Policy::Branch,
    Policy::Consensus,
    Policy::Manual,
    Policy::Resolver,
    Policy::ByType,
];

impl Policy {
    /// Whether the hub's order has a part in what it makes: see `decide`. The others are joins.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        match self {
            Self::LastWriter | Self::Fields | Self::AppendOnly => false,
            Self::ThreeWay
            | Self::Branch
            | Self::Consensus
            | Self::Manual
            | Self::Resolver
            | Self::ByType => true,
        }
    }
    /// Whether a kind may go over to another policy while conflicts of it are open: their paths mean the same under
    /// both.
    #[must_use]
    pub fn keeps_paths_of(self, before: Self) -> bool {
        let is_whole = |policy: Self| policy.is_ordered() || policy == Self::LastWriter;
        self == before || is_whole(self) && is_whole(before)
    }
    /// Its name in declarations, JSON and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastWriter => "last_writer",
            Self::Fields => "fields",
            Self::AppendOnly => "append_only",
            Self::ThreeWay => "three_way",
            Self::Branch => "branch",
            Self::Consensus => "consensus",
            Self::Manual => "manual",
            Self::Resolver => "resolver",
            Self::ByType => "by_type",
        }
    }
    /// The policy of a name.
    ///
    /// # Errors
    /// MALFORMED, with the names there are.
    pub fn from_name(name: &str) -> Result<Self, Refusal> {
        POLICIES.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            let names = POLICIES.map(Self::name).join(", ");
            Refusal::new(Reason::Malformed, format!("{name:?} is no policy; there are {names}"))
        })
    }
}

/// The body of a control record of the kind `policy`, whose id is a kind's name: the policy that applies to that kind
/// from the record's revision on, whatever its declaration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    /// How concurrent changes are settled; `None`: as its declaration says.
    pub policy: Option<Policy>,
}

/// A kind as its control record declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The kind's name.
    pub name: Kind,
    /// How concurrent changes are settled; a kind that declares nothing keeps both sides as branches.
    #[serde(default = "both_kept")]
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
    /// Top-level fields that a record's id is made of, see [`Declaration::check_id`]; none = an id says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_of: Vec<String>,
    /// Whether each mutation must carry a signature.
    #[serde(default)]
    pub signed: bool,
}

impl Declaration {
    /// Whether it may be applied: its schema compiles, everything is within its bound, and the name is not one
    /// of the hub's own kinds.
    ///
    /// # Errors
    /// `CONTROL_KIND` for a control kind or `conflict`, otherwise `MALFORMED`, `TOO_LARGE` or `UNSAFE_NUMBER`.
    pub fn check(&self) -> Result<(), Refusal> {
        if !is_pushable(&self.name) {
            return Err(Refusal::new(Reason::ControlKind, format!("{} is the hub's own kind", self.name)));
        }
        canonical::to_canonical(&self.schema)?;
        CompiledSchema::compile(&self.schema)?;
        if let Some(field) = &self.facet_field {
            check_field_name(field)?;
        }
        if self.id_of.len() > ID_FIELDS_MAX {
            let detail = format!("an id of {} fields, at most {ID_FIELDS_MAX} are allowed", self.id_of.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        self.id_of.iter().try_for_each(|name| check_field_name(name))?;
        if self.defaults.len() > FIELDS_MAX {
            let detail = format!("{} defaults, at most {FIELDS_MAX} are allowed", self.defaults.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        self.defaults.keys().try_for_each(|name| check_field_name(name))?;
        let defaults = self.defaults.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let bytes = canonical::object_to_canonical(&defaults)?.len();
        if bytes > DEFAULTS_BYTES_MAX {
            let detail = format!("defaults have {bytes} bytes, at most {DEFAULTS_BYTES_MAX} are allowed");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        Ok(())
    }

    /// It with the policy that an operator set instead of its own.
    #[must_use]
    pub fn with(self, set: Option<&PolicySet>) -> Self {
        Self { policy: set.and_then(|set| set.policy).unwrap_or(self.policy), ..self }
    }

    /// What `decide` needs of it, from the revision that declared it.
    #[must_use]
    pub fn rule(&self, version: Revision) -> Rule {
        Rule { policy: self.policy, facet_field: self.facet_field.clone(), version }
    }
}

fn check_field_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(Reason::Malformed, "a field name is empty"));
    }
    if name.len() > FIELD_NAME_BYTES_MAX {
        let detail =
            format!("a field name has {} bytes, at most {FIELD_NAME_BYTES_MAX} are allowed", name.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}

const fn both_kept() -> Policy {
    Policy::Branch
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
/// Name of the kind that says what nodes of a type can do; the id is the type's name.
pub const NODE_TYPE: &str = "node_type";
/// Name of the kind that policies are records of.
pub const POLICY: &str = "policy";
/// Name of the kind that precedents are records of; the id is that of the signature.
pub const PRECEDENT: &str = "precedent";
/// Name of the kind that a tenant's topology is the one record of.
pub const TOPOLOGY: &str = "topology";
/// Name of the kind that operators are records of, in the tenant `hub` alone; the id is `TENANT/NAME`.
pub const OPERATOR: &str = "operator";
/// Name of the kind that conflicts are records of.
pub const CONFLICT: &str = "conflict";

/// Whether records of this kind are written by the hub and its administrators only, by compare-and-set.
#[must_use]
pub fn is_control(kind: &Kind) -> bool {
    matches!(kind.as_str(), KIND | VIEW | NODE | NODE_TYPE | POLICY | PRECEDENT | TOPOLOGY | OPERATOR)
}
/// Whether it is the kind of kind declarations and policies, which travel with the kinds they speak about.
#[must_use]
pub fn is_declaration(kind: &Kind) -> bool {
    matches!(kind.as_str(), KIND | POLICY)
}
/// Whether records of this kind say what one node is or may see; their id is the node's.
#[must_use]
pub fn is_of_node(kind: &Kind) -> bool {
    matches!(kind.as_str(), NODE | VIEW)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(mut change: Value) -> Option<Reason> {
        let mut json = json!({"name": "recipe", "policy": "fields"});
        if let (Some(all), Some(more)) = (json.as_object_mut(), change.as_object_mut()) {
            all.append(more);
        }
        serde_json::from_value::<Declaration>(json).unwrap().check().err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_declaration_within_its_bounds_is_taken() {
        assert_eq!(refused(json!({})), None);
        assert_eq!(
            refused(
                json!({"schema": {"required": ["title"]}, "defaults": {"servings": 2}, "facet_field": "course"})
            ),
            None
        );
    }

    #[test]
    fn a_kind_that_declares_no_policy_keeps_both_sides() {
        let declared: Declaration = serde_json::from_value(json!({"name": "recipe"})).unwrap();
        assert_eq!((declared.policy, declared.schema), (Policy::Branch, json!(true)));
    }

    #[test]
    fn the_hubs_own_kinds_cannot_be_declared() {
        for name in
            ["kind", "view", "node", "node_type", "policy", "precedent", "topology", "operator", "conflict"]
        {
            assert_eq!(refused(json!({ "name": name })), Some(Reason::ControlKind), "{name}");
        }
    }

    #[test]
    fn bad_schemas_names_and_defaults_are_refused() {
        assert_eq!(refused(json!({"schema": {"type": "dish"}})), Some(Reason::Malformed));
        assert_eq!(refused(json!({"schema": {"const": "x".repeat(70_000)}})), Some(Reason::TooLarge));
        assert_eq!(refused(json!({"schema": {"maximum": u64::MAX}})), Some(Reason::UnsafeNumber));
        assert_eq!(refused(json!({"facet_field": ""})), Some(Reason::Malformed));
        assert_eq!(refused(json!({"facet_field": "x".repeat(257)})), Some(Reason::TooLarge));
        assert_eq!(refused(json!({"defaults": {"n": u64::MAX}})), Some(Reason::UnsafeNumber));
        assert_eq!(refused(json!({"defaults": {"n": "x".repeat(20_000)}})), Some(Reason::TooLarge));
    }

    #[test]
    fn a_rule_knows_where_it_comes_from() {
        let declaration: Declaration =
            serde_json::from_value(json!({"name": "recipe", "policy": "fields", "facet_field": "course"}))
                .unwrap();
        let rule = declaration.rule(Revision(7));
        assert_eq!((rule.policy, rule.version), (Policy::Fields, Revision(7)));
        let body = json!({"course": "dinner"}).as_object().cloned().unwrap();
        assert_eq!(rule.facet_of(&body).as_ref().map(Facet::as_str), Some("dinner"));
    }
}
