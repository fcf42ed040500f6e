use proptest::prelude::*;
use serde_json::json;

use super::*;

fn reason_of(text: &str) -> Reason {
    parse_object(text.as_bytes()).unwrap_err().reason
}

#[test]
fn canonical_objects_are_taken() {
    for text in [
        "{}",
        r#"{"a":1,"b":[true,null,"x"],"c":{"d":-1.5}}"#,
        r#"{"n":9007199254740991,"o":-9007199254740991}"#,
        r#"{"n":1e-7,"o":0.000001,"p":123456.789,"q":4.35}"#,
        // Names sort by UTF-16 unit: U+1F600 (D83D DE00) comes before U+FB33.
        "{\"\\r\":1,\"1\":1,\"\u{20ac}\":1,\"\u{1f600}\":1,\"\u{fb33}\":1}",
        r#"{"text":"\u0000\b\t\n\f\r\"\\/"}"#,
    ] {
        assert_eq!(parse_object(text.as_bytes()).map(|o| o.is_empty()), Ok(text == "{}"), "{text}");
    }
}

#[test]
fn what_is_not_an_object_is_malformed() {
    for text in ["", "[]", "1", "{", "{}x", "\u{feff}{}", r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#] {
        assert_eq!(reason_of(text), Reason::Malformed, "{text}");
    }
    assert_eq!(parse_object(b"{\"a\":\"\xff\"}").unwrap_err().reason, Reason::Malformed);
}

#[test]
fn other_spellings_of_the_same_object_are_not_canonical() {
    for text in [
        "{ }",
        "{}\n",
        r#"{"b":1,"a":1}"#,
        r#"{"a":1.0}"#,
        r#"{"a":-0}"#,
        r#"{"a":1e3}"#,
        r#"{"a":"\u0041"}"#,
        r#"{"a":"\/"}"#,
        "{\"\u{fb33}\":1,\"\u{1f600}\":1}",
    ] {
        assert_eq!(reason_of(text), Reason::NotCanonical, "{text}");
    }
}

#[test]
fn a_repeated_name_is_not_canonical() {
    assert_eq!(reason_of(r#"{"a":1,"a":1}"#), Reason::NotCanonical);
    assert_eq!(reason_of(r#"{"a":1,"a":2}"#), Reason::NotCanonical);
}

#[test]
fn integers_beyond_2_to_the_53_are_refused_with_their_path() {
    for number in [
        "9007199254740992",
        "9007199254740993",
        "-9007199254740992",
        "18446744073709551615",
        "1e+21",
        "1e300",
    ] {
        let text = format!(r#"{{"a":[0,{{"b/c~d":{number}}}]}}"#);
        let refusal = parse_object(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.reason, Reason::UnsafeNumber, "{number}");
        assert!(refusal.detail.contains("\"/a/1/b~1c~0d\""), "{}", refusal.detail);
    }
    assert_eq!(to_canonical(&json!({"a": u64::MAX})).unwrap_err().reason, Reason::UnsafeNumber);
    assert_eq!(to_canonical(&json!(i64::MIN)).unwrap_err().reason, Reason::UnsafeNumber);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(parse_object(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(reason_of(&nested(DEPTH_MAX + 1)), Reason::TooLarge);
    assert_eq!(reason_of(&nested(100_000)), Reason::Malformed);
}

#[test]
fn a_body_past_its_bound_is_too_large() {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_eq!(reason_of(&text), Reason::TooLarge);
}

#[test]
fn the_refusal_does_not_repeat_the_value() {
    let refusal = parse_object(br#"{"pin":9007199254740999}"#).unwrap_err();
    assert!(!refusal.detail.contains("9007199254740999"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(|n| json!(n)),
        (-1e15..1e15_f64).prop_map(|n| json!(n)),
        any::<f64>().prop_filter("safe", |n| n.abs() < 1.0).prop_map(|n| json!(n)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_made_canonical_is_taken_and_stays_the_same(value in any_json()) {
        let bytes = to_canonical(&json!({ "v": value })).unwrap();
        let parsed = parse_object(&bytes).unwrap();
        prop_assert_eq!(object_to_canonical(&parsed).unwrap(), bytes);
    }
}
