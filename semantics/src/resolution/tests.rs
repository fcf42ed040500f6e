use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::clock::Stamp;
use crate::conflict::ConflictType;
use crate::decide::{Context, Decision, decide, parse};
use crate::envelope::Placement;
use crate::ids::{Domain, Incarnation, Key, Kind, RecordId};

fn stamp(node: u8, ms: u64) -> Stamp {
    let writer = Writer { node: NodeId([node; 16]), epoch: 1 };
    Stamp { time: HybridTime { ms, counter: 0 }, dot: Dot { writer, n: ms } }
}

fn key() -> Key {
    Key { kind: Kind::new("entity").unwrap(), id: RecordId::new("a").unwrap() }
}

fn rule(policy: Policy) -> Rule {
    Rule { policy, facet_field: None, version: Revision(3) }
}

fn written(node: u8, ms: u64, op: Op) -> Mutation {
    let stamp = stamp(node, ms);
    Mutation {
        id: MutationId([node; 16]),
        dot: stamp.dot,
        group: None,
        key: key(),
        op,
        placement: None,
        incarnation: Incarnation::ZERO,
        base: Base::default(),
        time: stamp.time,
        written_ms: ms,
        author: NodeId([node; 16]),
        key_id: KEY_ID_CLEAR,
        salt: Salt([node; 16]),
        signature: None,
    }
}

fn put(body: &Value) -> Op {
    Op::Put { body: serde_json::to_vec(body).unwrap().into() }
}

fn patch(set: &Value, remove: &[&str]) -> Op {
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    Op::Patch { set: serde_json::to_vec(set).unwrap().into(), remove }
}

/// The record that mutations leave, in this order.
fn record(policy: Policy, mutations: &[Mutation]) -> Record {
    let placement = Placement { domain: Domain::default_domain(), subject: None };
    let context = Context::new(placement);
    let step = |current: Option<Record>, mutation: &Mutation| {
        let decided = decide(current.as_ref(), &parse(mutation.clone()).unwrap(), &rule(policy), &context);
        Some(decided.record().unwrap_or_else(|| panic!("{decided:?}")).clone())
    };
    mutations.iter().fold(None, step).unwrap()
}

/// A later mutation whose author saw the record as it is.
fn on(current: &Record, mutation: Mutation) -> Mutation {
    let base = Base { version: current.version.clone(), revision: Revision(1), own: None };
    Mutation { base, ..mutation }
}

fn conflict(path: &str, losers: &[(u8, u64, u64)], primary: (u8, u64, u64), ancestor: u64) -> Conflict {
    let side =
        |(node, ms, revision): (u8, u64, u64)| Side { stamp: stamp(node, ms), revision: Revision(revision) };
    Conflict {
        subject: key(),
        path: path.to_owned(),
        conflict_type: ConflictType::Version,
        cause: None,
        collapsed: None,
        primary: side(primary),
        losers: losers.iter().copied().map(side).collect(),
        dropped: 0,
        ancestor: Revision(ancestor),
        open: true,
        resolution: None,
    }
}

type Rows = BTreeMap<u64, (Mutation, Record)>;

fn asked(conflict: &Conflict, choice: &Choice, policy: Policy, rows: &Rows) -> Result<Wanted, Reason> {
    let row = |revision: Revision| {
        rows.get(&revision.0).map(|(mutation, record)| Row { mutation: Some(mutation), record })
    };
    wanted(conflict, choice, &rule(policy), row).map_err(|refusal| refusal.reason)
}

/// An ancestor at 1, a loser at 2, the primary at 3.
fn of_a_field() -> (Conflict, Rows) {
    let first = written(1, 10, put(&json!({"t": "0", "u": "0"})));
    let ancestor = record(Policy::Fields, std::slice::from_ref(&first));
    let early = on(&ancestor, written(2, 20, patch(&json!({"t": "early"}), &[])));
    let late = on(&ancestor, written(3, 30, patch(&json!({}), &["t"])));
    let rows = [
        (1, (first.clone(), ancestor)),
        (2, (early.clone(), record(Policy::Fields, &[first.clone(), early.clone()]))),
        (3, (late.clone(), record(Policy::Fields, &[first, early, late]))),
    ];
    (conflict("t", &[(2, 20, 2)], (3, 30, 3), 1), rows.into())
}

#[test]
fn a_choice_comes_to_what_its_side_wrote() {
    let (conflict, rows) = of_a_field();
    let ask = |choice: Choice| asked(&conflict, &choice, Policy::Fields, &rows);
    let value = |value: Value| Ok(Wanted::Value(value));
    assert_eq!(ask(Choice::Keep), Ok(Wanted::Standing));
    assert_eq!(ask(Choice::Side(stamp(2, 20).dot)), value(json!("early")));
    assert_eq!(ask(Choice::Side(stamp(3, 30).dot)), Ok(Wanted::Nothing), "it removed the field");
    assert_eq!(ask(Choice::Ancestor), value(json!("0")));
    assert_eq!(ask(Choice::Value(Some(json!({"both": 2})))), value(json!({"both": 2})));
    assert_eq!(ask(Choice::Value(None)), Ok(Wanted::Nothing));
    assert_eq!(ask(Choice::Policy(Policy::LastWriter)), Ok(Wanted::Nothing));
    assert_eq!(ask(Choice::Policy(Policy::AppendOnly)), value(json!("early")));
    assert_eq!(ask(Choice::Policy(Policy::Fields)), Err(Reason::Malformed));
    assert_eq!(ask(Choice::Side(stamp(9, 9).dot)), Err(Reason::NotFound));
}

#[test]
fn a_row_that_is_not_kept_refuses_its_side_and_no_other() {
    let (mut conflict, mut rows) = of_a_field();
    rows.remove(&2);
    let ask = |conflict: &Conflict, choice: Choice| asked(conflict, &choice, Policy::Fields, &rows);
    assert_eq!(ask(&conflict, Choice::Side(stamp(2, 20).dot)), Err(Reason::RecordGone));
    assert_eq!(ask(&conflict, Choice::Ancestor), Ok(Wanted::Value(json!("0"))));
    conflict.ancestor = Revision(9);
    assert_eq!(ask(&conflict, Choice::Ancestor), Err(Reason::RecordGone));
    conflict.ancestor = Revision::ZERO;
    assert_eq!(ask(&conflict, Choice::Ancestor), Err(Reason::NotFound));
}

#[test]
fn a_patch_that_lost_to_a_delete_stands_for_a_whole_record() {
    let first = written(1, 10, put(&json!({"t": "0", "u": "0"})));
    let ancestor = record(Policy::Fields, std::slice::from_ref(&first));
    let delete = on(&ancestor, written(2, 20, Op::Delete));
    let edit = on(&ancestor, written(3, 30, patch(&json!({"t": "1"}), &["u"])));
    let conflict = conflict("", &[(3, 30, 3)], (2, 20, 2), 1);
    let side = Choice::Side(stamp(3, 30).dot);
    // Whichever came first; without the ancestor only what the record showed is known.
    for (edit_first, ancestor_kept, expected) in [
        (true, true, Ok(Wanted::Value(json!({"t": "1"})))),
        (true, false, Ok(Wanted::Value(json!({"t": "1"})))),
        (false, true, Ok(Wanted::Value(json!({"t": "1"})))),
        (false, false, Err(Reason::RecordGone)),
    ] {
        let (a, b) = if edit_first { (&edit, &delete) } else { (&delete, &edit) };
        let mut rows = Rows::new();
        let upto = if edit_first {
            vec![first.clone(), a.clone()]
        } else {
            vec![first.clone(), a.clone(), b.clone()]
        };
        rows.insert(3, (edit.clone(), record(Policy::Fields, &upto)));
        if ancestor_kept {
            rows.insert(1, (first.clone(), ancestor.clone()));
        }
        assert_eq!(asked(&conflict, &side, Policy::Fields, &rows), expected, "{edit_first} {ancestor_kept}");
        let delete = rows.insert(2, (delete.clone(), record(Policy::Fields, &upto)));
        assert!(delete.is_none());
        assert_eq!(
            asked(&conflict, &Choice::Side(stamp(2, 20).dot), Policy::Fields, &rows),
            Ok(Wanted::Nothing)
        );
    }
}

#[test]
fn a_change_is_the_least_that_makes_the_record_show_it() {
    let live = record(Policy::Fields, &[written(1, 10, put(&json!({"t": "0", "u": "0"})))]);
    let whole = record(Policy::LastWriter, &[written(1, 10, put(&json!({"a": {"b/c": 1, "d": 2}})))]);
    let dead =
        record(Policy::Fields, &[written(1, 10, put(&json!({}))), on(&live, written(1, 11, Op::Delete))]);
    let value = Wanted::Value;
    let fields = Policy::Fields;
    let table = [
        (&live, fields, "t", Wanted::Standing, Ok(None)),
        (&live, fields, "t", value(json!("0")), Ok(None)),
        (&live, fields, "t", value(json!("1")), Ok(Some(patch(&json!({"t": "1"}), &[])))),
        (&live, fields, "t", Wanted::Nothing, Ok(Some(patch(&json!({}), &["t"])))),
        (&live, fields, "v", Wanted::Nothing, Ok(None)),
        (&live, fields, "", Wanted::Nothing, Ok(Some(Op::Delete))),
        (&live, fields, "", value(json!({"t": "0", "u": "0"})), Ok(None)),
        (
            &live,
            fields,
            "",
            value(json!({"t": "1", "v": 1})),
            Ok(Some(patch(&json!({"t": "1", "v": 1}), &["u"]))),
        ),
        (&live, fields, "", value(json!(1)), Err(Reason::Malformed)),
        (&live, fields, "t", value(json!(u64::MAX)), Err(Reason::UnsafeNumber)),
        (&dead, fields, "", Wanted::Nothing, Ok(None)),
        (&dead, fields, "t", Wanted::Nothing, Ok(None)),
        (&dead, fields, "t", value(json!(1)), Err(Reason::RecordGone)),
        (&dead, fields, "", value(json!({"t": 1})), Ok(Some(put(&json!({"t": 1}))))),
        (&whole, Policy::LastWriter, "", value(json!({"t": 1})), Ok(Some(put(&json!({"t": 1}))))),
        (&whole, Policy::LastWriter, "/a/b~1c", value(json!(1)), Ok(None)),
        (&whole, Policy::LastWriter, "/a/b~1c", Wanted::Nothing, Ok(Some(put(&json!({"a": {"d": 2}}))))),
        (
            &whole,
            Policy::LastWriter,
            "/a/d",
            value(json!(3)),
            Ok(Some(put(&json!({"a": {"b/c": 1, "d": 3}})))),
        ),
        (&whole, Policy::LastWriter, "/x/d", value(json!(3)), Err(Reason::Stale)),
    ];
    for (current, policy, path, wanted, expected) in table {
        let found = change(current, &rule(policy), path, &wanted);
        let found = found.map(|change| change.map(|(op, _)| op)).map_err(|refusal| refusal.reason);
        assert_eq!(found, expected, "{path:?} {wanted:?}");
    }
}

#[test]
fn a_change_of_the_hub_follows_everything_that_shapes_the_record() {
    let ahead = record(Policy::Fields, &[written(1, 90, put(&json!({"t": "0"})))]);
    let marks = Marks { id: MutationId([7; 16]), salt: Salt([7; 16]), author: NodeId([8; 16]), now_ms: 50 };
    let made = mutation(&ahead, Revision(4), Revision(9), (patch(&json!({"t": "1"}), &[]), 0), marks);
    assert_eq!((made.dot, made.base.revision), (Dot { writer: Writer::HUB, n: 9 }, Revision(4)));
    assert!(made.time > ahead.stamp.time);
    let context = Context::new(ahead.placement.clone());
    let decided = decide(Some(&ahead), &parse(made.clone()).unwrap(), &rule(Policy::Fields), &context);
    let Decision::Applied(record) = decided else { panic!("{decided:?}") };
    assert!(still_stands(&record, &rule(Policy::Fields), "t", Revision(9)));
    assert!(!still_stands(&record, &rule(Policy::Fields), "t", Revision(8)));
    let over = on(&record, written(1, 100, patch(&json!({"u": "1"}), &[])));
    let Decision::Applied(record) =
        decide(Some(&record), &parse(over).unwrap(), &rule(Policy::Fields), &context)
    else {
        panic!("not applied")
    };
    assert!(still_stands(&record, &rule(Policy::Fields), "t", Revision(9)), "another field was written");
    assert!(!still_stands(&record, &rule(Policy::Fields), "", Revision(9)), "the record was written");
    let dead = Record { content: Content::Deleted, ..*record };
    let again = mutation(&dead, Revision(4), Revision(9), (put(&json!({})), 0), marks);
    assert_eq!(again.incarnation, dead.incarnation.next());
}

#[test]
fn a_settled_conflict_names_nothing_and_reads_back() {
    let (open, _) = of_a_field();
    assert_eq!(open.named(), [Revision(1), Revision(2), Revision(3)].into());
    let text = serde_json::to_string(&open).unwrap();
    assert!(
        !text.contains("resolution"),
        "an open conflict is the bytes that it was before there were resolutions"
    );
    let account = Account {
        by: NodeId([1; 16]),
        name: "acme/ann".to_owned(),
        reason: String::new(),
        time_ms: 5,
        revision: Revision(9),
    };
    let resolution = Resolution {
        account,
        choice: Chosen::Side(stamp(2, 20).dot),
        before: Revision(3),
        rule_version: Revision::ZERO,
        under: None,
        undone: None,
    };
    let settled = Conflict { open: false, resolution: Some(resolution), ..open };
    assert!(settled.named().is_empty());
    let text = serde_json::to_string(&settled).unwrap();
    assert_eq!(serde_json::from_str::<Conflict>(&text).unwrap(), settled);
}
