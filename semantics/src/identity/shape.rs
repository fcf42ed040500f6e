//! The shapes of identity documents as JSON Schema (draft 2020-12). They ask for what Hubward reads; whatever else
//! a document holds is taken as it is.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::schema::CompiledSchema;

/// Semantic version without build data.
const VERSION: &str = r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$";
/// RFC 3339 with a zone: a local time orders nothing.
const TIME: &str = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$";
const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
const HASH: &str = "^(sha256:)?[0-9a-fA-F]{64}$";

/// A snapshot, its profile aside.
pub static SNAPSHOT: LazyLock<CompiledSchema> = LazyLock::new(|| compiled(&snapshot()));
/// A profile with sections.
pub static NESTED: LazyLock<CompiledSchema> = LazyLock::new(|| compiled(&nested()));
/// A profile without.
pub static FLAT: LazyLock<CompiledSchema> = LazyLock::new(|| compiled(&flat()));
/// One reading of the score.
pub static MEASUREMENT: LazyLock<CompiledSchema> = LazyLock::new(|| compiled(&measurement()));

fn compiled(schema: &Value) -> CompiledSchema {
    // The schemas stand below and a test compiles each; one that did not would take nothing.
    CompiledSchema::compile(schema).unwrap_or_else(|_| CompiledSchema::nothing())
}

fn fraction() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 1})
}

fn trend() -> Value {
    json!({"enum": ["improving", "stable", "declining", "volatile"]})
}

fn thresholds() -> Value {
    let score = json!({"type": "number", "minimum": 0, "maximum": 7});
    json!({
        "type": "object",
        "properties": {"warning": score, "critical": score, "alert": score, "collapse": score},
    })
}

/// The schema of a snapshot.
#[must_use]
pub fn snapshot() -> Value {
    json!({
        "type": "object",
        "required": ["sync_metadata", "identity_snapshot"],
        "properties": {
            "sync_metadata": {
                "type": "object",
                "required": ["system_id", "sync_version", "timestamp", "state_hash", "precedence_priority"],
                "properties": {
                    "system_id": {"type": "string", "pattern": UUID},
                    "sync_version": {"type": "string", "pattern": VERSION},
                    "timestamp": {"type": "string", "pattern": TIME},
                    "state_hash": {"type": "string", "pattern": HASH},
                    "precedence_priority": fraction(),
                },
            },
            "identity_snapshot": {
                "type": "object",
                "required": ["core_identity", "stability_metrics", "context_state", "behavioral_state"],
                "properties": {
                    "core_identity": {"type": "object"},
                    "stability_metrics": {
                        "type": "object",
                        "required": ["current_is_score", "parameter_values"],
                        "properties": {
                            "current_is_score": {"type": "number", "minimum": 0},
                            "parameter_values": {
                                "type": "object",
                                "required": ["D", "C", "R"],
                                "properties": {
                                    "D": {"type": "integer", "minimum": 1, "maximum": 7},
                                    "C": fraction(),
                                    "R": fraction(),
                                },
                            },
                            "degradation_trend": trend(),
                        },
                    },
                    "context_state": {
                        "type": "object",
                        "properties": {
                            "conversation_summary": {"type": "string"},
                            "key_relationships": {"type": ["array", "object"]},
                            "temporal_anchors": {"type": ["array", "object"]},
                        },
                    },
                    "behavioral_state": {
                        "type": "object",
                        "properties": {
                            "active_patterns": {"type": ["array", "object"]},
                            "adaptation_history": {"type": "array"},
                            "consistency_markers": {"type": ["array", "object"]},
                        },
                    },
                },
            },
        },
    })
}

fn nested() -> Value {
    json!({
        "type": "object",
        "required": ["metadata", "archetype", "core_values"],
        "properties": {
            "metadata": {
                "type": "object",
                "required": ["name", "version"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "version": {"type": "string", "pattern": VERSION},
                    "created": {"type": "string", "pattern": TIME},
                    "modified": {"type": "string", "pattern": TIME},
                },
            },
            "archetype": {"type": "string"},
            "core_values": {"type": "array", "items": {"type": "string"}},
            "communication_style": {
                "type": "object",
                "required": ["tone", "formality"],
                "properties": {"formality": {"enum": ["high", "medium", "low"]}},
            },
            "domain_expertise": {
                "type": "array",
                "items": {"type": "object", "required": ["domain", "proficiency"]},
            },
            "recursive_parameters": {
                "type": "object",
                "required": ["target_depth"],
                "properties": {"target_depth": {"type": "integer", "minimum": 1, "maximum": 7}},
            },
            "stability_configuration": {
                "type": "object",
                "required": ["stability_thresholds"],
                "properties": {"stability_thresholds": thresholds()},
            },
        },
    })
}

fn flat() -> Value {
    json!({
        "type": "object",
        "required": ["name", "version"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "version": {"type": "string", "pattern": VERSION},
            "archetype": {"type": "string"},
            "core_values": {"type": "array", "items": {"type": "string"}},
            "recursive_depth_target": {"type": "integer", "minimum": 1, "maximum": 7},
            "stability_thresholds": thresholds(),
        },
    })
}

fn measurement() -> Value {
    let component =
        |value: Value| json!({"type": "object", "required": ["value"], "properties": {"value": value}});
    json!({
        "type": "object",
        "required": ["stability_measurement"],
        "properties": {
            "stability_measurement": {
                "type": "object",
                "required": ["timestamp", "session_id", "turn_number", "components", "stability_score"],
                "properties": {
                    "timestamp": {"type": "string", "pattern": TIME},
                    "session_id": {"type": "string"},
                    "turn_number": {"type": "integer", "minimum": 1},
                    "components": {
                        "type": "object",
                        "required": ["recursive_depth", "contextual_retention", "relational_coherence"],
                        "properties": {
                            "recursive_depth": component(json!({"type": "integer", "minimum": 1, "maximum": 7})),
                            "contextual_retention": component(fraction()),
                            "relational_coherence": component(fraction()),
                        },
                    },
                    "stability_score": {
                        "type": "object",
                        "required": ["is_value", "status"],
                        "properties": {
                            "is_value": {"type": "number", "minimum": 0},
                            "status": {"enum": ["stable", "warning", "critical", "collapsed"]},
                            "trend": trend(),
                        },
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_compiles() {
        for schema in [snapshot(), nested(), flat(), measurement()] {
            CompiledSchema::compile(&schema).unwrap();
        }
    }
}
