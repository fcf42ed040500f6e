//! A hub that is destroyed and begins again from a backup, under spokes that go on living.

use super::*;

const AFTER_KIND: &str = r#"{"name":"recipe","policy":"fields"}"#;

/// Writes a note and waits until the hub has it.
fn acknowledged(spoke: &Spoke, id: &str) {
    spoke.ok(&["put", "note", id, &json!({"by": spoke.name, "id": id}).to_string(), "--wait", "durable"]);
}

fn ids(spoke: &Spoke) -> BTreeSet<String> {
    spoke.ids("note").into_iter().collect()
}

fn status(spoke: &Spoke) -> Value {
    spoke.ok(&["status"]).json()
}

/// Everybody pushes and pulls until all stand where the hub does.
fn all_level(hub: &Hub, spokes: &[&Spoke]) {
    until("all digests are equal", || {
        spokes.iter().all(|spoke| spoke.run(&["sync"]).code == 0).then_some(())?;
        let digests = spokes.iter().flat_map(|spoke| [spoke.digest(), hub.digest(&spoke.name)]);
        (digests.collect::<BTreeSet<_>>().len() == 1).then_some(())
    });
}

fn survives(name: &str, first: Option<&str>, second: Option<&str>) {
    let folder = Folder::new(name);
    let mut hub = Hub::start(&folder, false, first);
    let backup = |hub: &Hub, name: &str| {
        let made = hub.on_store(&["backup", "create", &folder.at(name)]).json();
        assert_eq!(made["kept_apart"], json!(["keys/", "operator.token"]), "{made}");
    };
    backup(&hub, "first");
    let spokes = ["laptop", "desktop", "tablet"].map(|name| Spoke::join(&folder, &hub, name));
    let [laptop, desktop, tablet] = &spokes;
    let all = [laptop, desktop, tablet];
    let daemons = all.map(Spoke::daemon);
    let mut written = BTreeSet::new();
    for spoke in all {
        acknowledged(spoke, &format!("{}-before", spoke.name));
        written.insert(format!("{}-before", spoke.name));
    }
    put(laptop, "entity", "shared", &json!({"name": "Ada", "laptop": 0}));
    all_level(&hub, &all);

    // A backup in the middle of writes.
    let during: Vec<String> = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let ids = (0..12).map(|n| format!("during{n}"));
            ids.inspect(|id| acknowledged(desktop, id)).collect()
        });
        backup(&hub, "second");
        writing.join().expect("the writer ends")
    });
    written.extend(during);

    // Acknowledged after it, each on what another spoke wrote after it.
    for spoke in all {
        for n in 0..5 {
            acknowledged(spoke, &format!("{}-after{n}", spoke.name));
            written.insert(format!("{}-after{n}", spoke.name));
        }
    }
    put(tablet, "entity", "new", &json!({"made_by": "tablet"}));
    tablet.ok(&["sync"]);
    for (spoke, other) in [(laptop, "laptop"), (desktop, "desktop"), (laptop, "again")] {
        spoke.ok(&["sync"]);
        spoke.ok(&["patch", "entity", "new", &json!({other: true}).to_string(), "--wait", "durable"]);
        spoke.ok(&["patch", "entity", "shared", &json!({other: 1}).to_string(), "--wait", "durable"]);
    }
    tablet.ok(&["rm", "note", "during3"]);
    written.remove("during3");
    tablet.ok(&["sync"]);
    // Only the hub wrote this: no spoke can send it again.
    let declared = folder.at("recipe.json");
    std::fs::write(&declared, AFTER_KIND).expect("a file is written");
    let declare = |hub: &Hub| assert_eq!(hub.admin(&["kind", "apply", &declared]).code, 0);
    declare(&hub);
    all_level(&hub, &all);
    assert_eq!(ids(tablet), written);
    let (shared, new) = (laptop.body("entity", "shared"), laptop.body("entity", "new"));
    for spoke in all {
        let kept = status(spoke)["acknowledged_kept"].clone();
        assert!(kept["entries"].as_u64() >= Some(5), "{kept}");
    }

    hub.kill();
    hub.lose_store(second);
    put(tablet, "note", "offline", &json!({"written": "while there was no hub"}));
    let restored = hub.on_store(&["restore", &folder.at("second")]).json();
    assert_eq!(restored["keys"], "there", "{restored}");
    hub.restart();
    let at_restore = hub.digest("laptop");
    for spoke in all {
        until("the spoke has stopped", || {
            let stopped = status(spoke)["stopped"].clone();
            (stopped["reason"] == "LOG_FORKED").then_some(())
        });
        assert_eq!(spoke.body("entity", "new"), new, "nothing is overwritten");
    }
    assert_eq!(hub.digest("laptop"), at_restore, "nothing is sent before an operator says so");

    let begun = hub.admin(&["recover"]).json();
    assert_eq!(begun["phase"], "recovering", "{begun}");
    written.insert("offline".to_owned());
    all_level(&hub, &all);
    for spoke in all {
        assert_eq!(ids(spoke), written, "{}", spoke.name);
        assert_eq!(spoke.body("entity", "shared"), shared);
        assert_eq!(spoke.body("entity", "new"), new);
        let now = status(spoke);
        assert_eq!((&now["stopped"], &now["outbox"]["entries"]), (&Value::Null, &json!(0)), "{now}");
        assert_eq!(spoke.ok(&["outbox", "list"]).json()["entries"], json!([]));
    }
    let report = until("all have told what they have", || {
        let report = hub.admin(&["recover", "--status"]).json();
        let nodes = report["nodes"].as_array().cloned().unwrap_or_default();
        let all_told = nodes.len() == 3 && nodes.iter().all(|node| node["has_told_all"] == true);
        all_told.then_some(report)
    });
    let only_state = report["only_state"].as_array().cloned().unwrap_or_default();
    let named: Vec<&Value> = only_state.iter().map(|found| &found["id"]).collect();
    assert_eq!(named, ["recipe"], "{report}");
    assert_eq!(only_state[0]["nodes"].as_array().map(Vec::len), Some(3), "{report}");
    let remnants = laptop.ok(&["remnants"]).json();
    let of_kind = |kind: &str| {
        let all = remnants["remnants"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|remnant| remnant["kind"] == kind).count()
    };
    assert_eq!((of_kind("kind"), of_kind("entity")), (1, 2), "{remnants}");
    declare(&hub);
    let done = hub.admin(&["recover", "--finish"]).json();
    assert_eq!((&done["phase"], &done["only_state"]), (&json!("finished"), &json!([])), "{done}");
    acknowledged(desktop, "goes on");
    all_level(&hub, &all);
    drop(daemons);
}

#[test]
fn a_hub_that_begins_again_from_a_backup_gets_back_what_its_spokes_were_told() {
    survives("recover", None, None);
}

#[test]
fn so_does_a_hub_on_postgres() {
    let folders = [Folder::new("recover-old-server"), Folder::new("recover-new-server")];
    let [Some(old), Some(new)] = folders.each_ref().map(Postgres::start) else { return };
    survives("recover-postgres", Some(&old.url), Some(&new.url));
}
