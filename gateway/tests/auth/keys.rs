//! The hub's keys.

use std::sync::Arc;

use gateway::auth::{Transport, Trust};
use gateway::store::Store;
use gateway::store::memory::MemoryStore;
use semantics::reason::Reason;

use super::world::{Folder, World, hub_over};

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
