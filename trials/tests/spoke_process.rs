//! A spoke as a process: what happens to it over hours, with its hubs, its disk and its neighbours.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use semantics::envelope::Content;
use semantics::ids::{Key, Kind, RecordId};
use serde_json::{Value, json};
use spoke::replica::sqlite::SqliteReplica;
use spoke::replica::store::{Mode, ReplicaStore};
use trials::clock::Clock;
use trials::disk::Disk;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Process, until};
use trials::proxy::Proxy;

/// Longer than an access token lives, seconds.
const TOKEN_ENDS_S: i64 = 16 * 60;

fn put(spoke: &Spoke, kind: &str, id: &str, body: &Value) {
    spoke.ok(&["put", kind, id, &body.to_string()]);
}

#[test]
fn a_daemon_goes_on_when_its_access_token_ends() {
    let folder = Folder::new("token-ends");
    let clock = Clock::under(folder.path());
    let mut hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    assert_eq!(hub.terminate(), 0);
    for (name, value) in clock.environment() {
        hub.set(&name, &value);
    }
    hub.restart();
    // The clock of one spoke goes with the hub's, that of the other stands still, as of a machine that slept.
    let (_a, _b) = (laptop.daemon_in(&clock.environment()), desktop.daemon());
    for round in 1..=3 {
        let id = format!("round-{round}");
        put(&laptop, "note", &id, &json!({"text": "still here"}));
        until("it arrives", || desktop.body("note", &id));
        clock.set(round * TOKEN_ENDS_S);
        for spoke in [&laptop, &desktop] {
            until("a new session stands", || {
                let status = spoke.ok(&["status"]).json();
                assert_eq!(status["stopped"], Value::Null, "{status}");
                (status["phase"] == "live" && status["last_refusal"].is_null()).then_some(())
            });
        }
    }
    put(&desktop, "note", "back", &json!({"text": "and the other way"}));
    until("it arrives", || laptop.body("note", "back"));
}

#[test]
fn a_spoke_moves_on_to_another_gateway_and_asks_that_one() {
    let folder = Folder::new("failover");
    let Some(postgres) = trials::process::Postgres::start(&folder) else { return };
    let mut near = Hub::start(&folder, false, Some(&postgres.url));
    let mut far = near.beside(&folder, "far");
    let laptop = Spoke { data: folder.at("laptop"), name: "laptop".to_owned() };
    let token = near.token(1);
    let (near_url, far_url) = (near.url(), far.url());
    let join = ["join", "--hub", &near_url, "--hub", &far_url, "--token", &token];
    laptop.ok(&[&join[..], &["--name", "laptop", "--type", "desktop"]].concat());
    let desktop = Spoke::join(&folder, &far, "desktop");

    near.kill();
    put(&laptop, "note", "first", &json!({"text": "through the second"}));
    laptop.ok(&["sync"]);
    let rows = laptop.ok(&["history", "note", "first"]).json();
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(1), "the second gateway is asked: {rows}");

    let _daemon = laptop.daemon();
    laptop.ok(&["sync"]);
    until("both are measured", || {
        let endpoints = laptop.ok(&["status"]).json()["endpoints"].clone();
        assert_eq!(endpoints[1]["url"], far_url);
        let is_far_used = endpoints[1]["in_use"] == true && endpoints[1]["round_trip_us"].is_u64();
        (is_far_used && endpoints[0]["health"] == "failed" && endpoints[1]["health"] == "healthy")
            .then_some(())
    });
    near.restart();
    far.kill();
    put(&laptop, "note", "second", &json!({"text": "and back"}));
    laptop.ok(&["sync"]);
    far.restart();
    desktop.ok(&["sync"]);
    assert_eq!(desktop.body("note", "second"), Some(json!({"text": "and back"})));
    assert_eq!(laptop.digest(), desktop.digest());
}

/// Whether the hub has a record.
fn has(hub: &Hub, id: &str) -> Option<()> {
    (hub.admin(&["record", "get", "note", id]).code == 0).then_some(())
}

fn status(spoke: &Spoke) -> Value {
    spoke.ok(&["status"]).json()
}

#[test]
fn a_daemon_syncs_by_the_schedule_of_its_settings_file_and_counts_it() {
    let folder = Folder::new("scheduled");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let settings = std::path::Path::new(&laptop.data).join("spoke.toml");
    let metrics = "127.0.0.1:".to_owned() + &free_port();
    let batch = "schedule = 'batch'\nbatch_changes = 3\nbatch_wait_s = 3600\nevery_s = 3600";
    std::fs::write(&settings, format!("{batch}\nmetrics_listen = '{metrics}'\n")).expect("written");
    let daemon = laptop.daemon();
    let rests = || until("its round is over", || (status(&laptop)["phase"] == "idle").then_some(()));
    until("its first round is over", || (status(&laptop)["sync"]["total"]["syncs"] == 1).then_some(()));
    rests();
    put(&laptop, "note", "a", &json!({"n": 1}));
    put(&laptop, "note", "b", &json!({"n": 2}));
    let waits = status(&laptop);
    assert_eq!((&waits["outbox"]["queued"], &waits["phase"]), (&json!(2), &json!("idle")), "{waits}");
    put(&laptop, "note", "c", &json!({"n": 3}));
    until("three make a batch", || has(&hub, "c"));
    until("all is confirmed", || (status(&laptop)["outbox"]["entries"] == 0).then_some(()));
    rests();
    assert_eq!(status(&laptop)["sync"]["total"]["pushed"], 3);
    let counted = page(&metrics);
    assert!(counted.contains("\nspoke_sync_pushed_total 3\n"), "{counted}");
    assert!(counted.contains("\nspoke_sync_records_total{name=\"added\"} 3\n"), "{counted}");
    // Between its rounds it has no session; it was heard a moment ago all the same.
    let shown = hub.admin(&["node", "show", "laptop"]).json();
    assert_eq!((&shown["health"], &shown["protocol"]), (&json!("healthy"), &json!(1)), "{shown}");
    assert!(shown["lag_commits"].as_u64().is_some_and(|lag| lag <= 1), "{shown}");
    assert!(shown["software"].as_str().is_some_and(|name| name.starts_with("spoke ")), "{shown}");
    assert!(shown["clock_offset_ms"].as_i64().is_some_and(|ms| ms.abs() < 10_000), "{shown}");
    assert_eq!(shown["capabilities"], json!(["full", "offline"]));
    assert_eq!(daemon.terminate(), 0);

    std::fs::write(&settings, "schedule = 'periodic'\nevery_s = 1\n").expect("written");
    let _daemon = laptop.daemon();
    for id in ["d", "e"] {
        put(&laptop, "note", id, &json!({"n": 4}));
        until("a round comes by itself", || has(&hub, id));
        rests();
    }
}

/// A port that nobody listens on just now.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

/// What `/metrics` answers at an address.
fn page(address: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let ask = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn a_disk_that_was_full_needs_no_restart_of_spoke_or_hub() {
    let folder = Folder::new("full-disk");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let disk = Disk::under(folder.path());
    assert_eq!(hub.terminate(), 0);
    for (name, value) in disk.environment() {
        hub.set(&name, &value);
    }
    hub.restart();
    let _daemon = laptop.daemon_in(&disk.environment());
    put(&laptop, "note", "before", &json!({}));
    laptop.ok(&["sync"]);
    for round in 0..2 {
        disk.fill();
        let refused = laptop.run(&["put", "note", "lost", "{}"]);
        assert_eq!(refused.error()["error"]["reason"], "STORE_FULL", "{refused:?}");
        assert_eq!(laptop.body("note", "before"), Some(json!({})), "reading goes on");
        assert_ne!(hub.admin(&["tenant", "create", &format!("full-{round}")]).code, 0);
        disk.empty();
        put(&laptop, "note", &format!("after-{round}"), &json!({}));
        laptop.ok(&["sync"]);
        assert_eq!(laptop.body("note", "lost"), None, "a put that was refused had no effect");
        assert_eq!(laptop.digest(), hub.digest("laptop"));
    }
}

#[test]
fn a_watch_goes_on_with_the_next_daemon_and_leaves_the_folder_to_it() {
    let folder = Folder::new("watch-restart");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let daemon = laptop.daemon();
    laptop.ok(&["sync"]);
    let watch = Process::start("spoke", &["--data", &laptop.data, "watch", "note"]);
    assert_eq!(watch.line_within(std::time::Duration::from_secs(1)), None);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(watch.line_within(std::time::Duration::from_secs(1)), None);
    // Nobody watches now, and nothing was printed yet.
    put(&laptop, "note", "between", &json!({"text": "told all the same"}));
    let _again = laptop.daemon();
    let line: Value = serde_json::from_str(&watch.line()).expect("a line of JSON");
    assert_eq!((&line["kind"], &line["id"]), (&json!("note"), &json!("between")));
}

#[test]
fn the_example_in_python_reads_writes_watches_and_waits() {
    let python = trials::tree::root().join("target/tools/venv/bin/python");
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none(), "run `scripts/install test` first");
        eprintln!("SKIPPED: {} is not there; `scripts/install test` makes it", python.display());
        return;
    }
    let folder = Folder::new("python");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let _daemon = laptop.daemon();
    let script = trials::tree::root().join("examples/python/notes.py");
    let socket = format!("{}/daemon.sock", laptop.data);
    let run = |args: &[&str]| {
        let output = std::process::Command::new(&python).arg(&script).args(args).output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}", python.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in ["read: {", "watched: from-python {", "'text': 'hello'}", "absent: RECORD_ABSENT"] {
            assert!(text.contains(line), "{text}");
        }
        text
    };
    assert!(run(&["--wait", &socket]).contains("waited: durable"));
    hub.kill();
    assert!(run(&[&socket]).contains("waited: DEADLINE_EXCEEDED"));
}

#[test]
fn the_example_in_python_makes_every_call_of_identities() {
    let python = trials::tree::root().join("target/tools/venv/bin/python");
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none(), "run `scripts/install test` first");
        eprintln!("SKIPPED: {} is not there; `scripts/install test` makes it", python.display());
        return;
    }
    let folder = Folder::new("python-identity");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let _daemon = laptop.daemon();
    let script = trials::tree::root().join("examples/python/identity.py");
    let socket = format!("{}/daemon.sock", laptop.data);
    let output = std::process::Command::new(&python).arg(&script).arg(&socket).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = [
        "'/identity_snapshot/stability_metrics/current_is_score']",
        "imported: ada 4.05 stable",
        "exported: True",
        "watched: ada changed low",
        "settled: ours",
        "restarted: 16 bytes",
        "conflicts: []",
    ];
    for line in lines {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("session: "), "{text}");
}

#[test]
fn a_first_sync_with_writes_waiting_leaves_nothing_that_the_hub_refused() {
    let folder = Folder::new("first-sync");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    put(&laptop, "note", "early", &json!({"text": "written before there was a session"}));
    laptop.ok(&["sync"]);
    // What was counted in the present minute is written when the hub ends.
    assert_eq!(hub.terminate(), 0);
    hub.restart();
    let of = |event: &str| {
        let listed = hub.admin(&["audit", "list", "--source", "access", "--event", event]).json();
        listed["entries"].as_array().cloned().unwrap_or_default()
    };
    assert_eq!(of("session_opened").len(), 1);
    assert_eq!(of("refused"), Vec::<Value>::new());
}

/// What a damaged disk does: one record says something else, another is gone.
async fn damage(spoke: &Spoke, other: &str, gone: &str) {
    let key =
        |id: &str| Key { kind: Kind::new("note").expect("a kind"), id: RecordId::new(id).expect("an id") };
    let path = std::path::Path::new(&spoke.data).join("replica.sqlite");
    let store = SqliteReplica::open(&path).await.expect("the replica opens");
    let mut txn = store.begin(Mode::Write).await.expect("a transaction");
    let mut row =
        txn.confirmed_get(&[key(other)]).await.expect("a read").remove(&key(other)).expect("the record");
    row.record.content = Content::Live(br#"{"text":"what nobody wrote"}"#.to_vec().into());
    txn.confirmed_put(&[row]).await.expect("a write");
    txn.confirmed_delete(&[key(gone)]).await.expect("a delete");
    txn.commit().await.expect("a commit");
    store.close().await;
}

#[tokio::test]
async fn doctor_names_the_records_in_which_a_replica_differs_and_fetches_them_anew() {
    let folder = Folder::new("doctor");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    for n in 0..40 {
        put(&laptop, "note", &format!("n{n:02}"), &json!({"text": n}));
    }
    laptop.ok(&["sync"]);
    let sound = desktop.ok(&["doctor"]).json();
    assert!(sound["healthy"] == json!(true) && sound["compared"] == json!(true), "{sound}");
    let scopes = sound["scopes"].as_array().expect("a list");
    let notes = scopes.iter().find(|scope| scope["kind"] == "note").expect("the scope of notes");
    assert_eq!((&notes["records"], &notes["equal"]), (&json!(40), &json!(true)), "{sound}");

    damage(&desktop, "n07", "n31").await;
    // What nobody wrote is not shown, and nothing is made of it.
    for command in [&["get", "note", "n07"][..], &["patch", "note", "n07", r#"{"more":1}"#], &["ls", "note"]]
    {
        assert_eq!(desktop.run(command).error()["error"]["reason"], "STORE_CORRUPT", "{command:?}");
    }
    put(&desktop, "note", "mine", &json!({"text": "waits in the outbox"}));
    let bundle = folder.at("report.json");
    let ran = desktop.run(&["doctor", "--bundle", &bundle]);
    assert_eq!((ran.code, &ran.error()["error"]["reason"]), (3, &json!("UNSOUND")));
    let report: Value = serde_json::from_str(&ran.stdout).expect("a report");
    assert_eq!(report["damaged"], json!([{"kind": "note", "id": "n07"}]));
    let differ = report["differences"].as_array().expect("a list");
    let ids: Vec<_> = differ.iter().map(|record| record["id"].as_str().unwrap_or_default()).collect();
    assert_eq!(ids, ["n07", "n31"], "{report}");
    assert!(differ[1]["revision_here"].is_null() && differ[1]["revision_at_hub"].is_u64(), "{report}");
    let written = std::fs::read_to_string(&bundle).expect("the bundle");
    assert!(written.contains("n31") && !written.contains("nobody wrote"), "ids, and no bodies");
    assert_eq!(desktop.run(&["doctor", "--bundle", &bundle]).code, 3, "a file is never written over");

    let daemon = desktop.daemon();
    let repaired = desktop.ok(&["doctor", "--repair"]).json();
    assert!(repaired["healthy"] == json!(true), "{repaired}");
    assert_eq!(repaired["repaired"].as_array().map(Vec::len), Some(3), "{repaired}");
    assert_eq!(desktop.body("note", "n07"), Some(json!({"text": 7})));
    laptop.ok(&["sync"]);
    assert_eq!(laptop.body("note", "mine"), Some(json!({"text": "waits in the outbox"})));
    assert_eq!(laptop.digest(), desktop.digest());
    assert_eq!(daemon.terminate(), 0);

    drop(hub);
    let alone = desktop.run(&["doctor", "--timeout", "1"]);
    let report: Value = serde_json::from_str(&alone.stdout).expect("a report");
    assert!(
        alone.code == 3 && report["compared"] == json!(false) && report["damaged"] == json!([]),
        "{report}"
    );
}

/// Changes the byte before a text wherever the closed file of a replica has it: there stands how long the text is, so that
/// what holds it cannot be read at all.
async fn tear(spoke: &Spoke, text: &str) {
    let path = std::path::Path::new(&spoke.data).join("replica.sqlite");
    SqliteReplica::open(&path).await.expect("the replica opens").close().await;
    let mut bytes = std::fs::read(&path).expect("the file is read");
    let found: Vec<usize> = (1..bytes.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
    assert_ne!(found.len(), 0);
    found.iter().for_each(|at| bytes[at - 1] = 120);
    std::fs::write(&path, bytes).expect("the file is written");
}

#[tokio::test]
async fn doctor_fetches_anew_what_cannot_be_read_at_all() {
    let folder = Folder::new("doctor-unread");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    put(&laptop, "note", "n07", &json!({"text": "find me"}));
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    put(&desktop, "note", "mine", &json!({"text": "waits in the outbox"}));
    tear(&desktop, r#"{"text":"find me"}"#).await;
    assert_eq!(desktop.run(&["get", "note", "n07"]).error()["error"]["reason"], "STORE_CORRUPT");
    let ran = desktop.run(&["doctor"]);
    assert_eq!((ran.code, &ran.error()["error"]["reason"]), (3, &json!("UNSOUND")));
    let report: Value = serde_json::from_str(&ran.stdout).expect("a report");
    assert!(report["records_are_wrong"] == json!(true), "{report}");
    let named =
        |problem: &Value| problem["detail"].as_str().is_some_and(|detail| detail.contains("note/n07"));
    assert!(report["problems"].as_array().is_some_and(|problems| problems.iter().any(named)), "{report}");

    let repaired = desktop.ok(&["doctor", "--repair"]).json();
    assert!(repaired["healthy"] == json!(true), "{repaired}");
    assert_eq!(desktop.body("note", "n07"), Some(json!({"text": "find me"})));
    laptop.ok(&["sync"]);
    assert_eq!(laptop.body("note", "mine"), Some(json!({"text": "waits in the outbox"})));
    assert_eq!(laptop.digest(), desktop.digest());
}

#[tokio::test]
async fn a_sync_that_gets_nowhere_says_when_the_replica_is_damaged() {
    let folder = Folder::new("stalled");
    let hub = Hub::start(&folder, false, None);
    let proxy = Proxy::before(&hub.address());
    let laptop = Spoke::join_at(&folder, &hub, &[format!("https://{}", proxy.address())], "laptop");
    put(&laptop, "note", "n07", &json!({"text": 7}));
    put(&laptop, "note", "n31", &json!({"text": 31}));
    laptop.ok(&["sync"]);
    proxy.hold();
    let stalled = |spoke: &Spoke| spoke.run(&["sync", "--timeout", "1"]).error()["error"].clone();
    assert_eq!(stalled(&laptop)["reason"], "DEADLINE_EXCEEDED");
    damage(&laptop, "n07", "n31").await;
    let error = stalled(&laptop);
    assert_eq!(error["reason"], "STORE_CORRUPT", "{error}");
    assert!(error["detail"].as_str().is_some_and(|detail| detail.contains("note/n07")), "{error}");
    proxy.heal();
    laptop.ok(&["doctor", "--repair"]);
    laptop.ok(&["sync"]);
}
