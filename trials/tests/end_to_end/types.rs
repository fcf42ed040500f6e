//! What a type of nodes syncs.

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

use super::{put, sync_both};

/// A spoke of this type.
fn join(folder: &Folder, hub: &Hub, name: &str, node_type: &str) -> Spoke {
    let spoke = Spoke { data: folder.at(name), name: name.to_owned() };
    let token = hub.token(1);
    spoke.ok(&["join", "--token", &token, "--name", name, "--type", node_type, "--hub", &hub.url()]);
    spoke
}

fn set_mobile(hub: &Hub, words: &[&str]) {
    let set = hub.admin(&[&["node-type", "set", "mobile", "--tenant", "default"], words].concat());
    assert_eq!(set.code, 0, "{set:?}");
}

fn kinds_of(exported: &str) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
    let mut kinds: Vec<String> =
        exported.lines().map(|text| line(text)["kind"].as_str().unwrap_or("none").to_owned()).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_node_syncs_only_the_kinds_of_its_type_both_ways() {
    let folder = Folder::new("node-type");
    let hub = Hub::start(&folder, false, None);
    let desktop = join(&folder, &hub, "desktop", "desktop");
    let early = join(&folder, &hub, "early", "mobile");
    set_mobile(&hub, &["--kind", "entity", "--kind", "edge"]);
    let phone = join(&folder, &hub, "phone", "mobile");
    put(&desktop, "entity", "ada", &json!({"name": "Ada"}));
    put(&desktop, "note", "secret", &json!({"text": "not for phones"}));
    sync_both(&desktop, &phone);
    assert_eq!(phone.body("entity", "ada"), Some(json!({"name": "Ada"})));
    assert_eq!(phone.body("note", "secret"), None);
    // While both stand in a session, too.
    put(&desktop, "note", "secret", &json!({"text": "still not"}));
    put(&desktop, "edge", "knows", &json!({"src": "ada", "dst": "bob", "rel_type": "knows"}));
    sync_both(&desktop, &phone);
    assert_eq!(kinds_of(&phone.ok(&["export"]).stdout), ["edge", "entity"]);
    assert_eq!(phone.digest(), hub.digest("phone"));
    // What it sees is what it may write.
    put(&phone, "entity", "bob", &json!({"name": "Bob"}));
    phone.ok(&["put", "note", "own", "{}"]);
    sync_both(&phone, &desktop);
    assert_eq!(desktop.body("entity", "bob"), Some(json!({"name": "Bob"})));
    assert_eq!(desktop.body("note", "own"), None);
    let aside = phone.ok(&["outbox", "list"]).json();
    assert_eq!(aside["entries"][0]["reason"], "NOT_IN_VIEW", "{aside}");
    // Who had joined before sees what it saw, and who joins when it is taken back sees everything.
    early.ok(&["sync"]);
    assert!(early.body("note", "secret").is_some());
    set_mobile(&hub, &["--reset"]);
    let late = join(&folder, &hub, "late", "mobile");
    late.ok(&["sync"]);
    assert!(late.body("note", "secret").is_some());
}
