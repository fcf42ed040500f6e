//! Join tokens and joining.

use std::sync::Arc;

use gateway::access::{AccessLog, Filter, Position, page};
use gateway::auth::{JOINS_PER_MINUTE, TOKEN_TTL_S_MAX, TOKEN_USES_MAX, Transport, Trust};
use proto::v1::auth_service_server::AuthService;
use semantics::ids::NodeId;
use semantics::ids::TenantId;
use semantics::reason::Reason;
use tonic::Request;

use super::world::{Node, World, reason, refuse};

#[tokio::test]
async fn a_join_token_makes_a_node_once() {
    let world = World::new().await;
    let token = world.token(1).await;
    let node = Node::new("laptop");
    let id = world.join(&token, &node).await.unwrap();
    assert_eq!(world.join(&token, &node).await.unwrap(), id, "the same node again takes no further use");
    assert_eq!(reason(world.join(&token, &Node::new("phone")).await), Reason::JoinTokenInvalid);
}

#[tokio::test]
async fn a_join_that_changes_nothing_is_none_in_the_access_log_and_has_a_rate() {
    let world = World::new().await;
    let log = AccessLog::start(Arc::clone(&world.hub));
    let auth = world.handler().noting(log.clone());
    let (token, node, other) = (world.token(2).await, Node::new("laptop"), Node::new("phone"));
    for _ in 0..JOINS_PER_MINUTE {
        auth.join(Request::new(node.asks(&token))).await.unwrap();
    }
    let told = auth.join(Request::new(node.asks(&token))).await.unwrap_err();
    assert_eq!(proto::reason::retry_after_ms(&told), Some(60_000 / JOINS_PER_MINUTE));
    assert_eq!(reason::<()>(Err(told)), Reason::QuotaExceeded);
    auth.join(Request::new(other.asks(&token))).await.unwrap();
    world.clock.advance(60_000 / JOINS_PER_MINUTE);
    auth.join(Request::new(node.asks(&token))).await.unwrap();
    log.flush().await;
    let noted = page(&world.hub, &world.tenant, &Filter::default(), Position::default(), 100).await.unwrap();
    let events: Vec<&str> = noted.entries.iter().map(|(_, entry)| entry.event.name()).collect();
    assert_eq!(events, ["node_joined"; 2], "one of each node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_join_at_once_with_one_use_one_wins() {
    for _ in 0..20 {
        let world = World::new().await;
        let token = world.token(1).await;
        let (one, other) = (Node::new("one"), Node::new("other"));
        let (a, b) = tokio::join!(world.join(&token, &one), world.join(&token, &other));
        assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(), 1);
        let lost = if a.is_err() { a } else { b };
        assert_eq!(reason(lost), Reason::JoinTokenInvalid);
    }
}

#[tokio::test]
async fn a_token_joins_as_many_as_it_says() {
    let world = World::new().await;
    let token = world.token(3).await;
    for name in ["a", "b", "c"] {
        world.join(&token, &Node::new(name)).await.unwrap();
    }
    assert_eq!(reason(world.join(&token, &Node::new("d")).await), Reason::JoinTokenInvalid);
}

#[tokio::test]
async fn a_join_that_fails_gives_its_use_back() {
    let world = World::new().await;
    world.joined("taken").await;
    let token = world.token(1).await;
    assert_eq!(reason(world.join(&token, &Node::new("taken")).await), Reason::AlreadyExists);
    world.join(&token, &Node::new("free")).await.unwrap();
}

#[tokio::test]
async fn an_expired_mistyped_or_forged_token_is_refused() {
    let world = World::new().await;
    let node = Node::new("laptop");
    let token = world.token(1).await;
    let mut mistyped = token.clone();
    mistyped.pop();
    assert_eq!(reason(world.join(&mistyped, &node).await), Reason::JoinTokenInvalid);
    assert_eq!(reason(world.join("", &node).await), Reason::JoinTokenInvalid);
    let forged = World::new().await.token(1).await;
    assert_eq!(reason(world.join(&forged, &node).await), Reason::JoinTokenInvalid);
    world.clock.advance(3_600_000);
    assert_eq!(reason(world.join(&token, &node).await), Reason::JoinTokenInvalid);
}

#[tokio::test]
async fn a_revoked_node_does_not_come_back_on_its_used_token() {
    let world = World::new().await;
    let token = world.token(1).await;
    let node = Node::new("laptop");
    let id = world.join(&token, &node).await.unwrap();
    world.hub.revoke_node(&world.tenant, NodeId::HUB, id).await.unwrap();
    assert_eq!(reason(world.join(&token, &node).await), Reason::JoinTokenInvalid);
    let anew = world.join(&world.token(1).await, &node).await.unwrap();
    assert_ne!(anew, id);
}

#[tokio::test]
async fn a_proof_by_another_key_or_of_another_token_is_refused() {
    let world = World::new().await;
    let token = world.token(1).await;
    let node = Node::new("laptop");
    let mut stolen = node.asks(&token);
    stolen.public_key = Node::new("x").asks(&token).public_key;
    assert_eq!(reason(world.handler().join(Request::new(stolen)).await), Reason::BadSignature);
    let mut replayed = node.asks("hwj1_another");
    replayed.token = token.clone();
    assert_eq!(reason(world.handler().join(Request::new(replayed)).await), Reason::BadSignature);
    let mut weak = node.asks(&token);
    weak.public_key = vec![0; 32];
    assert_eq!(reason(world.handler().join(Request::new(weak)).await), Reason::BadSignature);
    let mut cut = node.asks(&token);
    cut.proof.pop();
    assert_eq!(reason(world.handler().join(Request::new(cut)).await), Reason::Malformed);
}

#[tokio::test]
async fn a_joiner_of_the_wrong_shape_is_refused_and_takes_no_use() {
    let world = World::new().await;
    let token = world.token(1).await;
    let node = Node::new("laptop");
    let mut asks = Vec::new();
    for name in ["", "Laptop", "a b", &"a".repeat(65)] {
        asks.push(Node::new(name).asks(&token));
    }
    for node_type in ["", "toaster"] {
        let mut bad = node.asks(&token);
        bad.node_type = node_type.to_owned();
        asks.push(bad);
    }
    let mut bad = node.asks(&token);
    bad.capabilities = vec!["x".repeat(65)];
    asks.push(bad);
    for bad in asks {
        assert_eq!(reason(world.handler().join(Request::new(bad)).await), Reason::Malformed);
    }
    world.join(&token, &node).await.unwrap();
}

#[tokio::test]
async fn tokens_are_made_within_bounds_and_for_tenants_that_exist() {
    let world = World::new().await;
    let made = async |tenant: &str, uses, ttl_s| {
        let tenant = TenantId::new(tenant).unwrap();
        world.trust.create_token(&tenant, uses, ttl_s).await.map_err(|e| e.reason())
    };
    for (uses, ttl_s) in [(0, 1), (TOKEN_USES_MAX + 1, 1), (1, 0), (1, TOKEN_TTL_S_MAX + 1)] {
        assert_eq!(made("acme", uses, ttl_s).await, Err(Reason::Malformed));
    }
    made("acme", TOKEN_USES_MAX, TOKEN_TTL_S_MAX).await.unwrap();
    assert_eq!(made("nobody", 1, 60).await, Err(Reason::NotFound));
    assert_eq!(made("hub", 1, 60).await, Err(Reason::PermissionDenied));
}

#[tokio::test]
async fn expired_tokens_are_swept_and_others_kept() {
    let world = World::new().await;
    let short = world.trust.create_token(&world.tenant, 1, 10).await.unwrap().token;
    let long = world.token(1).await;
    world.clock.advance(11_000);
    world.trust.sweep(&world.tenant).await.unwrap();
    assert_eq!(reason(world.join(&short, &Node::new("a")).await), Reason::JoinTokenInvalid);
    world.join(&long, &Node::new("b")).await.unwrap();
}

#[tokio::test]
async fn a_token_made_on_one_gateway_joins_on_another() {
    let world = World::new().await;
    let token = world.token(1).await;
    let second = super::world::hub_over(&world.store, &world.clock, &world.entropy);
    let second = Trust::open(second, &world.folder.0, Transport::Tls).await.unwrap();
    let asked = Request::new(Node::new("laptop").asks(&token));
    second.handler(refuse).join(asked).await.unwrap();
    assert_eq!(reason(world.join(&token, &Node::new("phone")).await), Reason::JoinTokenInvalid);
}

#[tokio::test]
async fn tokens_are_listed_in_pages_without_their_secrets_and_nobody_elses() {
    let world = World::new().await;
    let other = TenantId::new("other").unwrap();
    world.hub.create_tenant(&other).await.unwrap();
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(world.trust.create_token(&world.tenant, n + 1, 3_600).await.unwrap());
        world.trust.create_token(&other, 1, 3_600).await.unwrap();
    }
    world.trust.create_token(&world.tenant, 1, 1).await.unwrap();
    world.clock.advance(1_000);
    world.join(&made[2].token, &Node::new("laptop")).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = world.trust.tokens(&world.tenant, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        found.extend(page);
        after = next;
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<(String, u32)> =
        (1..).zip(&made).map(|(uses, made)| (made.id.clone(), if uses == 3 { 2 } else { uses })).collect();
    expected.sort();
    let listed: Vec<(String, u32)> = found.iter().map(|token| (token.id.clone(), token.uses_left)).collect();
    assert_eq!(listed, expected, "in the order of their ids, and none that has expired");
    let shown = format!("{found:?}");
    assert!(made.iter().all(|made| !shown.contains(&made.token)), "{shown}");
}

#[tokio::test]
async fn nobody_joins_with_a_revoked_token_and_who_has_joined_stays() {
    let world = World::new().await;
    let made = world.trust.create_token(&world.tenant, 2, 3_600).await.unwrap();
    let node = Node::new("laptop");
    let id = world.join(&made.token, &node).await.unwrap();
    let other = TenantId::new("other").unwrap();
    world.hub.create_tenant(&other).await.unwrap();
    let revoke = async |tenant: &TenantId, id: &str| {
        world.trust.revoke_token(tenant, id).await.map(|left| left.uses_left).map_err(|e| e.reason())
    };
    assert_eq!(revoke(&other, &made.id).await, Err(Reason::NotFound), "another tenant has it not");
    assert_eq!(revoke(&world.tenant, &made.token).await, Err(Reason::Malformed));
    let (one, two) = tokio::join!(revoke(&world.tenant, &made.id), revoke(&world.tenant, &made.id));
    let mut became = [one, two];
    became.sort_by_key(Result::is_err);
    assert_eq!(became, [Ok(1), Err(Reason::NotFound)], "one of two takes it back");
    assert_eq!(reason(world.join(&made.token, &Node::new("phone")).await), Reason::JoinTokenInvalid);
    assert_eq!(reason(world.join(&made.token, &node).await), Reason::JoinTokenInvalid);
    world.exchange(node.sign(&world.claims(id, "1"))).await.unwrap();
}
