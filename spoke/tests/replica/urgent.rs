//! What goes out before everything else that waits.

use semantics::ids::MutationId;
use semantics::session::{Push, PushItem};
use serde_json::{Value, json};
use spoke::replica::Replica;
use spoke::replica::urgent::{CAUSES_MAX, URGENT_MAX};

use super::support::*;

fn state(depth: u8) -> Value {
    json!({"identity_snapshot": {"stability_metrics": {"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}}}})
}

async fn wrote(replica: &Replica, kind: &str, id: &str, body: Value) -> MutationId {
    replica.put(key(kind, id), object(body), NOW).await.unwrap().unwrap()
}

/// What waits, and is not urgent.
async fn bulk(replica: &Replica, prefix: &str, count: usize) -> Vec<MutationId> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(wrote(replica, "note", &format!("{prefix}{n}"), json!({"n": n})).await);
    }
    ids
}

fn ids(push: &Push) -> Vec<MutationId> {
    let id = |item: &PushItem| match item {
        PushItem::Mutation(mutation) => mutation.id,
        PushItem::Withdraw { mutation, .. } => *mutation,
    };
    push.items.iter().map(id).collect()
}

async fn joined() -> (Hub, Replica) {
    let (mut hub, (_, replica)) = (Hub::default(), fresh().await);
    greet(&replica, &mut hub).await;
    (hub, replica)
}

#[tokio::test]
async fn what_is_urgent_is_sent_before_what_waits_longer() {
    let (mut hub, replica) = joined().await;
    let waiting = bulk(&replica, "a", 5).await;
    let healthy = wrote(&replica, "identity", "ada", state(5)).await;
    let collapsed = wrote(&replica, "identity", "bob", state(1)).await;
    let restarted = wrote(&replica, "identity", "eve", state(5)).await;
    replica.hurry(restarted).await.unwrap();
    let first = replica.next_push(NOW).await.unwrap().unwrap();
    let expected: Vec<_> = [collapsed, restarted].into_iter().chain(waiting).chain([healthy]).collect();
    assert_eq!(ids(&first), expected);
    replica.settle(&hub.push(&first), NOW).await.unwrap();
    pull(&replica, &hub).await;
    assert!(replica.outbox(None, 10).await.unwrap().is_empty());
    // The list of what is urgent is empty again, and what comes then has its turn.
    let next = bulk(&replica, "b", 2).await;
    assert_eq!(ids(&replica.next_push(NOW).await.unwrap().unwrap()), next);
}

#[tokio::test]
async fn what_is_urgent_takes_its_causes_with_it() {
    let (mut hub, replica) = joined().await;
    let waiting = bulk(&replica, "c", 3).await;
    let base = wrote(&replica, "identity", "ada", state(4)).await;
    let group = [put("identity", "ada", state(5)), put("note", "why", json!({"because": 1}))];
    let group: Vec<_> =
        replica.write_group(group.to_vec(), NOW).await.unwrap().into_iter().flatten().collect();
    let more = bulk(&replica, "d", 1).await;
    let collapsed = wrote(&replica, "identity", "ada", state(1)).await;
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    let mut expected = vec![base];
    expected.extend(&group);
    expected.push(collapsed);
    expected.extend(waiting);
    expected.extend(more);
    assert_eq!(ids(&push), expected);
    let told = hub.push(&push);
    assert!(told.outcomes.iter().all(|result| result.outcome.as_ref().unwrap().revision().is_some()));
    replica.settle(&told, NOW).await.unwrap();
    pull(&replica, &hub).await;
    assert!(replica.outbox(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_urgent_and_has_no_room_is_urgent_in_the_next_push() {
    let (mut hub, replica) = joined().await;
    let large = "x".repeat(250 * 1024);
    for n in 0..3 {
        wrote(&replica, "note", &format!("f{n}"), json!({"text": large})).await;
    }
    let mut urgent = Vec::new();
    for n in 0..20 {
        let mut body = state(1);
        body["text"] = json!(large);
        urgent.push(wrote(&replica, "identity", &format!("i{n}"), body).await);
    }
    let mut sent = Vec::new();
    while sent.len() < urgent.len() {
        let push = replica.next_push(NOW).await.unwrap().unwrap();
        sent.extend(ids(&push));
        replica.settle(&hub.push(&push), NOW).await.unwrap();
    }
    assert_eq!(sent[..urgent.len()], urgent);
}

#[tokio::test]
async fn what_rests_on_more_than_goes_at_once_waits_its_turn() {
    let (_, replica) = joined().await;
    let waiting = bulk(&replica, "e", 1).await;
    for n in 0..=CAUSES_MAX {
        wrote(&replica, "identity", "ada", json!({"n": n})).await;
    }
    wrote(&replica, "identity", "ada", state(1)).await;
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    assert_eq!(ids(&push).first(), waiting.first());
}

#[tokio::test]
async fn past_the_bound_what_is_urgent_goes_in_its_turn() {
    let (_, replica) = joined().await;
    let waiting = bulk(&replica, "f", 1).await;
    let mut urgent = Vec::new();
    for n in 0..=URGENT_MAX {
        urgent.push(wrote(&replica, "identity", &format!("a{n:03}"), state(1)).await);
    }
    let sent = ids(&replica.next_push(NOW).await.unwrap().unwrap());
    assert_eq!(sent[..URGENT_MAX], urgent[..URGENT_MAX]);
    assert_eq!(sent[URGENT_MAX..], [waiting[0], urgent[URGENT_MAX]]);
}

#[tokio::test]
async fn what_is_withdrawn_is_urgent_no_less() {
    let (mut hub, replica) = joined().await;
    let collapsed = wrote(&replica, "identity", "ada", state(1)).await;
    let sent = replica.next_push(NOW).await.unwrap().unwrap();
    assert_eq!(ids(&sent), [collapsed]);
    let waiting = bulk(&replica, "g", 3).await;
    replica.withdraw(collapsed).await.unwrap();
    let withdrawal = replica.next_push(NOW).await.unwrap().unwrap();
    assert!(matches!(withdrawal.items[0], PushItem::Withdraw { .. }));
    // Whatever else went with it is answered too.
    replica.settle(&hub.push(&withdrawal), NOW).await.unwrap();
    let again = replica.next_push(NOW).await.unwrap().unwrap();
    assert_eq!(ids(&again)[0], collapsed);
    assert!(!ids(&again).contains(&waiting[0]), "it went with the withdrawal");
}

#[tokio::test]
async fn an_own_collapse_is_known_before_the_hub_has_it() {
    let (mut hub, replica) = joined().await;
    let ada = key("identity", "ada");
    wrote(&replica, "identity", "ada", state(5)).await;
    assert_eq!(replica.kept_out(&ada).await.unwrap(), None);
    let collapsed = wrote(&replica, "identity", "ada", state(1)).await;
    assert_eq!(body(&replica, "identity", "ada").await, Some(state(5)));
    assert_eq!(replica.kept_out(&ada).await.unwrap(), Some(collapsed));
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    replica.settle(&hub.push(&push), NOW).await.unwrap();
    pull(&replica, &hub).await;
    assert_eq!(replica.kept_out(&ada).await.unwrap(), None, "from here on its conflict tells");
    // What is shown has collapsed: nothing was kept out.
    wrote(&replica, "identity", "bob", state(1)).await;
    assert_eq!(replica.kept_out(&key("identity", "bob")).await.unwrap(), None);
}

#[tokio::test]
async fn the_write_that_rescues_a_collapse_which_was_kept_out_is_urgent() {
    let (mut hub, replica) = joined().await;
    wrote(&replica, "identity", "ada", state(5)).await;
    wrote(&replica, "identity", "ada", state(1)).await;
    let push = replica.next_push(NOW).await.unwrap().unwrap();
    replica.settle(&hub.push(&push), NOW).await.unwrap();
    pull(&replica, &hub).await;
    let waiting = bulk(&replica, "h", 2).await;
    let rescued = wrote(&replica, "identity", "ada", state(4)).await;
    let next = wrote(&replica, "identity", "ada", state(6)).await;
    let sent = ids(&replica.next_push(NOW).await.unwrap().unwrap());
    assert_eq!(sent, [vec![rescued], waiting, vec![next]].concat());
}

#[tokio::test]
async fn what_is_urgent_takes_few_others_along() {
    let (_, replica) = joined().await;
    let waiting = bulk(&replica, "g", 100).await;
    let urgent = wrote(&replica, "identity", "ada", state(1)).await;
    let sent = ids(&replica.next_push(NOW).await.unwrap().unwrap());
    assert_eq!((sent[0], &sent[1..]), (urgent, &waiting[..8]));
}

#[tokio::test]
async fn a_push_has_no_more_than_is_asked_for_but_one_unit_always() {
    let (mut hub, replica) = joined().await;
    let waiting = bulk(&replica, "h", 10).await;
    let first = replica.next_push_of(NOW, 4).await.unwrap().unwrap();
    assert_eq!(ids(&first), waiting[..4]);
    assert_eq!(
        replica.next_push_of(NOW, 1).await.unwrap().unwrap(),
        first,
        "what has its dot is repeated whole"
    );
    replica.settle(&hub.push(&first), NOW).await.unwrap();
    assert_eq!(ids(&replica.next_push_of(NOW, 0).await.unwrap().unwrap()), waiting[4..5]);
}

#[tokio::test]
async fn a_group_is_not_kept_back_by_what_is_urgent() {
    let (_, replica) = joined().await;
    let group: Vec<_> = (0..20).map(|n| put("note", &format!("m{n}"), json!({"n": n}))).collect();
    let group: Vec<_> = replica.write_group(group, NOW).await.unwrap().into_iter().flatten().collect();
    let urgent = wrote(&replica, "identity", "ada", state(1)).await;
    let sent = ids(&replica.next_push_of(NOW, 16).await.unwrap().unwrap());
    assert_eq!((sent[0], &sent[1..]), (urgent, &group[..]));
}
