//! JSON as people and programs write it, in which no name stands twice: parsing would keep one of the two values and
//! drop the other without a word (RFC 8259, section 4, leaves open which).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::reason::{Reason, Refusal};

/// Parses JSON and refuses what names a member twice.
///
/// # Errors
/// `MALFORMED` with line and column of what is no JSON, or of the second of two members of one name.
pub fn from_json(bytes: &[u8]) -> Result<Value, Refusal> {
    let parsed: Result<Strict, _> = serde_json::from_slice(bytes);
    parsed.map(|strict| strict.0).map_err(|e| Refusal::new(Reason::Malformed, format!("not JSON: {e}")))
}

/// As [`from_json`], for an object.
///
/// # Errors
/// As [`from_json`], and for JSON that is no object.
pub fn object_from_json(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match from_json(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(Refusal::new(Reason::Malformed, "not a JSON object")),
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the name {name:?} stands twice in one object")));
            }
            let Strict(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_nothing_twice_is_read_as_by_any_parser() {
        let text = r#" {"a":[1,-2,2.5,1e3,18446744073709551615,null,true,"\u00e4"],"b":{"a":{}}} "#;
        assert_eq!(from_json(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_with_its_place() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"\u0061":3}]}"#] {
            let refusal = object_from_json(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(refusal.detail.contains("\"a\" stands twice"), "{refusal}");
            assert!(refusal.detail.contains("line 1 column"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "", "{", "{} {}"] {
            assert_eq!(object_from_json(text.as_bytes()).unwrap_err().reason, Reason::Malformed, "{text}");
        }
    }
}
