//! What a hub answered, and no cut has brought yet, where its log is another one afterwards.

use semantics::ids::{Digest, Revision};
use semantics::outcome::Outcome;

use super::recovery::{from_backup, kept};
use super::*;

/// A replica with two answers and no cut, then a log without them in which a copy of the replica has used `counters`.
async fn answered_by_another_log(counters: u64) -> (Replica, Hub) {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    let backup = hub.clone();
    for id in ["a", "b"] {
        replica.write(put("note", id, json!({})), NOW).await.unwrap();
    }
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    replica.settle(&hub.push(&sent), NOW).await.unwrap();
    assert_eq!(states(&replica).await, ["answered", "answered"]);
    for id in ["c", "d"] {
        replica.write(put("note", id, json!({})), NOW).await.unwrap();
    }
    replica.next_push(NOW).await.unwrap().unwrap();
    let mut other = Hub { recovery: None, ..from_backup(&backup) };
    for stream in other.streams.values_mut() {
        *stream = (counters, Some(Digest([7; 32])));
    }
    (replica, other)
}

#[tokio::test]
async fn what_another_log_answered_is_set_aside_where_this_one_cannot_tell_what_it_holds() {
    let (replica, mut other) = answered_by_another_log(5).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    assert_eq!(other.hello(NODE, &hello).unwrap_err().reason, Reason::NodeForked);
    replica.require_epoch().await.unwrap();
    replica.prepare_reconcile().await.unwrap();
    let ask = replica.give_up_reconciling().await.unwrap();
    replica.settle_reconciliation(&other.reconcile(NODE, &ask)).await.unwrap();
    sync(&replica, &mut other).await;
    assert_eq!(states(&replica).await, ["set_aside"; 4]);
    for entry in replica.outbox(None, 10).await.unwrap() {
        replica.outbox_retry(entry.id(), NOW).await.unwrap();
    }
    sync(&replica, &mut other).await;
    assert_eq!(other.records.len(), 4);
}

#[tokio::test]
async fn what_another_log_answered_is_sent_again_where_this_one_tells_that_it_has_it_not() {
    // The hub sees nothing wrong: it has more than it answered, and less than was sent.
    let (replica, mut other) = answered_by_another_log(3).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    let welcome = other.hello(NODE, &hello).unwrap();
    let taken = replica.take_welcome(&welcome, NOW).await.unwrap();
    assert_eq!(taken, WelcomeTaken::EpochNeeded);
    reconcile(&replica, &mut other).await;
    sync(&replica, &mut other).await;
    assert_eq!((other.records.len(), states(&replica).await), (4, vec![]));
}

#[tokio::test]
async fn what_another_log_answered_is_set_aside_by_a_copy_where_this_one_has_it_not() {
    let (replica, mut other) = answered_by_another_log(5).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    assert_eq!(other.hello(NODE, &hello).unwrap_err().reason, Reason::NodeForked);
    replica.require_epoch().await.unwrap();
    reconcile(&replica, &mut other).await;
    sync(&replica, &mut other).await;
    assert_eq!(
        (other.records.len(), states(&replica).await),
        (2, vec!["set_aside"; 2]),
        "what was not is sent"
    );
    for entry in replica.outbox(None, 10).await.unwrap() {
        replica.outbox_retry(entry.id(), NOW).await.unwrap();
    }
    sync(&replica, &mut other).await;
    assert_eq!((other.records.len(), states(&replica).await), (4, vec![]));
}

/// A replica with an answer under an epoch of before and no cut, something made on it, and the hub as a backup has it.
async fn answered_under_an_epoch_before() -> (Replica, Hub) {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    pull(&replica, &hub).await;
    replica.write(put("note", "a", json!({"n": 1})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    hub.push(&sent);
    replica.require_epoch().await.unwrap();
    reconcile(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["answered"]);
    let (streams, view) = (hub.streams.clone(), hub.view.clone());
    replica.write(put("note", "a", json!({"n": 2})), NOW).await.unwrap();
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    (replica, Hub { streams, view, ..Hub::default() })
}

#[tokio::test]
async fn what_was_answered_under_an_epoch_of_before_is_set_aside_by_a_recovery() {
    let (replica, backup) = answered_under_an_epoch_before().await;
    let mut restored = from_backup(&backup);
    greet(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside", "set_aside", "queued"], "and what was made on it");
    assert_eq!(body(&replica, "note", "a").await, None);
}

#[tokio::test]
async fn what_was_answered_under_an_epoch_of_before_is_sent_by_no_copy_that_adopts_another_log() {
    let (replica, backup) = answered_under_an_epoch_before().await;
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    replica.adopt_log().await.unwrap();
    let mut restored = Hub { recovery: None, ..from_backup(&backup) };
    reconcile(&replica, &mut restored).await;
    assert_eq!(states(&replica).await, ["set_aside", "set_aside", "queued"], "another copy may have sent it");
    sync(&replica, &mut restored).await;
    assert_eq!((restored.records.len(), body(&replica, "note", "a").await), (1, None));
}

#[tokio::test]
async fn what_the_same_log_answered_is_told_again_and_sent_once() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    replica.settle(&hub.push(&sent), NOW).await.unwrap();
    replica.require_epoch().await.unwrap();
    reconcile(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["answered"]);
    sync(&replica, &mut hub).await;
    assert_eq!((hub.revision, states(&replica).await), (Revision(1), vec![]));
}

#[tokio::test]
async fn what_was_written_one_after_the_other_is_no_conflict_where_another_log_is_adopted() {
    let (_, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    replica.write(put("note", "a", json!({"n": 0})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let backup = hub.clone();
    hub.backed_up = Some(hub.revision);
    for n in 1..=4 {
        replica.write(put("note", "a", json!({"n": n})), NOW).await.unwrap();
        sync(&replica, &mut hub).await;
    }
    // One is answered and not seen, one sent, one not.
    for n in 5..=7 {
        replica.write(put("note", "a", json!({"n": n})), NOW).await.unwrap();
        match n {
            5 => drop(push(&replica, &mut hub).await),
            6 => drop(replica.next_push(NOW).await.unwrap()),
            _ => {}
        }
    }
    assert_eq!(kept(&replica).await, 4);
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    replica.adopt_log().await.unwrap();
    let mut other = Hub { recovery: None, ..from_backup(&backup) };
    reconcile(&replica, &mut other).await;
    sync(&replica, &mut other).await;
    let of_them = other.outcomes.iter().filter(|(commit, _)| *commit > backup.commit);
    let of_them: Vec<_> = of_them.map(|(_, told)| told.outcome.clone()).collect();
    assert_eq!(of_them.len(), 7);
    assert!(of_them.iter().all(|outcome| matches!(outcome, Outcome::Applied { .. })), "{of_them:?}");
    assert_eq!(body(&replica, "note", "a").await, Some(json!({"n": 7})));
}
