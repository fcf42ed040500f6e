//! What a replica does, call by call, against a hub in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "replica/answered.rs"]
mod answered;
#[path = "replica/answers.rs"]
mod answers;
#[path = "replica/clocks.rs"]
mod clocks;
#[path = "replica/elsewhere.rs"]
mod elsewhere;
#[path = "replica/pages.rs"]
mod pages;
#[path = "replica/recovery.rs"]
mod recovery;
mod support;
#[path = "replica/urgent.rs"]
mod urgent;

use std::sync::Arc;

use semantics::cursor::{Change, Cut, Departure};
use semantics::envelope::Op;
use semantics::ids::{CommitNumber, Incarnation, NodeId, Revision};
use semantics::outcome::Transient;
use semantics::reason::{Reason, Refusal};
use semantics::session::{PushItem, UNANSWERED_MAX};
use semantics::view::{Selector, View};
use serde_json::json;
use spoke::error::ReplicaError;
use spoke::replica::store::Range;
use spoke::replica::{Greeting, Replica, WelcomeTaken, Write, WriteOp};
use support::*;

fn reason<T: std::fmt::Debug>(result: Result<T, ReplicaError>) -> Reason {
    result.unwrap_err().refusal().reason
}

async fn states(replica: &Replica) -> Vec<&'static str> {
    replica.outbox(None, 1000).await.unwrap().iter().map(|entry| entry.state_name()).collect()
}

/// Another node's replica over the same hub.
async fn other() -> Replica {
    let identity = identity(NodeId([8; 16]), "there");
    let entropy = Arc::new(Counting(1_000_000.into()));
    Replica::open(Arc::new(TestStore::new().await), identity, entropy).await.unwrap()
}

#[tokio::test]
async fn reads_its_own_writes_offline() {
    let (_, replica) = fresh().await;
    replica.put(key("note", "a"), object(json!({"t": 1})), NOW).await.unwrap().unwrap();
    replica.put(key("entity", "e"), object(json!({"x": 1, "y": 2})), NOW).await.unwrap().unwrap();
    replica.patch(key("entity", "e"), object(json!({"x": 5})), vec!["y".into()], NOW).await.unwrap();
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"t": 1})));
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"x": 5})));
    replica.delete(key("note", "a"), NOW).await.unwrap().unwrap();
    assert_eq!(body(&replica, "note", "a").await, None);
    replica.put(key("note", "a"), object(json!({"t": 2})), NOW).await.unwrap().unwrap();
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"t": 2})));
    let notes = Range { kind: Some(key("note", "a").kind), ..Range::default() };
    assert_eq!(replica.page(&notes, 10).await.unwrap().len(), 1);
    let found = replica.page_where(&Range::default(), Some(("x", &json!(5))), 10).await.unwrap();
    assert_eq!(found[0].record.key, key("entity", "e"));
}

#[tokio::test]
async fn a_refused_write_writes_nothing() {
    let (_, replica) = fresh().await;
    let absent = replica.patch(key("entity", "e"), object(json!({"x": 1})), vec![], NOW).await;
    assert_eq!(reason(absent), Reason::RecordAbsent);
    assert_eq!(reason(replica.delete(key("entity", "e"), NOW).await), Reason::RecordAbsent);
    let undeclared = replica.put(key("recipe", "r"), object(json!({})), NOW).await;
    assert_eq!(reason(undeclared), Reason::KindUndeclared);
    assert_eq!(reason(replica.put(key("kind", "r"), object(json!({})), NOW).await), Reason::ControlKind);
    let unsafe_number = object(json!({"n": 9_007_199_254_740_993_u64}));
    assert_eq!(reason(replica.put(key("note", "n"), unsafe_number, NOW).await), Reason::UnsafeNumber);
    let no_edge = replica.put(key("edge", "e"), object(json!({"src": "a"})), NOW).await;
    assert_eq!(reason(no_edge), Reason::SchemaViolation);
    replica.put(key("moment", "m"), object(json!({"name": "a"})), NOW).await.unwrap();
    let again = replica.put(key("moment", "m"), object(json!({"name": "b"})), NOW).await;
    assert_eq!(reason(again), Reason::AppendOnly);
    assert_eq!(states(&replica).await, ["queued"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_writes_nothing() {
    let (_, replica) = fresh().await;
    for (kind, id) in [("note", "n"), ("entity", "e"), ("moment", "m")] {
        let write = || put(kind, id, json!({"name": "a"}));
        assert!(replica.write(write(), NOW).await.unwrap().is_some());
        assert_eq!(replica.write(write(), NOW).await.unwrap(), None);
    }
    let outcomes = replica.write_all(vec![put("note", "n", json!({"name": "a"}))], NOW).await.unwrap();
    assert_eq!(outcomes, [Ok(None)]);
    assert_eq!(states(&replica).await.len(), 3);
}

#[tokio::test]
async fn a_put_on_a_fields_kind_travels_as_the_patch_of_its_base_and_a_patch_on_another_as_a_put() {
    let (_, replica) = fresh().await;
    replica.write(put("entity", "e", json!({"a": 1, "b": 2})), NOW).await.unwrap();
    replica.write(put("entity", "e", json!({"a": 1, "c": 3})), NOW).await.unwrap();
    replica.write(put("note", "n", json!({"a": 1})), NOW).await.unwrap();
    replica.patch(key("note", "n"), object(json!({"b": 2})), vec![], NOW).await.unwrap();
    let entries = replica.outbox(None, 10).await.unwrap();
    let patch = Op::Patch { set: br#"{"c":3}"#.to_vec().into(), remove: vec!["b".into()] };
    assert_eq!(entries[1].mutation.op, patch);
    assert_eq!(entries[3].mutation.op, Op::Put { body: br#"{"a":1,"b":2}"#.to_vec().into() });
}

#[tokio::test]
async fn bad_writes_of_many_do_not_hold_up_the_good_ones() {
    let (_, replica) = fresh().await;
    let writes = vec![
        put("note", "a", json!({})),
        put("nonsense", "b", json!({})),
        put("note", "a", json!({"x": 1})),
        put("note", "c", json!({})),
    ];
    let outcomes = replica.write_all(writes, NOW).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"x": 1})));
}

#[tokio::test]
async fn what_is_written_arrives_and_the_outbox_empties() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("entity", "e", json!({"a": 1})), NOW).await.unwrap();
    replica.write(put("entity", "e", json!({"a": 2})), NOW).await.unwrap();
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    let item = replica.get(&key("entity", "e")).await.unwrap().unwrap();
    assert!(!item.is_pending);
    assert_eq!(item.revision, Revision(2));
    assert!(hub.outcomes.iter().all(|(_, told)| told.outcome.name() == "applied"));
}

#[tokio::test]
async fn answer_before_change() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    replica.write(put("note", "n", json!({"t": 2})), NOW).await.unwrap();
    push(&replica, &mut hub).await.unwrap();
    assert_eq!(states(&replica).await, ["answered"]);
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
    // A cut from before the answer changes nothing about it.
    let mut cut = cut_of(&hub.cut(None));
    (cut.cursor.commit, cut.cursor.revision) = (CommitNumber(1), Revision(1));
    (cut.digest, cut.view) = (None, None);
    replica.apply_cut(page(vec![], vec![], cut.clone()), &cut).await.unwrap().unwrap();
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
    pull(&replica, &hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
}

#[tokio::test]
async fn change_before_answer_leaves_one_effect() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    replica.write(put("entity", "e", json!({"a": 1})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    let results = hub.push(&sent);
    pull(&replica, &hub).await;
    assert_eq!(states(&replica).await, ["sent"]);
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"a": 1})));
    assert!(!replica.get(&key("entity", "e")).await.unwrap().unwrap().is_pending);
    replica.settle(&results, NOW).await.unwrap().unwrap();
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    let again = replica.settle(&results, NOW).await.unwrap().unwrap();
    assert_eq!(again.answered, 0);
}

#[tokio::test]
async fn a_push_is_repeated_byte_for_byte_until_it_is_answered() {
    let (store, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    let first = replica.next_push(NOW).await.unwrap().unwrap();
    hub.push(&first);
    let replica = open(&store, "here", 500).await;
    greet(&replica, &mut hub).await;
    assert_eq!(replica.next_push(NOW + 5000).await.unwrap().unwrap(), first);
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(1));
}

#[tokio::test]
async fn rejected_cause() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { refuses: Some(key("note", "a")), ..Hub::default() };
    greet(&replica, &mut hub).await;
    let edge = json!({"src": "a", "dst": "b", "rel_type": "r"});
    replica.write_group(vec![put("note", "a", json!({"t": 1})), put("edge", "ab", edge)], NOW).await.unwrap();
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    // Written after the group was sent, so it waits here for the group's answer.
    replica.patch(key("note", "a"), object(json!({"u": 1})), vec![], NOW).await.unwrap();
    replica.write(put("note", "free", json!({})), NOW).await.unwrap();
    let results = hub.push(&push);
    replica.settle(&results, NOW).await.unwrap().unwrap();
    assert_eq!(states(&replica).await, ["set_aside", "set_aside", "set_aside", "queued"]);
    assert_eq!(body(&replica, "note", "a").await, None);
    assert_eq!(body(&replica, "edge", "ab").await, None);
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["set_aside", "set_aside", "set_aside"]);
    assert!(hub.records.contains_key(&key("note", "free")));
    let cause = &replica.outbox(None, 10).await.unwrap()[0];
    hub.refuses = None;
    replica.outbox_retry(cause.id(), NOW).await.unwrap().unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"t": 1})));
    for entry in replica.outbox(None, 10).await.unwrap() {
        replica.outbox_drop(entry.id()).await.unwrap();
    }
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}

#[tokio::test]
async fn a_dependent_that_was_sent_with_its_rejected_cause_is_set_aside_by_the_hubs_answer() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { refuses: Some(key("note", "a")), ..Hub::default() };
    replica.write(put("note", "a", json!({"t": 1})), NOW).await.unwrap();
    replica.write(put("note", "a", json!({"t": 2})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["set_aside", "set_aside"]);
    assert_eq!(hub.revision, Revision::ZERO);
}

#[tokio::test]
async fn before_the_first_cut_a_kind_that_is_not_known_is_refused_with_what_to_do() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let unknown = |done: Result<_, ReplicaError>| {
        let refusal = done.unwrap_err().refusal();
        assert_eq!(refusal.reason, Reason::KindUndeclared);
        refusal.detail
    };
    let before = unknown(replica.write(put("recipe", "r", json!({})), NOW).await);
    assert!(before.contains("has not synced yet") && before.contains("sync it once"), "{before}");
    sync(&replica, &mut hub).await;
    assert_eq!(
        unknown(replica.write(put("recipe", "r", json!({})), NOW).await),
        "no kind recipe is declared"
    );
}

#[tokio::test]
async fn group_whole() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let bad =
        replica.write_group(vec![put("note", "a", json!({})), put("nonsense", "b", json!({}))], NOW).await;
    assert_eq!(reason(bad), Reason::KindUndeclared);
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    assert_eq!(body(&replica, "note", "a").await, None);
    // A group that does not fit into what may be unanswered waits whole.
    let singles = (0..UNANSWERED_MAX - 1).map(|n| put("note", &format!("s{n:03}"), json!({}))).collect();
    replica.write_all(singles, NOW).await.unwrap();
    let pair = vec![put("note", "x", json!({})), put("note", "y", json!({})), put("note", "x", json!({}))];
    let ids = replica.write_group(pair, NOW).await.unwrap();
    assert_eq!(ids.iter().filter(|id| id.is_some()).count(), 2);
    greet(&replica, &mut hub).await;
    let first = replica.next_push(NOW).await.unwrap().unwrap();
    assert_eq!(first.items.len(), 255);
    replica.settle(&hub.push(&first), NOW).await.unwrap();
    let second = replica.next_push(NOW).await.unwrap().unwrap();
    let places: Vec<_> = second.items.iter().map(place).collect();
    assert_eq!(places, [Some((0, 2)), Some((1, 2))]);
    let too_many = (0..65).map(|n| put("note", &format!("m{n}"), json!({}))).collect();
    assert_eq!(reason(replica.write_group(too_many, NOW).await), Reason::TooLarge);
}

fn place(item: &PushItem) -> Option<(u32, u32)> {
    match item {
        PushItem::Mutation(mutation) => mutation.group.map(|group| (group.index, group.size)),
        PushItem::Withdraw { .. } => None,
    }
}

#[tokio::test]
async fn an_urgent_write_overtakes_by_withdrawal() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    let slow = replica.write(put("note", "slow", json!({"t": 1})), NOW).await.unwrap().unwrap();
    let busy = Transient { n: 0, reason: Reason::QuotaExceeded, detail: String::new(), retry_after_ms: 9000 };
    hub.waits = Some(busy);
    let settled = push(&replica, &mut hub).await.unwrap();
    assert_eq!((settled.answered, settled.retry_after_ms), (0, Some(9000)));
    replica.write(put("note", "slow", json!({"t": 2})), NOW).await.unwrap();
    replica.write(put("note", "urgent", json!({})), NOW).await.unwrap();
    replica.withdraw(slow).await.unwrap();
    let withdrawal = replica.next_push(NOW).await.unwrap().unwrap();
    assert!(matches!(withdrawal.items[0], PushItem::Withdraw { n: 1, .. }), "{withdrawal:?}");
    hub.waits = None;
    replica.settle(&hub.push(&withdrawal), NOW).await.unwrap();
    assert_eq!(body(&replica, "note", "slow").await, Some(json!({"t": 2})));
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    let urgent = hub.records[&key("note", "urgent")].0;
    assert!(urgent < hub.records[&key("note", "slow")].0);
    assert_eq!(body(&replica, "note", "slow").await, Some(json!({"t": 2})));
}

#[tokio::test]
async fn a_withdrawn_dot_that_was_consumed_keeps_its_outcome() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    let id = replica.write(put("note", "n", json!({})), NOW).await.unwrap().unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    hub.push(&sent);
    replica.withdraw(id).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(1));
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}

#[tokio::test]
async fn staged_changes_are_unseen_until_the_cut_and_the_highest_revision_wins() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let writer = other().await;
    writer.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    sync(&writer, &mut hub).await;
    let old = hub.records[&key("note", "n")].clone();
    writer.write(put("note", "n", json!({"t": 2})), NOW).await.unwrap();
    sync(&writer, &mut hub).await;
    let new = hub.records[&key("note", "n")].clone();
    let change =
        |(revision, record): &(Revision, _)| Change { revision: *revision, record: Clone::clone(record) };
    replica.stage(vec![change(&new)], vec![], b"resume").await.unwrap();
    assert_eq!(body(&replica, "note", "n").await, None);
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    assert_eq!(hello.resume.as_deref(), Some(b"resume".as_slice()));
    let cut = cut_of(&hub.cut(None));
    replica.apply_cut(page(vec![change(&old)], vec![], cut.clone()), &cut).await.unwrap().unwrap();
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
    // The same page again changes nothing; nor does a departure from before the change.
    let gone = Departure { revision: Revision(1), key: key("note", "n") };
    let applied = replica.apply_cut(page(vec![change(&old)], vec![gone], cut.clone()), &cut).await;
    assert_eq!(applied.unwrap().unwrap().digest_matches, Some(true));
    let gone = Departure { revision: Revision(3), key: key("note", "n") };
    replica.apply_cut(page(vec![], vec![gone], cut.clone()), &cut).await.unwrap().unwrap();
    assert_eq!(body(&replica, "note", "n").await, None);
}

#[tokio::test]
async fn a_shrunk_view_drops_what_lies_outside_of_it_at_the_cut() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "n", json!({})), NOW).await.unwrap();
    replica.write(put("entity", "e", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let domain = semantics::ids::Domain::default_domain();
    let selector = Selector { domain, kind: Some(key("note", "n").kind), facet: None };
    hub.view = View { cells: [selector].into() };
    let cut = Cut { view: Some(hub.view.clone()), digest: Some(hub.digest()), ..cut_of(&hub.cut(None)) };
    let applied = replica.apply_cut(page(vec![], vec![], cut.clone()), &cut).await.unwrap().unwrap();
    assert_eq!(applied.digest_matches, Some(true));
    assert!(body(&replica, "note", "n").await.is_some());
    assert_eq!(body(&replica, "entity", "e").await, None);
    assert_eq!(replica.confirmed_digest().await.unwrap().1, hub.digest());
}

#[tokio::test]
async fn a_replica_that_starts_anew_takes_nothing_in_that_lies_outside_of_the_view() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let writer = other().await;
    for (kind, id) in [("note", "n"), ("note", "gone"), ("entity", "e"), ("entity", "gone")] {
        writer.write(put(kind, id, json!({})), NOW).await.unwrap();
    }
    sync(&writer, &mut hub).await;
    for kind in ["note", "entity"] {
        writer.delete(key(kind, "gone"), NOW + 1).await.unwrap().unwrap();
    }
    sync(&writer, &mut hub).await;
    sync(&replica, &mut hub).await;
    replica.rebootstrap().await.unwrap();
    let changes: Vec<Change> = hub.cut(None).changes;
    let departure = Departure { revision: Revision(1), key: key("note", "n") };
    replica.stage(changes, vec![departure], b"resume").await.unwrap();
    assert!(body(&replica, "entity", "e").await.is_some(), "what was there is shown until the cut");
    let domain = semantics::ids::Domain::default_domain();
    let selector = Selector { domain, kind: Some(key("note", "n").kind), facet: None };
    hub.view = View { cells: [selector].into() };
    let cut = cut_of(&hub.cut(None));
    let applied = replica.apply_cut(page(vec![], vec![], cut.clone()), &cut).await.unwrap().unwrap();
    assert_eq!(applied.digest_matches, Some(true));
    assert_eq!((applied.counts.added, applied.counts.updated, applied.counts.deleted), (1, 0, 0));
    assert!(body(&replica, "note", "n").await.is_some());
    assert_eq!(body(&replica, "entity", "e").await, None);
    assert_eq!(replica.confirmed_digest().await.unwrap().1, hub.digest());
    // A tombstone outside of the view would answer a write there as one of the view's.
    replica.write(put("entity", "gone", json!({})), NOW + 2).await.unwrap();
    replica.write(put("note", "gone", json!({})), NOW + 2).await.unwrap();
    let Some(entity) = replica.get(&key("entity", "gone")).await.unwrap() else { panic!("no record") };
    let Some(note) = replica.get(&key("note", "gone")).await.unwrap() else { panic!("no record") };
    assert_eq!((entity.record.incarnation.0, note.record.incarnation.0), (0, 1));
}

#[tokio::test]
async fn concurrent_edits_merge_under_the_pending_layer() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let theirs = other().await;
    replica.write(put("entity", "e", json!({"a": 1, "b": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    sync(&theirs, &mut hub).await;
    replica.patch(key("entity", "e"), object(json!({"a": 2})), vec![], NOW + 1).await.unwrap();
    theirs.patch(key("entity", "e"), object(json!({"b": 2})), vec![], NOW + 2).await.unwrap();
    sync(&theirs, &mut hub).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"a": 2, "b": 2})));
    assert_eq!(states(&replica).await, ["queued"]);
    sync(&replica, &mut hub).await;
    sync(&theirs, &mut hub).await;
    assert_eq!(body(&theirs, "entity", "e").await, Some(json!({"a": 2, "b": 2})));
    assert_eq!(replica.confirmed_digest().await.unwrap(), theirs.confirmed_digest().await.unwrap());
}

#[tokio::test]
async fn an_offline_storm_is_one_chain_in_order() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let writes = (0..600).map(|n| put("entity", "e", json!({"n": n, "m": n / 100}))).collect();
    assert!(replica.write_all(writes, NOW).await.unwrap().iter().all(Result::is_ok));
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(600));
    assert!(hub.outcomes.iter().all(|(_, told)| told.outcome.name() == "applied"));
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"n": 599, "m": 5})));
}

#[tokio::test]
async fn creating_on_a_tombstone_begins_the_next_incarnation() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    replica.delete(key("note", "n"), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(body(&replica, "note", "n").await, None);
    replica.write(put("note", "n", json!({"t": 2})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(hub.records[&key("note", "n")].1.incarnation, Incarnation(1));
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
}

#[tokio::test]
async fn a_damaged_row_shows_in_the_digest() {
    let (store, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let damage = |row: &mut spoke::replica::store::ConfirmedRow| row.record.salt.0[3] ^= 1;
    assert!(store.damage(&key("note", "n"), damage).await);
    assert_ne!(replica.confirmed_digest().await.unwrap().1, hub.digest());
    // Started anew it is whole again.
    replica.rebootstrap().await.unwrap();
    pull(&replica, &hub).await;
}

#[tokio::test]
async fn starting_anew_keeps_the_outbox_and_drops_what_the_hub_no_longer_has() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("entity", "e", json!({"a": 1})), NOW).await.unwrap();
    replica.write(put("note", "old", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    hub.records.remove(&key("note", "old"));
    replica.patch(key("entity", "e"), object(json!({"a": 2})), vec![], NOW).await.unwrap();
    replica.rebootstrap().await.unwrap();
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"a": 2})));
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "note", "old").await, None);
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"a": 2})));
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}
