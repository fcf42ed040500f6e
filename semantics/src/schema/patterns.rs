//! What the regular expressions of a schema may take once they are compiled. A short one may become large, and each
//! is kept for as long as the schema is, so all of one schema share one bound.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::reason::{Reason, Refusal};

/// Most differing regular expressions in a schema: each `pattern`, and each name in `patternProperties`.
pub const PATTERNS_MAX: usize = 32;
/// Largest compiled regular expressions of a schema together, bytes, roughly. They share it evenly.
pub const PATTERNS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest compiled regular expression of a schema, bytes, roughly.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// How many regular expressions a schema has: what makes compiling it dear. Equal ones are compiled once.
#[must_use]
pub fn patterns(schema: &Value) -> usize {
    let mut found = BTreeSet::new();
    collect(schema, &mut found);
    found.len()
}

fn collect<'a>(part: &'a Value, found: &mut BTreeSet<&'a str>) {
    match part {
        Value::Object(members) => {
            found.extend(members.get("pattern").and_then(Value::as_str));
            let names = members.get("patternProperties").and_then(Value::as_object);
            found.extend(names.into_iter().flat_map(|names| names.keys().map(String::as_str)));
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The bytes that each compiled regular expression of a schema may take.
///
/// # Errors
/// `TOO_LARGE` past [`PATTERNS_MAX`].
pub(super) fn share(schema: &Value) -> Result<usize, Refusal> {
    let patterns = patterns(schema);
    if patterns > PATTERNS_MAX {
        let detail = format!("schema has {patterns} patterns, at most {PATTERNS_MAX} are allowed");
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(PATTERN_BYTES_MAX.min(PATTERNS_BYTES_MAX / patterns.max(1)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::CompiledSchema;
    use super::*;

    /// So many members, each with a pattern of its own made of `of`.
    fn with_patterns(n: usize, of: impl Fn(usize) -> String) -> Value {
        let members = (0..n).map(|at| (format!("m{at}"), json!({"pattern": of(at)})));
        json!({"properties": members.collect::<Map<String, Value>>()})
    }

    fn reason_of(schema: &Value) -> Option<Reason> {
        CompiledSchema::compile(schema).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_schema_of_more_patterns_than_allowed_is_too_large() {
        // As names and texts are commonly held to, with classes of all of Unicode.
        let common = |at| format!(r"^\w+-{at}@\w+\.[a-z0-9-]{{1,64}}$");
        assert_eq!(reason_of(&with_patterns(PATTERNS_MAX, common)), None);
        assert_eq!(reason_of(&with_patterns(PATTERNS_MAX + 1, common)), Some(Reason::TooLarge));
        let names = (0..=PATTERNS_MAX).map(|at| (format!("^x{at}.*$"), json!(true)));
        let names = json!({"patternProperties": names.collect::<Map<String, Value>>()});
        assert_eq!(reason_of(&names), Some(Reason::TooLarge));
        let nested =
            json!({"$defs": {"a": {"anyOf": [with_patterns(PATTERNS_MAX, common), {"pattern": "^z.*$"}]}}});
        assert_eq!(reason_of(&nested), Some(Reason::TooLarge), "wherever they stand");
        assert_eq!(reason_of(&with_patterns(500, |_| common(0))), None, "equal ones are compiled once");
    }

    #[test]
    fn the_patterns_of_a_schema_share_one_bound() {
        let large = |at| format!(r"^{at}\p{{L}}{{10}}$");
        assert_eq!(reason_of(&with_patterns(1, large)), None, "alone it has room");
        assert_eq!(reason_of(&with_patterns(PATTERNS_MAX, large)), Some(Reason::Malformed));
    }

    #[test]
    fn members_that_are_called_pattern_are_none() {
        assert_eq!(patterns(&json!({"properties": {"pattern": {"type": "string"}}})), 0);
        assert_eq!(patterns(&json!({"pattern": "a", "patternProperties": {"b": {"pattern": "c"}}})), 3);
    }
}
