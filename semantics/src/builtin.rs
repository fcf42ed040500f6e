//! The kinds every tenant has: nine for content, the control kinds, and conflicts. Their schemas ask for little
//! and take additional properties, so that real data fits before anyone has declared anything.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::ids::Kind;
use crate::kind::{self, Declaration, Policy};

/// Longest name of a moment, characters.
pub const MOMENT_NAME_CHARS_MAX: u64 = 200;

static DECLARATIONS: LazyLock<Vec<Declaration>> = LazyLock::new(|| {
    let declared = [
        ("resource", Policy::LastWriter, resource()),
        ("entity", Policy::Fields, json!({"type": "object"})),
        ("edge", Policy::LastWriter, edge()),
        ("moment", Policy::AppendOnly, moment()),
        ("note", Policy::LastWriter, json!({"type": "object"})),
        ("identity", Policy::ByType, json!({"type": "object"})),
        ("knowledge", Policy::ThreeWay, knowledge()),
        ("experience", Policy::AppendOnly, experience()),
        ("fact", Policy::AppendOnly, fact()),
        // Hub and administrators write these; their shape is checked where they are parsed into a type.
        (kind::KIND, Policy::LastWriter, json!({"type": "object"})),
        (kind::VIEW, Policy::LastWriter, json!({"type": "object"})),
        (kind::NODE, Policy::LastWriter, json!({"type": "object"})),
        (kind::NODE_TYPE, Policy::LastWriter, json!({"type": "object"})),
        (kind::POLICY, Policy::LastWriter, json!({"type": "object"})),
        (kind::PRECEDENT, Policy::LastWriter, json!({"type": "object"})),
        (kind::TOPOLOGY, Policy::LastWriter, json!({"type": "object"})),
        (kind::OPERATOR, Policy::LastWriter, json!({"type": "object"})),
        (kind::CONFLICT, Policy::LastWriter, json!({"type": "object"})),
    ];
    declared.into_iter().filter_map(|(name, policy, schema)| declaration(name, policy, schema)).collect()
});

/// Every built-in declaration.
#[must_use]
pub fn all() -> &'static [Declaration] {
    &DECLARATIONS
}

/// The declaration of a built-in kind.
#[must_use]
pub fn builtin(kind: &Kind) -> Option<&'static Declaration> {
    DECLARATIONS.iter().find(|declaration| declaration.name == *kind)
}

fn declaration(name: &str, policy: Policy, schema: Value) -> Option<Declaration> {
    let name = Kind::new(name).ok()?;
    let (defaults, id_of) = (BTreeMap::new(), Vec::new());
    Some(Declaration { name, policy, schema, defaults, facet_field: None, id_of, signed: false })
}

fn resource() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "content": {"type": ["string", "object", "array"]},
            "uri": {"type": "string"},
            "media_type": {"type": "string"}
        }
    })
}

fn edge() -> Value {
    json!({
        "type": "object",
        "required": ["src", "dst", "rel_type"],
        "properties": {
            "src": {"type": "string", "minLength": 1},
            "dst": {"type": "string", "minLength": 1},
            "rel_type": {"type": "string", "minLength": 1},
            "weight": {"type": "number"}
        }
    })
}

fn moment() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": MOMENT_NAME_CHARS_MAX},
            "summary": {"type": "string"},
            "start_time": {"type": ["string", "integer"]},
            "end_time": {"type": ["string", "integer", "null"]},
            "moment_type": {"enum": [
                "work_session", "learning", "planning", "communication", "reflection", "creation", "other"
            ]}
        }
    })
}

fn knowledge() -> Value {
    json!({
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "summary": {"type": "string"},
            "references": {"type": "array"},
            "artifacts": {"type": ["array", "object"]}
        }
    })
}

fn experience() -> Value {
    json!({
        "type": "object",
        "properties": {
            "rollout_id": {"type": "string"},
            "attempt_id": {"type": "string"},
            "status": {"type": "string"},
            "reward": {"type": ["number", "null"]},
            "spans": {"type": "array"}
        }
    })
}

fn fact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "fact_type": {"enum": [
                "state_change", "operation", "transaction", "cross_domain", "validation", "custom"
            ]},
            "origin_domain": {"type": "string"},
            "observed_at": {"type": ["string", "integer"]},
            "valid_from": {"type": ["string", "integer", "null"]},
            "valid_to": {"type": ["string", "integer", "null"]},
            "dependencies": {"type": "array", "items": {"type": "string"}}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::CompiledSchema;

    fn check(kind: &str, body: &Value) -> bool {
        let declaration = builtin(&Kind::new(kind).unwrap()).unwrap();
        CompiledSchema::compile(&declaration.schema).unwrap().check(body).is_ok()
    }

    #[test]
    fn every_built_in_kind_is_there_and_its_schema_compiles() {
        let names: Vec<&str> = all().iter().map(|d| d.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "resource",
                "entity",
                "edge",
                "moment",
                "note",
                "identity",
                "knowledge",
                "experience",
                "fact",
                "kind",
                "view",
                "node",
                "node_type",
                "policy",
                "precedent",
                "topology",
                "operator",
                "conflict"
            ]
        );
        for declaration in all() {
            assert!(CompiledSchema::compile(&declaration.schema).is_ok(), "{}", declaration.name);
        }
        assert!(builtin(&Kind::new("recipe").unwrap()).is_none());
    }

    #[test]
    fn a_plain_text_fits_every_content_kind_but_an_edge() {
        for kind in ["resource", "entity", "moment", "note", "identity", "knowledge", "experience", "fact"] {
            assert!(check(kind, &json!({"text": "hi"})), "{kind}");
            assert!(!check(kind, &json!([])), "{kind}");
        }
        assert!(!check("edge", &json!({"text": "hi"})));
        assert!(check("edge", &json!({"src": "a", "dst": "b", "rel_type": "r", "since": 1})));
    }

    #[test]
    fn a_moment_keeps_its_name_short() {
        assert!(check("moment", &json!({"name": "ä".repeat(200)})));
        assert!(!check("moment", &json!({"name": "ä".repeat(201)})));
        assert!(check("moment", &json!({"moment_type": "planning", "end_time": null})));
        assert!(!check("moment", &json!({"moment_type": "napping"})));
    }
}
