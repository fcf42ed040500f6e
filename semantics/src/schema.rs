//! JSON Schema (draft 2020-12) of bodies, compiled once per declaration. Nothing is fetched: a schema refers to
//! itself and the standard's own meta-schemas only.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::reason::{Reason, Refusal};

mod cost;
mod patterns;

pub use cost::{LOOKS_MAX, STEPS_MAX};
pub use patterns::{PATTERNS_BYTES_MAX, PATTERNS_MAX, patterns};

/// Longest schema, bytes of JSON.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Most violations that are counted.
pub const VIOLATIONS_COUNTED_MAX: usize = 100;

/// A schema ready to check bodies with.
#[derive(Debug)]
pub struct CompiledSchema {
    validator: Option<Validator>,
    looks: u64,
}

impl CompiledSchema {
    /// Compiles a schema. Patterns run on an engine of linear time, so look-around and back-references are
    /// refused, and references are followed before they are used: a schema must not be able to stop the hub.
    ///
    /// # Errors
    /// `TOO_LARGE` past [`SCHEMA_BYTES_MAX`], [`PATTERNS_MAX`], [`LOOKS_MAX`] or [`STEPS_MAX`], `MALFORMED` when it is no
    /// valid schema, refers to another document or otherwise than by a pointer, or has a pattern that is not supported
    /// or, compiled, larger than its share of [`PATTERNS_BYTES_MAX`].
    pub fn compile(schema: &Value) -> Result<Self, Refusal> {
        if *schema == Value::Bool(true) {
            return Ok(Self { validator: None, looks: 0 });
        }
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            let detail = format!("schema has {bytes} bytes, at most {SCHEMA_BYTES_MAX} are allowed");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let share = patterns::share(schema)?;
        let looks = cost::check(schema)?;
        // What a pattern keeps while it runs has the bound of what it is compiled to.
        let pattern_options = PatternOptions::regex().size_limit(share).dfa_size_limit(share);
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(pattern_options)
            .build(schema)
            .map(|validator| Self { validator: Some(validator), looks })
            .map_err(|e| {
                Refusal::new(Reason::Malformed, format!("schema at {:?}: {e}", e.schema_path().as_str()))
            })
    }

    /// A schema that nothing fits.
    #[must_use]
    pub fn nothing() -> Self {
        Self { validator: jsonschema::validator_for(&Value::Bool(false)).ok(), looks: 1 }
    }

    /// How much checking a body of so many bytes may cost, at most, in looks at one value: a byte is a value at worst.
    #[must_use]
    pub fn looks(&self, bytes: u64) -> u64 {
        self.looks.saturating_mul(bytes)
    }

    /// Every violation of a value, at most `max`: JSON pointer, and what is wrong there. The value itself is not
    /// repeated.
    #[must_use]
    pub fn violations(&self, value: &Value, max: usize) -> Vec<(String, String)> {
        let Some(validator) = &self.validator else { return Vec::new() };
        let errors = validator.iter_errors(value).take(max);
        errors.map(|e| (e.instance_path().as_str().to_owned(), e.masked().to_string())).collect()
    }

    /// Checks a body.
    ///
    /// # Errors
    /// `SCHEMA_VIOLATION` with the JSON pointer of the first violation, what is wrong there, and how many there
    /// are. The value itself is not repeated, because details end up in logs.
    pub fn check(&self, body: &Value) -> Result<(), Refusal> {
        let Some(validator) = &self.validator else {
            return Ok(());
        };
        if validator.is_valid(body) {
            return Ok(());
        }
        let mut errors = validator.iter_errors(body);
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let more = errors.take(VIOLATIONS_COUNTED_MAX).count();
        let mut detail = format!("at {:?}: {}", first.instance_path().as_str(), first.masked());
        if more > 0 {
            detail.push_str(&format!(" (and {more} more)"));
        }
        Err(Refusal::new(Reason::SchemaViolation, detail))
    }

    /// Checks a parsed body and gives it back, so that nothing is copied.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_object(&self, body: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
        if self.validator.is_none() {
            return Ok(body);
        }
        let body = Value::Object(body);
        self.check(&body)?;
        match body {
            Value::Object(body) => Ok(body),
            // Wrapped above.
            _ => Ok(Map::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal_of(schema: &Value) -> Refusal {
        CompiledSchema::compile(schema).unwrap_err()
    }

    #[test]
    fn a_violation_names_path_and_count_but_not_the_value() {
        let schema = json!({
            "type": "object",
            "required": ["size"],
            "properties": {"name": {"type": "string"}, "deep": {"items": {"type": "integer"}}}
        });
        let schema = CompiledSchema::compile(&schema).unwrap();
        assert_eq!(schema.check(&json!({"name": "x", "size": 1})), Ok(()));
        let refusal = schema.check(&json!({"deep": [1, "secret"], "size": 1})).unwrap_err();
        assert_eq!(refusal.reason, Reason::SchemaViolation);
        assert!(refusal.detail.contains("/deep/1"), "{refusal}");
        assert!(!refusal.detail.contains("secret"), "{refusal}");
        let refusal = schema.check(&json!({"name": 1, "deep": ["a", "b"]})).unwrap_err();
        assert!(refusal.detail.contains("and 3 more"), "{refusal}");
        let body = json!({"size": 2}).as_object().cloned().unwrap();
        assert_eq!(schema.check_object(body.clone()), Ok(body));
        assert!(schema.check_object(Map::new()).is_err());
    }

    #[test]
    fn true_takes_everything_and_false_nothing() {
        assert_eq!(CompiledSchema::compile(&json!(true)).unwrap().check(&json!({"a": 1})), Ok(()));
        assert!(CompiledSchema::compile(&json!(false)).unwrap().check(&json!({})).is_err());
    }

    #[test]
    fn what_is_no_schema_is_malformed() {
        for schema in [json!({"type": "objekt"}), json!(1), json!({"required": "a"})] {
            assert_eq!(refusal_of(&schema).reason, Reason::Malformed, "{schema}");
        }
    }

    #[test]
    fn a_schema_fetches_nothing() {
        for target in ["https://example.com/a.json", "file:///etc/passwd", "other.json"] {
            assert_eq!(refusal_of(&json!({"$ref": target})).reason, Reason::Malformed, "{target}");
        }
        let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}});
        assert!(CompiledSchema::compile(&own).unwrap().check(&json!([])).is_err());
    }

    #[test]
    fn patterns_run_in_linear_time() {
        assert!(CompiledSchema::compile(&json!({"pattern": "^(a+)+$"})).is_ok());
        for pattern in ["(?=a)b", r"(a)\1", "a{1000}{1000}{1000}"] {
            assert_eq!(refusal_of(&json!({ "pattern": pattern })).reason, Reason::Malformed, "{pattern}");
        }
    }

    #[test]
    fn a_schema_past_its_bound_is_too_large() {
        let schema = json!({"const": "x".repeat(SCHEMA_BYTES_MAX)});
        assert_eq!(refusal_of(&schema).reason, Reason::TooLarge);
    }
}
