use serde_json::{Value, json};

use super::*;

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

/// The merged value and the clashing paths; the first side is preferred.
fn merged(base: &Value, first: &Value, second: &Value) -> (Value, Vec<String>) {
    let (value, clashes) = objects(Some(object(base)), object(first), object(second), Prefer::First);
    (Value::Object(value), clashes)
}

/// Written by hand: ancestor, both sides, what stands, where they clash.
#[allow(clippy::too_many_lines, reason = "one table")]
fn cases() -> Vec<[Value; 5]> {
    vec![
        // Objects.
        [
            json!({"a": 1, "b": 1}),
            json!({"a": 2, "b": 1}),
            json!({"a": 1, "b": 2}),
            json!({"a": 2, "b": 2}),
            json!([]),
        ],
        [json!({"a": 1}), json!({"a": 2}), json!({"a": 3}), json!({"a": 2}), json!(["/a"])],
        [json!({"a": 1}), json!({"a": 2}), json!({"a": 2}), json!({"a": 2}), json!([])],
        [
            json!({"a": {"b": {"c": 1, "d": 1}}}),
            json!({"a": {"b": {"c": 2, "d": 1}}}),
            json!({"a": {"b": {"c": 1, "d": 2}}, "e": 1}),
            json!({"a": {"b": {"c": 2, "d": 2}}, "e": 1}),
            json!([]),
        ],
        [
            json!({"a": {"b/c": 1, "d": 1}}),
            json!({"a": {"b/c": 2, "d": 2}}),
            json!({"a": {"b/c": 3, "d": 1}}),
            json!({"a": {"b/c": 2, "d": 2}}),
            json!(["/a/b~1c"]),
        ],
        // New members.
        [json!({}), json!({"a": 1}), json!({"b": 1}), json!({"a": 1, "b": 1}), json!([])],
        [json!({}), json!({"a": 1}), json!({"a": 2}), json!({"a": 1}), json!(["/a"])],
        [
            json!({}),
            json!({"a": {"x": 1}}),
            json!({"a": {"y": 2}}),
            json!({"a": {"x": 1, "y": 2}}),
            json!([]),
        ],
        // Removed against edited, both ways round; removed twice.
        [json!({"a": 1}), json!({}), json!({"a": 2}), json!({}), json!(["/a"])],
        [json!({"a": 1}), json!({"a": 2}), json!({}), json!({"a": 2}), json!(["/a"])],
        [json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"b": 1}), json!({"b": 1}), json!([])],
        [json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"a": 1, "b": 2}), json!({"b": 2}), json!([])],
        [json!({"a": {"x": 1}}), json!({}), json!({"a": {"x": 1, "y": 2}}), json!({}), json!(["/a"])],
        // Changes of type.
        [json!({"a": 1}), json!({"a": "1"}), json!({"a": [1]}), json!({"a": "1"}), json!(["/a"])],
        [json!({"a": 1}), json!({"a": {"x": 1}}), json!({"a": 1}), json!({"a": {"x": 1}}), json!([])],
        [json!({"a": {"x": 1}}), json!({"a": [1]}), json!({"a": {"x": 2}}), json!({"a": [1]}), json!(["/a"])],
        [json!({"a": null}), json!({"a": 0}), json!({"a": false}), json!({"a": 0}), json!(["/a"])],
        // Arrays.
        [
            json!({"a": [1, 2, 3]}),
            json!({"a": [0, 1, 2, 3]}),
            json!({"a": [1, 2, 3, 4]}),
            json!({"a": [0, 1, 2, 3, 4]}),
            json!([]),
        ],
        [
            json!({"a": [1, 2, 3]}),
            json!({"a": [2, 3]}),
            json!({"a": [1, 2, 9]}),
            json!({"a": [2, 9]}),
            json!([]),
        ],
        [
            json!({"a": [1, 2, 3]}),
            json!({"a": [1, 2, 4]}),
            json!({"a": [1, 2, 5]}),
            json!({"a": [1, 2, 4]}),
            json!(["/a"]),
        ],
        [json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 3]}), json!({"a": [1, 2]}), json!(["/a"])],
        [json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 2]}), json!({"a": [1, 2]}), json!([])],
        [json!({"a": [1, 2]}), json!({"a": [2]}), json!({"a": [1]}), json!({"a": [2]}), json!(["/a"])],
        [json!({"a": [1, 2, 3]}), json!({"a": []}), json!({"a": [1, 2, 3]}), json!({"a": []}), json!([])],
        [
            json!({"a": [1, 2, 3, 4, 5]}),
            json!({"a": [1, 9, 3, 4, 5]}),
            json!({"a": [1, 2, 3, 8, 5]}),
            json!({"a": [1, 9, 3, 8, 5]}),
            json!([]),
        ],
        [
            json!({"a": [{"id": 1}, {"id": 2}, {"id": 3}]}),
            json!({"a": [{"id": 1, "x": 1}, {"id": 2}, {"id": 3}]}),
            json!({"a": [{"id": 1}, {"id": 2}, {"id": 3, "y": 1}]}),
            json!({"a": [{"id": 1, "x": 1}, {"id": 2}, {"id": 3, "y": 1}]}),
            json!([]),
        ],
    ]
}

#[test]
fn objects_merge_by_name_arrays_merge_by_runs_everything_else_is_atomic() {
    for [base, first, second, stands, clashes] in cases() {
        let (value, paths) = merged(&base, &first, &second);
        assert_eq!((value, json!(paths)), (stands, clashes), "{base} {first} {second}");
    }
}

#[test]
fn sides_may_be_swapped() {
    for [base, first, second, ..] in cases() {
        let (base, first, second) = (object(&base), object(&first), object(&second));
        for (prefer, swapped) in [(Prefer::First, Prefer::Second), (Prefer::Second, Prefer::First)] {
            let there = objects(Some(base), first, second, prefer);
            assert_eq!(there, objects(Some(base), second, first, swapped), "{base:?} {first:?} {second:?}");
        }
    }
}

#[test]
fn without_an_ancestor_what_differs_clashes() {
    let (first, second) = (json!({"a": 1, "b": 1}), json!({"a": 1, "b": 2, "c": 3}));
    let (value, clashes) = objects(None, object(&first), object(&second), Prefer::Second);
    assert_eq!((Value::Object(value), clashes), (json!({"a": 1, "b": 2, "c": 3}), vec!["/b".to_owned()]));
}

#[test]
fn past_its_bounds_an_array_is_atomic() {
    let long = |from: u32| (from..from + 1_100).map(|n| json!(n)).collect::<Vec<_>>();
    let (base, first) = (json!({"a": long(0)}), json!({"a": long(10_000)}));
    let mut second = long(0);
    second.push(json!("end"));
    let (value, clashes) = merged(&base, &first, &json!({ "a": second }));
    assert_eq!((&value, clashes), (&first, vec!["/a".to_owned()]));
}

#[test]
fn past_the_paths_that_are_named_the_document_clashes() {
    let of = |n: u32| Value::Object((0..=PATHS_MAX).map(|at| (format!("k{at}"), json!(n))).collect());
    let (value, clashes) = merged(&of(0), &of(1), &of(2));
    assert_eq!((value, clashes), (of(1), vec![String::new()]));
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(json!(null)), (0..3).prop_map(|n| json!(n)), "[ab]".prop_map(|s| json!(s))];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn documents() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[a-d]", values(), 0..4).prop_map(|m| m.into_iter().collect())
    }

    proptest! {
        #[test]
        fn equal_sides_are_taken(base in documents(), x in documents()) {
            prop_assert_eq!(objects(Some(&base), &x, &x, Prefer::First), (x, vec![]));
        }
        #[test]
        fn an_unchanged_side_gives_way(base in documents(), x in documents()) {
            prop_assert_eq!(objects(Some(&base), &base, &x, Prefer::First), (x.clone(), vec![]));
            prop_assert_eq!(objects(Some(&base), &x, &base, Prefer::Second), (x, vec![]));
        }
        #[test]
        fn sides_of_any_shape_may_be_swapped(base in documents(), a in documents(), b in documents()) {
            let there = objects(Some(&base), &a, &b, Prefer::First);
            prop_assert_eq!(there, objects(Some(&base), &b, &a, Prefer::Second));
        }
        #[test]
        fn what_both_agree_on_stands(base in documents(), a in documents(), b in documents()) {
            let (merged, _) = objects(Some(&base), &a, &b, Prefer::First);
            for (name, value) in a.iter().filter(|(name, value)| b.get(*name) == Some(value)) {
                prop_assert_eq!(merged.get(name), Some(value));
            }
        }
    }
}
