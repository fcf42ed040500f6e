//! Schedules of two or three writers on one record, in every order, by the names that the design knows them by.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use semantics::conflict::{Conflict, ConflictType};
use semantics::decide::Decision;
use semantics::envelope::{Op, Record};
use semantics::ids::{Incarnation, Writer};
use semantics::kind::Policy;
use semantics::reason::Reason;
use support::{Author, Hub, POLICIES, patch, put};

const NOW_MS: u64 = 1_000;

fn authors() -> [Author; 3] {
    [Author::new(1), Author::new(2), Author::new(3)]
}

fn reason(decision: &Decision) -> Option<Reason> {
    match decision {
        Decision::Rejected(refusal) => Some(refusal.reason),
        _ => None,
    }
}

/// The one open conflict.
fn only_conflict(hub: &Hub) -> &Conflict {
    assert_eq!(hub.conflicts.len(), 1, "{:?}", hub.conflicts);
    &hub.conflicts.values().next().unwrap().1
}

fn loser_writers(conflict: &Conflict) -> Vec<Writer> {
    conflict.losers.iter().map(|side| side.stamp.dot.writer).collect()
}

/// A change of a live record: a patch where the policy has patches.
fn change(policy: Policy, value: &str) -> Op {
    let body = format!(r#"{{"a":"{value}"}}"#);
    if policy == Policy::Fields { patch(&body, &[]) } else { put(&body) }
}

/// A hub that holds a record with the fields a and b.
fn hub_with_record(policy: Policy, by: &mut Author) -> Hub {
    Hub::after(policy, &[&by.write(None, put(r#"{"a":"0","b":"0"}"#), NOW_MS)])
}

#[test]
fn delete_vs_patch() {
    for policy in [Policy::LastWriter, Policy::Fields] {
        let [mut first, mut second, mut third] = authors();
        let hub = hub_with_record(policy, &mut first);
        let delete = second.write(hub.view(), Op::Delete, NOW_MS);
        // Later than the delete, and yet the delete stands.
        let edit = third.write(hub.view(), change(policy, "1"), NOW_MS + 50);

        let records = [[&delete, &edit], [&edit, &delete]].map(|order| {
            let mut hub = hub.clone();
            assert!(matches!(hub.take(order[0]), Decision::Applied(_)));
            assert!(matches!(hub.take(order[1]), Decision::Conflicted { .. }));
            let conflict = only_conflict(&hub);
            assert_eq!((conflict.path.as_str(), conflict.conflict_type), ("", ConflictType::Deletion));
            assert_eq!(conflict.primary.stamp, delete.stamp());
            assert_eq!(loser_writers(conflict), [third.writer]);
            hub.record
        });
        assert!(records[0].as_ref().is_some_and(Record::is_deleted));
        assert_eq!(records[0], records[1]);
    }
}

#[test]
fn delete_that_saw_the_patch_clashes_with_nothing() {
    let [mut first, mut second, mut third] = authors();
    let mut hub = hub_with_record(Policy::Fields, &mut first);
    let edit = third.write(hub.view(), patch(r#"{"a":"1"}"#, &[]), NOW_MS);
    hub.take(&edit);
    let delete = second.write(hub.view(), Op::Delete, NOW_MS);
    assert!(matches!(hub.take(&delete), Decision::Applied(_)));
    let again = third.write(hub.view(), Op::Delete, NOW_MS);
    assert!(matches!(hub.take(&again), Decision::Applied(_)));
    let edit = third.write(hub.view(), patch(r#"{"a":"2"}"#, &[]), NOW_MS);
    assert_eq!(reason(&hub.take(&edit)), Some(Reason::RecordGone));
}

#[test]
fn two_deletes_want_the_same() {
    for policy in POLICIES {
        let [mut first, mut second, mut third] = authors();
        let hub = hub_with_record(policy, &mut first);
        let deletes = [&mut second, &mut third].map(|author| author.write(hub.view(), Op::Delete, NOW_MS));
        let records = [[0, 1], [1, 0]].map(|order| {
            let mut hub = hub.clone();
            assert!(matches!(hub.take(&deletes[order[0]]), Decision::Applied(_)));
            assert!(matches!(hub.take(&deletes[order[1]]), Decision::Merged(_)));
            hub.record
        });
        assert_eq!(records[0], records[1]);
    }
}

#[test]
fn patch_absent() {
    let [mut first, mut second, _] = authors();
    let seen = hub_with_record(Policy::Fields, &mut first);
    let on_gone = second.write(seen.view(), patch(r#"{"a":"1"}"#, &[]), NOW_MS);
    let mut hub = Hub::new(Policy::Fields);
    assert_eq!(reason(&hub.take(&on_gone)), Some(Reason::RecordGone));
    assert_eq!(hub.record, None);

    let blind = second.write(None, patch(r#"{"a":"1"}"#, &["b"]), NOW_MS);
    assert!(matches!(hub.take(&blind), Decision::Applied(_)));
    assert_eq!(hub.body(), Some(r#"{"a":"1"}"#));
    assert!(hub.view().unwrap().fields["b"].removed);

    for policy in [Policy::LastWriter, Policy::AppendOnly] {
        assert_eq!(reason(&Hub::new(policy).take(&blind)), Some(Reason::PatchUnsupported));
    }
    let delete = second.write(None, Op::Delete, NOW_MS);
    assert_eq!(reason(&Hub::new(Policy::Fields).take(&delete)), Some(Reason::RecordAbsent));
}

#[test]
fn patch_then_put() {
    let [mut first, mut second, _] = authors();
    let blind_patch = first.write(None, patch(r#"{"a":"1"}"#, &["c"]), NOW_MS);
    let blind_put = second.write(None, put(r#"{"a":"2","b":"2","c":"2"}"#), NOW_MS);
    let hubs = [[&blind_patch, &blind_put], [&blind_put, &blind_patch]]
        .map(|order| Hub::after(Policy::Fields, &order));
    // Equal times: the greater writer's values stand, each lost one is kept under its path.
    assert_eq!(hubs[0].body(), Some(r#"{"a":"2","b":"2","c":"2"}"#));
    assert_eq!(hubs[0].record, hubs[1].record);
    for hub in &hubs {
        assert_eq!(hub.conflicts.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert!(hub.conflicts.values().all(|(_, conflict)| loser_writers(conflict) == [first.writer]));
    }

    let mut hub = hubs[0].clone();
    let sequential = first.write(hub.view(), put(r#"{"a":"3"}"#), NOW_MS);
    assert!(matches!(hub.take(&sequential), Decision::Applied(_)));
    assert_eq!(hub.body(), Some(r#"{"a":"3","b":"2","c":"2"}"#), "a put sets its fields and removes none");
}

#[test]
fn gone_then_put() {
    for policy in [Policy::LastWriter, Policy::Fields] {
        let [mut first, mut second, mut third] = authors();
        let seen = hub_with_record(policy, &mut first);
        // Deleted and collected since: the hub holds nothing any more.
        let mut hub = Hub::new(policy);
        let stale = second.write(seen.view(), put(r#"{"a":"1"}"#), NOW_MS);
        assert_eq!(reason(&hub.take(&stale)), Some(Reason::RecordGone));
        let mut again = second.write(None, put(r#"{"a":"1"}"#), NOW_MS);
        again.incarnation = Incarnation(1);
        assert_eq!(reason(&hub.take(&again)), Some(Reason::RecordGone));
        let anew = second.write(None, put(r#"{"a":"1"}"#), NOW_MS);
        assert!(matches!(hub.take(&anew), Decision::Applied(_)));

        let confirmed = first.write(seen.view(), change(policy, "2"), NOW_MS);
        assert_eq!(reason(&hub.take(&confirmed)), Some(Reason::RecordGone));
        let mut unconfirmed = first.write(seen.view(), change(policy, "2"), NOW_MS);
        unconfirmed.base.own = unconfirmed.base.version.dots().next();
        assert_eq!(reason(&hub.take(&unconfirmed)), Some(Reason::DependsOn));
        let unknown = third.write(seen.view(), change(policy, "2"), NOW_MS + 9);
        assert!(matches!(hub.take(&unknown), Decision::Conflicted { .. }));

        // On the tombstone itself: not without the next incarnation.
        let delete = third.write(hub.view(), Op::Delete, NOW_MS);
        hub.take(&delete);
        let mut same_life = third.write(hub.view(), put(r#"{"a":"1"}"#), NOW_MS);
        same_life.incarnation = Incarnation::ZERO;
        assert_eq!(reason(&hub.take(&same_life)), Some(Reason::RecordGone));
        let next_life = second.write(hub.view(), put(r#"{"a":"1"}"#), NOW_MS);
        assert!(matches!(hub.take(&next_life), Decision::Applied(_)));
        assert_eq!(hub.view().unwrap().incarnation, Incarnation(1));
        assert_eq!(hub.body(), Some(r#"{"a":"1"}"#));
    }
}

#[test]
fn put_vs_put_fields() {
    let [mut first, mut second, _] = authors();
    let one = first.write(None, put(r#"{"a":"1","b":"same","c":"1"}"#), NOW_MS);
    let two = second.write(None, put(r#"{"b":"same","c":"2","d":"2"}"#), NOW_MS);
    let hubs = [[&one, &two], [&two, &one]].map(|order| Hub::after(Policy::Fields, &order));
    assert_eq!(hubs[0].record, hubs[1].record);
    for hub in &hubs {
        assert_eq!(hub.body(), Some(r#"{"a":"1","b":"same","c":"2","d":"2"}"#));
        let conflict = only_conflict(hub);
        assert_eq!((conflict.path.as_str(), conflict.conflict_type), ("c", ConflictType::Version));
        assert_eq!(conflict.primary.stamp, two.stamp());
        assert_eq!(loser_writers(conflict), [first.writer]);
    }

    let disjoint = second.write(None, put(r#"{"e":"2"}"#), NOW_MS);
    assert!(matches!(Hub::after(Policy::Fields, &[&one]).take(&disjoint), Decision::Merged(_)));
}

#[test]
fn causal_after_fast_clock() {
    for policy in [Policy::LastWriter, Policy::Fields] {
        let [mut fast, mut slow, mut blind] = authors();
        let mut hub = hub_with_record(policy, &mut blind);
        let concurrent = blind.write(hub.view(), change(policy, "blind"), NOW_MS + 20);
        let ahead = fast.write(hub.view(), change(policy, "ahead"), NOW_MS + 60_000);
        assert!(matches!(hub.take(&ahead), Decision::Applied(_)));

        let after = slow.write(hub.view(), change(policy, "after"), NOW_MS + 10);
        let mut unticked = after.clone();
        unticked.time = semantics::clock::HybridTime { ms: NOW_MS + 10, counter: 0 };
        assert_eq!(reason(&hub.clone().take(&unticked)), Some(Reason::StampBeforeBase));
        let blind_first = {
            let mut hub = hub.clone();
            assert!(matches!(hub.take(&concurrent), Decision::Conflicted { .. }));
            assert_eq!(loser_writers(only_conflict(&hub)), [blind.writer], "within the bound the clock wins");
            assert!(matches!(hub.take(&after), Decision::Merged(_)));
            hub
        };
        assert!(matches!(hub.take(&after), Decision::Applied(_)));
        hub.take(&concurrent);
        assert!(hub.body().unwrap().contains("after"));
        assert_eq!(hub.record, blind_first.record);
    }
}

#[test]
fn delete_patch_and_recreate_in_all_six_orders() {
    for policy in [Policy::LastWriter, Policy::Fields] {
        let [mut first, mut second, mut third] = authors();
        let hub = hub_with_record(policy, &mut first);
        let delete = first.write(hub.view(), Op::Delete, NOW_MS);
        let edit = second.write(hub.view(), change(policy, "lost"), NOW_MS + 50);
        let mut deleted = hub.clone();
        deleted.take(&delete);
        let again = third.write(deleted.view(), put(r#"{"c":"again"}"#), NOW_MS);

        let all = [&delete, &edit, &again];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let hubs = orders.map(|order| {
            let mut hub = hub.clone();
            for at in order {
                assert_eq!(reason(&hub.take(all[at])), None, "order {order:?}");
            }
            hub
        });
        for hub in &hubs {
            assert_eq!(hub.body(), Some(r#"{"c":"again"}"#));
            assert_eq!(hub.record, hubs[0].record);
            let conflict = only_conflict(hub);
            assert_eq!(conflict.conflict_type, ConflictType::Deletion);
            assert_eq!(loser_writers(conflict), [second.writer], "the edit, once");
        }
    }
}

#[test]
fn offline_storm() {
    const EDITS: u64 = 10_000;
    for (policy, remote_ahead_ms) in
        [Policy::LastWriter, Policy::Fields].into_iter().flat_map(|policy| [(policy, 0), (policy, 60_000)])
    {
        let [mut first, mut offline, mut remote] = authors();
        let mut hub = hub_with_record(policy, &mut first);
        let mut local = hub.clone();
        let remote_edit = remote.write(hub.view(), change(policy, "remote"), NOW_MS + remote_ahead_ms);
        hub.take(&remote_edit);

        let mut last = None;
        for at in 0..EDITS {
            let mut edit = offline.write(local.view(), change(policy, &format!("edit {at}")), NOW_MS + at);
            edit.base.own = last;
            last = Some(edit.dot);
            assert!(matches!(local.take(&edit), Decision::Applied(_)));
            assert_eq!(reason(&hub.take(&edit)), None);
        }
        let conflict = only_conflict(&hub);
        assert_eq!(conflict.path, if policy == Policy::Fields { "a" } else { "" });
        let loser = if remote_ahead_ms == 0 { remote.writer } else { offline.writer };
        assert_eq!((loser_writers(conflict), conflict.dropped), (vec![loser], 0));
        if loser == offline.writer {
            assert_eq!(conflict.losers[0].stamp.dot.n, EDITS, "the last of them stands for all");
        }
        let standing = if loser == remote.writer { "edit 9999" } else { "remote" };
        assert!(hub.body().unwrap().contains(standing));
    }
}
