//! Copies, backups and other logs: what becomes of a replica that is not where it was.

use semantics::session::Left;

use super::*;

#[tokio::test]
async fn replica_restored() {
    let (store, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    // The backup holds two entries that are not sent, one on the other.
    replica.write(put("note", "b", json!({"t": 1})), NOW).await.unwrap();
    replica.write(put("note", "b", json!({"t": 2})), NOW).await.unwrap();
    let backup = store.snapshot();
    sync(&replica, &mut hub).await;
    replica.write(put("note", "c", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(4));
    // Restored, written to, and greeted with counters the hub has long passed.
    store.restore(&backup).await;
    let replica = open(&store, "here", 9000).await;
    replica.write(put("note", "b", json!({"t": 3})), NOW).await.unwrap();
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    assert_eq!(hub.hello(NODE, &hello).unwrap_err().reason, Reason::NodeForked);
    replica.require_epoch().await.unwrap();
    assert_eq!(replica.prepare_hello(1).await.unwrap(), Greeting::EpochNeeded);
    assert_eq!(replica.next_push(NOW).await.unwrap(), None);
    reconcile(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["answered", "answered", "queued"]);
    assert_eq!(body(&replica, "note", "b").await, Some(json!({"t": 3})));
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(5));
    assert!(hub.outcomes.iter().all(|(_, told)| told.outcome.name() == "applied"), "{:?}", hub.outcomes);
    assert_eq!(body(&replica, "note", "b").await, Some(json!({"t": 3})));
}

#[tokio::test]
async fn replica_cloned() {
    let (store, original) = fresh().await;
    let mut hub = Hub::default();
    original.write(put("note", "a", json!({"t": 1})), NOW).await.unwrap();
    sync(&original, &mut hub).await;
    original.write(put("note", "shared", json!({})), NOW).await.unwrap();
    let copied = Arc::new(TestStore::new().await);
    copied.restore(&store.snapshot()).await;
    let copy = open(&copied, "elsewhere", 70_000).await;
    assert_eq!(copy.prepare_hello(1).await.unwrap(), Greeting::EpochNeeded);
    original.write(put("note", "o", json!({})), NOW).await.unwrap();
    copy.write(put("note", "c", json!({})), NOW).await.unwrap();
    sync(&original, &mut hub).await;
    reconcile(&copy, &mut hub).await;
    for _ in 0..3 {
        sync(&copy, &mut hub).await;
        sync(&original, &mut hub).await;
    }
    assert_eq!(hub.revision, Revision(4), "the shared entry took effect once");
    assert_eq!(copy.confirmed_digest().await.unwrap(), original.confirmed_digest().await.unwrap());
    assert_ne!(copy.status().await.unwrap().writer, original.status().await.unwrap().writer);
}

#[tokio::test]
async fn reconciliation_asks_from_before_the_oldest_entry_that_is_under_way() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    hub.push(&sent);
    // The effect came by a cut, the answer never did.
    pull(&replica, &hub).await;
    replica.require_epoch().await.unwrap();
    assert_eq!(replica.prepare_reconcile().await.unwrap().after, CommitNumber(1));
    reconcile(&replica, &mut hub).await;
    sync(&replica, &mut hub).await;
    assert_eq!(hub.revision, Revision(2));
}

#[tokio::test]
async fn what_cannot_be_reconciled_is_set_aside_and_never_sent_by_itself() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    replica.require_epoch().await.unwrap();
    let ask = replica.give_up_reconciling().await.unwrap();
    assert_eq!(ask.cursor, None);
    let page = hub.reconcile(NODE, &ask);
    replica.settle_reconciliation(&page).await.unwrap();
    sync(&replica, &mut hub).await;
    assert_eq!(states(&replica).await, ["set_aside"]);
    assert_eq!(hub.revision, Revision(1));
}

#[tokio::test]
async fn a_hub_that_lost_commits_stops_the_replica_until_a_person_adopts_its_log() {
    let (store, replica) = fresh().await;
    let mut hub = Hub::default();
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    // While it follows its hub's log there is nothing to adopt, and nothing is given up by mistake.
    let cursor = replica.status().await.unwrap().cursor;
    assert_eq!(reason(replica.adopt_log().await), Reason::Malformed);
    assert_eq!(replica.status().await.unwrap().cursor, cursor);
    let mut restored = Hub { log_id: semantics::ids::LogId([2; 16]), ..Hub::default() };
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    let refusal = restored.hello(NODE, &hello).unwrap_err();
    assert_eq!(refusal.reason, Reason::LogForked);
    replica.halt(&refusal).await.unwrap();
    let replica = open(&store, "here", 1000).await;
    // It still asks, and is let in by nothing but a recovery.
    let Greeting::Hello(again) = replica.prepare_hello(1).await.unwrap() else { panic!() };
    assert_eq!((again.cursor, again.stream), (hello.cursor, hello.stream));
    let welcome = hub.hello(NODE, &again).unwrap();
    let taken = replica.take_welcome(&welcome, NOW).await.unwrap();
    assert_eq!(taken, WelcomeTaken::Halted(refusal));
    assert!(body(&replica, "note", "a").await.is_some());
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    replica.adopt_log().await.unwrap();
    reconcile(&replica, &mut restored).await;
    sync(&replica, &mut restored).await;
    assert!(restored.records.contains_key(&key("note", "b")));
}

/// What is asked for stays as small as it was in the log that is left: the hub's may have been pruned since.
#[tokio::test]
async fn who_adopts_another_log_names_the_one_it_left_and_asks_from_where_its_entries_were_written() {
    let (store, replica) = fresh().await;
    let mut hub = Hub { backed_up: Some(Revision::ZERO), ..Hub::default() };
    greet(&replica, &mut hub).await;
    for id in ["a", "b", "c"] {
        replica.write(put("note", id, json!({})), NOW).await.unwrap();
        sync(&replica, &mut hub).await;
    }
    hub.backed_up = Some(Revision(2));
    sync(&replica, &mut hub).await;
    replica.write(put("note", "unsent", json!({})), NOW).await.unwrap();
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    replica.adopt_log().await.unwrap();
    let replica = open(&store, "here", 1000).await;
    let ask = replica.prepare_reconcile().await.unwrap();
    let left = Left { log_id: hub.log_id, epoch: Some(1) };
    assert_eq!((ask.cursor, ask.after, ask.left), (None, CommitNumber(2), Some(left)));
    let mut restored =
        Hub { log_id: semantics::ids::LogId([2; 16]), commit: CommitNumber(40), ..Hub::default() };
    reconcile(&replica, &mut restored).await;
    assert!(states(&replica).await.iter().all(|state| *state == "queued"));
    // From now on they are the other log's: nothing up to its end has them.
    replica.require_epoch().await.unwrap();
    let again = replica.prepare_reconcile().await.unwrap();
    assert_eq!((again.cursor, again.left), (None, None));
    replica.halt(&Refusal::new(Reason::LogForked, "lost commits")).await.unwrap();
    replica.adopt_log().await.unwrap();
    let ask = replica.prepare_reconcile().await.unwrap();
    assert_eq!(ask.after, CommitNumber(40));
    assert_eq!(ask.left.and_then(|left| left.epoch), None, "it is a copy: the epoch is the original's");
}

#[tokio::test]
async fn a_kind_may_be_written_once_its_declaration_came() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let write =
        || Write { key: key("recipe", "r"), op: WriteOp::Put(object(json!({"n": 1}))), placement: None };
    assert_eq!(reason(replica.write(write(), NOW).await), Reason::KindUndeclared);
    // A record of the right shape, under the name of a declaration.
    let writer = other().await;
    writer
        .write(
            put("note", "recipe", json!({"name": "recipe", "policy": "fields", "defaults": {"d": 7}})),
            NOW,
        )
        .await
        .unwrap();
    sync(&writer, &mut hub).await;
    let (revision, mut record) = hub.records.remove(&key("note", "recipe")).unwrap();
    record.key = key("kind", "recipe");
    record.facet = semantics::ids::Facet::new("recipe").ok();
    hub.records.insert(record.key.clone(), (revision, record));
    pull(&replica, &hub).await;
    replica.write(write(), NOW).await.unwrap().unwrap();
    assert_eq!(body(&replica, "recipe", "r").await, Some(json!({"n": 1, "d": 7})));
}
