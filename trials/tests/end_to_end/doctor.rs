//! `hubward doctor` over a sound hub, and over ones whose store was tampered with.
#![allow(clippy::expect_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::Path;

use semantics::compare::SCOPES_MAX;
use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Postgres, Ran};

/// Writes other bytes in the place of these, wherever they stand in the hub's files. How often.
fn tamper(folder: &Path, from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let mut found = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let mut bytes = std::fs::read(entry.path()).unwrap_or_default();
        let starts = 0..bytes.len().saturating_sub(from.len());
        let at: Vec<usize> = starts.filter(|at| bytes[*at..].starts_with(from)).collect();
        at.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to));
        if !at.is_empty() {
            std::fs::write(entry.path(), bytes).expect("the file is written");
        }
        found += at.len();
    }
    found
}

/// The report, whatever the exit code.
fn told(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// What the problems are called, and whether each is a fault.
fn problems(report: &Value) -> Vec<(&str, bool)> {
    let listed = report["problems"].as_array().expect("problems are listed");
    listed.iter().map(|p| (p["what"].as_str().unwrap_or_default(), p["fault"] == json!(true))).collect()
}

fn write_some(folder: &Folder, hub: &Hub) -> Spoke {
    let laptop = Spoke::join(folder, hub, "laptop");
    for (id, text) in [("a", "a body with a MARKER in it"), ("b", "another")] {
        laptop.ok(&["put", "note", id, &json!({"text": text}).to_string(), "--wait", "durable"]);
    }
    laptop.ok(&["rm", "note", "b", "--wait", "durable"]);
    laptop.ok(&["sync"]);
    laptop
}

fn sound(hub: &Hub, engine: &str) -> Value {
    let ran = hub.admin(&["doctor", "--full"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!((&report["healthy"], &report["faults"]), (&json!(true), &json!(0)), "{report}");
    assert_eq!(report["hub"]["store"]["engine"], engine);
    let tenant = &report["tenants"][0];
    assert_eq!((&tenant["tenant"], &tenant["compared"]), (&json!("default"), &json!(true)));
    assert_eq!((&tenant["chain"]["first"], &tenant["chain"]["last"]), (&json!(1), &tenant["commit"]));
    let notes = tenant["kinds"].as_array().and_then(|kinds| kinds.iter().find(|kind| kind["kind"] == "note"));
    assert_eq!(notes, Some(&json!({"kind": "note", "records": 1, "tombstones": 1})));
    assert_eq!(
        (&tenant["nodes"][0]["name"], &tenant["nodes"][0]["status"]),
        (&json!("laptop"), &json!("active"))
    );
    report
}

#[test]
fn the_doctor_finds_what_was_changed_behind_the_hubs_back() {
    let folder = Folder::new("doctor");
    let mut hub = Hub::start(&folder, false, None);
    let _laptop = write_some(&folder, &hub);
    let report = sound(&hub, "sqlite");
    assert_eq!(hub.terminate(), 0);
    let data = folder.at("hub");
    assert!(tamper(Path::new(&data), b"MARKER", b"mARKER") > 0, "the body stands nowhere");
    hub.restart();
    let bundle = folder.at("report.json");
    let ran = hub.admin(&["doctor", "--tenant", "default", "--bundle", &bundle]);
    assert_eq!((ran.code, &ran.error()["error"]["reason"]), (3, &json!("UNSOUND")), "{ran:?}");
    let found = told(&ran);
    assert_eq!(problems(&found), [("damaged records", true), ("sums of scopes", true)]);
    assert_eq!(found["tenants"][0]["damaged"]["records"], json!([{"kind": "note", "id": "a"}]));
    let written = std::fs::read_to_string(&bundle).expect("the bundle is there");
    assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON")["problems"], found["problems"]);
    assert!(!written.contains("ARKER") && !written.contains("hwo1_"), "no bodies, no secrets");
    assert_eq!(
        hub.admin(&["doctor", "--bundle", &bundle]).error()["error"]["reason"],
        "MALFORMED",
        "never over a file"
    );

    assert_eq!(hub.terminate(), 0);
    assert!(tamper(Path::new(&data), b"mARKER", b"MARKER") > 0);
    let digest = report["tenants"][0]["chain_digest"].as_str().expect("a digest");
    let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).expect("hexadecimal");
    let chain: Vec<u8> = (0..digest.len()).step_by(2).map(byte).collect();
    assert!(tamper(Path::new(&data), &chain, &[7; 32]) > 0, "the chain stands nowhere");
    hub.restart();
    let ran = hub.admin(&["doctor"]);
    assert_eq!((ran.code, problems(&told(&ran))), (3, vec![("the chain", true)]), "{ran:?}");
    assert_eq!(told(&ran)["tenants"][0]["chain"]["faults"][0]["commit"], report["tenants"][0]["commit"]);
}

#[test]
fn a_wrong_record_is_named_where_there_are_more_scopes_than_one_answer_holds() {
    let folder = Folder::new("doctor-scopes");
    let mut hub = Hub::start(&folder, false, None);
    let declared = folder.at("lamp.json");
    let kind = json!({
        "name": "lamp", "policy": "last_writer", "schema": {"type": "object"}, "facet_field": "room",
    });
    std::fs::write(&declared, kind.to_string()).expect("a file is written");
    assert_eq!(hub.admin(&["kind", "apply", "--tenant", "default", &declared]).code, 0);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    laptop.ok(&["sync"]);
    let text = |n: usize| if n == 3_000 { "a body with a MARKER in it" } else { "another" };
    let line =
        |n: usize| json!({"id": format!("l{n:04}"), "room": format!("r{n}"), "text": text(n)}).to_string();
    let lines: Vec<String> = (0..SCOPES_MAX + 4).map(line).collect();
    let file = folder.at("lamps.jsonl");
    std::fs::write(&file, lines.join("\n")).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "lamp"]);
    laptop.ok(&["sync", "--timeout", "120"]);
    let sound = laptop.ok(&["doctor"]).json();
    assert_eq!(
        (&sound["healthy"], &sound["compared"]),
        (&json!(true), &json!(true)),
        "{}",
        sound["problems"]
    );
    assert_eq!(sound["scopes"][0]["equal"], json!(null), "no scope is said to be equal");
    assert_eq!(hub.terminate(), 0);
    let data = folder.at("hub");
    assert!(tamper(Path::new(&data), b"MARKER", b"mARKER") > 0, "the body stands nowhere");
    hub.restart();
    let ran = laptop.run(&["doctor"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let found = told(&ran);
    let differ = found["differences"].as_array().expect("differences are listed");
    let named: Vec<(&Value, &Value)> = differ.iter().map(|d| (&d["kind"], &d["id"])).collect();
    assert_eq!(named, [(&json!("lamp"), &json!("l3000"))]);
    assert_eq!(found["records_are_wrong"], json!(true));
}

#[test]
fn the_doctor_tells_what_postgres_keeps() {
    let folder = Folder::new("doctor-postgres");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let hub = Hub::start(&folder, false, Some(&postgres.url));
    let _laptop = write_some(&folder, &hub);
    let report = sound(&hub, "postgresql");
    let store = &report["hub"]["store"];
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(store[name], "on", "{store}");
    }
    assert!(!report.to_string().contains(&postgres.url));
}
