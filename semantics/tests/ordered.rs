//! The ordered policies, each sentence of their contract.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use proptest::prelude::*;
use semantics::conflict::ConflictType;
use semantics::decide::Decision;
use semantics::envelope::{Mutation, Op, Record};
use semantics::ids::{Dot, Writer};
use semantics::kind::Policy;
use semantics::reason::Reason;
use support::{Author, Hub, ORDERED, put};

const NOW_MS: u64 = 1_000;
const WHOLE: [Policy; 5] =
    [Policy::Branch, Policy::Consensus, Policy::Manual, Policy::Resolver, Policy::ByType];

/// A hub that holds `base`, and the two writes that two authors made of it, the second one later.
fn apart(policy: Policy, base: &str, one: Op, two: Op) -> (Hub, Mutation, Mutation) {
    let mut first = Author::new(1);
    let hub = Hub::after(policy, &[&first.write(None, put(base), NOW_MS)]);
    let one = first.write(hub.view(), one, NOW_MS + 10);
    let two = Author::new(2).write(hub.view(), two, NOW_MS + 20);
    (hub, one, two)
}

fn taken(hub: &Hub, mutations: &[&Mutation]) -> Hub {
    let mut hub = hub.clone();
    for mutation in mutations {
        hub.take(mutation);
    }
    hub
}

fn paths(hub: &Hub) -> Vec<&str> {
    hub.conflicts.keys().map(String::as_str).collect()
}

#[test]
fn three_way_merges_against_what_the_author_saw() {
    let (hub, one, two) = apart(
        Policy::ThreeWay,
        r#"{"deep":{"a":1,"b":1},"list":[1,2,3],"title":"t"}"#,
        put(r#"{"deep":{"a":2,"b":1},"list":[0,1,2,3],"title":"t"}"#),
        put(r#"{"deep":{"a":1,"b":2},"list":[1,2,3,4]}"#),
    );
    let hub = taken(&hub, &[&one, &two]);
    assert_eq!(hub.body(), Some(r#"{"deep":{"a":2,"b":2},"list":[0,1,2,3,4]}"#));
    assert_eq!(paths(&hub), Vec::<&str>::new());
    let record = hub.view().unwrap();
    assert_eq!((record.stamp, record.author), (two.stamp(), two.author));
    let inputs: Vec<_> = record.inputs.keys().copied().collect();
    assert_eq!(inputs, [one.stamp(), two.stamp()]);
}

#[test]
fn the_later_write_stands_at_a_clash() {
    let (hub, one, two) =
        apart(Policy::ThreeWay, r#"{"a":0,"b":0}"#, put(r#"{"a":1,"b":1}"#), put(r#"{"a":2,"b":0}"#));
    for order in [[&one, &two], [&two, &one]] {
        let hub = taken(&hub, &order);
        assert_eq!(hub.body(), Some(r#"{"a":2,"b":1}"#));
        assert_eq!(paths(&hub), ["/a"]);
        let (_, conflict) = &hub.conflicts["/a"];
        assert_eq!(conflict.primary.stamp, two.stamp());
        assert_eq!(conflict.losers.iter().map(|side| side.stamp).collect::<Vec<_>>(), [one.stamp()]);
        assert_eq!(conflict.conflict_type, ConflictType::Version);
    }
}

#[test]
fn branch_and_manual_take_no_part_of_a_body() {
    for policy in WHOLE {
        let (hub, one, two) =
            apart(policy, r#"{"a":0,"b":0}"#, put(r#"{"a":1,"b":0}"#), put(r#"{"a":0,"b":2}"#));
        for order in [[&one, &two], [&two, &one]] {
            let hub = taken(&hub, &order);
            assert_eq!(hub.body(), Some(r#"{"a":0,"b":2}"#));
            assert_eq!(paths(&hub), [""]);
            assert_eq!(hub.conflicts[""].1.losers[0].stamp, one.stamp());
        }
    }
}

#[test]
fn the_sides_may_be_swapped() {
    for policy in ORDERED {
        let (hub, one, two) = apart(
            policy,
            r#"{"a":0,"b":0,"c":[1]}"#,
            put(r#"{"a":1,"b":0,"c":[1,2]}"#),
            put(r#"{"a":2,"b":2,"c":[0,1]}"#),
        );
        let [there, back] = [[&one, &two], [&two, &one]].map(|order| taken(&hub, &order));
        assert_eq!(there.view(), back.view(), "{policy:?}");
        assert_eq!(paths(&there), paths(&back), "{policy:?}");
    }
}

#[test]
fn equal_bodies_are_no_conflict() {
    for policy in ORDERED {
        let (hub, one, two) = apart(policy, r#"{"a":0}"#, put(r#"{"a":1}"#), put(r#"{"a":1}"#));
        let mut hub = taken(&hub, &[&one]);
        assert!(matches!(hub.take(&two), Decision::Merged(_)), "{policy:?}");
        assert_eq!(hub.body(), Some(r#"{"a":1}"#));
    }
}

#[test]
fn what_only_one_side_changed_is_that_sides() {
    for unchanged_first in [true, false] {
        let same = put(r#"{"a":0,"b":0}"#);
        let changed = put(r#"{"a":1,"b":0}"#);
        let (one, two) = if unchanged_first { (same, changed) } else { (changed, same) };
        let (hub, one, two) = apart(Policy::ThreeWay, r#"{"a":0,"b":0}"#, one, two);
        let hub = taken(&hub, &[&one, &two]);
        assert_eq!((hub.body(), paths(&hub).len()), (Some(r#"{"a":1,"b":0}"#), 0));
    }
}

#[test]
fn without_an_ancestor_the_whole_record_clashes() {
    let (hub, one, two) =
        apart(Policy::ThreeWay, r#"{"a":0,"b":0}"#, put(r#"{"a":1,"b":0}"#), put(r#"{"a":0,"b":2}"#));
    let mut hub = taken(&hub, &[&one]);
    hub.bodies.clear();
    assert!(matches!(hub.take(&two), Decision::Conflicted { .. }));
    assert_eq!((hub.body(), paths(&hub)), (Some(r#"{"a":0,"b":2}"#), vec![""]));
    // Two creations have none either.
    let creations =
        [1, 2].map(|name| Author::new(name).write(None, put(&format!(r#"{{"by":{name}}}"#)), NOW_MS));
    let hub = Hub::after(Policy::ThreeWay, &[&creations[0], &creations[1]]);
    assert_eq!(paths(&hub), [""]);
}

#[test]
fn a_sealed_body_is_kept_whole() {
    let (hub, one, mut two) = apart(Policy::ThreeWay, r#"{"a":0}"#, put(r#"{"a":1}"#), put("sealed"));
    two.key_id = 7;
    let hub = taken(&hub, &[&one, &two]);
    assert_eq!((hub.body(), paths(&hub)), (Some("sealed"), vec![""]));
    assert_eq!(hub.view().unwrap().key_id, 7);
}

#[test]
fn what_the_hub_made_has_a_dot_of_its_own() {
    for policy in ORDERED {
        let (hub, one, two) = apart(policy, r#"{"a":0}"#, put(r#"{"a":1}"#), put(r#"{"a":2}"#));
        let hub = taken(&hub, &[&one]);
        assert_eq!(hub.view().unwrap().version.get(&Writer::HUB), 0);
        let before = hub.view().cloned();
        let mut hub = taken(&hub, &[&two]);
        assert_eq!(hub.view().unwrap().version.get(&Writer::HUB), 3, "the revision");
        // Who had seen both sides, and not what came of them, had not seen this record.
        let mut third = Author::new(3);
        let mut blind = third.write(before.as_ref(), put(r#"{"a":3}"#), NOW_MS + 30);
        blind.base.version = blind.base.version.clone().with(two.dot);
        assert!(!matches!(hub.clone().take(&blind), Decision::Applied(_)), "{policy:?}");
        let seeing = third.write(hub.view(), put(r#"{"a":4}"#), NOW_MS + 30);
        assert!(matches!(hub.take(&seeing), Decision::Applied(_)), "{policy:?}");
        assert!(hub.view().unwrap().inputs.is_empty());
    }
}

#[test]
fn deletes_and_incarnations_come_first() {
    for policy in ORDERED {
        let (hub, one, two) = apart(policy, r#"{"a":0}"#, Op::Delete, put(r#"{"a":2}"#));
        for order in [[&one, &two], [&two, &one]] {
            let hub = taken(&hub, &order);
            assert!(hub.view().unwrap().is_deleted(), "{policy:?}");
            assert_eq!(hub.conflicts[""].1.conflict_type, ConflictType::Deletion);
        }
    }
}

#[test]
fn a_patch_is_refused_where_bodies_are_whole() {
    for policy in ORDERED {
        let mut hub = Hub::new(policy);
        let patch = Author::new(1).write(None, support::patch(r#"{"a":1}"#, &[]), NOW_MS);
        let Decision::Rejected(refusal) = hub.take(&patch) else { panic!("taken") };
        assert_eq!(refusal.reason, Reason::PatchUnsupported);
    }
}

/// The next write of an author who has not heard of anything since `own`.
fn own_next(author: &mut Author, shown: &Record, own: &Mutation, body: &str, at: u64) -> (Mutation, Record) {
    let mut next = author.write(Some(shown), put(body), NOW_MS + at);
    next.base.version = own.base.version.clone().with(own.dot);
    next.base.own = Some(own.dot);
    let mut shown = shown.clone();
    shown.version = shown.version.with(next.dot);
    shown.stamp = next.stamp();
    (next, shown)
}

#[test]
fn offline_storm() {
    for policy in ORDERED {
        let mut away = Author::new(1);
        let mut hub = Hub::after(policy, &[&away.write(None, put(r#"{"a":0,"b":0}"#), NOW_MS)]);
        let seen = hub.view().cloned().unwrap();
        let remote = Author::new(2).write(Some(&seen), put(r#"{"a":"remote","b":0}"#), NOW_MS + 5_000);
        hub.take(&remote);
        let mut last = away.write(Some(&seen), put(r#"{"a":1,"b":1}"#), NOW_MS);
        let mut shown = seen.clone();
        (shown.version, shown.stamp) = (shown.version.with(last.dot), last.stamp());
        hub.take(&last);
        for n in 2..=10_000u64 {
            let body = format!(r#"{{"a":{n},"b":{n}}}"#);
            (last, shown) = own_next(&mut away, &shown, &last, &body, n);
            assert!(!matches!(hub.take(&last), Decision::Rejected(_)));
        }
        let at_most: &[&str] = if policy == Policy::ThreeWay { &["/a"] } else { &[""] };
        assert_eq!(paths(&hub), at_most, "{policy:?}");
        let conflict = &hub.conflicts[at_most[0]].1;
        assert!(conflict.losers.len() <= 2 && conflict.dropped == 0, "{policy:?}: {conflict:?}");
        assert!(hub.body().unwrap().contains(r#""b":10000"#), "{policy:?}");
        assert!(hub.view().unwrap().inputs.len() <= 2, "{policy:?}");
    }
}

const WRITERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Write { writer: usize, values: [u8; 3] },
    Look { writer: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..WRITERS, proptest::array::uniform3(0..3u8));
    let step = prop_oneof![
        3 => write.prop_map(|(writer, values)| Step::Write { writer, values }),
        1 => (0..WRITERS).prop_map(|writer| Step::Look { writer }),
    ];
    proptest::collection::vec(step, 2..24)
}

/// Plays the steps at one hub: who writes has seen what the hub held when it last looked, and its own writes since.
fn play(policy: Policy, steps: &[Step]) -> (Hub, Vec<Mutation>) {
    let mut hub = Hub::new(policy);
    let mut authors: Vec<Author> = (1..).map(Author::new).take(WRITERS).collect();
    let mut views: Vec<(Option<Record>, Option<Mutation>)> = vec![(None, None); WRITERS];
    let mut log = Vec::new();
    for (at, step) in (0u64..).zip(steps) {
        match step {
            Step::Look { writer } => views[*writer] = (hub.record.clone(), None),
            Step::Write { writer, values } => {
                let body = format!(r#"{{"a":{},"b":{},"c":{}}}"#, values[0], values[1], values[2]);
                let (view, own) = &mut views[*writer];
                let mut mutation = authors[*writer].write(view.as_ref(), put(&body), NOW_MS + at / 3);
                if let Some(own) = own {
                    mutation.base.version = own.base.version.clone().with(own.dot);
                    mutation.base.own = Some(own.dot);
                }
                assert!(!matches!(hub.take(&mutation), Decision::Rejected(_)));
                let shown = view.get_or_insert_with(|| hub.record.clone().unwrap());
                (shown.version, shown.stamp) =
                    (mutation.base.version.clone().with(mutation.dot), mutation.stamp());
                *own = Some(mutation.clone());
                log.push(mutation);
            }
        }
    }
    (hub, log)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x0dde_4ed5),
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_sides_are_kept(policy in proptest::sample::select(WHOLE.to_vec()), steps in steps()) {
        let (hub, log) = play(policy, &steps);
        for (at, mutation) in log.iter().enumerate() {
            let stands = hub.view().is_some_and(|record| record.stamp == mutation.stamp());
            let Op::Put { body } = &mutation.op else { unreachable!() };
            let same = hub.body().is_some_and(|stands| stands.as_bytes() == body.as_ref());
            let seen = log[at + 1..].iter().any(|later| later.base.version.contains(mutation.dot));
            let equal = log[..at].iter().chain(&log[at + 1..]).any(|other| other.op == mutation.op);
            let kept = hub.conflicts.values().any(|(_, conflict)| {
                let mut sides = conflict.losers.iter().chain([&conflict.primary]);
                conflict.dropped > 0 || sides.any(|side| side.stamp == mutation.stamp())
            });
            prop_assert!(stands || same || seen || equal || kept, "{mutation:?} is gone: {:?}", hub.conflicts);
        }
    }

    #[test]
    fn replay_from_empty_gives_the_same_bytes(policy in proptest::sample::select(ORDERED.to_vec()), steps in steps()) {
        let (hub, log) = play(policy, &steps);
        let again = Hub::after(policy, &log.iter().collect::<Vec<_>>());
        prop_assert_eq!(hub.view(), again.view());
        prop_assert_eq!(hub.conflicts, again.conflicts);
    }

    #[test]
    fn inputs_are_at_most_one_a_writer(steps in steps()) {
        let (hub, _) = play(Policy::ThreeWay, &steps);
        prop_assert!(hub.view().is_none_or(|record| record.inputs.len() <= WRITERS));
    }
}

#[test]
fn a_state_that_does_not_hold_clashes_with_what_it_was_made_on() {
    let metrics = |stated: u8| {
        format!(
            r#"{{"identity_snapshot":{{"stability_metrics":{{"current_is_score":{stated},"parameter_values":{{"C":0.5,"D":4,"R":1}}}}}}}}"#
        )
    };
    let (sound, broken) = (metrics(2), metrics(3));
    for (policy, base, written, clashes) in [
        (Policy::ByType, &sound, &broken, 1),
        (Policy::ByType, &sound, &sound, 0),
        (Policy::ByType, &broken, &broken, 0),
        (Policy::ByType, &broken, &sound, 0),
        (Policy::Branch, &sound, &broken, 0),
    ] {
        let mut author = Author::new(1);
        let hub = Hub::after(policy, &[&author.write(None, put(base), NOW_MS)]);
        let next = author.write(hub.view(), put(written), NOW_MS + 10);
        let mut of_another_log = next.clone();
        of_another_log.base.version.add(Dot { writer: Author::new(2).writer, n: 3 });
        for next in [next, of_another_log] {
            let after = taken(&hub, &[&next]);
            let found = (after.body(), after.conflicts.len());
            assert_eq!(found, (Some(written.as_str()), clashes), "{policy:?} {:?}", next.base);
        }
    }
}
