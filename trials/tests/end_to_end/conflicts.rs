//! Conflicts settled from the command lines.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

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

/// One decision settles the next conflict like it, on another record with other values, and names itself; a near miss
/// waits; after the revocation so does everything.
#[test]
fn a_conflict_is_decided_once_and_the_next_like_it_settles_alone() {
    let folder = Folder::new("precedent");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let quarrel = |id: &str, one: &Value, two: &Value| {
        put(&laptop, "entity", id, &json!({"city": "London"}));
        sync_both(&laptop, &desktop);
        laptop.ok(&["patch", "entity", id, &one.to_string()]);
        desktop.ok(&["patch", "entity", id, &two.to_string()]);
        sync_both(&laptop, &desktop);
        let inbox = hub.admin(&["conflict", "list", "--record", id, "--all"]).json();
        inbox["conflicts"][0]["id"].as_str().expect("there is a conflict").to_owned()
    };
    let conflict = |id: &str| hub.admin(&["conflict", "show", id]).json();
    let first = quarrel("ada", &json!({"city": "Paris"}), &json!({"city": "Berlin"}));
    let lost = conflict(&first)["losers"][0]["value"].clone();
    let resolve =
        ["conflict", "resolve", &first, "--side", "loser", "--reason", "the first counts", "--precedent"];
    assert_eq!(hub.admin(&resolve).code, 0);
    let set = hub.admin(&["precedent", "list"]).json();
    let precedent = set["precedents"][0]["id"].as_str().expect("it is listed").to_owned();
    assert_eq!(
        (&set["precedents"][0]["uses"], &set["precedents"][0]["path"]),
        (&json!(0), &json!("city")),
        "{set}"
    );
    sync_both(&laptop, &desktop);
    assert_eq!(laptop.body("entity", "ada").expect("ada is there")["city"], lost);

    let second = quarrel("bob", &json!({"city": "Rome"}), &json!({"city": "Oslo"}));
    let settled = until("the conflict is settled", || {
        Some(conflict(&second)).filter(|conflict| conflict["open"] == json!(false))
    });
    assert_eq!(settled["resolution"]["by"]["name"], json!(format!("precedent/{precedent}")), "{settled}");
    assert_eq!(settled["standing"]["value"], settled["losers"][0]["value"], "{settled}");
    let expected = json!({"city": settled["losers"][0]["value"]});
    sync_both(&laptop, &desktop);
    for spoke in [&laptop, &desktop] {
        assert_eq!(spoke.body("entity", "bob").as_ref(), Some(&expected));
        assert_eq!(spoke.digest(), hub.digest(&spoke.name));
    }
    let history = desktop.ok(&["history", "entity", "bob"]).json().to_string();
    assert!(history.contains(&precedent), "{history}");
    let preview = hub.admin(&["conflict", "preview", "--policy", "last_writer", "--kind", "entity"]).json();
    let differing =
        preview["conflicts"].as_array().expect("a list").iter().filter(|one| one["differs"] == json!(true));
    assert_eq!(differing.count(), 2, "{preview}");

    // A number is another sort of thing than a text.
    let near = quarrel("cyd", &json!({"city": 1}), &json!({"city": "Oslo"}));
    let revoked = hub.admin(&["precedent", "revoke", &precedent]);
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    let after = quarrel("dan", &json!({"city": "Bonn"}), &json!({"city": "Bern"}));
    // What comes up is judged in its order: this one was, once a later decision has settled a later conflict.
    let last = quarrel("eve", &json!({"city": "Kiel"}), &json!({"city": "Cork"}));
    assert_eq!(hub.admin(&["conflict", "resolve", &last, "--keep", "--precedent"]).code, 0);
    let like = quarrel("fay", &json!({"city": "Lyon"}), &json!({"city": "Nice"}));
    until("the conflict is settled", || Some(()).filter(|()| conflict(&like)["open"] == json!(false)));
    for waiting in [&near, &after] {
        assert_eq!(conflict(waiting)["open"], json!(true));
    }
}

/// A kind whose conflicts branch: both sides are listed by name, compared, and merged back; a clash is refused until it
/// is said who wins; the merge is taken back like any resolution.
#[test]
fn branches_are_listed_compared_and_merged_back() {
    let folder = Folder::new("branches");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    assert_eq!(hub.admin(&["policy", "set", "entity", "branch"]).code, 0);
    sync_both(&laptop, &desktop);
    put(&laptop, "entity", "ada", &json!({"city": "London", "phone": "1", "tags": ["a"]}));
    sync_both(&laptop, &desktop);
    put(&laptop, "entity", "ada", &json!({"city": "Paris", "phone": "1", "tags": ["a"]}));
    put(&desktop, "entity", "ada", &json!({"city": "Berlin", "phone": "2", "tags": ["a"]}));
    sync_both(&laptop, &desktop);
    let before = laptop.body("entity", "ada").unwrap();

    let listed = desktop.ok(&["branch", "list"]).json();
    let branches = listed["branches"].as_array().unwrap();
    let named = |stands: bool| {
        let branch = branches.iter().find(|branch| branch["stands"] == json!(stands)).unwrap();
        (branch["branch"].as_str().unwrap().to_owned(), branch["conflict"].as_str().unwrap().to_owned())
    };
    assert_eq!(branches.len(), 2, "{listed}");
    let ((stands, _), (other, conflict)) = (named(true), named(false));

    let city = |main: bool| if (before["city"] == "Paris") == main { "Paris" } else { "Berlin" };
    let changes = desktop.ok(&["branch", "diff", "entity", "ada", &other]).json();
    assert_eq!(
        changes["changes"][0],
        json!({"path": "/city", "from": city(true), "to": city(false)}),
        "{changes}"
    );
    assert_eq!(changes["changes"][1]["path"], "/phone", "{changes}");
    let since = laptop.ok(&["branch", "diff", "entity", "ada", &stands, "--with", "ancestor"]).json();
    assert_eq!(since["changes"][0], json!({"path": "/city", "from": "London", "to": city(true)}), "{since}");

    let clash = laptop.run(&["branch", "merge", "entity", "ada", &other]);
    assert!(clash.code != 0 && clash.stderr.contains("both changed /city"), "{}", clash.stderr);
    let merged = laptop.ok(&["branch", "merge", "entity", "ada", &other, "--prefer", "branch"]).json();
    let expected = json!({"city": city(false), "phone": "2", "tags": ["a"]});
    assert_eq!(merged["body"], expected, "{merged}");
    converged(&hub, [&laptop, &desktop], &expected);
    assert_eq!(desktop.ok(&["branch", "list"]).json()["branches"], json!([]));
    desktop.ok(&["conflicts", "undo", &conflict]);
    converged(&hub, [&laptop, &desktop], &before);
    assert_eq!(laptop.ok(&["branch", "list"]).json(), listed);
}
