//! Who is calling: bent, borrowed and outlived proofs of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::v1;
use semantics::reason::Reason::{NodeRevoked, PermissionDenied, TooLarge, Unauthenticated};
use serde_json::{Value, json};
use tonic::Request;

use super::node::{Key, jwt};
use super::table::{Heard, Row, attack, told};
use super::world::{OTHER_TENANT, TENANT, World, now_s, with_token};

const REFUSED: Heard = Heard::Refused(Unauthenticated);

pub fn rows() -> Vec<Row> {
    [shown(), claimed(), signed(), reached(), asserted(), reused()].into_iter().flatten().collect()
}

/// What a call under this access token hears.
async fn call(world: &World, token: &str) -> Heard {
    told(world.hub.sync().push(with_token(world.mallory.push(vec![world.mallory.note("m")]), token)).await)
}

/// The header and the claims of mallory's access token.
fn parts(world: &World) -> (Header, Value) {
    let read = jsonwebtoken::dangerous::insecure_decode::<Value>(&world.mallory.token).unwrap();
    (read.header, read.claims)
}

/// A token that the hub itself has signed, but for one claim.
fn bent(world: &World, claim: &str, value: Value) -> String {
    let (header, mut claims) = parts(world);
    claims[claim] = value;
    jwt(&header, &claims, &world.hub.token_key())
}

fn headed(world: &World, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    jwt(&header, &parts(world).1, &world.hub.token_key())
}

fn unsigned(alg: &str, kid: &str, claims: &Value) -> String {
    let header = json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string();
    format!("{}.{}.", B64.encode(header), B64.encode(claims.to_string()))
}

/// HMAC keyed with what everybody may know: the public half of a key.
fn hmac(kid: Option<String>, claims: &Value, public: &[u8]) -> String {
    let header = Header { kid, ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(public)).unwrap()
}

fn shown() -> Vec<Row> {
    vec![
        attack!("a call without a token", Nobody, REFUSED, |world| {
            told(world.hub.sync().push(Request::new(world.mallory.push(Vec::new()))).await)
        }),
        attack!("an empty token", Nobody, REFUSED, |world| call(world, "").await),
        attack!("a token of 6 000 letters", Nobody, REFUSED, |world| call(world, &"x".repeat(6_000)).await),
        attack!("a join token as access token", Nobody, REFUSED, |world| {
            let token = world.hub.join_token(TENANT, 1).await;
            call(world, &token).await
        }),
        attack!("an assertion as access token", Nobody, REFUSED, |world| {
            call(world, &world.mallory.sign(&world.mallory.claims())).await
        }),
        attack!("another scheme than Bearer", Nobody, REFUSED, |world| {
            let mut request = Request::new(world.mallory.push(Vec::new()));
            let shown = format!("Basic {}", world.mallory.token);
            request.metadata_mut().insert("authorization", shown.parse().unwrap());
            told(world.hub.sync().push(request).await)
        }),
    ]
}

fn claimed() -> Vec<Row> {
    vec![
        attack!("an expired access token", Nobody, REFUSED, |world| {
            call(world, &bent(world, "exp", json!(now_s() - 10))).await
        }),
        attack!("an access token that is not valid yet", Nobody, REFUSED, |world| {
            call(world, &bent(world, "nbf", json!(now_s() + 60))).await
        }),
        attack!("an access token for a year", Nobody, REFUSED, |world| {
            call(world, &bent(world, "exp", json!(now_s() + 31_536_000))).await
        }),
        attack!("an access token without expiry", Nobody, REFUSED, |world| {
            call(world, &bent(world, "exp", Value::Null)).await
        }),
        attack!("an expiry that is text", Nobody, REFUSED, |world| {
            call(world, &bent(world, "exp", json!((now_s() + 60).to_string()))).await
        }),
        attack!("an access token for another audience", Nobody, REFUSED, |world| {
            call(world, &bent(world, "aud", json!("hubward/acme"))).await
        }),
        attack!("several audiences", Nobody, REFUSED, |world| {
            call(world, &bent(world, "aud", json!(["hubward-spoke"]))).await
        }),
        attack!("another issuer", Nobody, REFUSED, |world| {
            call(world, &bent(world, "iss", json!("hubward/0"))).await
        }),
        attack!("a subject that is no node id", Nobody, REFUSED, |world| {
            call(world, &bent(world, "sub", json!("mallory"))).await
        }),
    ]
}

fn signed() -> Vec<Row> {
    vec![
        attack!("an access token signed with another key", Nobody, REFUSED, |world| {
            let (header, claims) = parts(world);
            call(world, &jwt(&header, &claims, &Key::new().0)).await
        }),
        attack!("an access token of another hub", Nobody, REFUSED, |world| {
            let there = world.other_hub.node(TENANT, "mallory").await;
            call(world, &there.token).await
        }),
        attack!("claims changed under a good signature", Nobody, REFUSED, |world| {
            let (_, mut claims) = parts(world);
            claims["tenant"] = json!(OTHER_TENANT);
            let [head, _, signature] = world.mallory.token.split('.').collect::<Vec<_>>()[..] else {
                panic!("no JWT")
            };
            call(world, &format!("{head}.{}.{signature}", B64.encode(claims.to_string()))).await
        }),
        attack!("algorithm none", Nobody, REFUSED, |world| {
            let (header, claims) = parts(world);
            call(world, &unsigned("none", &header.kid.unwrap(), &claims)).await
        }),
        attack!("no signature", Nobody, REFUSED, |world| {
            let (header, claims) = parts(world);
            call(world, &unsigned("EdDSA", &header.kid.unwrap(), &claims)).await
        }),
        attack!("HMAC under the hub's public key", Nobody, REFUSED, |world| {
            let (header, claims) = parts(world);
            let public = world.hub.token_key().verifying_key().to_bytes();
            call(world, &hmac(header.kid, &claims, &public)).await
        }),
        attack!("no key id", Nobody, REFUSED, |world| call(world, &headed(world, None)).await),
        attack!("an unknown key id", Nobody, REFUSED, |world| {
            call(world, &headed(world, Some("0123456789abcdef"))).await
        }),
        attack!("a key id that is a path", Nobody, REFUSED, |world| {
            call(world, &headed(world, Some("../keys/token.key"))).await
        }),
    ]
}

fn reached() -> Vec<Row> {
    vec![
        attack!("a node calls an operator's method", Nobody, Heard::Refused(PermissionDenied), |world| {
            told(world.hub.admin().list_tenants(world.mallory.by(v1::ListTenantsRequest::default())).await)
        }),
        attack!("an operator calls a node's method", Nobody, Heard::Refused(PermissionDenied), |world| {
            told(world.hub.sync().push(world.hub.by_operator(world.mallory.push(Vec::new()))).await)
        }),
        attack!("an operator's credential with one letter changed", Nobody, REFUSED, |world| {
            let mut token = world.hub.operator.clone();
            let other = if &token[8..9] == "A" { "B" } else { "A" };
            token.replace_range(8..9, other);
            let request = with_token(v1::ListTenantsRequest::default(), &token);
            told(world.hub.admin().list_tenants(request).await)
        }),
        attack!(
            "a node of one tenant pushes as a node of another",
            Node,
            Heard::Refused(PermissionDenied),
            |world| {
                let push = world.mallory.push(vec![world.mallory.note("m")]);
                told(world.stranger.sync().push(world.stranger.by(push)).await)
            }
        ),
        attack!("a node pushes as another node", Node, Heard::Refused(PermissionDenied), |world| {
            let push = world.honest.push(vec![world.honest.note("m")]);
            told(world.mallory.sync().push(world.mallory.by(push)).await)
        }),
        attack!("the hub's own tenant as an operator", Operator, Heard::Refused(PermissionDenied), |world| {
            let request = v1::CreateTokenRequest { tenant: "hub".to_owned(), uses: Some(1), ttl_s: Some(60) };
            told(world.hub.admin().create_token(world.hub.by_operator(request)).await)
        }),
        attack!(
            "a revoked node pushes under a token that is still good",
            Node,
            Heard::Refused(NodeRevoked),
            |world| { told(world.revoked.push_one(world.revoked.note("m")).await) }
        ),
        attack!(
            "a revoked node opens a session under such a token",
            Node,
            Heard::Refused(NodeRevoked),
            |world| { world.revoked.hello(super::node::hello()).await }
        ),
        attack!("a revoked node asks for a new token", Nobody, Heard::Refused(NodeRevoked), |world| {
            exchange(world, world.revoked.sign(&world.revoked.claims())).await
        }),
    ]
}

async fn exchange(world: &World, assertion: String) -> Heard {
    told(world.hub.auth().exchange_assertion(v1::ExchangeAssertionRequest { assertion }).await)
}

/// What an assertion of mallory's hears, signed with its own key, but for one claim.
async fn asserts(world: &World, claim: &str, value: Value) -> Heard {
    let mut claims = world.mallory.claims();
    claims[claim] = value;
    exchange(world, world.mallory.sign(&claims)).await
}

fn asserted() -> Vec<Row> {
    vec![
        attack!("an expired assertion", Nobody, REFUSED, |world| {
            asserts(world, "exp", json!(now_s() - 10)).await
        }),
        attack!("an assertion of the future", Nobody, REFUSED, |world| {
            asserts(world, "iat", json!(now_s() + 30)).await
        }),
        attack!("an assertion for an hour", Nobody, REFUSED, |world| {
            asserts(world, "exp", json!(now_s() + 3_600)).await
        }),
        attack!("an assertion for another tenant", Nobody, REFUSED, |world| {
            asserts(world, "aud", json!(format!("hubward/{OTHER_TENANT}"))).await
        }),
        attack!("an assertion for somebody else than a hub", Nobody, REFUSED, |world| {
            asserts(world, "aud", json!("bank/acme")).await
        }),
        attack!("an assertion in another node's name", Nobody, REFUSED, |world| {
            let claims = world.honest.claims();
            exchange(world, world.mallory.sign(&claims)).await
        }),
        attack!("an assertion whose issuer is not its subject", Nobody, REFUSED, |world| {
            asserts(world, "iss", json!(hex::encode(&world.honest.id))).await
        }),
        attack!("an assertion of a node that is not there", Nobody, REFUSED, |world| {
            let mut claims = world.mallory.claims();
            (claims["iss"], claims["sub"]) = (json!("07".repeat(16)), json!("07".repeat(16)));
            exchange(world, world.mallory.sign(&claims)).await
        }),
        attack!("an assertion without an id to be used once", Nobody, REFUSED, |world| {
            asserts(world, "jti", Value::Null).await
        }),
    ]
}

fn reused() -> Vec<Row> {
    vec![
        attack!("an assertion replayed", Nobody, REFUSED, |world| {
            let assertion = world.mallory.sign(&world.mallory.claims());
            assert_eq!(exchange(world, assertion.clone()).await, Heard::Taken);
            exchange(world, assertion).await
        }),
        attack!("an assertion with algorithm none", Nobody, REFUSED, |world| {
            exchange(world, unsigned("none", "", &world.mallory.claims())).await
        }),
        attack!("an assertion with HMAC under the node's public key", Nobody, REFUSED, |world| {
            let public = world.mallory.key.0.verifying_key().to_bytes();
            exchange(world, hmac(None, &world.mallory.claims(), &public)).await
        }),
        attack!("an assertion of 60 000 letters", Nobody, REFUSED, |world| {
            exchange(world, "x".repeat(60_000)).await
        }),
        attack!("an assertion of 100 000 letters", Nobody, Heard::Refused(TooLarge), |world| {
            exchange(world, "x".repeat(100_000)).await
        }),
    ]
}
