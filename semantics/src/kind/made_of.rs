//! Ids that are made of fields: whoever says the same of these fields writes the same record, so that two who say
//! different things of it are found out as a conflict. Two changes that follow the same state are such a case.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Declaration;
use crate::ids::{RECORD_ID_BYTES_MAX, RecordId};
use crate::reason::{Reason, Refusal};

/// Most fields that an id is made of.
pub const ID_FIELDS_MAX: usize = 8;

/// The id that is made of values: their canonical JSON array, or where that is longer than an id may be, `sha256:` and
/// its SHA-256 in hexadecimal.
#[must_use]
pub fn id_of(values: Vec<Value>) -> String {
    let id = Value::Array(values).to_string();
    if id.len() <= RECORD_ID_BYTES_MAX { id } else { format!("sha256:{}", hex::encode(Sha256::digest(id))) }
}

impl Declaration {
    /// Whether a record's id is the one that its body says, of a kind whose ids are made of fields. A number stands for its
    /// decimal text; null and no such field for nothing: a first state follows none.
    ///
    /// # Errors
    /// `SCHEMA_VIOLATION` with the id that would be right, or the field of which no id is made.
    pub fn check_id(&self, id: &RecordId, body: &Map<String, Value>) -> Result<(), Refusal> {
        if self.id_of.is_empty() {
            return Ok(());
        }
        let violated = |detail: String| Refusal::new(Reason::SchemaViolation, detail);
        let mut values = Vec::with_capacity(self.id_of.len());
        for field in &self.id_of {
            values.push(match body.get(field) {
                None | Some(Value::Null) => Value::Null,
                Some(Value::String(text)) => Value::String(text.clone()),
                Some(Value::Number(number)) => Value::String(number.to_string()),
                Some(_) => return Err(violated(format!("/{field}: an id is made of texts and numbers"))),
            });
        }
        let right = id_of(values);
        if right == id.as_str() {
            return Ok(());
        }
        let fields = self.id_of.join(", ");
        Err(violated(format!("the id of {} is made of {fields}: it is {right}, not {id}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(id: &str, body: Value) -> Result<(), Reason> {
        let declared = json!({"name": "change", "policy": "append_only", "id_of": ["resource", "parent"]});
        let declared: Declaration = serde_json::from_value(declared).unwrap();
        declared.check().unwrap();
        let Value::Object(body) = body else { panic!("an object") };
        declared.check_id(&RecordId::new(id).unwrap(), &body).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn an_id_is_the_one_that_its_fields_make() {
        assert_eq!(checked(r#"["lamp","7"]"#, json!({"resource": "lamp", "parent": 7, "to": "on"})), Ok(()));
        assert_eq!(
            checked(r#"["lamp","7"]"#, json!({"resource": "lamp", "parent": "7", "to": "off"})),
            Ok(())
        );
        assert_eq!(checked(r#"["lamp",null]"#, json!({"resource": "lamp"})), Ok(()));
        for (id, body) in [
            ("lamp", json!({"resource": "lamp", "parent": "7"})),
            (r#"["lamp","8"]"#, json!({"resource": "lamp", "parent": "7"})),
            (r#"["lamp","7"]"#, json!({"resource": "lamp", "parent": ["7"]})),
        ] {
            assert_eq!(checked(id, body), Err(Reason::SchemaViolation), "{id}");
        }
    }

    #[test]
    fn a_long_id_is_told_by_its_hash() {
        let long = "x".repeat(RECORD_ID_BYTES_MAX);
        let id = id_of(vec![json!(long)]);
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(id_of(vec![json!("a"), Value::Null]), r#"["a",null]"#);
    }
}
