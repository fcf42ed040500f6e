//! Assertions: what a node must sign to get an access token.

use gateway::auth::{Caller, HUB_TIME, NODE_ISSUES_PER_MINUTE, Transport, Trust};
use gateway::hub::Principal;
use proto::v1;
use proto::v1::auth_service_server::AuthService;
use semantics::ids::{NodeId, TenantId};
use semantics::reason::Reason;
use serde_json::{Value, json};
use tonic::Request;

use super::world::{Node, SYNC, World, confused, hub_over, reason, refuse};

async fn refused(world: &World, assertion: String) -> Reason {
    reason(world.exchange(assertion).await)
}

#[tokio::test]
async fn an_assertion_gives_an_access_token_that_names_the_node() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let token = world.exchange(node.sign(&world.claims(id, "1"))).await.unwrap();
    let principal = Principal { tenant: world.tenant.clone(), node: id };
    let expires_ms = (world.now_s() + 900) * 1_000;
    assert_eq!(world.caller(SYNC, &token).await, Ok(Caller::Node { principal, expires_ms }));
}

#[tokio::test]
async fn an_assertion_is_good_once_on_whichever_gateway() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let assertion = node.sign(&world.claims(id, "1"));
    world.exchange(assertion.clone()).await.unwrap();
    assert_eq!(refused(&world, assertion.clone()).await, Reason::Unauthenticated);
    let second = hub_over(&world.store, &world.clock, &world.entropy);
    let second = Trust::open(second, &world.folder.0, Transport::Tls).await.unwrap();
    let asked = Request::new(v1::ExchangeAssertionRequest { assertion: assertion.clone() });
    assert_eq!(reason(second.handler(refuse).exchange_assertion(asked).await), Reason::Unauthenticated);
    world.trust.sweep(&world.tenant).await.unwrap();
    assert_eq!(refused(&world, assertion).await, Reason::Unauthenticated, "a sweep forgets no live mark");
    world.exchange(node.sign(&world.claims(id, "2"))).await.unwrap();
}

#[tokio::test]
async fn an_assertion_by_another_key_is_refused() {
    let world = World::new().await;
    let (_, id) = world.joined("laptop").await;
    assert_eq!(refused(&world, Node::new("x").sign(&world.claims(id, "1"))).await, Reason::Unauthenticated);
    let unknown = NodeId([7; 16]);
    let answer = world.exchange(Node::new("x").sign(&world.claims(unknown, "1"))).await.unwrap_err();
    let known = world.exchange(Node::new("x").sign(&world.claims(id, "1"))).await.unwrap_err();
    assert_eq!(answer.message(), known.message(), "whether a node exists is not told");
}

#[tokio::test]
async fn claims_that_are_wrong_missing_or_of_another_type_are_refused() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let now_s = world.now_s();
    world.hub.create_tenant(&TenantId::new("other").unwrap()).await.unwrap();
    let wrong: &[(&str, Value)] = &[
        ("aud", json!("hubward")),
        ("aud", json!("hubward/other")),
        ("aud", json!("hubward/nobody")),
        ("aud", json!("someone/acme")),
        ("aud", json!(["hubward/acme"])),
        ("iss", json!(NodeId([7; 16]))),
        ("sub", json!(NodeId([7; 16]))),
        ("sub", json!("laptop")),
        ("exp", json!((now_s + 60).to_string())),
        ("exp", json!(1e300)),
        ("exp", json!(now_s + 61)),
        ("exp", json!(now_s - 5)),
        ("iat", json!(now_s + 6)),
        ("iat", json!(now_s.to_string())),
        ("nbf", json!(now_s + 6)),
        ("nbf", json!("now")),
        ("jti", json!("")),
        ("jti", json!("j".repeat(65))),
        ("jti", json!(1)),
    ];
    for (claim, value) in wrong {
        let mut claims = world.claims(id, "1");
        claims[*claim] = value.clone();
        assert_eq!(refused(&world, node.sign(&claims)).await, Reason::Unauthenticated, "{claim} {value}");
    }
    for claim in ["iss", "sub", "aud", "iat", "exp", "jti"] {
        let mut claims = world.claims(id, "1");
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(refused(&world, node.sign(&claims)).await, Reason::Unauthenticated, "without {claim}");
    }
    world.exchange(node.sign(&world.claims(id, "1"))).await.unwrap();
}

#[tokio::test]
async fn an_assertion_out_of_its_time_is_refused_and_told_the_hubs_time() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let assertion = node.sign(&world.claims(id, "1"));
    world.clock.advance(65_000);
    let status = world.exchange(assertion).await.unwrap_err();
    assert_eq!(proto::reason::refusal_of(&status).reason, Reason::Unauthenticated);
    let told: u64 = status.metadata().get(HUB_TIME).unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(told / 1_000, world.now_s());
    let assertion = node.sign(&world.claims(id, "2"));
    world.clock.advance(64_000);
    world.exchange(assertion).await.unwrap();
}

#[tokio::test]
async fn no_other_algorithm_is_taken() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let claims = world.claims(id, "1");
    let public = node.key.verifying_key().to_bytes();
    let none = confused(&json!({"alg": "none", "typ": "JWT"}), &claims, None);
    let empty = confused(&json!({"alg": "EdDSA", "typ": "JWT"}), &claims, None);
    let hmac = confused(&json!({"alg": "HS256"}), &claims, Some(&public));
    let hmac_hex = confused(&json!({"alg": "HS256"}), &claims, Some(hex::encode(public).as_bytes()));
    for forged in [none, empty, hmac, hmac_hex, String::new(), "a.b.c".to_owned(), "x".repeat(100_000)] {
        assert_eq!(refused(&world, forged).await, Reason::Unauthenticated);
    }
}

#[tokio::test]
async fn a_revoked_node_gets_no_access_token() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    world.hub.revoke_node(&world.tenant, NodeId::HUB, id).await.unwrap();
    assert_eq!(refused(&world, node.sign(&world.claims(id, "1"))).await, Reason::NodeRevoked);
    let stranger = Node::new("x").sign(&world.claims(id, "1"));
    assert_eq!(refused(&world, stranger).await, Reason::Unauthenticated, "only the node itself is told");
}

#[tokio::test]
async fn a_node_that_asks_for_token_after_token_is_told_to_wait_and_what_is_refused_is_not_used_up() {
    let world = World::new().await;
    let ((node, id), (other, of_other)) = (world.joined("laptop").await, world.joined("phone").await);
    for n in 0..NODE_ISSUES_PER_MINUTE {
        world.exchange(node.sign(&world.claims(id, &n.to_string()))).await.unwrap();
    }
    let late = node.sign(&world.claims(id, "late"));
    let told = world.exchange(late.clone()).await.unwrap_err();
    assert_eq!(proto::reason::retry_after_ms(&told), Some(60_000 / NODE_ISSUES_PER_MINUTE));
    assert_eq!(reason::<()>(Err(told)), Reason::QuotaExceeded);
    world.exchange(other.sign(&world.claims(of_other, "1"))).await.unwrap();
    world.clock.advance(60_000 / NODE_ISSUES_PER_MINUTE);
    world.exchange(late).await.unwrap();
}

#[tokio::test]
async fn who_repeats_an_overheard_assertion_takes_no_token_from_its_node() {
    let world = World::new().await;
    let (node, id) = world.joined("laptop").await;
    let overheard = node.sign(&world.claims(id, "1"));
    world.exchange(overheard.clone()).await.unwrap();
    for _ in 0..2 * NODE_ISSUES_PER_MINUTE {
        assert_eq!(refused(&world, overheard.clone()).await, Reason::Unauthenticated);
    }
    world.exchange(node.sign(&world.claims(id, "2"))).await.unwrap();
}
