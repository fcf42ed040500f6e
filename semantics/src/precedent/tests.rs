use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::clock::{HybridTime, Stamp};
use crate::envelope::{Base, Content, KEY_ID_CLEAR, Mutation, Placement, Record};
use crate::ids::{Domain, Dot, Incarnation, Key, MutationId, NodeId, Salt, Writer};
use crate::version::Version;

fn stamp(node: u8, ms: u64) -> Stamp {
    let writer = Writer { node: NodeId([node; 16]), epoch: 1 };
    Stamp { time: HybridTime { ms, counter: 0 }, dot: Dot { writer, n: ms } }
}

fn put(body: &Value) -> Op {
    Op::Put { body: serde_json::to_vec(body).unwrap().into() }
}

fn patch(set: &Value) -> Op {
    Op::Patch { set: serde_json::to_vec(set).unwrap().into(), remove: Vec::new() }
}

/// A conflict over the field `t` of a record, with the rows that it names: the ancestor at 1, the earlier side at 2,
/// the later one at 3.
#[derive(Clone)]
struct Case {
    conflict: Conflict,
    policy: Policy,
    rows: BTreeMap<u64, (Mutation, Record)>,
}

impl Case {
    /// `who` and `when` set authors and times apart; the operations are those of the ancestor, earlier and later side.
    fn of(kind: &str, id: &str, (who, when): (u8, u64), ops: [(Op, Value); 3]) -> Self {
        let key = Key { kind: Kind::new(kind).unwrap(), id: RecordId::new(id).unwrap() };
        let stamps = [stamp(who, when), stamp(who + 1, when + 1), stamp(who + 2, when + 2)];
        let side = |at: u64| Side { stamp: stamps[usize::try_from(at - 1).unwrap()], revision: Revision(at) };
        let conflict = Conflict {
            subject: key.clone(),
            path: "t".to_owned(),
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
        let rows = (1..).zip(stamps.into_iter().zip(ops));
        let rows = rows.map(|(at, (stamp, (op, shown)))| (at, row(&key, stamp, op, &shown))).collect();
        Self { conflict, policy: Policy::Fields, rows }
    }

    fn plain() -> Self {
        Self::texts("entity", "a", (1, 10), ["0", "early", "late"])
    }

    fn texts(kind: &str, id: &str, marks: (u8, u64), texts: [&str; 3]) -> Self {
        Self::of(kind, id, marks, texts.map(|text| (patch(&json!({"t": text})), json!({"t": text}))))
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self::plain();
        change(&mut case);
        case
    }

    fn saying(earlier: Op) -> Self {
        let [first, last] = ["0", "late"].map(|text| (patch(&json!({"t": text})), json!({"t": text})));
        Self::of("entity", "a", (1, 10), [first, (earlier, json!({})), last])
    }

    fn signature(&self) -> Result<Signature, Reason> {
        let rule = Rule { policy: self.policy, facet_field: None, version: Revision(7) };
        let row = |revision: Revision| {
            self.rows.get(&revision.0).map(|(mutation, record)| Row { mutation: Some(mutation), record })
        };
        Signature::of(&self.conflict, &rule, row).map_err(|refusal| refusal.reason)
    }
}

fn row(key: &Key, stamp: Stamp, op: Op, shown: &Value) -> (Mutation, Record) {
    let author = stamp.dot.writer.node;
    let mutation = Mutation {
        id: MutationId([3; 16]),
        dot: stamp.dot,
        group: None,
        key: key.clone(),
        op,
        placement: None,
        incarnation: Incarnation::ZERO,
        base: Base::default(),
        time: stamp.time,
        written_ms: stamp.time.ms,
        author,
        key_id: KEY_ID_CLEAR,
        salt: Salt::default(),
        signature: None,
    };
    let record = Record {
        key: key.clone(),
        placement: Placement { domain: Domain::default_domain(), subject: None },
        placement_stamp: stamp,
        facet: None,
        incarnation: Incarnation::ZERO,
        version: Version::of(stamp.dot),
        stamp,
        author,
        key_id: KEY_ID_CLEAR,
        salt: Salt::default(),
        content: Content::Live(serde_json::to_vec(shown).unwrap().into()),
        fields: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    (mutation, record)
}

#[test]
fn like_conflicts_have_one_signature() {
    let signature = Case::plain().signature().unwrap();
    let others = Case::texts("entity", "another", (7, 900), ["zero", "this", "that"]);
    assert_eq!(others.signature().unwrap(), signature);
    assert_eq!(others.signature().unwrap().id(), signature.id());
    assert_eq!((signature.earlier.deed, signature.earlier.sort), (Deed::Patch, Sort::String));
    // The one that arrived first need not be the earlier one.
    let swapped = Case::with(|case| {
        let loser = case.conflict.losers.remove(0);
        case.conflict.losers.push(std::mem::replace(&mut case.conflict.primary, loser));
    });
    assert_eq!(swapped.signature().unwrap(), signature);
}

#[test]
fn a_near_miss_has_another_signature() {
    let near = [
        Case::texts("note", "a", (1, 10), ["0", "early", "late"]),
        Case::with(|case| case.conflict.path = "u".to_owned()),
        Case::with(|case| case.conflict.conflict_type = ConflictType::Deletion),
        Case::with(|case| case.policy = Policy::LastWriter),
        Case::with(|case| case.conflict.ancestor = Revision::ZERO),
        Case::saying(patch(&json!({"t": 1}))),
        Case::saying(patch(&json!({"t": null}))),
        Case::saying(patch(&json!({"t": ["early"]}))),
        Case::saying(patch(&json!({"u": "early"}))),
        Case::saying(put(&json!({"t": "early"}))),
        Case::saying(Op::Delete),
    ];
    let mut ids: Vec<RecordId> = near.iter().map(|case| case.signature().unwrap().id()).collect();
    ids.push(Case::plain().signature().unwrap().id());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), near.len() + 1);
}

#[test]
fn what_was_decided_of_healthy_states_binds_no_collapsed_one() {
    let state = |depth: u8| {
        let parameters = json!({"D": depth, "C": 0.5, "R": 1});
        let state = json!({"identity_snapshot": {"stability_metrics": {"parameter_values": parameters}}});
        (put(&state), state)
    };
    let id = |kind: &str, depths: [u8; 3]| {
        let mut case = Case::of(kind, "me", (1, 10), depths.map(state));
        (case.conflict.path, case.policy) = (String::new(), Policy::ByType);
        case.signature().unwrap().id()
    };
    assert_eq!(id("identity", [4, 5, 6]), id("identity", [6, 4, 5]));
    let mut ids = [[4, 5, 6], [1, 5, 6], [4, 1, 6], [4, 5, 1]].map(|depths| id("identity", depths)).to_vec();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(id("note", [4, 5, 6]), id("note", [4, 5, 1]), "of an identity alone");
}

#[test]
fn a_conflict_of_more_than_two_sides_has_none() {
    let third = Side { stamp: stamp(9, 5), revision: Revision(1) };
    let more = Case::with(|case| case.conflict.losers.push(third));
    assert_eq!(more.signature(), Err(Reason::Malformed));
    assert_eq!(Case::with(|case| case.conflict.dropped = 1).signature(), Err(Reason::Malformed));
    assert_eq!(Case::with(|case| case.rows.retain(|at, _| *at != 2)).signature(), Err(Reason::RecordGone));
    let without = Case::with(|case| case.rows.retain(|at, _| *at != 1)).signature().unwrap();
    assert_eq!(without.ancestor, None);
}

#[test]
fn what_binds_is_said_of_any_two_sides() {
    let decided = Case::plain().conflict;
    let other = Case::texts("entity", "b", (5, 70), ["x", "y", "z"]).conflict;
    let [early, late] = [decided.losers[0].stamp.dot, decided.primary.stamp.dot];
    let [other_early, other_late] = [other.losers[0].stamp.dot, other.primary.stamp.dot];
    for (choice, of_the_other) in [
        (Choice::Keep, Choice::Keep),
        (Choice::Side(early), Choice::Side(other_early)),
        (Choice::Side(late), Choice::Side(other_late)),
        (Choice::Ancestor, Choice::Ancestor),
        (Choice::Value(None), Choice::Value(None)),
        (Choice::Policy(Policy::AppendOnly), Choice::Policy(Policy::AppendOnly)),
    ] {
        let binding = Binding::of(&choice, &decided).unwrap();
        assert_eq!(binding.choice(&other).unwrap(), of_the_other, "{}", binding.name());
    }
    let value = Binding::of(&Choice::Value(Some(json!(1))), &decided).unwrap_err();
    assert!(value.reason == Reason::Malformed && value.detail.contains("one conflict alone"), "{value}");
    assert_eq!(Binding::of(&Choice::Side(other_late), &decided).unwrap_err().reason, Reason::NotFound);
}

#[test]
fn a_precedent_binds_what_came_after_it_and_nobody_settled() {
    let case = Case::plain();
    let account = Account {
        by: NodeId([1; 16]),
        name: "acme/ann".to_owned(),
        reason: String::new(),
        time_ms: 0,
        revision: Revision(20),
    };
    let precedent = Precedent {
        signature: case.signature().unwrap(),
        binding: Binding::Earlier,
        conflict: RecordId::new("c").unwrap(),
        account: account.clone(),
        uses: 0,
    };
    let mut conflict = case.conflict;
    assert!(precedent.binds(&conflict, Revision(21)));
    assert!(!precedent.binds(&conflict, Revision(20)), "it stood when the other was decided");
    let resolution = crate::resolution::Resolution {
        account,
        choice: crate::resolution::Chosen::Keep,
        before: Revision(3),
        rule_version: Revision::ZERO,
        under: None,
        undone: None,
    };
    conflict.resolution = Some(resolution);
    assert!(!precedent.binds(&conflict, Revision(21)), "somebody took the resolution back");
    conflict.open = false;
    assert!(!precedent.binds(&conflict, Revision(21)));
}
