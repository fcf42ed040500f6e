//! A rotation of the key of access tokens that is cut short: after each of its steps, in the folder and in the store.

use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use gateway::auth::{RETIRED_KEY_LIFE_S, Rotated, Transport, Trust, rotate_token_key};
use gateway::store::memory::MemoryStore;
use jsonwebtoken::{Algorithm, Header};
use semantics::ids::NodeId;
use semantics::reason::Reason;

use super::faults::FaultStore;
use super::keys::{given, is_taken};
use super::world::{Folder, Node, World, hub_over, jwt};

/// What was done last, how the folder comes to look so, and whether the key was rotated by then.
type Step = (&'static str, fn(&Path), bool);

/// What is in the folder after each step of `hubward keys rotate`; the step before is done. Whether the key was
/// rotated by then, also when nobody does it again.
const STEPS: [Step; 5] = [
    ("nothing is done", |_| {}, false),
    (
        "half of the new key is written",
        |keys| std::fs::write(keys.join("token.key.new"), "-----").unwrap(),
        false,
    ),
    ("the new key is written", |keys| std::fs::write(keys.join("token.key.new"), next()).unwrap(), false),
    ("the old key is aside", |keys| rename(keys, "token.key", "token.key.old"), true),
    ("the new key has its place", |keys| rename(keys, "token.key.new", "token.key"), true),
];

fn next() -> String {
    SigningKey::from_bytes(&[0x77; 32]).to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

fn rename(keys: &Path, from: &str, to: &str) {
    std::fs::rename(keys.join(from), keys.join(to)).unwrap();
}

/// Who goes on after the crash.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The hub, which runs.
    RunsOn,
    /// The hub, started anew.
    Starts,
    /// Whoever rotates the key does it again, beside a hub that runs.
    AgainBeside,
    /// Whoever rotates the key does it again, and then the hub starts.
    AgainBefore,
}

const THEN: [Then; 4] = [Then::RunsOn, Then::Starts, Then::AgainBeside, Then::AgainBefore];

impl Then {
    fn is_again(self) -> bool {
        matches!(self, Self::AgainBeside | Self::AgainBefore)
    }
    fn is_started(self) -> bool {
        matches!(self, Self::Starts | Self::AgainBefore)
    }
}

/// A hub before a rotation.
struct Before {
    world: World,
    node: (Node, NodeId),
    token: String,
    kid: String,
    stolen: SigningKey,
}

impl Before {
    async fn new(world: World) -> Self {
        let node = world.joined("laptop").await;
        let (token, kid) = given(&world, &world.trust, &node, "1").await;
        let stolen = world.token_key();
        Self { world, node, token, kid, stolen }
    }

    async fn started(&self) -> Trust {
        let hub = hub_over(&self.world.store, &self.world.clock, &self.world.entropy);
        Trust::open(hub, &self.world.folder.0, Transport::Tls).await.unwrap()
    }

    /// Looks until nothing is left to be taken up; gives what was told of it.
    async fn follow(trust: &Trust) -> Vec<Rotated> {
        let mut told = Vec::new();
        for _ in 0..3 {
            told.extend(trust.follow_token_key().await.unwrap());
        }
        told
    }

    /// The rotation is done: the new key signs, the old one's tokens are taken until their end, and then it is gone.
    async fn check_done(&self, trust: &Trust, case: &str) {
        let (token, kid) = given(&self.world, trust, &self.node, "2").await;
        assert_ne!(kid, self.kid, "{case}");
        assert!(is_taken(trust, &token).await && is_taken(trust, &self.token).await, "{case}");
        assert!(!self.world.folder.0.join("keys/token.key.old").exists(), "{case}");
        self.world.clock.advance(RETIRED_KEY_LIFE_S * 1_000);
        let now_s = self.world.now_s();
        let read = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(&self.token);
        let mut claims = read.unwrap().claims;
        (claims["iat"], claims["nbf"], claims["exp"]) = (now_s.into(), now_s.into(), (now_s + 60).into());
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        assert!(!is_taken(trust, &jwt(&header, &claims, &self.stolen)).await, "{case}");
        // Nothing stands in the way of the next one, and no hub that starts brings the old key back.
        let again = rotate_token_key(&self.world.folder.0, &*self.world.entropy).unwrap();
        assert_eq!(again.before, kid, "{case}");
        let started = self.started().await;
        assert_eq!(Self::follow(&started).await, std::slice::from_ref(&again), "{case}");
        assert_eq!(given(&self.world, &started, &self.node, "3").await.1, again.kid, "{case}");
    }
}

#[tokio::test]
async fn a_rotation_that_is_cut_short_after_any_step_in_the_folder_is_finished_by_doing_it_again() {
    for (steps, (step, _, is_rotated)) in STEPS.iter().enumerate() {
        for then in THEN {
            let case = format!("{step}, {then:?}");
            let before = Before::new(World::new().await).await;
            let keys = before.world.folder.0.join("keys");
            STEPS[..=steps].iter().for_each(|(_, make, _)| make(&keys));
            if then.is_again() {
                match rotate_token_key(&before.world.folder.0, &*before.world.entropy) {
                    Ok(rotated) => assert_eq!(rotated.before, before.kid, "{case}"),
                    // There is nothing to be done again: the hub has it before it.
                    Err(error) => {
                        assert_eq!(
                            (error.reason(), steps),
                            (Reason::AlreadyExists, STEPS.len() - 1),
                            "{case}"
                        );
                    }
                }
            }
            let started = if then.is_started() { Some(before.started().await) } else { None };
            let trust = started.as_ref().unwrap_or(&before.world.trust);
            let told = Before::follow(trust).await;
            if then.is_again() || *is_rotated {
                assert_eq!(told.iter().map(|told| &told.before).collect::<Vec<_>>(), [&before.kid], "{case}");
            } else {
                assert!(told.is_empty(), "{case}");
                assert_eq!(given(&before.world, trust, &before.node, "4").await.1, before.kid, "{case}");
                rotate_token_key(&before.world.folder.0, &*before.world.entropy).unwrap();
                Before::follow(trust).await;
            }
            before.check_done(trust, &case).await;
        }
    }
}

#[tokio::test]
async fn taking_a_rotation_up_is_finished_and_told_once_wherever_it_was_cut_short() {
    for is_started in [false, true] {
        let mut steps = 0;
        loop {
            let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
            let world =
                World::with(Arc::<FaultStore>::clone(&store), Arc::default(), Folder::default()).await;
            let before = Before::new(world).await;
            let rotated = rotate_token_key(&before.world.folder.0, &*before.world.entropy).unwrap();
            store.allow_plain(steps);
            let cut = before.world.trust.follow_token_key().await;
            store.allow_plain(u64::MAX);
            if let Ok(told) = cut {
                assert_eq!(told, Some(rotated));
                break;
            }
            let case = format!("after {steps} steps in the store, started anew: {is_started}");
            let started = if is_started { Some(before.started().await) } else { None };
            let trust = started.as_ref().unwrap_or(&before.world.trust);
            assert_eq!(Before::follow(trust).await, [rotated], "{case}");
            before.check_done(trust, &case).await;
            steps += 1;
        }
        assert!(steps >= 6, "only {steps} steps");
    }
}
