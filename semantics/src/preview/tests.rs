use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::clock::{HybridTime, Stamp};
use crate::conflict::ConflictType;
use crate::envelope::{Base, Content, Op, Placement};
use crate::ids::{Domain, Dot, Incarnation, Key, Kind, MutationId, NodeId, RecordId, Salt, Writer};
use crate::resolution::{Account, Chosen, Resolution};
use crate::version::Version;

fn stamp(n: u8) -> Stamp {
    let writer = Writer { node: NodeId([n; 16]), epoch: 1 };
    Stamp { time: HybridTime { ms: u64::from(n), counter: 0 }, dot: Dot { writer, n: 1 } }
}

fn key() -> Key {
    Key { kind: Kind::new("identity").unwrap(), id: RecordId::new("me").unwrap() }
}

/// All were made on the first.
fn made_on(n: u8) -> Base {
    if n == 1 {
        return Base::default();
    }
    Base { revision: Revision(1), version: Version::of(stamp(1).dot), own: None }
}

fn row(n: u8, body: &Value) -> (Mutation, Record) {
    let (stamp, body) = (stamp(n), Bytes::from(serde_json::to_vec(body).unwrap()));
    let mutation = Mutation {
        id: MutationId([n; 16]),
        dot: stamp.dot,
        group: None,
        key: key(),
        op: Op::Put { body: body.clone() },
        placement: None,
        incarnation: Incarnation::ZERO,
        base: made_on(n),
        time: stamp.time,
        written_ms: stamp.time.ms,
        author: stamp.dot.writer.node,
        key_id: KEY_ID_CLEAR,
        salt: Salt::default(),
        signature: None,
    };
    let record = Record {
        key: key(),
        placement: Placement { domain: Domain::default_domain(), subject: None },
        placement_stamp: stamp,
        facet: None,
        incarnation: Incarnation::ZERO,
        version: Version::of(stamp.dot),
        stamp,
        author: mutation.author,
        key_id: KEY_ID_CLEAR,
        salt: Salt::default(),
        content: Content::Live(body),
        fields: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    (mutation, record)
}

/// A conflict of the whole record: the ancestor at 1, the earlier side at 2, the later, which stands, at 3.
struct Case {
    conflict: Conflict,
    rows: BTreeMap<u64, (Mutation, Record)>,
}

impl Case {
    fn of(bodies: [Value; 3]) -> Self {
        let side = |n: u8| Side { stamp: stamp(n), revision: Revision(u64::from(n)) };
        let conflict = Conflict {
            subject: key(),
            path: String::new(),
            conflict_type: ConflictType::Version,
            cause: None,
            collapsed: None,
            primary: side(3),
            losers: vec![side(2)],
            dropped: 0,
            ancestor: Revision(1),
            open: true,
            resolution: None,
        };
        let rows = (1..).zip(&bodies).map(|(n, body)| (u64::from(n), row(n, body))).collect();
        Self { conflict, rows }
    }

    fn ask(&self, policy: Policy) -> Preview {
        let rule = Rule { policy: Policy::Branch, facet_field: None, version: Revision::ZERO };
        let row = |revision: Revision| {
            self.rows.get(&revision.0).map(|(mutation, record)| Row { mutation: Some(mutation), record })
        };
        preview(&self.conflict, policy, &rule, row)
    }
}

fn apart() -> Case {
    Case::of([json!({"a": 0, "b": 0}), json!({"a": 1, "b": 0}), json!({"a": 0, "b": 2})])
}

#[test]
fn branch_and_manual_let_the_later_side_stand_and_wait() {
    for policy in [Policy::Branch, Policy::Manual, Policy::Resolver, Policy::LastWriter] {
        let previewed = apart().ask(policy);
        assert_eq!(previewed.would, Ok(Wanted::Value(json!({"a": 0, "b": 2}))));
        assert!(previewed.waits && !previewed.differs(), "{policy:?}");
    }
    let previewed = apart().ask(Policy::AppendOnly);
    assert_eq!(previewed.would, Ok(Wanted::Value(json!({"a": 0, "b": 0}))), "it was there");
    assert!(previewed.differs() && !previewed.waits);
    let previewed = apart().ask(Policy::Fields);
    assert_eq!(previewed.would, Ok(Wanted::Value(json!({"a": 1, "b": 2}))), "each changed a field");
    assert!(!previewed.waits);
    let mut pruned = apart();
    pruned.rows.remove(&1);
    assert_eq!(pruned.ask(Policy::Fields).would.unwrap_err().reason, Reason::RecordGone);
}

#[test]
fn three_way_waits_for_nobody_where_the_sides_touch_different_paths() {
    let previewed = apart().ask(Policy::ThreeWay);
    assert_eq!(previewed.would, Ok(Wanted::Value(json!({"a": 1, "b": 2}))));
    assert!(previewed.differs() && !previewed.waits);
    let touching = Case::of([json!({"a": 0, "b": 0}), json!({"a": 1, "b": 0}), json!({"a": 2, "b": 0})]);
    let previewed = touching.ask(Policy::ThreeWay);
    assert_eq!(previewed.would, Ok(Wanted::Value(json!({"a": 2, "b": 0}))));
    assert!(previewed.waits && !previewed.differs());
    let mut pruned = apart();
    pruned.rows.remove(&1);
    let previewed = pruned.ask(Policy::ThreeWay);
    assert!(previewed.waits && !previewed.differs() && previewed.would.is_err());
}

#[test]
fn sides_that_have_more_in_common_than_their_ancestor_are_not_merged_on_it() {
    // The later side rests on an earlier write of its author; the other side had seen that one, or not.
    for has_seen in [false, true] {
        let mut case = apart();
        let own = Dot { writer: stamp(3).dot.writer, n: 7 };
        let (later, _) = case.rows.get_mut(&3).unwrap();
        later.base.own = Some(own);
        later.base.version = later.base.version.clone().with(own);
        if has_seen {
            let (earlier, _) = case.rows.get_mut(&2).unwrap();
            earlier.base.version = earlier.base.version.clone().with(own);
        }
        let merged = case.ask(Policy::ThreeWay).would;
        assert_eq!(merged.is_err(), has_seen, "{merged:?}");
        assert!(case.ask(Policy::Branch).would.is_ok());
    }
}

#[test]
fn what_came_is_what_was_settled() {
    let mut case = apart();
    assert_eq!(case.ask(Policy::Branch).came, Ok(Wanted::Value(json!({"a": 0, "b": 2}))));
    case.rows.insert(4, row(4, &json!({"a": 9, "b": 9})));
    let account = Account {
        by: NodeId([1; 16]),
        name: "acme/ann".to_owned(),
        reason: String::new(),
        time_ms: 0,
        revision: Revision(4),
    };
    case.conflict.open = false;
    case.conflict.resolution = Some(Resolution {
        account,
        choice: Chosen::Value,
        before: Revision(3),
        rule_version: Revision::ZERO,
        under: None,
        undone: None,
    });
    let previewed = case.ask(Policy::Branch);
    assert_eq!(previewed.came, Ok(Wanted::Value(json!({"a": 9, "b": 9}))));
    assert!(previewed.differs());
    case.rows.remove(&4);
    assert_eq!(case.ask(Policy::Branch).came.unwrap_err().reason, Reason::RecordGone);
}

fn state(depth: u8, retention: f64, coherence: f64) -> Value {
    let values = json!({"D": depth, "C": retention, "R": coherence});
    json!({"identity_snapshot": {"stability_metrics": {"parameter_values": values}}})
}

#[test]
fn a_preview_is_what_becomes_of_the_same_writes_under_that_policy() {
    let ordered = [
        Policy::Branch,
        Policy::ThreeWay,
        Policy::Consensus,
        Policy::Manual,
        Policy::Resolver,
        Policy::ByType,
    ];
    let (base, healthy, collapsed) = (state(5, 0.8, 0.8), state(4, 0.8, 0.8), state(1, 0.5, 0.5));
    let fell = Case::of([base.clone(), healthy.clone(), collapsed.clone()]);
    for policy in ordered {
        let previewed = fell.ask(policy);
        assert_eq!(previewed.would, Ok(Wanted::Value(healthy.clone())), "{policy:?}");
        assert!(previewed.waits, "{policy:?}");
    }
    assert_eq!(fell.ask(Policy::LastWriter).would, Ok(Wanted::Value(collapsed)));
    // Each holds, and what both changed would not.
    let later = state(5, 0.4, 0.8);
    let apart = Case::of([base, state(2, 0.8, 0.8), later.clone()]).ask(Policy::ThreeWay);
    assert_eq!((apart.would, apart.waits), (Ok(Wanted::Value(later)), true));
}

#[test]
fn how_the_sides_came_apart_is_told_by_their_own_writes() {
    let told = |case: &Case| {
        cause(&case.conflict, |revision| {
            case.rows.get(&revision.0).map(|(mutation, record)| Row { mutation: Some(mutation), record })
        })
    };
    let mut case = Case::of([state(5, 0.8, 0.8), state(4, 0.8, 0.8), state(3, 0.8, 0.8)]);
    assert_eq!(told(&case), Some(Cause::Version));
    case.rows.get_mut(&3).unwrap().0.base.own = Some(stamp(9).dot);
    assert_eq!(told(&case), Some(Cause::Divergent));
    case.conflict.cause = Some(Cause::SplitBrain);
    assert_eq!(told(&case), Some(Cause::SplitBrain), "it was found out then");
    assert_eq!(
        told(&Case::of([state(5, 0.8, 0.8), state(4, 0.8, 0.8), state(0, 0.8, 0.8)])),
        Some(Cause::Corruption)
    );
}

#[test]
fn paths_meet_where_one_lies_within_the_other() {
    for (one, other) in [("", "/a/b"), ("a", "/a/b"), ("/a/b", "/a/b"), ("/a/b/c", "a")] {
        assert!(is_within(one, other) && is_within(other, one), "{one} {other}");
    }
    assert!(!is_within("/a/b", "/a/c") && !is_within("a", "/b"));
}
