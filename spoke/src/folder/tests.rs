#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("spoke-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }
    fn dir(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config() -> SpokeConfig {
    SpokeConfig {
        node: NodeId([7; 16]),
        tenant: TenantId::new("home").unwrap(),
        name: "Laptop".to_owned(),
        node_type: "desktop".to_owned(),
        domain: Domain::default_domain(),
        hubs: vec!["https://hub.example:7400".to_owned()],
        ca_pin: Some(Digest([9; 32])),
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Reason {
    result.unwrap_err().reason
}

#[test]
fn a_folder_without_a_configuration_is_not_joined() {
    let scratch = Scratch::new("not-joined");
    assert_eq!(reason(Folder::open(scratch.dir())), Reason::NotJoined);
    let folder = Folder::create(scratch.dir()).unwrap();
    assert_eq!(reason(folder.config()), Reason::NotJoined);
    drop(folder);
    assert_eq!(reason(Folder::open(scratch.dir())), Reason::NotJoined);
    // A join that did not come through may be tried again.
    Folder::create(scratch.dir()).unwrap();
}

#[test]
fn the_configuration_comes_back_and_a_second_join_is_refused() {
    let scratch = Scratch::new("config");
    let folder = Folder::create(scratch.dir()).unwrap();
    folder.save_config(&config()).unwrap();
    let changed = SpokeConfig { hubs: vec![], ca_pin: None, ..config() };
    folder.save_config(&changed).unwrap();
    drop(folder);
    assert_eq!(Folder::open(scratch.dir()).unwrap().config().unwrap(), changed);
    assert_eq!(reason(Folder::create(scratch.dir())), Reason::AlreadyExists);
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let scratch = Scratch::new("lock");
    let folder = Folder::create(scratch.dir()).unwrap();
    folder.save_config(&config()).unwrap();
    let refusal = Folder::open(scratch.dir()).unwrap_err();
    assert_eq!(refusal.reason, Reason::ReplicaLocked);
    assert!(refusal.detail.contains(&std::process::id().to_string()), "{refusal}");
    drop(folder);
    Folder::open(scratch.dir()).unwrap();
}

#[test]
fn a_copy_of_the_folder_is_another_place() {
    let scratch = Scratch::new("place");
    let folder = Folder::create(scratch.dir()).unwrap();
    assert_eq!(reason(folder.place()), Reason::StoreUnavailable);
    let file = folder.paths().replica();
    fs::write(&file, "x").unwrap();
    let place = folder.place().unwrap();
    fs::write(&file, "longer").unwrap();
    assert_eq!(folder.place().unwrap(), place);
    let copy = Folder::create(scratch.0.join("copy")).unwrap();
    fs::copy(&file, copy.paths().replica()).unwrap();
    assert_ne!(copy.place().unwrap(), place);
}

#[test]
fn a_damaged_configuration_is_named() {
    let scratch = Scratch::new("damaged");
    let folder = Folder::create(scratch.dir()).unwrap();
    fs::write(folder.paths().config(), "{").unwrap();
    let refusal = folder.config().unwrap_err();
    assert_eq!(refusal.reason, Reason::StoreCorrupt);
    assert!(refusal.detail.contains("spoke.json"), "{refusal}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("mode");
    let folder = Folder::create(scratch.dir()).unwrap();
    folder.save_config(&config()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.paths().dir()), 0o700);
    assert_eq!(mode(&folder.paths().config()), 0o600);
    assert_eq!(mode(&folder.paths().lock()), 0o600);
}
