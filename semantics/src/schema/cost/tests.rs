use serde_json::json;

use super::super::CompiledSchema;
use super::*;

fn reason_of(schema: &Value) -> Reason {
    CompiledSchema::compile(schema).unwrap_err().reason
}

/// Definitions d0 to d(n): each what `of` makes of a reference to the next, the last one `end`.
fn chain(n: usize, end: Value, of: impl Fn(Value) -> Value) -> Value {
    let mut definitions: Map<String, Value> =
        (0..n).map(|at| (format!("d{at}"), of(json!({"$ref": format!("#/$defs/d{}", at + 1)})))).collect();
    definitions.insert(format!("d{n}"), end);
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inside, _| json!({ "a": inside }))
}

#[test]
fn a_short_schema_of_countless_looks_is_too_large() {
    let twice = |next: Value| json!({"allOf": [next, next]});
    assert_eq!(reason_of(&chain(40, json!(true), twice)), Reason::TooLarge);
    assert!(CompiledSchema::compile(&chain(7, json!(true), twice)).is_ok());
    let names = |next: Value| json!({"propertyNames": {"anyOf": [next, next]}});
    assert!(CompiledSchema::compile(&chain(7, json!(true), names)).is_ok(), "a name has no names");
    // Each level of the body is looked at twice as often as the one above.
    let own = json!({"$ref": "#"});
    assert_eq!(
        reason_of(&json!({"additionalProperties": own, "patternProperties": {"a": own}})),
        Reason::TooLarge
    );
    let once_more = |next: Value| json!({"allOf": [next], "unevaluatedProperties": true});
    assert_eq!(reason_of(&chain(40, json!(true), once_more)), Reason::TooLarge);
}

#[test]
fn what_a_check_may_cost_grows_with_the_body_the_looks_and_the_patterns() {
    let looks = |schema: &Value| CompiledSchema::compile(schema).unwrap().looks(1_000);
    assert_eq!(looks(&json!(true)), 0, "nothing is checked");
    assert_eq!(looks(&json!({"type": "object"})), 1_000);
    let twice = |next: Value| json!({"allOf": [next, next]});
    assert!(looks(&chain(7, json!(true), twice)) >= 128_000);
    assert_eq!(looks(&json!({"properties": {"a": {"pattern": "^x*$"}}})), 64_000);
}

#[test]
fn a_chain_of_references_longer_than_a_stack_is_too_large() {
    assert_eq!(reason_of(&chain(1_500, json!(true), |next| next)), Reason::TooLarge);
    let again = json!({"additionalProperties": {"$ref": "#/$defs/d0"}});
    assert_eq!(reason_of(&chain(20, again, |next| next)), Reason::TooLarge);
}

#[test]
fn what_is_within_the_bounds_is_checked_on_a_small_stack() {
    let longest = chain(STEPS_MAX - 3, json!({"required": ["z"]}), |next| next);
    let again = json!({"additionalProperties": {"$ref": "#/$defs/d0"}});
    let deepest = chain(2, again, |next| next);
    let check = move || {
        let schema = CompiledSchema::compile(&longest).unwrap();
        assert!(schema.check(&json!({"a": 1})).is_err());
        assert_eq!(CompiledSchema::compile(&deepest).unwrap().check(&deep(DEPTH_MAX - 1)), Ok(()));
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_tree_and_a_union_of_fifty_are_within_the_bounds() {
    let node = json!({"type": "object", "properties": {
        "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "all": {"type": "array", "items": {"$ref": "#/$defs/node"}}
    }});
    let tree = CompiledSchema::compile(&json!({"$ref": "#/$defs/node", "$defs": {"node": node}})).unwrap();
    assert_eq!(tree.check(&json!({"left": {"right": null, "all": [{}]}})), Ok(()));
    assert!(tree.check(&json!({"left": {"all": [1]}})).is_err());
    let sorts: Vec<Value> = (0..50).map(|n| json!({"properties": {"sort": {"const": n}}})).collect();
    assert!(CompiledSchema::compile(&json!({"properties": {"list": {"items": {"oneOf": sorts}}}})).is_ok());
}

#[test]
fn references_are_pointers_that_go_somewhere() {
    let schemas = [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "#/%24defs/a", "$defs": {"a": true}}),
        json!({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}),
        json!({"$defs": {"a": {"$id": "b", "$ref": "#"}}}),
    ];
    for schema in schemas {
        assert_eq!(reason_of(&schema), Reason::Malformed, "{schema}");
    }
    let own =
        json!({"$id": "https://example.com/a", "$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"});
    assert!(CompiledSchema::compile(&own).unwrap().check(&json!([])).is_err());
}
