//! Conflicts settled from the command lines.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

use super::{put, sync_both};

fn open_conflict(spoke: &Spoke) -> String {
    let listed = spoke.ok(&["conflicts", "list"]).json();
    let conflicts = listed["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{listed}");
    conflicts[0]["id"].as_str().unwrap().to_owned()
}

fn converged(hub: &Hub, spokes: [&Spoke; 2], expected: &Value) {
    sync_both(spokes[0], spokes[1]);
    for spoke in spokes {
        assert_eq!(spoke.body("entity", "ada").as_ref(), Some(expected));
        assert_eq!(spoke.digest(), hub.digest(&spoke.name));
    }
}

/// Two spokes disagree, an operator settles it, both converge; the undo brings the state before back as a new revision,
/// and then one of the nodes settles it itself.
#[test]
fn an_operator_and_a_node_settle_a_conflict_and_both_spokes_converge() {
    let folder = Folder::new("settled");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    put(&laptop, "entity", "ada", &json!({"city": "London", "phone": "1"}));
    sync_both(&laptop, &desktop);
    laptop.ok(&["patch", "entity", "ada", r#"{"city":"Paris"}"#]);
    desktop.ok(&["patch", "entity", "ada", r#"{"city":"Berlin","phone":"2"}"#]);
    sync_both(&laptop, &desktop);
    let before = laptop.body("entity", "ada").expect("ada is there");
    let lost = if before["city"] == "Paris" { "Berlin" } else { "Paris" };
    let id = open_conflict(&desktop);

    let inbox = hub.admin(&["conflict", "list", "--kind", "entity"]).json();
    assert_eq!(inbox["conflicts"][0]["id"], id.as_str(), "{inbox}");
    let shown = hub.admin(&["conflict", "show", &id]).json();
    let values = [&shown["losers"][0]["value"], &shown["ancestor"]["value"], &shown["standing"]["value"]];
    assert_eq!(values, [&json!(lost), &json!("London"), &before["city"]], "{shown}");
    let resolve = ["conflict", "resolve", &id, "--side", "loser", "--reason", "she moved"];
    let done = hub.admin(&resolve);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_ne!(hub.admin(&resolve).code, 0, "it is settled");
    converged(&hub, [&laptop, &desktop], &json!({"city": lost, "phone": "2"}));
    assert_eq!(desktop.ok(&["conflicts", "list"]).json()["conflicts"], json!([]));
    let history = desktop.ok(&["history", "entity", "ada"]).json();
    let why = &history["rows"][0]["why"];
    assert_eq!((&why["conflict"], &why["reason"]), (&json!(id), &json!("she moved")), "{history}");

    let revision = |history: &Value| history["rows"][0]["revision"].as_u64().expect("a revision");
    assert_eq!(hub.admin(&["conflict", "undo", &id, "--reason", "she did not"]).code, 0);
    converged(&hub, [&laptop, &desktop], &before);
    let undone = laptop.ok(&["history", "entity", "ada"]).json();
    assert!(revision(&undone) > revision(&history), "{undone}");
    assert_eq!(undone["rows"][0]["why"]["what"], "undo", "{undone}");

    assert_eq!(open_conflict(&laptop), id);
    laptop.ok(&["conflicts", "resolve", &id, "--value", "\"Rome\""]);
    converged(&hub, [&laptop, &desktop], &json!({"city": "Rome", "phone": "2"}));
    desktop.ok(&["conflicts", "undo", &id]);
    converged(&hub, [&laptop, &desktop], &before);
    let many = laptop.ok(&["conflicts", "resolve", "--kind", "entity", "--keep"]).json();
    assert_eq!(many["conflicts"][0]["id"], id.as_str(), "{many}");
    converged(&hub, [&laptop, &desktop], &before);
    let audit = hub.admin(&["audit", "list", "--source", "commits", "--kind", "entity"]).json().to_string();
    assert!(audit.contains("hub/"), "who settled it is in the audit: {audit}");

    drop(hub);
    let offline = laptop.run(&["conflicts", "resolve", &id, "--keep"]);
    assert_eq!(offline.code, 5, "{}", offline.stderr);
    assert!(offline.stderr.contains("settled at the hub"), "{}", offline.stderr);
}
