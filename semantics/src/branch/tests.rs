use serde_json::json;

use super::*;
use crate::clock::{HybridTime, Stamp};
use crate::conflict::ConflictType;
use crate::ids::{Key, Kind, NodeId, RecordId, Revision, Writer};

fn a_side(node: u8, epoch: u32, n: u64) -> Side {
    let dot = Dot { writer: Writer { node: NodeId([node; 16]), epoch }, n };
    Side { stamp: Stamp { time: HybridTime { ms: n, counter: 0 }, dot }, revision: Revision(n) }
}

fn conflict(losers: Vec<Side>) -> Conflict {
    Conflict {
        subject: Key { kind: Kind::new("note").unwrap(), id: RecordId::new("plan").unwrap() },
        path: String::new(),
        conflict_type: ConflictType::Version,
        cause: None,
        collapsed: None,
        primary: a_side(0xab, 1, 12),
        losers,
        dropped: 0,
        ancestor: Revision::ZERO,
        open: true,
        resolution: None,
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

#[test]
fn a_branch_is_named_by_its_writer_and_number() {
    assert_eq!(name(a_side(0xab, 1, 12).stamp.dot), "abababab-12");
}

#[test]
fn a_branch_is_found_by_the_beginning_of_its_name() {
    let conflict = conflict(vec![a_side(0xab, 1, 1), a_side(0xcd, 1, 7), a_side(0xcd, 2, 7)]);
    let found = |asked: &str| side(&conflict, asked).map(|side| side.stamp.dot.n).map_err(|e| e.reason);
    assert_eq!(found("abababab-1"), Ok(1), "the whole name of one that begins another");
    assert_eq!(found("abababab-12"), Ok(12));
    assert_eq!(found(&a_side(0xcd, 2, 7).stamp.dot.to_string()), Ok(7));
    for several in ["abab", "cd", "cdcdcdcd-7"] {
        assert_eq!(found(several), Err(Reason::Malformed), "{several}");
    }
    for none in ["", "12", "ef", "main"] {
        assert_eq!(found(none), Err(Reason::NotFound), "{none}");
    }
}

#[test]
fn what_differs_is_named_by_path() {
    let (from, to) = (
        json!({"a": 1, "b": {"c": [1], "d/e": true, "same": 0}, "gone": null}),
        json!({"a": 2, "b": {"c": [1, 2], "d/e": false, "same": 0}, "new": "x"}),
    );
    let found = differences(Some(&from), Some(&to));
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b/c", "/b/d~1e", "/gone", "/new"]);
    assert_eq!(found[1].to, Some(json!([1, 2])), "an array is compared whole");
    assert_eq!((&found[3].from, &found[3].to), (&Some(Value::Null), &None));
    assert_eq!((&found[4].from, &found[4].to), (&None, &Some(json!("x"))));
    assert!(differences(Some(&from), Some(&from)).is_empty());
    assert_eq!(differences(Some(&from), None)[0].path, "", "a body beside nothing");
    let many: Map<String, Value> = (0..=DIFFERENCES_MAX).map(|n| (n.to_string(), json!(n))).collect();
    assert_eq!(differences(Some(&json!({})), Some(&Value::Object(many))).len(), 1);
}

#[test]
fn branches_merge_back_one_after_the_other() {
    let ancestor = object(json!({"a": 0, "b": 0, "c": 0}));
    let main = object(json!({"a": 1, "b": 0, "c": 0}));
    let branches = [object(json!({"a": 0, "b": 1, "c": 0})), object(json!({"a": 0, "b": 0}))];
    assert_eq!(merged(Some(&ancestor), &main, &branches, None), Ok(object(json!({"a": 1, "b": 1}))));
    assert_eq!(merged(Some(&ancestor), &main, &[], None), Ok(main));
}

#[test]
fn a_clash_is_refused_unless_it_is_said_who_wins() {
    let ancestor = object(json!({"a": 0, "b": {"c": 0}}));
    let main = object(json!({"a": 1, "b": {"c": 1}}));
    let branch = [object(json!({"a": 2, "b": {"c": 2}, "d": 3}))];
    let clashes = vec!["/a".to_owned(), "/b/c".to_owned()];
    assert_eq!(merged(Some(&ancestor), &main, &branch, None), Err(clashes));
    let by = |wins| merged(Some(&ancestor), &main, &branch, Some(wins)).unwrap();
    assert_eq!(by(Wins::Main), object(json!({"a": 1, "b": {"c": 1}, "d": 3})));
    assert_eq!(by(Wins::Branch), object(json!({"a": 2, "b": {"c": 2}, "d": 3})));
    // Nothing is known of what they were made on: what both say clashes, and what one says was added.
    assert_eq!(merged(None, &main, &branch, None).unwrap_err(), ["/a", "/b/c"]);
}
