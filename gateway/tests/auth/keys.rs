//! The hub's keys.

use std::sync::Arc;

use gateway::auth::{RETIRED_KEY_LIFE_S, Transport, Trust, hub_tenant, rotate_token_key};
use gateway::store::memory::MemoryStore;
use gateway::store::{Space, Store};
use jsonwebtoken::{Algorithm, Header};
use proto::v1;
use proto::v1::auth_service_server::AuthService;
use semantics::ids::NodeId;
use semantics::reason::Reason;
use tonic::Request;

use super::world::{Folder, Node, SYNC, World, hub_over, jwt, refuse};

const FILES: [&str; 5] =
    ["keys/ca.key.pem", "keys/ca.pem", "keys/token.key", "keys/log.key", "operator.token"];

fn contents(world: &World) -> Vec<String> {
    FILES.iter().map(|file| world.file(file)).collect()
}

#[tokio::test]
async fn a_restart_keeps_every_key() {
    let world = World::new().await;
    let before = contents(&world);
    let again = Trust::open(Arc::clone(&world.hub), &world.folder.0, Transport::Tls).await.unwrap();
    assert_eq!(contents(&world), before);
    assert_eq!(again.ca_key_digest(), world.trust.ca_key_digest());
}

#[tokio::test]
async fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    for file in FILES {
        let mode = std::fs::metadata(world.folder.0.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let mode = std::fs::metadata(world.folder.0.join("keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hubs_that_start_at_once_make_one_ca_and_one_operator() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (clock, entropy, folder) = (Arc::default(), Arc::default(), Folder::default());
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let (hub, dir) = (hub_over(&store, &clock, &entropy), folder.0.clone());
            tokio::spawn(async move { Trust::open(hub, &dir, Transport::Tls).await.unwrap() })
        })
        .collect();
    let mut trusts = Vec::new();
    for start in starting {
        trusts.push(start.await.unwrap());
    }
    assert!(trusts.iter().all(|trust| trust.ca_key_digest() == trusts[0].ca_key_digest()));
    assert!(trusts.iter().all(|trust| trust.ca_pem() == trusts[0].ca_pem()));
    let credential = std::fs::read_to_string(folder.0.join("operator.token")).unwrap();
    for trust in &trusts {
        let shown = format!("Bearer {credential}");
        trust.verifier().caller(super::world::ADMIN, Some(shown.as_bytes())).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_of_another_hub_is_not_taken_over() {
    let world = World::new().await;
    let elsewhere = Folder::default();
    let refused = Trust::open(Arc::clone(&world.hub), &elsewhere.0, Transport::Tls).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    assert!(!elsewhere.0.join("keys/ca.key.pem").exists(), "no second CA was made");

    let other = World::new().await;
    let refused = Trust::open(Arc::clone(&world.hub), &other.folder.0, Transport::Tls).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
}

#[tokio::test]
async fn a_damaged_key_is_said_and_kept() {
    let world = World::new().await;
    let path = world.folder.0.join("keys/token.key");
    std::fs::write(&path, "not a key").unwrap();
    let refused = Trust::open(Arc::clone(&world.hub), &world.folder.0, Transport::Tls).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreCorrupt);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a key");
}

/// A gateway of the same hub, on a copy of the first one's keys.
pub async fn beside(world: &World) -> (Folder, Trust) {
    let folder = Folder::default();
    std::fs::create_dir(folder.0.join("keys")).unwrap();
    for file in &FILES[..4] {
        std::fs::copy(world.folder.0.join(file), folder.0.join(file)).unwrap();
    }
    let hub = hub_over(&world.store, &world.clock, &world.entropy);
    let trust = Trust::open(hub, &folder.0, Transport::Tls).await.unwrap();
    (folder, trust)
}

/// An access token that a gateway gives, and the name of the key it is signed with.
pub async fn given(world: &World, trust: &Trust, (node, id): &(Node, NodeId), jti: &str) -> (String, String) {
    let assertion = node.sign(&world.claims(*id, jti));
    let asked = Request::new(v1::ExchangeAssertionRequest { assertion });
    let token = trust.handler(refuse).exchange_assertion(asked).await.unwrap().into_inner().access_token;
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    (token, kid)
}

pub async fn is_taken(trust: &Trust, token: &str) -> bool {
    let shown = format!("Bearer {token}");
    trust.verifier().caller(SYNC, Some(shown.as_bytes())).await.is_ok()
}

async fn row(world: &World, kid: &str) -> Vec<u8> {
    let key = format!("token-key/{kid}");
    world.store.plain_get(&hub_tenant().unwrap(), Space::Hub, key.as_bytes()).await.unwrap().unwrap().value
}

#[tokio::test]
async fn a_rotated_key_signs_everywhere_and_the_one_before_is_taken_until_its_tokens_have_ended() {
    let world = World::new().await;
    let (_folder, second) = beside(&world).await;
    let node = world.joined("laptop").await;
    let (old_token, old_kid) = given(&world, &world.trust, &node, "1").await;
    assert_eq!(given(&world, &second, &node, "2").await.1, old_kid, "the two gateways have one key");
    let stolen = world.token_key();

    let rotated = rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    assert_eq!(rotated.before, old_kid);
    assert_eq!(world.trust.follow_token_key().await.unwrap(), Some(rotated.clone()));
    assert_eq!(world.trust.follow_token_key().await.unwrap(), None, "it is told once");
    let (new_token, new_kid) = given(&world, &world.trust, &node, "3").await;
    assert_eq!(new_kid, rotated.kid);
    // Another gateway may not have looked yet: it signs with the old key, which is taken, and takes the new one.
    let (late, late_kid) = given(&world, &second, &node, "4").await;
    assert_eq!(late_kid, old_kid);
    world.clock.advance(1_000);
    for trust in [&world.trust, &second] {
        for token in [&old_token, &late, &new_token] {
            assert!(is_taken(trust, token).await);
        }
    }
    // Once it has looked it has a key of its own.
    assert_eq!(second.follow_token_key().await.unwrap(), None);
    let (own_token, own_kid) = given(&world, &second, &node, "5").await;
    assert!(own_kid != old_kid && own_kid != new_kid);
    world.clock.advance(1_000);
    assert!(is_taken(&world.trust, &own_token).await);
    // The last token that could be signed with the old key has ended; whoever has that key makes others in vain.
    assert!(row(&world, &old_kid).await.len() > 32);
    world.clock.advance(RETIRED_KEY_LIFE_S * 1_000);
    let now_s = world.now_s();
    let mut claims =
        jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(&old_token).unwrap().claims;
    (claims["iat"], claims["nbf"], claims["exp"]) = (now_s.into(), now_s.into(), (now_s + 60).into());
    let header = Header { kid: Some(old_kid.clone()), ..Header::new(Algorithm::EdDSA) };
    let forged = jwt(&header, &claims, &stolen);
    assert!(!is_taken(&world.trust, &forged).await && !is_taken(&second, &forged).await);
    world.trust.follow_token_key().await.unwrap();
    assert_eq!(row(&world, &old_kid).await.len(), 8, "its public half is gone");
    assert!(!world.folder.0.join("keys/token.key.old").exists());
    assert!(!is_taken(&world.trust, &forged).await);
}

#[tokio::test]
async fn a_gateway_that_slept_through_a_rotation_brings_no_old_key_back() {
    let world = World::new().await;
    let (folder, asleep) = beside(&world).await;
    drop(asleep);
    let node = world.joined("laptop").await;
    let old_kid = given(&world, &world.trust, &node, "1").await.1;
    rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    world.trust.follow_token_key().await.unwrap();
    world.clock.advance(2 * RETIRED_KEY_LIFE_S * 1_000);
    world.trust.follow_token_key().await.unwrap();
    let hub = hub_over(&world.store, &world.clock, &world.entropy);
    let woken = Trust::open(hub, &folder.0, Transport::Tls).await.unwrap();
    woken.follow_token_key().await.unwrap();
    let (token, kid) = given(&world, &woken, &node, "2").await;
    assert_ne!(kid, old_kid);
    assert_eq!(row(&world, &old_kid).await.len(), 8);
    world.clock.advance(1_000);
    assert!(is_taken(&world.trust, &token).await && is_taken(&woken, &token).await);
}

#[tokio::test]
async fn a_second_rotation_waits_until_the_first_is_taken_up() {
    let world = World::new().await;
    rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    let refused = rotate_token_key(&world.folder.0, &*world.entropy).unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    world.trust.follow_token_key().await.unwrap();
    rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    let nothing = rotate_token_key(&Folder::default().0, &*world.entropy).unwrap_err();
    assert_eq!(nothing.reason(), Reason::NotFound);
}
