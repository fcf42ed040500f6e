//! Hubs and spokes as real processes, driven through their commands.

#[path = "end_to_end/backup.rs"]
mod backup;
#[path = "end_to_end/compressed.rs"]
mod compressed;
#[path = "end_to_end/conflicts.rs"]
mod conflicts;
#[path = "end_to_end/doctor.rs"]
mod doctor;
#[path = "end_to_end/histories.rs"]
mod histories;
#[path = "end_to_end/identities.rs"]
mod identities;
#[path = "end_to_end/keys.rs"]
mod keys;
#[path = "end_to_end/matrix.rs"]
mod matrix;
#[path = "end_to_end/recorded.rs"]
mod recorded;
#[path = "end_to_end/refused.rs"]
mod refused;
#[path = "end_to_end/resolver.rs"]
mod resolver;
#[path = "end_to_end/topology.rs"]
mod topology;
#[path = "end_to_end/types.rs"]
mod types;
#[path = "end_to_end/waits.rs"]
mod waits;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke, copy_files};
use trials::process::{Folder, Postgres, Process, run, until};

/// One hub over each store, TLS, and one over plaintext.
fn each_hub(name: &str, run: impl Fn(&Folder, Hub)) {
    let folder = Folder::new(name);
    let hub = Hub::start(&folder, true, None);
    run(&folder, hub);
    let folder = Folder::new(name);
    let hub = Hub::start(&folder, false, None);
    run(&folder, hub);
    let folder = Folder::new(name);
    if let Some(postgres) = Postgres::start(&folder) {
        let hub = Hub::start(&folder, false, Some(&postgres.url));
        run(&folder, hub);
    }
}

fn put(spoke: &Spoke, kind: &str, id: &str, body: &Value) {
    spoke.ok(&["put", kind, id, &body.to_string()]);
}

fn sync_both(a: &Spoke, b: &Spoke) {
    a.ok(&["sync"]);
    b.ok(&["sync"]);
    a.ok(&["sync"]);
}

#[test]
fn offline_edits_of_two_spokes_converge_and_the_clash_is_listed() {
    each_hub("converge", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        put(&laptop, "entity", "ada", &json!({"name": "Ada", "city": "London", "phone": "1"}));
        laptop.ok(&["put", "note", "odd-\u{1F600}-é", "{\"text\":\"U+0000 is \\u0000 here\"}"]);
        sync_both(&laptop, &desktop);
        assert_eq!(
            desktop.body("entity", "ada"),
            Some(json!({"name": "Ada", "city": "London", "phone": "1"}))
        );

        laptop.ok(&["patch", "entity", "ada", r#"{"city":"Paris","email":"ada@example.org"}"#]);
        desktop.ok(&["patch", "entity", "ada", r#"{"city":"Berlin","phone":"2"}"#]);
        sync_both(&laptop, &desktop);

        let body = laptop.body("entity", "ada").expect("ada is there");
        assert_eq!(desktop.body("entity", "ada").as_ref(), Some(&body));
        assert_eq!(body["email"], "ada@example.org");
        assert_eq!(body["phone"], "2");
        assert!(body["city"] == "Paris" || body["city"] == "Berlin", "{body}");
        let digests: BTreeSet<_> =
            [laptop.digest(), desktop.digest(), hub.digest("laptop"), hub.digest("desktop")].into();
        assert_eq!(digests.len(), 1, "{digests:?}");

        let listed = desktop.run(&["conflicts", "list"]).json();
        let conflicts = listed["conflicts"].as_array().expect("a list of conflicts");
        assert_eq!(conflicts.len(), 1, "{listed}");
        assert_eq!(conflicts[0]["path"], "city", "{listed}");
        let id = conflicts[0]["id"].as_str().expect("a conflict has an id");
        let shown = desktop.run(&["conflicts", "show", id]).json().to_string();
        for side in ["Paris", "Berlin", "London"] {
            assert!(shown.contains(side), "{side} is not shown: {shown}");
        }
        assert_eq!(
            hub.admin(&["node", "list", "--tenant", "default"]).json()["nodes"].as_array().map(Vec::len),
            Some(2)
        );
    });
}

#[test]
fn a_put_reaches_a_watching_spoke_while_both_run() {
    let folder = Folder::new("live");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    put(&laptop, "note", "first", &json!({"text": "hello"}));
    until("the first note arrives", || desktop.body("note", "first"));
    let watch = Process::start("spoke", &["--output", "json", "--data", &desktop.data, "watch"]);
    for n in 0..20 {
        let id = format!("n{n}");
        put(&laptop, "note", &id, &json!({"n": n}));
        let seen: Value = loop {
            let line: Value = serde_json::from_str(&watch.line()).expect("a line is JSON");
            if line["id"] == id.as_str() && line["revision"].as_u64() > Some(0) {
                break line;
            }
        };
        assert_eq!(seen["kind"], "note");
    }
}

#[test]
fn what_a_command_cannot_do_is_said_with_its_class_and_remedy() {
    let folder = Folder::new("errors");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let cases: [(&[&str], i32, &str); 5] = [
        (&["put", "nosuch", "x", "{}"], 3, "KIND_UNDECLARED"),
        (&["put", "note", "x", "{"], 3, "MALFORMED"),
        (&["put", "note", "x", r#"{"n":9007199254740993}"#], 3, "UNSAFE_NUMBER"),
        (&["get", "note", "absent"], 3, "RECORD_ABSENT"),
        (&["put", "view", "x", "{}"], 4, "CONTROL_KIND"),
    ];
    for (args, code, reason) in cases {
        let ran = laptop.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        let error = ran.error();
        assert_eq!(error["error"]["reason"], reason, "{args:?}");
        assert!(error["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{error}");
    }
    let stranger = Spoke { data: folder.at("stranger"), name: "stranger".to_owned() };
    assert_eq!(stranger.run(&["get", "note", "x"]).error()["error"]["reason"], "NOT_JOINED");
}

#[test]
fn a_command_line_that_cannot_be_read_is_json_for_scripts() {
    for (program, args) in [
        ("hubward", ["--output", "json", "token", "create", "--ttl"].as_slice()),
        ("hubward", &["--output=json", "token", "create", "--tenant", "t", "--uses", "many"]),
        ("spoke", &["put", "note", "--output", "json"]),
        ("spoke", &["--output", "json", "no-such-command"]),
    ] {
        let ran = run(program, args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        let error = ran.error();
        assert_eq!(error["error"]["reason"], "MALFORMED", "{args:?}");
        assert!(error["error"]["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{error}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    let help = run("spoke", &["--help"]);
    assert!(help.code == 0 && help.stdout.contains("Usage:"), "{help:?}");
}

#[test]
fn a_revoked_node_is_refused() {
    let folder = Folder::new("revoke");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    laptop.ok(&["sync"]);
    assert_eq!(hub.admin(&["node", "revoke", "--tenant", "default", "laptop"]).code, 0);
    put(&laptop, "note", "late", &json!({"text": "kept here"}));
    let refused = laptop.run(&["sync"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(laptop.body("note", "late"), Some(json!({"text": "kept here"})));
}

#[test]
fn a_declared_kind_is_checked_and_merged_by_its_policy() {
    let folder = Folder::new("kind");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let file = folder.at("task.json");
    let declaration = json!({
        "name": "task", "policy": "fields",
        "schema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
    });
    std::fs::write(&file, declaration.to_string()).expect("a file is written");
    assert_eq!(hub.admin(&["kind", "apply", "--tenant", "default", &file]).code, 0);
    laptop.ok(&["sync"]);
    let refused = laptop.run(&["put", "task", "t1", r#"{"title":1}"#]);
    assert_eq!(refused.error()["error"]["reason"], "SCHEMA_VIOLATION");
    put(&laptop, "task", "t1", &json!({"title": "write"}));
    laptop.ok(&["sync"]);
    let held = hub.admin(&["record", "get", "--tenant", "default", "task", "t1"]).json();
    assert!(held.to_string().contains("write"), "{held}");
}

/// Puts of the stream that the hub is killed under.
const STREAM_PUTS: usize = 10_000;
/// How often it is killed.
const STREAM_KILLS: usize = 20;
/// At least so many of them while an append was under way.
const KILLS_INSIDE_MIN: usize = 5;

/// What the log says of appends: begun and not ended when it stops = killed inside.
fn appends(log: &std::path::Path) -> (usize, bool) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let begun = text.matches("append begins").count();
    (begun, begun > text.matches("append ends").count())
}

#[test]
fn kill_9_of_the_hub_at_20_moments_of_a_stream_loses_no_acknowledged_put() {
    let folder = Folder::new("kill-hub");
    let mut hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let lines: String = (0..STREAM_PUTS).map(|n| format!("{{\"id\":\"r{n:05}\",\"n\":{n}}}\n")).collect();
    let file = folder.at("stream.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "note"]);
    let log = folder.path().join("hub.log");
    hub.log_to(&log);
    hub.restart();
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    let mut inside = 0;
    for kill in 0..STREAM_KILLS {
        // In the first, second or third append after its start, or a later one, and at once.
        until("an append is under way", || {
            let (begun, is_inside) = appends(&log);
            (begun > kill % 3 && is_inside).then_some(())
        });
        hub.kill();
        inside += usize::from(appends(&log).1);
        hub.restart();
    }
    println!("{inside} of {STREAM_KILLS} kills were inside an append");
    assert!(inside >= KILLS_INSIDE_MIN, "only {inside} kills were inside an append");
    until("everything has arrived on the other side", || {
        (desktop.ids("note").len() == STREAM_PUTS).then_some(())
    });
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    assert_eq!(laptop.digest(), desktop.digest());
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    let listed = desktop.run(&["ls", "note"]).json();
    let records = listed["records"].as_array().expect("a list");
    let revisions: BTreeSet<u64> = records.iter().filter_map(|record| record["revision"].as_u64()).collect();
    let (first, last) = (revisions.first().expect("one"), revisions.last().expect("one"));
    assert_eq!(revisions.len(), STREAM_PUTS, "a revision stands twice");
    assert_eq!(last - first + 1, u64::try_from(STREAM_PUTS).expect("small"), "revisions are not dense");
    let status = laptop.run(&["status"]).json();
    assert_eq!(status["outbox"]["entries"].as_u64(), Some(0), "{status}");
}

#[test]
fn kill_9_of_a_spoke_loses_no_confirmed_write() {
    let folder = Folder::new("kill-spoke");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let mut wanted = BTreeSet::new();
    for round in 0..5 {
        let daemon = laptop.daemon();
        for n in 0..10 {
            let id = format!("k{round}-{n}");
            put(&laptop, "note", &id, &json!({"n": n}));
            wanted.insert(id);
        }
        daemon.kill();
    }
    assert_eq!(laptop.ids("note").into_iter().collect::<BTreeSet<_>>(), wanted);
    laptop.ok(&["sync"]);
    let listed = hub.admin(&["record", "list", "--tenant", "default", "--kind", "note"]).json();
    assert_eq!(listed["records"].as_array().map(Vec::len), Some(wanted.len()), "{listed}");
}

#[test]
fn postgres_restarted_underneath_needs_no_manual_step() {
    let folder = Folder::new("pg-restart");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let hub = Hub::start(&folder, false, Some(&postgres.url));
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    put(&laptop, "note", "before", &json!({"text": "before"}));
    until("the first note arrives", || desktop.body("note", "before"));
    postgres.restart();
    put(&laptop, "note", "after", &json!({"text": "after"}));
    until("the second note arrives", || desktop.body("note", "after"));
    assert_eq!(desktop.body("note", "before"), Some(json!({"text": "before"})));
}

#[test]
fn sigterm_drains_leaves_one_database_file_and_exits_0() {
    let folder = Folder::new("drain");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let _daemon = laptop.daemon();
    put(&laptop, "note", "n", &json!({}));
    until("the hub has it", || {
        let got = hub.admin(&["record", "get", "--tenant", "default", "note", "n"]);
        (got.code == 0).then_some(())
    });
    assert_eq!(hub.terminate(), 0);
    // Whoever copies the file alone has everything.
    assert!(!folder.path().join("hub/hub.sqlite-wal").exists());
}

#[test]
fn a_flipped_byte_in_the_replica_file_is_found() {
    let folder = Folder::new("flip");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    put(&laptop, "note", "n", &json!({"text": "a body with a MARKER in it"}));
    laptop.ok(&["sync"]);
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    let mut flipped = false;
    for entry in std::fs::read_dir(&laptop.data).expect("the folder is there").flatten() {
        let mut bytes = std::fs::read(entry.path()).unwrap_or_default();
        let at: Vec<usize> =
            (0..bytes.len().saturating_sub(6)).filter(|i| &bytes[*i..i + 6] == b"MARKER").collect();
        for i in &at {
            bytes[*i] = b'm';
        }
        if !at.is_empty() {
            std::fs::write(entry.path(), bytes).expect("the file is written");
            flipped = true;
        }
    }
    assert!(flipped, "the body stands nowhere in the folder");
    let digest = laptop.run(&["digest"]);
    assert!(digest.code != 0 || digest.json()["digest"] != hub.digest("laptop").1.as_str(), "{digest:?}");
}

#[test]
fn a_hub_put_back_to_an_older_copy_stops_its_spokes_until_they_adopt_its_log() {
    let folder = Folder::new("restored");
    let mut hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    put(&laptop, "note", "old", &json!({"text": "in the copy"}));
    sync_both(&laptop, &desktop);
    let (data, copy) = (folder.path().join("hub"), folder.path().join("hub-copy"));
    assert_eq!(hub.terminate(), 0);
    copy_files(&data, &copy);
    hub.restart();
    put(&laptop, "note", "lost", &json!({"text": "after the copy"}));
    sync_both(&laptop, &desktop);
    assert_eq!(hub.terminate(), 0);
    std::fs::remove_dir_all(&data).expect("the folder goes");
    copy_files(&copy, &data);
    hub.restart();
    // The log grows again, past where the spokes stood.
    let tablet = Spoke::join(&folder, &hub, "tablet");
    for n in 0..30 {
        put(&tablet, "note", &format!("regrown{n}"), &json!({}));
    }
    tablet.ok(&["sync"]);
    let grown = hub.digest("tablet");

    put(&laptop, "note", "unsent", &json!({"text": "written meanwhile"}));
    for spoke in [&laptop, &desktop, &laptop] {
        let stopped = spoke.run(&["sync"]);
        assert_eq!(stopped.error()["error"]["reason"], "LOG_FORKED", "{stopped:?}");
        assert!(stopped.error()["error"]["remedy"].to_string().contains("adopt-log"), "{stopped:?}");
        assert_eq!(spoke.body("note", "lost"), Some(json!({"text": "after the copy"})));
    }
    assert_eq!(hub.digest("tablet"), grown, "nothing is overwritten");

    for spoke in [&laptop, &desktop] {
        let kept = spoke.ok(&["adopt-log"]).json()["kept"].as_str().expect("a folder").to_owned();
        assert!(std::fs::read_dir(&kept).expect("the replica is kept").count() > 0);
    }
    sync_both(&laptop, &desktop);
    tablet.ok(&["sync"]);
    for spoke in [&laptop, &desktop, &tablet] {
        assert_eq!(spoke.body("note", "unsent"), Some(json!({"text": "written meanwhile"})));
        assert_eq!(spoke.body("note", "old"), Some(json!({"text": "in the copy"})));
        assert_eq!(spoke.digest(), hub.digest(&spoke.name));
    }
}

#[test]
fn the_digest_is_recomputed_from_the_export_in_python() {
    let python = trials::tree::root().join("target/tools/venv/bin/python");
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none(), "run `scripts/install test` first");
        eprintln!("SKIPPED: {} is not there; `scripts/install test` makes it", python.display());
        return;
    }
    let folder = Folder::new("export");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    put(&laptop, "entity", "e", &json!({"a": 1.5, "b": [true, null], "ü": "é"}));
    laptop.ok(&["patch", "entity", "e", r#"{"c":"x"}"#, "--remove", "a"]);
    put(&laptop, "note", "n", &json!({"text": "hi"}));
    laptop.ok(&["sync"]);
    let exported = laptop.ok(&["export"]).stdout;
    let file = folder.at("export.jsonl");
    std::fs::write(&file, exported).expect("a file is written");
    let script = trials::tree::root().join("trials/python/digest.py");
    let output = Command::new(python).arg(script).args(["export", &file]).output().expect("python runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains(&laptop.digest().1), "{printed} {}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&content_digest(&laptop)), "{printed}");
}

fn content_digest(spoke: &Spoke) -> String {
    let printed = spoke.ok(&["digest", "--content"]).json();
    printed["content_digest"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_export_imports_back_and_into_another_tenant_to_equal_digests() {
    let folder = Folder::new("import-back");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let text = "ä".repeat(20_000);
    let rows: String =
        (0..75).map(|n| format!("{{\"id\":\"r{n}\",\"n\":{n}.5,\"text\":\"{text}\"}}\n")).collect();
    let file = folder.at("rows.jsonl");
    std::fs::write(&file, rows).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "note"]);
    put(&laptop, "entity", "odd-\u{1F600}\u{1}", &json!({"a": 1.5e-7, "b": [true, null], "ü": "é"}));
    put(&laptop, "entity", "patched", &json!({"a": 1, "b": 2}));
    laptop.ok(&["sync"]);
    laptop.ok(&["patch", "entity", "patched", r#"{"c":"x"}"#, "--remove", "a"]);
    laptop.ok(&["rm", "note", "r7"]);
    laptop.ok(&["sync"]);
    let export = folder.at("export.jsonl");
    let exported = laptop.ok(&["export"]).stdout;
    assert!(exported.len() > 2_900_000, "{}", exported.len());
    std::fs::write(&export, exported).expect("a file is written");

    let before = (laptop.digest(), content_digest(&laptop));
    let back = laptop.ok(&["import", &export, "--mapping", "export"]).json();
    assert_eq!((&back["written"], &back["unchanged"], &back["rejected"]), (&json!(0), &json!(76), &json!(0)));
    laptop.ok(&["sync"]);
    assert_eq!((laptop.digest(), content_digest(&laptop)), before);

    assert_eq!(hub.admin(&["tenant", "create", "other"]).code, 0);
    let token = hub.admin(&["token", "create", "--tenant", "other", "--uses", "1"]).json();
    let token = token["token"].as_str().expect("a token");
    let other = Spoke { data: folder.at("other"), name: "other".to_owned() };
    other.ok(&["join", "--token", token, "--name", "other", "--type", "cloud", "--hub", &hub.url()]);
    other.ok(&["sync"]);
    assert_ne!(content_digest(&other), before.1);
    let into = other.ok(&["import", &export, "--mapping", "export"]).json();
    assert_eq!((&into["written"], &into["rejected"]), (&json!(76), &json!(0)));
    other.ok(&["sync"]);
    assert_eq!(content_digest(&other), before.1);
    assert_ne!(other.digest().1, before.0.1, "whole envelopes differ: others wrote them");
}

#[test]
fn a_second_process_on_one_replica_is_told_who_owns_it() {
    let folder = Folder::new("lock");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let daemon = laptop.daemon();
    let second = laptop.second_daemon();
    let line = second.line_within(Duration::from_secs(10));
    assert!(line.is_none(), "a second daemon runs: {line:?}");
    assert_ne!(second.terminate(), 0);
    put(&laptop, "note", "through-the-daemon", &json!({}));
    drop(daemon);
    assert!(laptop.body("note", "through-the-daemon").is_some());
}

#[test]
fn gateway_stopped() {
    let folder = Folder::new("stopped");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let near = Hub::start(&folder, false, Some(&postgres.url));
    let far = near.beside(&folder, "far");
    let (laptop, desktop) = (Spoke::join(&folder, &near, "laptop"), Spoke::join(&folder, &far, "desktop"));
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    let lines: String = (0..3000).map(|n| format!("{{\"id\":\"s{n:04}\",\"n\":{n}}}\n")).collect();
    let file = folder.at("stream.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "note"]);
    until("the stream has begun", || (desktop.ids("note").len() > 20).then_some(()));

    near.process().signal("-STOP");
    put(&desktop, "note", "while-stopped", &json!({"text": "others go on"}));
    until("the other gateway commits", || {
        let got = far.admin(&["record", "get", "--tenant", "default", "note", "while-stopped"]);
        (got.code == 0).then_some(())
    });
    near.process().signal("-CONT");
    until("the whole stream arrives", || (desktop.ids("note").len() == 3001).then_some(()));
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    assert_eq!(laptop.digest(), desktop.digest());
    assert_eq!(laptop.digest(), far.digest("laptop"));
}
