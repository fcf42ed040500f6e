//! Identities that have collapsed: what `decide` makes of them.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use semantics::canonical::to_canonical;
use semantics::conflict::{Clash, Side, fold};
use semantics::decide::{Context, Decision, collapses, decide, is_kept_unread};
use semantics::envelope::{Mutation, Op, Record};
use semantics::ids::{Kind, Revision, Writer};
use semantics::kind::Policy;
use serde_json::json;
use support::{Author, ORDERED, context, parsed, placement, rule};

const HEALTHY: u8 = 5;
const COLLAPSED: u8 = 1;

fn state(depth: u8, mark: &str) -> Op {
    let metrics = json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}});
    let document = json!({"identity_snapshot": {"stability_metrics": metrics}, "mark": mark});
    Op::Put { body: to_canonical(&document).unwrap().into() }
}

fn write(author: &mut Author, view: Option<&Record>, op: Op, now_ms: u64) -> Mutation {
    let mut mutation = author.write(view, op, now_ms);
    mutation.key.kind = Kind::new("identity").unwrap();
    mutation
}

fn take(current: Option<&Record>, mutation: &Mutation, policy: Policy) -> (Record, Decision) {
    let decision = decide(current, &parsed(mutation), &rule(policy), &context());
    let record = decision.record().unwrap_or_else(|| unreachable!("refused: {decision:?}")).clone();
    (record, decision)
}

#[test]
fn a_collapsed_state_does_not_overwrite_a_healthy_one() {
    for policy in ORDERED {
        let (mut ada, mut bob) = (Author::new(1), Author::new(2));
        let (healthy, _) = take(None, &write(&mut ada, None, state(HEALTHY, "a"), 1_000), policy);
        let mut first = write(&mut ada, Some(&healthy), state(COLLAPSED, "b"), 2_000);
        first.placement = Some(placement("elsewhere"));
        let (kept, decision) = take(Some(&healthy), &first, policy);
        assert_eq!((kept.body(), kept.stamp), (healthy.body(), healthy.stamp), "{policy:?}");
        assert_eq!(kept.placement, healthy.placement, "nor does it move");
        assert!(kept.version.contains(first.dot));
        let clashes = decision.clashes().to_vec();
        assert_eq!((clashes.len(), clashes[0].is_collapse), (1, true));
        assert_eq!((clashes[0].winner, clashes[0].loser), (healthy.stamp, first.stamp()));

        // Who saw only the healthy state, and has collapsed meanwhile: the same.
        let other = write(&mut bob, Some(&healthy), state(COLLAPSED, "c"), 3_000);
        let (still, decision) = take(Some(&kept), &other, policy);
        assert_eq!(still.body(), healthy.body());
        assert_eq!(decision.clashes()[0].loser, other.stamp());

        // Who has recovered goes on.
        let back = write(&mut ada, Some(&still), state(HEALTHY, "d"), 4_000);
        let (now, _) = take(Some(&still), &back, policy);
        assert_eq!(now.stamp, back.stamp());
    }
}

#[test]
fn a_healthy_state_stands_over_a_collapsed_one_in_either_order() {
    for policy in ORDERED {
        let (mut ada, mut bob) = (Author::new(1), Author::new(2));
        let older = write(&mut ada, None, state(HEALTHY, "a"), 1_000);
        let newer = write(&mut bob, None, state(COLLAPSED, "b"), 9_000);
        let (record, _) = take(None, &older, policy);
        let (there, decided) = take(Some(&record), &newer, policy);
        let (record, _) = take(None, &newer, policy);
        let (back, decided_back) = take(Some(&record), &older, policy);
        assert_eq!((there.body(), there.stamp), (back.body(), back.stamp), "{policy:?}");
        assert_eq!(there.stamp, older.stamp());
        assert_eq!(decided.clashes(), decided_back.clashes());
        assert_eq!(there.version, back.version);
    }
}

#[test]
fn a_collapse_that_is_kept_out_is_told_by_its_conflict() {
    let (mut ada, mut bob) = (Author::new(1), Author::new(2));
    let side = |stamp| Side { stamp, revision: Revision(1) };
    let (healthy, _) = take(None, &write(&mut ada, None, state(HEALTHY, "a"), 1_000), Policy::Branch);
    let first = write(&mut ada, Some(&healthy), state(COLLAPSED, "b"), 2_000);
    let (kept, decision) = take(Some(&healthy), &first, Policy::Branch);
    let folded = |open, clash: &Clash| {
        let sides = (side(clash.winner), side(clash.loser));
        fold(open, &healthy.key, clash, sides, Revision::ZERO, &healthy.version)
    };
    let (id, conflict) = folded(None, &decision.clashes()[0]);
    assert_eq!(conflict.collapsed, Some(first.stamp()));
    // Two healthy states that clash beside it do not take it back.
    let newer = write(&mut ada, Some(&kept), state(HEALTHY, "c"), 3_000);
    let (now, _) = take(Some(&kept), &newer, Policy::Branch);
    let other = write(&mut bob, Some(&kept), state(HEALTHY, "d"), 4_000);
    let decision = take(Some(&now), &other, Policy::Branch).1;
    let (_, conflict) = folded(Some((id, conflict)), &decision.clashes()[0]);
    assert_eq!(conflict.collapsed, Some(first.stamp()));
}

#[test]
fn what_cannot_be_read_does_not_overwrite_a_healthy_one() {
    let measured = |value: serde_json::Value| {
        let part = |value: serde_json::Value| json!({"value": value});
        let components = json!({
            "recursive_depth": part(value), "contextual_retention": part(json!(0.9)),
            "relational_coherence": part(json!(0.9)),
        });
        Op::Put {
            body: to_canonical(&json!({"stability_measurement": {"components": components}})).unwrap().into(),
        }
    };
    let stated = |value: serde_json::Value| {
        let metrics = json!({"parameter_values": {"D": value, "C": 0.9, "R": 0.9}});
        Op::Put {
            body: to_canonical(&json!({"identity_snapshot": {"stability_metrics": metrics}})).unwrap().into(),
        }
    };
    for policy in ORDERED {
        for (healthy, broken) in [
            (stated(json!(5)), stated(json!(0))),
            (stated(json!(5)), stated(json!("1"))),
            (measured(json!(5)), measured(json!(0))),
        ] {
            let (mut ada, mut bob) = (Author::new(1), Author::new(2));
            let (healthy, _) = take(None, &write(&mut ada, None, healthy, 1_000), policy);
            let write = write(&mut bob, Some(&healthy), broken, 2_000);
            let (kept, decision) = take(Some(&healthy), &write, policy);
            assert_eq!(kept.body(), healthy.body(), "{policy:?}");
            assert_eq!(decision.clashes()[0].loser, write.stamp());
            assert!(!decision.clashes()[0].is_collapse, "nobody can tell");
            assert!(is_kept_unread(&write, &kept, policy));
            assert!(!is_kept_unread(&write, &kept, Policy::LastWriter));
        }
    }
}

#[test]
fn what_a_rule_puts_together_is_looked_at_once_more() {
    let (mut ada, mut bob) = (Author::new(1), Author::new(2));
    let (healthy, _) = take(None, &write(&mut ada, None, state(HEALTHY, "a"), 1_000), Policy::Branch);
    let (fallen, _) = take(None, &write(&mut bob, None, state(COLLAPSED, "b"), 1_000), Policy::Branch);
    assert!(collapses(&healthy, &fallen));
    assert!(!collapses(&fallen, &fallen) && !collapses(&fallen, &healthy) && !collapses(&healthy, &healthy));
    let other = |record: &Record| {
        let mut record = record.clone();
        record.key.kind = Kind::new("note").unwrap();
        record
    };
    assert!(!collapses(&other(&healthy), &other(&fallen)), "no identity");
}

#[test]
fn what_says_no_score_is_settled_as_any_other_body() {
    let mut ada = Author::new(1);
    let (healthy, _) = take(None, &write(&mut ada, None, state(HEALTHY, "a"), 1_000), Policy::Branch);
    let silent = write(&mut ada, Some(&healthy), Op::Put { body: b"{}".to_vec().into() }, 2_000);
    assert!(matches!(take(Some(&healthy), &silent, Policy::Branch).1, Decision::Applied(_)));
    let delete = write(&mut ada, Some(&healthy), Op::Delete, 3_000);
    assert!(take(Some(&healthy), &delete, Policy::Branch).0.is_deleted());
    // Under a join policy the stamp alone decides.
    let collapsed = write(&mut ada, Some(&healthy), state(COLLAPSED, "b"), 4_000);
    let (record, _) = take(Some(&healthy), &collapsed, Policy::LastWriter);
    assert_eq!(record.stamp, collapsed.stamp());
    // Nor is it a rule of other kinds.
    let mut note = Author::new(2);
    let first = note.write(None, state(HEALTHY, "a"), 1_000);
    let (record, _) = take(None, &first, Policy::Branch);
    let second = note.write(Some(&record), state(COLLAPSED, "b"), 2_000);
    assert_eq!(take(Some(&record), &second, Policy::Branch).0.stamp, second.stamp());
}

#[test]
fn a_decision_at_the_hub_may_make_a_collapsed_state_stand() {
    let (mut ada, mut hub) = (Author::new(1), Author::new(9));
    hub.writer = Writer::HUB;
    let (healthy, _) = take(None, &write(&mut ada, None, state(HEALTHY, "a"), 1_000), Policy::Branch);
    let decided = write(&mut hub, Some(&healthy), state(COLLAPSED, "b"), 2_000);
    assert_eq!(take(Some(&healthy), &decided, Policy::Branch).0.stamp, decided.stamp());
}

#[test]
fn what_would_collapse_put_together_is_kept_apart() {
    let state = |coherence: f64, resonance: f64| {
        let metrics = json!({"parameter_values": {"D": 5, "C": coherence, "R": resonance}});
        to_canonical(&json!({"identity_snapshot": {"stability_metrics": metrics}})).unwrap()
    };
    let (mut ada, mut bob) = (Author::new(1), Author::new(2));
    let base = write(&mut ada, None, Op::Put { body: state(0.9, 0.9).into() }, 1_000);
    let (stands, _) = take(None, &base, Policy::ThreeWay);
    let one = write(&mut ada, Some(&stands), Op::Put { body: state(0.4, 0.9).into() }, 2_000);
    let two = write(&mut bob, Some(&stands), Op::Put { body: state(0.9, 0.4).into() }, 3_000);
    let (now, _) = take(Some(&stands), &one, Policy::ThreeWay);
    let around = Context { ancestor: stands.body().map(<[u8]>::to_vec), ..context() };
    let decision = decide(Some(&now), &parsed(&two), &rule(Policy::ThreeWay), &around);
    assert_eq!(decision.record().unwrap().body(), Some(state(0.9, 0.4).as_slice()), "the later one whole");
    assert_eq!(decision.clashes().len(), 1);
    let milder = write(&mut bob, Some(&stands), Op::Put { body: state(0.9, 0.8).into() }, 4_000);
    let decision = decide(Some(&now), &parsed(&milder), &rule(Policy::ThreeWay), &around);
    assert_eq!(decision.record().unwrap().body(), Some(state(0.4, 0.8).as_slice()));
    assert_eq!(decision.clashes(), []);
}
