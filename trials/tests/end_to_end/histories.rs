//! What the commands say of a record's history, over hubs on every store.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, run};

use super::{each_hub, put, sync_both};

/// The rows of a record, newest first, as a spoke and as the hub tell them: the same, but for what only operators see.
fn told(hub: &Hub, spoke: &Spoke, id: &str) -> Vec<Value> {
    let rows = |answer: &Value, name: &str| answer[name].as_array().unwrap().clone();
    let here = rows(&spoke.ok(&["history", "entity", id]).json(), "rows");
    let there = rows(&hub.admin(&["record", "history", "entity", id]).json(), "history");
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        for (name, value) in here.as_object().unwrap() {
            assert_eq!(&there[name], value, "{name}: {there}");
        }
    }
    there
}

#[test]
fn history_says_against_what_a_row_was_written_and_why_it_is_as_it_is() {
    each_hub("histories", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        put(&laptop, "entity", "ada", &json!({"city": "London", "phone": "1"}));
        sync_both(&laptop, &desktop);
        laptop.ok(&["patch", "entity", "ada", r#"{"city":"Paris"}"#]);
        desktop.ok(&["patch", "entity", "ada", r#"{"phone":"2"}"#]);
        sync_both(&laptop, &desktop);
        let rows = told(&hub, &laptop, "ada");
        let (merged, before, first) = (&rows[0], &rows[1], &rows[2]);
        assert_eq!((&merged["outcome"], &merged["wrote"]), (&json!("merged"), &json!({"phone": "2"})));
        assert_eq!(merged["body"], json!({"city": "Paris", "phone": "2"}));
        let base = json!({"revision": first["revision"], "version": [first["dot"]], "own": null});
        assert_eq!((&merged["base"], &before["base"]), (&base, &base), "both were made on the first");
        assert_eq!(merged["unseen"], json!([before["dot"]]));
        assert_eq!((&merged["policy"], &before["why"]), (&json!("fields"), &Value::Null));
        let reason = merged["why"]["reason"].as_str().unwrap();
        assert!(reason.contains(before["dot"].as_str().unwrap()) && reason.contains("fields"), "{reason}");
        assert!(merged["inputs"].as_array().unwrap().contains(&merged["dot"]), "{merged}");

        laptop.ok(&["patch", "entity", "ada", r#"{"city":"Rome"}"#]);
        desktop.ok(&["patch", "entity", "ada", r#"{"city":"Bern"}"#]);
        sync_both(&laptop, &desktop);
        let rows = told(&hub, &desktop, "ada");
        let listed = laptop.ok(&["conflicts", "list"]).json();
        let conflict = &listed["conflicts"][0]["id"];
        let named = json!([{
            "id": conflict, "path": "city", "type": "version", "stands": rows[0]["dot"], "kept_out": false,
            "open": true, "settlement": null,
        }]);
        assert_eq!((&rows[0]["outcome"], &rows[0]["conflicts"]), (&json!("conflicted"), &named));
        assert_eq!(&rows[0]["why"]["conflict"], conflict);
        let text = run("spoke", &["--data", &laptop.data, "history", "entity", "ada"]).stdout;
        for part in ["made on     revision", "policy      fields", "a side of conflict"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    });
}

#[test]
fn the_policy_of_a_row_is_the_one_that_applied_then() {
    each_hub("histories-rules", |folder, hub| {
        let laptop = Spoke::join(folder, &hub, "laptop");
        put(&laptop, "entity", "eve", &json!({"n": 1}));
        laptop.ok(&["sync"]);
        assert_eq!(hub.admin(&["policy", "set", "entity", "last_writer"]).code, 0);
        laptop.ok(&["sync"]);
        put(&laptop, "entity", "eve", &json!({"n": 2}));
        laptop.ok(&["sync"]);
        assert_eq!(hub.admin(&["policy", "set", "entity", "--reset"]).code, 0);
        laptop.ok(&["sync"]);
        put(&laptop, "entity", "eve", &json!({"n": 3}));
        laptop.ok(&["sync"]);
        let rows = told(&hub, &laptop, "eve");
        let policies: Vec<&Value> = rows.iter().map(|row| &row["policy"]).collect();
        assert_eq!(policies, ["fields", "last_writer", "fields"]);
        let versions: Vec<u64> = rows.iter().map(|row| row["rule_version"].as_u64().unwrap()).collect();
        assert!(versions[0] > versions[1] && versions[1] > versions[2], "{versions:?}");
    });
}

#[test]
fn a_row_names_its_conflict_among_as_many_as_a_commit_may_have() {
    const RECORDS: usize = 150;
    let folder = Folder::new("histories-many");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    assert_eq!(hub.admin(&["policy", "set", "note", "branch"]).code, 0);
    sync_both(&laptop, &desktop);
    for spoke in [&laptop, &desktop] {
        let record = |n: usize| json!({"id": format!("n{n}"), "text": spoke.name});
        let lines: Vec<String> = (0..RECORDS).map(|n| record(n).to_string()).collect();
        let file = folder.at(&format!("{}.jsonl", spoke.name));
        std::fs::write(&file, lines.join("\n")).unwrap();
        spoke.ok(&["import", "--kind", "note", &file]);
    }
    sync_both(&laptop, &desktop);
    let mut open = laptop.ok(&["conflicts", "list"]).json()["conflicts"].as_array().unwrap().clone();
    assert!(open.len() >= RECORDS.min(100), "{}", open.len());
    open.truncate(20);
    for conflict in open {
        let rows = hub.admin(&["record", "history", "note", conflict["record"].as_str().unwrap()]).json();
        let newest = &rows["history"][0];
        assert_eq!(newest["conflicts"][0]["id"], conflict["id"], "{newest}");
        assert_eq!(newest["why"]["conflict"], conflict["id"]);
    }
}

#[test]
fn a_row_tells_how_its_conflict_was_settled_where_nothing_was_written() {
    each_hub("histories-settled", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        put(&laptop, "entity", "ada", &json!({"city": "London"}));
        sync_both(&laptop, &desktop);
        laptop.ok(&["patch", "entity", "ada", r#"{"city":"Rome"}"#]);
        desktop.ok(&["patch", "entity", "ada", r#"{"city":"Bern"}"#]);
        sync_both(&laptop, &desktop);
        let newest = || told(&hub, &laptop, "ada").remove(0);
        let reason = || newest()["why"]["reason"].as_str().unwrap().to_owned();
        assert!(reason().ends_with("it stood then, and nobody has settled it"), "{}", reason());
        let conflict = newest()["conflicts"][0]["id"].as_str().unwrap().to_owned();
        let keep = ["conflict", "resolve", &conflict, "--keep", "--reason", "Bern it is"];
        assert_eq!(hub.admin(&keep).code, 0);
        assert!(reason().ends_with("(Bern it is)"), "{}", reason());
        let told_of = &newest()["conflicts"][0];
        assert_eq!((&told_of["open"], &told_of["settlement"]["choice"]), (&json!(false), &json!("keep")));
        assert_eq!(hub.admin(&["conflict", "undo", &conflict, "--reason", "or not"]).code, 0);
        assert!(reason().ends_with("(or not)"), "{}", reason());
        assert_eq!(newest()["conflicts"][0]["settlement"]["what"], "undo");
    });
}
