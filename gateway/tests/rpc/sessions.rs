//! Sessions from hello to goodbye.

use std::time::Duration;

use gateway::hub::limits::PAGES_AT_ONCE_MAX;
use gateway::rpc::pushes::PUSHES_MAX;
use proto::v1;
use proto::v1::node_service_client::NodeServiceClient;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Heard;
use semantics::reason::Reason;

use super::world::{SOON, World, hello, reason};

#[tokio::test]
async fn a_push_is_answered_and_reaches_the_other_session() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let (mut first, mut second) = (a.talk().await, b.talk().await);
    first.say(Say::Push(a.push(vec![a.note(1, "x"), a.note(2, "y")]))).await;
    let results = loop {
        if let Heard::Results(results) = first.next().await {
            break results;
        }
    };
    let types: Vec<i32> = results.outcomes.iter().map(|r| r.outcome.as_ref().unwrap().r#type).collect();
    assert_eq!(types, [1, 1], "both applied: {results:?}");
    let (cursor, changes) = second.cut().await;
    let ids: Vec<String> = changes.into_iter().map(|c| c.record.unwrap().key.unwrap().id).collect();
    assert_eq!(ids, ["x", "y"]);
    second.say(Say::Ack(v1::Ack { cursor: Some(cursor), answered_n: None, summed: None })).await;
    second.say(Say::Ping(v1::Ping { nonce: 7, time_ms: None })).await;
    // What the records come to may be told meanwhile.
    let pong = loop {
        if let Heard::Pong(pong) = second.next().await {
            break pong;
        }
    };
    assert_eq!(pong.nonce, 7);
}

#[tokio::test]
async fn pushes_on_their_way_are_answered_in_order() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut talk = node.talk().await;
    // More than are heard before the first is answered.
    let count = u64::try_from(3 * PUSHES_MAX).unwrap();
    for n in 1..=count {
        talk.say(Say::Push(node.push(vec![node.note(n, &n.to_string())]))).await;
    }
    talk.say(Say::Ping(v1::Ping { nonce: 7, time_ms: None })).await;
    let (mut answered, mut is_pinged) = (Vec::new(), false);
    while answered.len() < 3 * PUSHES_MAX || !is_pinged {
        match talk.next().await {
            Heard::Results(results) => {
                assert!(results.waits.is_none(), "{results:?}");
                answered.extend(results.outcomes.iter().map(|result| result.n));
            }
            Heard::Pong(_) => is_pinged = true,
            _ => {}
        }
    }
    assert_eq!(answered, (1..=count).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_credit_nothing_is_sent_until_it_is_granted() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let mut talk = b.open(Say::Hello(v1::Hello { credit_bytes: 1, ..hello() })).await.unwrap();
    assert!(matches!(talk.next().await, Heard::Welcome(_)));
    talk.cut().await;
    a.talk().await;
    a.sync().push(a.by(a.push(vec![a.note(1, "x")]))).await.unwrap();
    talk.say(Say::Ping(v1::Ping { nonce: 1, time_ms: None })).await;
    assert!(matches!(talk.next().await, Heard::Pong(_)), "the change came without credit");
    talk.say(Say::Credit(v1::Credit { bytes: 1_000 })).await;
    assert_eq!(talk.cut().await.1.len(), 1);
}

#[tokio::test]
async fn a_revoked_node_is_told_within_a_second_even_without_credit() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut talk = node.open(Say::Hello(v1::Hello { credit_bytes: 1, ..hello() })).await.unwrap();
    talk.next().await;
    talk.cut().await;
    let request = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "a".to_owned() };
    world.admin().revoke_node(world.by_operator(request)).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(1), talk.goodbye()).await.expect("not told in time");
    assert_eq!(told, Reason::NodeRevoked);
    assert_eq!(reason(node.open(Say::Hello(hello())).await), Reason::NodeRevoked);
}

#[tokio::test]
async fn a_drain_says_goodbye_and_takes_nothing_new() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut talk = node.talk().await;
    world.running.gate.draining.cancel();
    assert_eq!(talk.goodbye().await, Reason::Draining);
    assert_eq!(reason(node.open(Say::Hello(hello())).await), Reason::Draining);
    assert_eq!(reason(node.sync().push(node.by(node.push(vec![node.note(1, "x")]))).await), Reason::Draining);
    let gate = &world.running.gate;
    gate.tasks.close();
    tokio::time::timeout(SOON, gate.tasks.wait()).await.expect("a task outlived the drain");
}

#[tokio::test]
async fn a_pull_goes_to_the_next_cut_and_ends() {
    let world = World::new().await;
    let node = world.node("a").await;
    node.talk().await;
    node.sync().push(node.by(node.push(vec![node.note(1, "x")]))).await.unwrap();
    let request = v1::PullRequest { from: Some(v1::pull_request::From::Start(v1::Start {})) };
    let mut pages = node.sync().pull(node.by(request)).await.unwrap().into_inner();
    let mut is_cut = false;
    while let Some(page) = pages.message().await.unwrap() {
        assert!(!is_cut, "something came after the cut");
        is_cut = matches!(page.changes.unwrap().next, Some(v1::changes::Next::Cut(_)));
    }
    assert!(is_cut);
}

#[tokio::test]
async fn what_ends_a_session_is_said_in_its_goodbye() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let mut first = a.open(Say::Hello(hello())).await.unwrap();
    assert!(matches!(first.next().await, Heard::Welcome(_)));
    let beyond = v1::Cursor { revision: 1_000, commit: 1_000, ..first.cut().await.0 };
    let says: [(Say, Reason); 4] = [
        (Say::Ack(v1::Ack { cursor: Some(beyond), answered_n: None, summed: None }), Reason::Malformed),
        (Say::Hello(hello()), Reason::Malformed),
        (Say::Push(b.push(vec![b.note(1, "x")])), Reason::Malformed),
        (Say::Push(v1::PushRequest::default()), Reason::Malformed),
    ];
    for (say, wanted) in says {
        let mut talk = a.talk().await;
        talk.say(say).await;
        assert_eq!(talk.goodbye().await, wanted);
    }
}

#[tokio::test]
async fn a_heartbeat_tells_the_time_and_the_head() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut nodes = NodeServiceClient::new(world.spokes.clone());
    let answer =
        nodes.heartbeat(node.by(v1::HeartbeatRequest { epoch: 0, about: None })).await.unwrap().into_inner();
    assert!(answer.revision >= 2 && answer.hub_time_ms > 0);
    let unknown = nodes.heartbeat(node.by(v1::HeartbeatRequest { epoch: 9, about: None })).await;
    assert_eq!(reason(unknown), Reason::NotFound);
}

#[tokio::test]
async fn a_node_that_speaks_and_never_listens_can_still_be_cut_off() {
    let world = World::new().await;
    let node = world.node("a").await;
    let talk = node.talk().await;
    let say = talk.say.clone();
    let chatter = tokio::spawn(async move {
        let ping = || v1::SessionRequest { message: Some(Say::Ping(v1::Ping { nonce: 7, time_ms: None })) };
        while say.send(ping()).await.is_ok() {}
    });
    // Until its own answers stop the way.
    let sessions = || world.running.gate.metrics.sessions.get();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sessions(), 1);
    let request = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "a".to_owned() };
    world.admin().revoke_node(world.by_operator(request)).await.unwrap();
    open(&world, 0).await;
    chatter.abort();
    drop(talk);
}

/// Waits until so many sessions are open.
async fn open(world: &World, sessions: i64) {
    let open = async {
        while world.running.gate.metrics.sessions.get() != sessions {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, open).await.expect("as many sessions are open");
}

#[tokio::test]
async fn who_is_gone_does_not_wait_for_its_turn_at_a_page() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut turns = Vec::new();
    for _ in 0..PAGES_AT_ONCE_MAX {
        turns.push(world.running.gate.hub.page_turn().await.unwrap());
    }
    let mut talk = node.open(Say::Hello(hello())).await.unwrap();
    assert!(matches!(talk.next().await, Heard::Welcome(_)));
    open(&world, 1).await;
    drop(talk);
    open(&world, 0).await;
}

#[tokio::test]
async fn one_node_does_not_take_every_session() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let mut held = Vec::new();
    for _ in 0..gateway::rpc::SESSIONS_PER_NODE_MAX {
        held.push(a.talk().await);
    }
    assert_eq!(reason(a.open(Say::Hello(hello())).await), Reason::Overloaded);
    let start = v1::PullRequest { from: Some(v1::pull_request::From::Start(v1::Start {})) };
    assert_eq!(reason(a.sync().pull(a.by(start)).await), Reason::Overloaded);
    b.talk().await;
    held.clear();
    let again = async {
        while a.open(Say::Hello(hello())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("a seat is free again");
}
