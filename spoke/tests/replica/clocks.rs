//! Clocks that are wrong: stamps the hub does not take yet, and what rests on them.

use super::*;

#[tokio::test]
async fn clock_ahead() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    let two_days = 2 * 24 * 3600 * 1000;
    // Written before the hub's time is known: the stamp is made anew when it is first sent.
    replica.write(put("note", "n", json!({"t": 1})), NOW + two_days).await.unwrap();
    replica.write(put("note", "n", json!({"t": 2})), NOW + two_days).await.unwrap();
    greet(&replica, &mut hub).await;
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    let times: Vec<_> = sent.items.iter().map(time).collect();
    assert!(times[0] < times[1] && times[1].0 < NOW + 1000, "{times:?}");
    let PushItem::Mutation(mutation) = &sent.items[0] else { panic!() };
    assert_eq!(mutation.written_ms, NOW + two_days);
    sync(&replica, &mut hub).await;
    assert_eq!(body(&replica, "note", "n").await, Some(json!({"t": 2})));
}

#[tokio::test]
async fn what_the_hub_finds_ahead_is_withdrawn_and_stamped_anew() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    replica.write(put("note", "n", json!({"t": 1})), NOW).await.unwrap();
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    // The hub's clock steps back an hour before the push arrives, and the next pong says so.
    hub.now_ms = NOW - 3_600_000 / 4;
    let results = hub.push(&sent);
    assert_eq!(results.waits.as_ref().map(|waits| waits.reason), Some(Reason::ClockAhead));
    replica.note_pong(hub.now_ms, None, NOW).await.unwrap();
    let settled = replica.settle(&results, NOW).await.unwrap().unwrap();
    assert_eq!(settled.retry_after_ms, None);
    while push(&replica, &mut hub).await.is_some() {}
    pull(&replica, &hub).await;
    assert_eq!(hub.revision, Revision(1));
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_stamp_before_what_was_taken() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    replica.write(put("entity", "e", json!({"t": 1})), NOW).await.unwrap();
    push(&replica, &mut hub).await.unwrap();
    let back_ms = NOW - 3_600_000 / 4;
    replica.write(put("entity", "e", json!({"t": 2})), back_ms).await.unwrap();
    let sent = replica.next_push(back_ms).await.unwrap().unwrap();
    let results = hub.push(&sent);
    replica.settle(&results, back_ms).await.unwrap();
    pull(&replica, &hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new(), "not refused for its stamp");
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"t": 2})));
}

/// Pushes at a time of the spoke's own clock, and takes the answers.
async fn push_at(replica: &Replica, hub: &mut Hub, now_ms: u64) {
    let sent = replica.next_push(now_ms).await.unwrap().unwrap();
    replica.settle(&hub.push(&sent), now_ms).await.unwrap().unwrap();
}

/// What the hub took since the last pong may be stamped after what was then allowed.
#[tokio::test]
async fn what_was_taken_since_the_last_pong_is_stamped_after_though_the_clock_steps_back() {
    let (_, replica) = fresh().await;
    let theirs = other().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    greet(&theirs, &mut hub).await;
    hub.now_ms = NOW + 40_000;
    let (fast_ms, back_ms) = (NOW + 95_000, NOW - 3_600_000 / 4);
    // Somebody else's, with a clock as fast as the hub allows, and one of our own, before our clock is set.
    theirs.write(put("entity", "theirs", json!({"t": 1})), fast_ms).await.unwrap();
    push_at(&theirs, &mut hub, fast_ms).await;
    pull(&replica, &hub).await;
    replica.write(put("entity", "own", json!({"t": 1})), fast_ms).await.unwrap();
    push_at(&replica, &mut hub, fast_ms).await;
    for id in ["theirs", "own"] {
        replica.write(put("entity", id, json!({"t": 2})), back_ms).await.unwrap();
        push_at(&replica, &mut hub, back_ms).await;
    }
    pull(&replica, &hub).await;
    assert_eq!(states(&replica).await, Vec::<&str>::new(), "nothing is refused for its stamp");
    for id in ["theirs", "own"] {
        assert_eq!(body(&replica, "entity", id).await, Some(json!({"t": 2})), "{id}");
    }
}

/// What rests on a write that the hub has merged is stamped after that write, not after what it was merged with.
#[tokio::test]
async fn what_rests_on_a_write_does_not_win_over_a_later_one_that_the_write_met() {
    let (_, replica) = fresh().await;
    let theirs = other().await;
    let mut hub = Hub::default();
    replica.write(put("entity", "e", json!({"name": "first"})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    sync(&theirs, &mut hub).await;
    let patch = |body| (key("entity", "e"), object(body), Vec::new());
    // One write under way, one that rests on it; then somebody else's of the same field, later than both.
    let (e, set, remove) = patch(json!({"a": 1}));
    replica.patch(e, set, remove, NOW + 10).await.unwrap();
    let under_way = replica.next_push(NOW + 10).await.unwrap().unwrap();
    let (e, set, remove) = patch(json!({"name": "second"}));
    replica.patch(e, set, remove, NOW + 20).await.unwrap();
    let (e, set, remove) = patch(json!({"name": "third"}));
    theirs.patch(e, set, remove, NOW + 50).await.unwrap();
    push_at(&theirs, &mut hub, NOW + 50).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"a": 1, "name": "third"})));
    let (e, set, remove) = patch(json!({"b": 1}));
    replica.patch(e, set, remove, NOW + 60).await.unwrap();
    let shown = Some(json!({"a": 1, "b": 1, "name": "third"}));
    assert_eq!(body(&replica, "entity", "e").await, shown);

    replica.settle(&hub.push(&under_way), NOW + 60).await.unwrap().unwrap();
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, shown, "its answer changes nothing of it");
    push_at(&replica, &mut hub, NOW + 60).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, shown, "nor does the hub");
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}

fn time(item: &PushItem) -> (u64, u32) {
    match item {
        PushItem::Mutation(mutation) => (mutation.time.ms, mutation.time.counter),
        PushItem::Withdraw { .. } => (0, 0),
    }
}

#[tokio::test]
async fn what_rests_on_a_stamp_that_is_to_be_made_anew_is_shown_and_written_on() {
    let (_, replica) = fresh().await;
    let mut hub = Hub::default();
    greet(&replica, &mut hub).await;
    let theirs = other().await;
    let now_ms = NOW + 2 * 24 * 3600 * 1000;
    // Sent under a stamp that is two days ahead; only the next pong tells.
    replica.write(put("entity", "e", json!({"a": 1})), now_ms).await.unwrap();
    let sent = replica.next_push(now_ms).await.unwrap().unwrap();
    replica.note_pong(NOW, None, now_ms).await.unwrap();
    replica.delete(key("entity", "e"), now_ms).await.unwrap();
    replica.next_push(now_ms).await.unwrap().unwrap();
    // Somebody else's change comes, and what is shown is put together anew.
    theirs.write(put("entity", "e", json!({"b": 1})), NOW).await.unwrap();
    sync(&theirs, &mut hub).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, None, "its own delete");
    replica.write(put("entity", "e", json!({"c": 1})), now_ms).await.unwrap();
    theirs.patch(key("entity", "e"), object(json!({"b": 2})), vec![], NOW).await.unwrap();
    sync(&theirs, &mut hub).await;
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"c": 1})), "its own new record");
    let mut results = hub.push(&sent);
    assert_eq!(results.waits.as_ref().map(|waits| waits.reason), Some(Reason::ClockAhead));
    loop {
        replica.settle(&results, now_ms).await.unwrap().unwrap();
        let Some(again) = replica.next_push(now_ms).await.unwrap() else { break };
        results = hub.push(&again);
    }
    pull(&replica, &hub).await;
    assert_eq!(body(&replica, "entity", "e").await, Some(json!({"c": 1})));
    assert_eq!(hub.records[&key("entity", "e")].1.incarnation, Incarnation(1));
    assert_eq!(states(&replica).await, Vec::<&str>::new());
}
