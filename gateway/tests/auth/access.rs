//! Access tokens, the operator's credential, and who may call what.

use gateway::auth::layer::AuthLayer;
use gateway::auth::{Caller, FIRST, Operator, Transport, Trust, hub_tenant};
use jsonwebtoken::{Algorithm, Header};
use semantics::ids::NodeId;
use semantics::reason::Reason;
use semantics::role::Role;
use serde_json::{Value, json};

use super::world::{ADMIN, Node, SYNC, World, confused, hub_over, jwt, refuse};

struct Parts {
    header: Header,
    claims: Value,
}

/// A good access token, taken apart.
async fn parts(world: &World) -> Parts {
    let (node, id) = world.joined("laptop").await;
    let token = world.exchange(node.sign(&world.claims(id, "1"))).await.unwrap();
    let read = jsonwebtoken::dangerous::insecure_decode::<Value>(&token).unwrap();
    Parts { header: read.header, claims: read.claims }
}

async fn refused(world: &World, token: &str) -> Reason {
    world.caller(SYNC, token).await.unwrap_err()
}

#[tokio::test]
async fn an_access_token_is_good_for_its_time() {
    let world = World::new().await;
    let parts = parts(&world).await;
    let token = jwt(&parts.header, &parts.claims, &world.token_key());
    world.clock.advance(904_000);
    world.caller(SYNC, &token).await.unwrap();
    world.clock.advance(1_000);
    assert_eq!(refused(&world, &token).await, Reason::Unauthenticated);
}

#[tokio::test]
async fn claims_that_are_wrong_missing_or_of_another_type_are_refused() {
    let world = World::new().await;
    let Parts { header, claims } = parts(&world).await;
    let key = world.token_key();
    let now_s = world.now_s();
    let wrong = [
        ("aud", json!("hubward/acme")),
        ("aud", json!(["hubward-spoke"])),
        ("iss", json!("hubward/0")),
        ("sub", json!("laptop")),
        ("tenant", json!(1)),
        ("tenant", json!("NOT A NAME")),
        ("exp", json!((now_s + 900).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(now_s + 100_000)),
        ("nbf", json!(now_s + 6)),
        ("nbf", json!("0")),
        ("iat", json!(now_s + 6)),
    ];
    for (claim, value) in wrong {
        let mut bad = claims.clone();
        bad[claim] = value.clone();
        assert_eq!(
            refused(&world, &jwt(&header, &bad, &key)).await,
            Reason::Unauthenticated,
            "{claim} {value}"
        );
    }
    for claim in ["iss", "aud", "sub", "tenant", "iat", "nbf", "exp"] {
        let mut bad = claims.clone();
        bad.as_object_mut().unwrap().remove(claim);
        assert_eq!(
            refused(&world, &jwt(&header, &bad, &key)).await,
            Reason::Unauthenticated,
            "without {claim}"
        );
    }
}

#[tokio::test]
async fn no_other_key_and_no_other_algorithm_is_taken() {
    let world = World::new().await;
    let Parts { header, claims } = parts(&world).await;
    let public = world.token_key().verifying_key().to_bytes();
    let kid = header.kid.clone().unwrap();
    let mut forged = vec![
        jwt(&header, &claims, &Node::new("x").key),
        confused(&json!({"alg": "none", "kid": kid}), &claims, None),
        confused(&json!({"alg": "EdDSA", "kid": kid}), &claims, None),
        confused(&json!({"alg": "HS256", "kid": kid}), &claims, Some(&public)),
        jwt(&Header::new(Algorithm::EdDSA), &claims, &world.token_key()),
    ];
    for kid in ["", "0123456789abcdef", "../keys/token.key", "operator/first"] {
        let named = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        forged.push(jwt(&named, &claims, &world.token_key()));
    }
    for token in forged {
        assert_eq!(refused(&world, &token).await, Reason::Unauthenticated, "{token}");
    }
}

#[tokio::test]
async fn a_token_of_another_hub_is_refused() {
    let (here, there) = (World::new().await, World::new().await);
    let parts = parts(&there).await;
    let token = jwt(&parts.header, &parts.claims, &there.token_key());
    there.caller(SYNC, &token).await.unwrap();
    assert_eq!(refused(&here, &token).await, Reason::Unauthenticated);
}

#[tokio::test]
async fn tokens_of_an_earlier_key_are_good_until_they_end_also_on_other_gateways() {
    let world = World::new().await;
    let parts = parts(&world).await;
    let old = jwt(&parts.header, &parts.claims, &world.token_key());
    std::fs::remove_file(world.folder.0.join("keys/token.key")).unwrap();
    let second = hub_over(&world.store, &world.clock, &world.entropy);
    let second = Trust::open(second, &world.folder.0, Transport::Tls).await.unwrap();
    let shown = format!("Bearer {old}");
    second.verifier().caller(SYNC, Some(shown.as_bytes())).await.unwrap();

    let public = world.token_key().verifying_key().to_bytes();
    assert_ne!(old, jwt(&parts.header, &parts.claims, &world.token_key()), "the key is another one now");
    let kid = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(public))[..16].to_owned();
    let header = Header { kid: Some(kid), ..parts.header };
    let new = jwt(&header, &parts.claims, &world.token_key());
    world.clock.advance(1_000);
    world.caller(SYNC, &new).await.unwrap();
}

#[tokio::test]
async fn the_operators_credential_opens_admin_calls_and_nothing_else_does() {
    let world = World::new().await;
    let credential = world.file("operator.token");
    let first = Operator { tenant: hub_tenant().unwrap(), name: FIRST.to_owned(), role: Role::Admin };
    assert_eq!(world.caller(ADMIN, &credential).await, Ok(Caller::Operator(first)));
    assert_eq!(world.caller(SYNC, &credential).await, Err(Reason::PermissionDenied));
    let parts = parts(&world).await;
    let node = jwt(&parts.header, &parts.claims, &world.token_key());
    assert_eq!(world.caller(ADMIN, &node).await, Err(Reason::PermissionDenied));
    let mut mistyped = credential.clone();
    mistyped.replace_range(8..9, if &credential[8..9] == "A" { "B" } else { "A" });
    for wrong in [mistyped.as_str(), "hwo1_", "", "hwj1_abc"] {
        assert_eq!(world.caller(ADMIN, wrong).await, Err(Reason::Unauthenticated), "{wrong}");
    }
}

#[tokio::test]
async fn what_names_no_right_is_refused_before_anything_else() {
    let world = World::new().await;
    let credential = world.file("operator.token");
    for path in ["/", "/metrics", "/hubward.v1.AdminService/Destroy", "/hubward.v1.SyncService/session"] {
        assert_eq!(world.caller(path, &credential).await, Err(Reason::PermissionDenied), "{path}");
    }
    let verifier = world.trust.verifier();
    for shown in [None, Some("".as_bytes()), Some(b"Bearer"), Some(b"Basic abc"), Some(b"\xff\xff x")] {
        assert_eq!(verifier.caller(SYNC, shown).await.unwrap_err().reason(), Reason::Unauthenticated);
    }
    let join = verifier.caller("/hubward.v1.AuthService/Join", None).await.unwrap();
    assert_eq!(join, Caller::Anyone);
}

#[tokio::test]
async fn the_layer_refuses_a_call_or_tells_it_who_calls() {
    let world = World::new().await;
    let layer = AuthLayer::new(world.trust.verifier(), refuse, drop);
    let ask = |token: &str| {
        let shown = format!("Bearer {token}");
        http::Request::builder()
            .uri(SYNC)
            .header("authorization", shown)
            .body("untouched".to_owned())
            .unwrap()
    };
    let mut refused = ask("nonsense");
    assert_eq!(layer.admit(&mut refused).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    assert!(refused.extensions().is_empty());
    let parts = parts(&world).await;
    let token = jwt(&parts.header, &parts.claims, &world.token_key());
    let mut allowed = ask(&token);
    layer.admit(&mut allowed).await.unwrap();
    let node: NodeId = serde_json::from_value(parts.claims["sub"].clone()).unwrap();
    assert_eq!(Caller::principal(allowed.extensions()).unwrap().node, node);
    assert_eq!(allowed.body(), "untouched");
}
