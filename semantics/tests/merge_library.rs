//! Three-way merging beside a library that shares no code with it: `diffy` merges texts line by line, as diff3 does. Both
//! are given the same documents, for it laid out so that each member, and each element of an array, has lines of its own.

#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use semantics::merge::{Prefer, objects};
use serde_json::{Map, Value, json};

/// Documents tried.
const CASES: u32 = 4_000;

/// Ancestor, both sides, and what came of them.
type Four<T> = [T; 4];

/// Lays documents out line by line. Between two members stands a line that all have, so that changes of one do not touch
/// those of another.
fn lay_out(path: &str, values: Four<Option<&Value>>, texts: &mut Four<String>) {
    let line = |text: &mut String, line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let [base, first, second, _] = values;
    if [first, second].iter().all(|value| value.is_some_and(Value::is_object)) {
        let members = values.map(|value| value.and_then(Value::as_object));
        let names: BTreeSet<&String> = members.iter().flatten().flat_map(|members| members.keys()).collect();
        for name in names {
            let path = format!("{path}/{name}");
            texts.iter_mut().for_each(|text| line(text, &path));
            lay_out(&path, members.map(|members| members?.get(name)), texts);
            texts.iter_mut().for_each(|text| line(text, &format!("{path} ends")));
        }
        return;
    }
    let is_list = [base, first, second].iter().all(|value| value.is_some_and(Value::is_array));
    for (text, value) in texts.iter_mut().zip(values) {
        match value {
            Some(Value::Array(elements)) if is_list => {
                elements.iter().for_each(|element| line(text, &format!("[{element}]")));
            }
            Some(value) => line(text, &value.to_string()),
            None => {}
        }
    }
}

/// What a side made of a value; absent = it removed it.
fn edited(base: &Value, luck: &mut impl FnMut(u8) -> u8, own: u32) -> Option<Value> {
    match (base, luck(30)) {
        (_, 0) => None,
        (_, 1) => Some(json!("another type")),
        (Value::Object(members), _) => {
            let kept =
                members.iter().filter_map(|(name, value)| Some((name.clone(), edited(value, luck, own)?)));
            let mut kept: Map<String, Value> = kept.collect();
            match luck(6) {
                0 => drop(kept.insert(format!("new{own}"), json!(own))),
                1 => drop(kept.insert("new".to_owned(), json!(own))),
                2 => drop(kept.insert("alike".to_owned(), json!(true))),
                _ => {}
            }
            Some(Value::Object(kept))
        }
        (Value::Array(elements), _) => {
            let mut kept = Vec::new();
            for (at, element) in (0_u32..).zip(elements) {
                match luck(24) {
                    0 => {}
                    1 => kept.push(json!(1_000 * own + at)),
                    2 => kept.extend([json!(2_000 * own + at), element.clone()]),
                    3 => kept.push(json!(9_000 + at)),
                    _ => kept.push(element.clone()),
                }
            }
            Some(Value::Array(kept))
        }
        (_, 2 | 3) => Some(json!(own)),
        (_, 4) => Some(json!("what both say")),
        (value, _) => Some(value.clone()),
    }
}

fn document() -> Value {
    json!({
        "name": "base", "gone": 1, "list": [10, 11, 12, 13, 14, 15, 16, 17],
        "deep": {"a": 1, "b": {"c": 2, "list": [20, 21, 22, 23, 24]}, "d": null},
        "wide": {"e": 1, "f": 2, "g": 3},
    })
}

/// Asks both; whether neither found a clash.
fn compare(dice: Vec<u8>) -> Result<bool, TestCaseError> {
    let base = document();
    let mut dice = dice.into_iter();
    let mut luck = |of: u8| dice.next().unwrap_or(u8::MAX) % of;
    let mut side = |own| {
        let members = base.as_object().unwrap().iter();
        let kept = members.filter_map(|(name, value)| Some((name.clone(), edited(value, &mut luck, own)?)));
        Value::Object(kept.collect())
    };
    let (first, second) = (side(1), side(2));
    let members = |value: &Value| value.as_object().cloned().unwrap();
    let (merged, clashes) =
        objects(Some(&members(&base)), &members(&first), &members(&second), Prefer::First);
    let merged = Value::Object(merged);

    let mut texts: Four<String> = Default::default();
    lay_out("", [Some(&base), Some(&first), Some(&second), Some(&merged)], &mut texts);
    let [was, one, two, ours] = &texts;
    match diffy::merge(was, one, two) {
        Ok(theirs) if clashes.is_empty() => prop_assert_eq!(&theirs, ours),
        Ok(theirs) => {
            for path in &clashes {
                let is_list = |document: &Value| document.pointer(path).is_some_and(Value::is_array);
                let is_everywhere = [&base, &first, &second].into_iter().all(is_list);
                prop_assert!(is_everywhere, "{path} clashes, and came to\n{theirs}");
            }
        }
        Err(theirs) => prop_assert!(!clashes.is_empty(), "it cannot tell\n{theirs}"),
    }
    Ok(clashes.is_empty())
}

/// What is put together, the library puts together the same; what it cannot, clashes. Beyond that only arrays clash:
/// two runs that meet have an order for it, and none here.
#[test]
fn a_library_that_merges_lines_comes_to_the_same() {
    let (merged, clashing) = (Cell::new(0), Cell::new(0));
    let done =
        TestRunner::new(Config::with_cases(CASES)).run(&prop::collection::vec(any::<u8>(), 160), |dice| {
            let count = if compare(dice)? { &merged } else { &clashing };
            count.set(count.get() + 1);
            Ok(())
        });
    done.unwrap();
    let (merged, clashing) = (merged.get(), clashing.get());
    assert!(merged.min(clashing) > CASES / 10, "{merged} merged, {clashing} clashed");
}
