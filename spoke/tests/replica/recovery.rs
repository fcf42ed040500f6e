//! A hub whose log went on from a backup, and a replica that had gone on without it.

use semantics::ids::{Digest, LogId, Revision};
use semantics::outcome::Outcome;
use semantics::recovery::Recovery;
use semantics::session::PushItem;

use super::*;

/// The hub as a backup has it, with a log of its own that takes back what came after.
pub(super) fn from_backup(backup: &Hub) -> Hub {
    let recovery = Recovery { predecessor: backup.log_id, commit: backup.commit, revision: backup.revision };
    Hub { log_id: LogId([2; 16]), recovery: Some(recovery), ..backup.clone() }
}

/// Another node's replica.
async fn node(id: u8) -> Replica {
    let identity = identity(NodeId([id; 16]), "elsewhere");
    let entropy = Arc::new(Counting((u64::from(id) * 1_000_000).into()));
    Replica::open(Arc::new(TestStore::new().await), identity, entropy).await.unwrap()
}

pub(super) async fn kept(replica: &Replica) -> u64 {
    replica.status().await.unwrap().backups.entries
}

#[tokio::test]
async fn nothing_is_kept_where_no_backup_is_made() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(kept(&replica).await, 0);
}

#[tokio::test]
async fn what_took_effect_is_kept_until_a_backup_holds_it() {
    let (store, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    for id in ["a", "b", "c"] {
        replica.write(put("note", id, json!({})), NOW).await.unwrap();
        sync(&replica, &mut hub).await;
    }
    assert_eq!(kept(&replica).await, 3);
    let replica = open(&store, "here", 1000).await;
    replica.note_pong(NOW, Some(Revision(2)), NOW).await.unwrap();
    assert_eq!(kept(&replica).await, 1);
    replica.note_pong(NOW, Some(Revision(3)), NOW).await.unwrap();
    let backups = replica.status().await.unwrap().backups;
    assert_eq!((backups.entries, backups.bytes, backups.given_up), (0, 0, 0));
}

#[tokio::test]
async fn what_is_too_old_is_given_up_and_said_so() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let later = NOW + semantics::recovery::KEPT_MS_MAX + 1;
    replica.note_pong(later, Some(Revision::ZERO), later).await.unwrap();
    let backups = replica.status().await.unwrap().backups;
    assert_eq!((backups.entries, backups.given_up), (0, 1));
}

#[tokio::test]
async fn what_a_backup_lost_is_sent_again_under_its_dots() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({"n": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let backup = hub.clone();
    replica.note_pong(NOW, Some(hub.revision), NOW).await.unwrap();
    replica.write(put("note", "a", json!({"n": 2})), NOW).await.unwrap();
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    // One answered and not yet cut, one sent and not answered, one not sent.
    replica.write(put("note", "c", json!({})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    let results = hub.push(&sent);
    replica.settle(&results, NOW).await.unwrap();
    replica.write(put("note", "d", json!({})), NOW).await.unwrap();
    replica.next_push(NOW).await.unwrap().unwrap();
    replica.write(put("note", "e", json!({})), NOW).await.unwrap();

    let mut restored = from_backup(&backup);
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    sync(&replica, &mut restored).await;
    for id in ["a", "b", "c", "d", "e"] {
        assert!(restored.records.contains_key(&key("note", id)), "{id}");
    }
    assert_eq!(restored.revision, Revision(6), "each once");
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"n": 2})));
    let dots = |hub: &Hub| hub.records[&key("note", "b")].1.version.clone();
    assert_eq!(dots(&restored), dots(&hub), "under the dot it had");
    let status = replica.status().await.unwrap();
    assert_eq!((status.condition.stopped, status.condition.needs_epoch), (None, false));
    assert_eq!(status.outbox.entries, 0);
    assert_eq!(status.report.unwrap().count, 2, "a and b had changed since");
}

#[tokio::test]
async fn what_a_backup_lost_that_is_restored_twice_is_sent_again_from_where_the_logs_part() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({"n": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let backup = hub.clone();
    replica.note_pong(NOW, Some(hub.revision), NOW).await.unwrap();
    replica.write(put("note", "a", json!({"n": 2})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let mut first = from_backup(&backup);
    sync(&replica, &mut first).await;
    let (origin, Greeting::Hello(hello)) =
        (first.recovery.unwrap(), replica.prepare_hello(1_000_000).await.unwrap())
    else {
        panic!("it greets")
    };
    assert_eq!(hello.lineage, [origin], "it knows what its log went on from");
    replica.write(put("note", "a", json!({"n": 3})), NOW).await.unwrap();
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    sync(&replica, &mut first).await;
    assert_eq!((first.revision, kept(&replica).await), (Revision(4), 3));
    // The hub still recovers: a replica that is back already does not begin again.
    greet(&replica, &mut first).await;
    assert!(replica.status().await.unwrap().cursor.is_some());
    assert_eq!(kept(&replica).await, 3);

    // The same backup, which knows nothing of the log between.
    let mut again = Hub { log_id: LogId([3; 16]), ..from_backup(&backup) };
    replica.halt(&Refusal::new(Reason::LogForked, "another log")).await.unwrap();
    sync(&replica, &mut again).await;
    assert_eq!(again.revision, Revision(4), "each once");
    let dots = |hub: &Hub| hub.records[&key("note", "b")].1.version.clone();
    assert_eq!(dots(&again), dots(&first), "under the dot it had");
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"n": 3})));
    let status = replica.status().await.unwrap();
    assert_eq!((status.condition.stopped, status.outbox.entries), (None, 0));
    assert_eq!(status.report.unwrap().predecessor, origin.predecessor);
}

#[tokio::test]
async fn what_was_kept_under_an_epoch_of_before_is_set_aside_and_not_forgotten() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    pull(&replica, &hub).await;
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    hub.push(&sent);
    // The answer is lost, the epoch closed meanwhile: the next one is told what became of it.
    replica.require_epoch().await.unwrap();
    reconcile(&replica, &mut hub).await;
    // The backup knows the new epoch, and not what was sent under the one before.
    let (streams, view) = (hub.streams.clone(), hub.view.clone());
    let backup = Hub { streams, view, ..Hub::default() };
    pull(&replica, &hub).await;
    assert_eq!((states(&replica).await, kept(&replica).await), (vec![], 1));
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside"]);
    pull(&replica, &restored).await;
    let entry = replica.outbox(None, 1).await.unwrap().remove(0);
    replica.outbox_retry(entry.id(), NOW).await.unwrap();
    sync(&replica, &mut restored).await;
    assert!(restored.records.contains_key(&key("note", "a")));
}

#[tokio::test]
async fn what_was_kept_under_counters_that_a_copy_has_used_since_is_set_aside_by_a_recovery() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    let backup = hub.clone();
    for id in ["a", "b", "c"] {
        replica.write(put("note", id, json!({})), NOW).await.unwrap();
        sync(&replica, &mut hub).await;
    }
    assert_eq!(kept(&replica).await, 3);
    // A copy came back first and used two of the counters.
    let mut restored = from_backup(&backup);
    for stream in restored.streams.values_mut() {
        *stream = (2, Some(Digest([7; 32])));
    }
    sync(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside", "set_aside"]);
    assert!(restored.records.contains_key(&key("note", "c")), "what nobody has sent goes again");
    for entry in replica.outbox(None, 10).await.unwrap() {
        replica.outbox_retry(entry.id(), NOW).await.unwrap();
    }
    sync(&replica, &mut restored).await;
    for id in ["a", "b", "c"] {
        assert!(restored.records.contains_key(&key("note", id)), "{id}");
    }
}

#[tokio::test]
async fn what_a_copy_has_brought_back_before_is_asked_for_again_where_it_was_answered_and_not_seen() {
    for brought_back in [1, 2] {
        let (_, replica) = fresh().await;
        let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
        replica.write(put("note", "z", json!({})), NOW).await.unwrap();
        sync(&replica, &mut hub).await;
        let mut restored = from_backup(&hub);
        for id in ["a", "b"] {
            replica.write(put("note", id, json!({})), NOW).await.unwrap();
        }
        let mut sent = replica.next_push(NOW).await.unwrap().unwrap();
        replica.settle(&hub.push(&sent), NOW).await.unwrap();
        assert_eq!(states(&replica).await, ["answered", "answered"]);
        sent.items.truncate(brought_back);
        restored.push(&sent);
        sync(&replica, &mut restored).await;
        assert_eq!(states(&replica).await, Vec::<&str>::new(), "{brought_back}");
        assert_eq!((restored.records.len(), restored.revision), (3, Revision(3)), "each once");
    }
}

/// A replica that keeps what it wrote before its present epoch, and the hub as a backup has it: without that.
async fn kept_from_an_epoch_before() -> (Replica, Hub) {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({"n": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(kept(&replica).await, 1);
    replica.require_epoch().await.unwrap();
    reconcile(&replica, &mut hub).await;
    let backup = Hub { streams: hub.streams.clone(), view: hub.view.clone(), ..Hub::default() };
    (replica, backup)
}

#[tokio::test]
async fn what_was_kept_when_a_new_epoch_begins_stays_kept_and_is_set_aside_by_a_recovery() {
    let (replica, backup) = kept_from_an_epoch_before().await;
    assert_eq!(kept(&replica).await, 1, "no backup holds it yet");
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside"]);
}

#[tokio::test]
async fn what_was_kept_under_an_epoch_of_before_is_set_aside_where_another_log_is_adopted() {
    let (replica, _) = kept_from_an_epoch_before().await;
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    replica.adopt_log().await.unwrap();
    assert_eq!(states(&replica).await, ["set_aside"], "a copy of this replica may send it too");
}

#[tokio::test]
async fn what_a_copy_of_a_replica_keeps_is_set_aside_where_another_log_is_adopted() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({"n": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    // It was found out, and has come to no epoch of its own: the hub had gone on from a backup.
    replica.require_epoch().await.unwrap();
    replica.halt(&Refusal::new(Reason::LogForked, "another log")).await.unwrap();
    replica.adopt_log().await.unwrap();
    assert_eq!(states(&replica).await, ["set_aside"], "the original may send it under the epoch they share");
}

#[tokio::test]
async fn what_was_kept_of_a_log_before_is_set_aside_by_who_comes_to_the_new_one_from_nowhere() {
    let (replica, backup) = kept_from_an_epoch_before().await;
    // Away for so long that the hub can tell it nothing any more.
    replica.rebootstrap().await.unwrap();
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside"]);
}

#[tokio::test]
async fn what_is_refused_for_a_stamp_that_a_lost_log_had_hidden_is_stamped_anew() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("entity", "e", json!({"a": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let backup = hub.clone();
    // Somebody whose clock is fast changes it, somebody else deletes it unseen: the delete hides the later stamp.
    let deleter = node(9).await;
    sync(&deleter, &mut hub).await;
    deleter.delete(key("entity", "e"), NOW).await.unwrap().unwrap();
    let fast = other().await;
    hub.backed_up = Some(backup.revision);
    sync(&fast, &mut hub).await;
    fast.write(put("entity", "e", json!({"a": 2})), NOW + 30_000).await.unwrap();
    sync(&fast, &mut hub).await;
    sync(&deleter, &mut hub).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, None);
    replica.write(put("entity", "e", json!({"a": 3})), NOW).await.unwrap();
    replica.next_push(NOW).await.unwrap().unwrap();

    let mut restored = Hub { now_ms: NOW + 40_000, ..from_backup(&backup) };
    for writer in hub.streams.keys() {
        restored.streams.entry(*writer).or_default();
    }
    sync(&fast, &mut restored).await;
    greet(&replica, &mut restored).await;
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    let results = restored.push(&sent);
    let refused = &results.outcomes[0].outcome;
    assert!(
        matches!(refused, Some(Outcome::Rejected(why)) if why.reason == Reason::StampBeforeBase),
        "{refused:?}"
    );
    replica.settle(&results, NOW).await.unwrap();
    assert_eq!(states(&replica).await, ["queued"]);
    sync(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new());
    let record = &restored.records[&key("entity", "e")].1;
    assert!(record.version.dots().any(|dot| dot.writer.node == NODE && dot.n == 3), "{record:?}");
}

#[tokio::test]
async fn what_a_lost_log_shows_is_not_taken_for_what_the_new_one_holds() {
    let (replica, backup) = kept_from_an_epoch_before().await;
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    // The record still shows the put, as the log before had it, and nothing holds it but the entry set aside.
    let same = || put("note", "a", json!({"n": 1}));
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"n": 1})));
    let entry = replica.outbox(None, 1).await.unwrap().remove(0);
    assert_eq!(reason(replica.outbox_retry(entry.id(), NOW).await), Reason::Stale);
    assert_eq!(states(&replica).await, ["set_aside"]);
    assert!(replica.write(same(), NOW).await.unwrap().is_some(), "forgotten as if it were there");
    pull(&replica, &restored).await;
    assert!(replica.outbox_retry(entry.id(), NOW).await.unwrap().is_some());
    sync(&replica, &mut restored).await;
    assert!(restored.records.contains_key(&key("note", "a")));
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"n": 1})));
    assert_eq!(replica.write(same(), NOW).await.unwrap(), None, "it stands in the log again");
}

#[tokio::test]
async fn a_counter_whose_mutation_is_gone_is_withdrawn_and_its_state_told() {
    let (_, replica) = fresh().await;
    // The replica never learned that backups are made.
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let backup = hub.clone();
    for n in 0..300 {
        replica.write(put("note", &format!("lost{n:03}"), json!({})), NOW).await.unwrap();
    }
    for _ in 0..3 {
        sync(&replica, &mut hub).await;
    }
    replica.write(put("note", "unsent", json!({})), NOW).await.unwrap();
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    assert!(push.items.iter().all(|item| matches!(item, PushItem::Withdraw { .. })), "{push:?}");
    assert_eq!(push.items.len(), 256);
    let again = replica.next_push(NOW).await.unwrap().unwrap();
    assert_eq!(push, again, "byte for byte as before");
    for _ in 0..3 {
        sync(&replica, &mut restored).await;
    }
    assert_eq!(restored.revision, Revision(2));
    assert!(restored.records.contains_key(&key("note", "unsent")));
    assert_eq!(body(&replica, "note", "lost000").await, None, "never silently written");

    let mut told = 0;
    let mut page = replica.next_remnants().await.unwrap();
    while let Some(part) = page {
        told += part.remnants.len();
        assert_eq!(replica.next_remnants().await.unwrap().as_ref(), Some(&part), "until it is taken");
        page = replica.remnants_taken(part.page).await.unwrap();
    }
    assert_eq!(told, 300);
    let rows = replica.remnants(None, 1000).await.unwrap();
    assert_eq!(rows.len(), 300);
    assert!(rows.iter().all(|row| row.revision > Revision(1) && row.digest != Digest::default()));
}

#[tokio::test]
async fn a_replica_of_another_log_is_not_taken_back() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    let mut other = from_backup(&hub);
    other.recovery = other.recovery.map(|recovery| Recovery { predecessor: LogId([9; 16]), ..recovery });
    let welcome = other.hello(NODE, &hello).unwrap();
    let taken = replica.take_welcome(&welcome, NOW).await.unwrap();
    assert!(matches!(taken, WelcomeTaken::Halted(_)), "{taken:?}");
    assert!(replica.status().await.unwrap().report.is_none());
}
