//! Access tokens of services.

use gateway::auth::{ACCESS_LIFE_S, Caller, LEEWAY_S, Operator, SERVICE_AUDIENCE, hub_tenant};
use jsonwebtoken::{Algorithm, Header};
use semantics::reason::Reason;
use semantics::role::Role;
use serde_json::{Value, json};

use super::world::{ADMIN, SYNC, World, jwt};

const KINDS: &str = "/hubward.v1.AdminService/ListKinds";
const ISSUE: &str = "/hubward.v1.OperatorService/IssueAccessToken";

fn first() -> Operator {
    Operator { tenant: hub_tenant().unwrap(), name: "first".to_owned(), role: Role::Admin }
}

fn ann(world: &World) -> Operator {
    Operator { tenant: world.tenant.clone(), name: "ann".to_owned(), role: Role::Viewer }
}

async fn credential(world: &World, ttl_s: u64) -> String {
    world.trust.create_operator(&first(), &ann(world), Some(ttl_s)).await.unwrap().0
}

async fn issued(world: &World, credential: &str) -> Result<(String, u64), Reason> {
    let shown = format!("Bearer {credential}");
    world.trust.issue_service_token(&ann(world), Some(shown.as_bytes())).await.map_err(|e| e.reason())
}

#[tokio::test]
async fn a_services_token_opens_what_its_operator_may_do() {
    let world = World::new().await;
    let credential = credential(&world, 86_400).await;
    let (token, life_s) = issued(&world, &credential).await.unwrap();
    assert_eq!(life_s, ACCESS_LIFE_S);
    assert_eq!(world.caller(KINDS, &token).await, Ok(Caller::Operator(ann(&world))));
    assert_eq!(world.caller(ADMIN, &token).await, Err(Reason::PermissionDenied), "no more than that");
    assert!(!token.contains(&credential), "the credential is not in it");
    for wrong in ["", "hwo1_", "hwj1_abc", token.as_str()] {
        assert_eq!(issued(&world, wrong).await.unwrap_err(), Reason::Unauthenticated, "{wrong}");
    }
}

#[tokio::test]
async fn a_services_token_ends_with_its_time_its_credential_and_its_operator() {
    let world = World::new().await;
    let first_credential = credential(&world, 86_400).await;
    let refused = async |token: &str| world.caller(KINDS, token).await == Err(Reason::Unauthenticated);
    let (token, _) = issued(&world, &first_credential).await.unwrap();
    world.clock.advance((ACCESS_LIFE_S + LEEWAY_S - 1) * 1_000);
    assert!(!refused(&token).await);
    world.clock.advance(1_000);
    assert!(refused(&token).await, "its time is over");
    // A rotation leaves what was given for the credential before its grace.
    let (token, _) = issued(&world, &first_credential).await.unwrap();
    let whose = (&world.tenant, "ann");
    let second = world.trust.rotate_operator(&first(), whose, Some(60), 30).await.unwrap().0;
    assert!(!refused(&token).await);
    world.clock.advance(30_000);
    assert!(refused(&token).await, "the credential was rotated");
    let (token, life_s) = issued(&world, &second).await.unwrap();
    assert_eq!(life_s, 30, "never longer than the credential");
    assert!(!refused(&token).await);
    world.trust.revoke_operator(&first(), &world.tenant, "ann").await.unwrap();
    assert!(refused(&token).await, "the operator was revoked");
}

#[tokio::test]
async fn a_token_gives_no_other_and_opens_nothing_of_a_nodes() {
    let world = World::new().await;
    let (token, _) = issued(&world, &credential(&world, 86_400).await).await.unwrap();
    assert_eq!(world.caller(ISSUE, &token).await, Err(Reason::Unauthenticated));
    assert_eq!(world.caller(SYNC, &token).await, Err(Reason::PermissionDenied));
    let (node, id) = world.joined("laptop").await;
    let of_node = world.exchange(node.sign(&world.claims(id, "1"))).await.unwrap();
    assert_eq!(world.caller(ISSUE, &of_node).await, Err(Reason::PermissionDenied));
}

#[tokio::test]
async fn claims_of_a_services_token_that_are_wrong_are_refused() {
    let world = World::new().await;
    let (token, _) = issued(&world, &credential(&world, 86_400).await).await.unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&token).unwrap().claims;
    let header =
        Header { kid: jsonwebtoken::decode_header(&token).unwrap().kid, ..Header::new(Algorithm::EdDSA) };
    assert_eq!(claims["aud"], SERVICE_AUDIENCE);
    let good = jwt(&header, &claims, &world.token_key());
    assert!(world.caller(KINDS, &good).await.is_ok());
    let wrong = [
        ("aud", json!("hubward-spoke")),
        ("aud", json!([SERVICE_AUDIENCE])),
        ("iss", json!("hubward/0")),
        ("tenant", json!("hub")),
        ("sub", json!("first")),
        ("sub", json!(7)),
        ("mark", json!("0000000000000000")),
        ("mark", Value::Null),
        ("exp", json!(world.now_s() + 100_000)),
        ("exp", json!(world.now_s() - 60)),
        ("nbf", json!(world.now_s() + 60)),
    ];
    for (claim, value) in wrong {
        let mut bent = claims.clone();
        bent[claim] = value.clone();
        let answer = world.caller(KINDS, &jwt(&header, &bent, &world.token_key())).await;
        assert_eq!(answer, Err(Reason::Unauthenticated), "{claim} {value}");
    }
    let forged = jwt(&header, &claims, &super::world::Node::new("x").key);
    assert_eq!(world.caller(KINDS, &forged).await, Err(Reason::Unauthenticated));
}
