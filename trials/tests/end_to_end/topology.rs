//! Who writes: a primary and its replicas, and sites with primaries of their own.

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

use super::{put, sync_both};

fn entries(spoke: &Spoke) -> Vec<Value> {
    let listed = spoke.ok(&["outbox", "list"]).json();
    listed["entries"].as_array().cloned().unwrap_or_default()
}

fn done(hub: &Hub, args: &[&str]) -> Value {
    let ran = hub.admin(args);
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran.json()
}

#[test]
fn what_a_replica_writes_is_set_aside_until_it_is_promoted_and_nothing_is_lost() {
    let folder = Folder::new("topology");
    let hub = Hub::start(&folder, false, None);
    let (desk, phone) = (Spoke::join(&folder, &hub, "desk"), Spoke::join(&folder, &hub, "phone"));
    put(&desk, "identity", "ada", &json!({"is": 1}));
    sync_both(&desk, &phone);
    let set = done(&hub, &["topology", "set", "primary-replica", "--primary", "desk"]);
    let shown = done(&hub, &["topology", "show"]);
    assert_eq!((&shown["shape"], &shown["version"]), (&json!("primary_replica"), &set["revision"]));
    assert_eq!(shown["primaries"][0]["name"], "desk", "{shown}");
    put(&phone, "identity", "ada", &json!({"is": 2}));
    put(&phone, "note", "free", &json!({"text": "not of a kind that it speaks about"}));
    sync_both(&phone, &desk);
    assert_eq!(desk.body("identity", "ada"), Some(json!({"is": 1})));
    assert!(desk.body("note", "free").is_some());
    let aside = entries(&phone);
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(aside[0]["reason"], "NOT_PRIMARY");
    assert!(aside[0].to_string().contains("desk"), "{aside:?}");
    assert_eq!(phone.body("identity", "ada"), Some(json!({"is": 1})), "what was refused is not shown");
    // Promotion is an operator's act; what the phone had written is written anew when a person says so.
    done(&hub, &["topology", "promote", "phone"]);
    phone.ok(&["outbox", "retry", "--all"]);
    sync_both(&phone, &desk);
    assert_eq!(desk.body("identity", "ada"), Some(json!({"is": 2})));
    assert_eq!(entries(&phone), Vec::<Value>::new());
    put(&desk, "identity", "ada", &json!({"is": 3}));
    sync_both(&desk, &phone);
    assert_eq!(entries(&desk)[0]["reason"], "NOT_PRIMARY");
    // Who is no primary any more may be made one again, or everybody.
    done(&hub, &["topology", "set", "multi-master"]);
    desk.ok(&["outbox", "retry", "--all"]);
    sync_both(&desk, &phone);
    assert_eq!(phone.body("identity", "ada"), Some(json!({"is": 3})));
    assert_eq!(phone.digest(), desk.digest());
}
