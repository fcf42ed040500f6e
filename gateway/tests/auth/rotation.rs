//! Rotations that do not go smoothly: another user, a folder that fails, a crash in between; and what a hub says of it.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use gateway::auth::{RETIRED_KEY_LIFE_S, rotate_token_key};
use gateway::rpc::Gate;
use gateway::rpc::examine::{ExamineHandler, TOKEN_KEY_FAILED};
use gateway::serve::follow_token_key;
use gateway::telemetry::Metrics;
use jsonwebtoken::{Algorithm, Header};
use proto::v1;
use proto::v1::examine_service_server::ExamineService;
use semantics::reason::Reason;
use tonic::Request;

use super::keys::{beside, given, is_taken};
use super::world::{Folder, World, jwt};

/// The user and group that the hub runs as here, and somebody else.
const HUB: u32 = 7_420;
const STRANGER: u32 = 7_421;

/// Whether this process is root.
fn is_root(folder: &Path) -> bool {
    let file = folder.join("mine");
    std::fs::write(&file, "").unwrap();
    let is_root = std::fs::metadata(&file).unwrap().uid() == 0;
    std::fs::remove_file(file).unwrap();
    is_root
}

/// `hubward keys rotate` as a user; `None` where that user may not run the program.
fn rotate_as(user: u32, data: &Path) -> Option<(bool, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubward"));
    command.arg("--data").arg(data).args(["--output", "json", "keys", "rotate"]);
    match command.uid(user).gid(user).current_dir("/").output() {
        Ok(done) => Some((done.status.success(), String::from_utf8(done.stderr).unwrap())),
        Err(error) => {
            eprintln!("SKIPPED: user {user} cannot run the program: {error}");
            None
        }
    }
}

#[tokio::test]
async fn a_key_that_root_makes_belongs_to_the_user_that_the_hub_runs_as() {
    let world = World::new().await;
    let data = &world.folder.0;
    if !is_root(data) {
        eprintln!("SKIPPED: only root can make files for another user");
        return;
    }
    let keys = data.join("keys");
    let entries = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    for path in entries(data).into_iter().chain(entries(&keys)).chain([data.clone()]) {
        chown(path, Some(HUB), Some(HUB)).unwrap();
    }
    // Made anew by root as well.
    std::fs::remove_file(keys.join("lock")).unwrap();
    let rotated = rotate_token_key(data, &*world.entropy).unwrap();
    for path in entries(&keys) {
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o077), (HUB, HUB, 0), "{}", path.display());
    }
    let read = Command::new("cat").arg(keys.join("token.key")).uid(HUB).gid(HUB).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    assert_eq!(world.trust.follow_token_key().await.unwrap(), Some(rotated));
    // Somebody else is refused, is told what to do, and has changed nothing.
    let before = world.file("keys/token.key");
    if let Some((is_done, said)) = rotate_as(STRANGER, data) {
        assert!(!is_done && said.contains("PERMISSION_DENIED") && said.contains("as root"), "{said}");
    }
    assert_eq!(world.file("keys/token.key"), before);
    assert!(!keys.join("token.key.old").exists());
    if let Some((is_done, said)) = rotate_as(HUB, data) {
        assert!(is_done, "{said}");
        assert_ne!(world.file("keys/token.key"), before);
    }
}

#[tokio::test]
async fn a_gateway_whose_folder_fails_knows_what_another_has_rotated() {
    let world = World::new().await;
    let (folder, second) = beside(&world).await;
    let node = world.joined("laptop").await;
    let (old_token, old_kid) = given(&world, &second, &node, "1").await;
    let stolen = world.token_key();
    rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    world.trust.follow_token_key().await.unwrap();
    std::fs::write(folder.0.join("keys/token.key"), "not a key").unwrap();
    assert_eq!(second.follow_token_key().await.unwrap_err().reason(), Reason::StoreCorrupt);
    world.clock.advance(RETIRED_KEY_LIFE_S * 1_000);
    let now_s = world.now_s();
    let mut claims =
        jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(&old_token).unwrap().claims;
    (claims["iat"], claims["nbf"], claims["exp"]) = (now_s.into(), now_s.into(), (now_s + 60).into());
    let header = Header { kid: Some(old_kid), ..Header::new(Algorithm::EdDSA) };
    assert!(!is_taken(&second, &jwt(&header, &claims, &stolen)).await);
}

#[tokio::test]
async fn a_rotation_that_was_cut_short_is_finished_by_doing_it_again() {
    let world = World::new().await;
    let (path, old) = (world.folder.0.join("keys/token.key"), world.folder.0.join("keys/token.key.old"));
    let node = world.joined("laptop").await;
    let before = given(&world, &world.trust, &node, "1").await.1;
    std::fs::rename(&path, &old).unwrap();
    let rotated = rotate_token_key(&world.folder.0, &*world.entropy).unwrap();
    assert_eq!(rotated.before, before);
    // Cut short after the row was written and before the old file was taken away: it is told once it is done.
    let kept = std::fs::read(&old).unwrap();
    assert_eq!(world.trust.follow_token_key().await.unwrap(), Some(rotated.clone()));
    std::fs::write(&old, kept).unwrap();
    assert_eq!(world.trust.follow_token_key().await.unwrap(), Some(rotated.clone()));
    assert_eq!(world.trust.follow_token_key().await.unwrap(), None);
    assert!(!old.exists());
    assert_eq!(given(&world, &world.trust, &node, "2").await.1, rotated.kid);
    let nothing = rotate_token_key(&Folder::default().0, &*world.entropy).unwrap_err();
    assert_eq!(nothing.reason(), Reason::NotFound);
}

#[tokio::test]
async fn a_key_that_is_not_taken_up_is_told_until_it_is() {
    let world = World::new().await;
    let gate = Gate::new(Arc::clone(&world.hub), Metrics::new(), 1_000);
    let told = async || {
        let asked = Request::new(v1::ExamineHubRequest {});
        let answer = ExamineHandler(Arc::clone(&gate)).examine_hub(asked).await.unwrap().into_inner();
        answer.settings.into_iter().find(|setting| setting.name == TOKEN_KEY_FAILED).map(|found| found.value)
    };
    let key = world.file("keys/token.key");
    let path = world.folder.0.join("keys/token.key");
    std::fs::write(&path, "not a key").unwrap();
    follow_token_key(&gate, &world.trust).await;
    let said = told().await.unwrap();
    assert!(said.contains("STORE_CORRUPT") && said.contains("token.key"), "{said}");
    std::fs::write(&path, key).unwrap();
    follow_token_key(&gate, &world.trust).await;
    assert_eq!(told().await, None);
    gate.draining.cancel();
}
