//! Tokens of keys that a gateway does not know: those that another has just made, and those of nobody.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use gateway::auth::{UNKNOWN_KEYS_WAITING_MAX, rotate_token_key};
use gateway::store::memory::MemoryStore;
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;

use super::faults::FaultStore;
use super::keys::{beside, given, is_taken};
use super::world::{Folder, Node, SYNC, World, jwt};

/// What a look at the store asks it for, in plain rows.
const LOOK: u64 = 1;

async fn counted() -> (World, Arc<FaultStore>) {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    let world = World::with(Arc::<FaultStore>::clone(&store), Arc::default(), Folder::default()).await;
    (world, store)
}

/// Tokens of so many keys of nobody.
fn of_nobody(count: usize) -> Vec<String> {
    let key = Node::new("nobody").key;
    let token = |n| {
        let header = Header { kid: Some(format!("{n:016x}")), ..Header::new(Algorithm::EdDSA) };
        format!("Bearer {}", jwt(&header, &json!({"sub": n}), &key))
    };
    (0..count).map(token).collect()
}

#[tokio::test]
async fn a_key_that_another_gateway_has_just_made_is_known_to_the_first_token() {
    let (world, store) = counted().await;
    let (_folder, second) = beside(&world).await;
    let node = world.joined("laptop").await;
    rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    world.trust.follow_token_key().await.unwrap();
    let token = given(&world, &world.trust, &node, "1").await.0;
    // The clock stands: the second gateway has looked just now, before the key was made.
    let before = store.plain();
    assert!(is_taken(&second, &token).await);
    assert_eq!(store.plain(), before + LOOK);
    assert!(is_taken(&second, &token).await);
    assert_eq!(store.plain(), before + LOOK, "a known key is not looked for");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_has_one_look_at_the_store_for_all() {
    let (world, store) = counted().await;
    let verifier = world.trust.verifier();
    let tokens = of_nobody(UNKNOWN_KEYS_WAITING_MAX + 100);
    let node = world.joined("laptop").await;
    let before = store.plain();
    let asked = tokens.iter().map(|token| verifier.caller(SYNC, Some(token.as_bytes())));
    let mut waiting: Vec<_> = asked.map(Box::pin).collect();
    for (n, call) in waiting.iter_mut().enumerate() {
        let refused = call.now_or_never();
        assert_eq!(refused.is_some(), n >= UNKNOWN_KEYS_WAITING_MAX, "{n}");
        assert!(refused.is_none_or(|refused| refused.is_err()));
    }
    waiting.truncate(UNKNOWN_KEYS_WAITING_MAX);
    // Whoever is known is served meanwhile.
    let read = store.plain();
    assert_eq!(read, before, "nobody has looked yet");
    let token = given(&world, &world.trust, &node, "1").await.0;
    let given = store.plain() - read;
    assert!(is_taken(&world.trust, &token).await);
    assert!(join_all(waiting).await.iter().all(Result::is_err));
    assert_eq!(store.plain(), before + given + LOOK);
}
