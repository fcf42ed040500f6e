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

/// A hub, three spokes that live, and the notes whose writers were told that the hub has them.
struct Scene<'a> {
    folder: &'a Folder,
    hub: Hub,
    spokes: [Spoke; 3],
    _daemons: [Process; 3],
    written: BTreeSet<String>,
}

impl<'a> Scene<'a> {
    fn new(folder: &'a Folder, database_url: Option<&str>) -> Self {
        let hub = Hub::start(folder, false, database_url);
        backup(&hub, folder, "first");
        let spokes = ["laptop", "desktop", "tablet"].map(|name| Spoke::join(folder, &hub, name));
        let daemons = spokes.each_ref().map(Spoke::daemon);
        Self { folder, hub, spokes, _daemons: daemons, written: BTreeSet::new() }
    }

    fn all_level(&self) {
        all_level(&self.hub, &self.spokes.each_ref());
    }

    /// Each spoke writes so many notes.
    fn write(&mut self, name: &str, count: u32) {
        for spoke in &self.spokes {
            for n in 0..count {
                let id = format!("{}-{name}{n}", spoke.name);
                acknowledged(spoke, &id);
                self.written.insert(id);
            }
        }
    }

    /// A backup in the middle of writes.
    fn backup_meanwhile(&mut self) {
        let (hub, folder, desktop) = (&self.hub, self.folder, &self.spokes[1]);
        let during: Vec<String> = (0..12).map(|n| format!("during{n}")).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| during.iter().for_each(|id| acknowledged(desktop, id)));
            backup(hub, folder, "second");
        });
        self.written.extend(during);
    }

    /// Acknowledged after the backup: on what other spokes wrote after it, and what no spoke wrote.
    fn write_after(&mut self) {
        self.write("after", 5);
        let [laptop, desktop, tablet] = &self.spokes;
        put(tablet, "entity", "new", &json!({"made_by": "tablet"}));
        tablet.ok(&["sync"]);
        for (spoke, name) in [(laptop, "laptop"), (desktop, "desktop"), (laptop, "again")] {
            spoke.ok(&["sync"]);
            spoke.ok(&["patch", "entity", "new", &json!({name: true}).to_string(), "--wait", "durable"]);
            spoke.ok(&["patch", "entity", "shared", &json!({name: 1}).to_string(), "--wait", "durable"]);
        }
        tablet.ok(&["rm", "note", "during3"]);
        self.written.remove("during3");
        tablet.ok(&["sync"]);
        self.declare();
        self.all_level();
        assert_eq!(ids(&self.spokes[2]), self.written);
        for spoke in &self.spokes {
            let kept = status(spoke)["acknowledged_kept"].clone();
            assert!(kept["entries"].as_u64() >= Some(5), "{kept}");
        }
    }

    /// Only the hub writes this: no spoke can send it again.
    fn declare(&self) {
        let declared = self.folder.at("recipe.json");
        assert!(std::fs::write(&declared, AFTER_KIND).is_ok());
        assert_eq!(self.hub.admin(&["kind", "apply", &declared]).code, 0);
    }

    /// The hub goes with its store, and begins again from the backup.
    fn begin_again(&mut self, database_url: Option<&str>) {
        let new = self.spokes[0].body("entity", "new");
        self.hub.kill();
        self.hub.lose_store(database_url);
        put(&self.spokes[2], "note", "offline", &json!({"written": "while there was no hub"}));
        let restored = self.hub.on_store(&["restore", &self.folder.at("second")]).json();
        assert_eq!(restored["keys"], "there", "{restored}");
        self.hub.restart();
        let at_restore = self.hub.digest("laptop");
        for spoke in &self.spokes {
            until("the spoke has stopped", || {
                let stopped = status(spoke)["stopped"].clone();
                (stopped["reason"] == "LOG_FORKED").then_some(())
            });
            assert_eq!(spoke.body("entity", "new"), new, "nothing is overwritten");
        }
        assert_eq!(self.hub.digest("laptop"), at_restore, "nothing is sent before an operator says so");
    }

    fn report_is_right(&self) {
        let report = until("all have told what they have", || {
            let report = self.hub.admin(&["recover", "--status"]).json();
            let nodes = report["nodes"].as_array().cloned().unwrap_or_default();
            let all_told = nodes.len() == 3 && nodes.iter().all(|node| node["has_told_all"] == true);
            all_told.then_some(report)
        });
        let only_state = report["only_state"].as_array().cloned().unwrap_or_default();
        let named: Vec<&Value> = only_state.iter().map(|found| &found["id"]).collect();
        assert_eq!(named, ["recipe"], "{report}");
        assert_eq!(only_state[0]["nodes"].as_array().map(Vec::len), Some(3), "{report}");
        let remnants = self.spokes[0].ok(&["remnants"]).json();
        let of_kind = |kind: &str| {
            let all = remnants["remnants"].as_array().cloned().unwrap_or_default();
            all.into_iter().filter(|remnant| remnant["kind"] == kind).count()
        };
        assert_eq!((of_kind("kind"), of_kind("entity")), (1, 2), "{remnants}");
    }
}

fn backup(hub: &Hub, folder: &Folder, name: &str) {
    let made = hub.on_store(&["backup", "create", &folder.at(name)]).json();
    assert_eq!(made["kept_apart"], json!(["keys/", "operator.token"]), "{made}");
}

fn survives(name: &str, first: Option<&str>, second: Option<&str>) {
    let folder = Folder::new(name);
    let mut scene = Scene::new(&folder, first);
    scene.write("before", 1);
    put(&scene.spokes[0], "entity", "shared", &json!({"name": "Ada", "laptop": 0}));
    scene.all_level();
    scene.backup_meanwhile();
    scene.write_after();
    let at_hand = |id: &str| scene.spokes[0].body("entity", id);
    let (shared, new) = (at_hand("shared"), at_hand("new"));
    scene.begin_again(second);

    let begun = scene.hub.admin(&["recover"]).json();
    assert_eq!(begun["phase"], "recovering", "{begun}");
    scene.written.insert("offline".to_owned());
    scene.all_level();
    for spoke in &scene.spokes {
        assert_eq!(ids(spoke), scene.written, "{}", spoke.name);
        assert_eq!(
            (spoke.body("entity", "shared"), spoke.body("entity", "new")),
            (shared.clone(), new.clone())
        );
        let now = status(spoke);
        assert_eq!((&now["stopped"], &now["outbox"]["entries"]), (&Value::Null, &json!(0)), "{now}");
        assert_eq!(spoke.ok(&["outbox", "list"]).json()["entries"], json!([]));
    }
    scene.report_is_right();
    scene.declare();
    let done = scene.hub.admin(&["recover", "--finish"]).json();
    // Doing it again changes nothing, and is no event.
    let again = scene.hub.admin(&["recover", "--finish"]).json();
    assert_eq!(again["phase"], "finished", "{again}");
    until("both are in the access log", || {
        let listed = scene.hub.admin(&["audit", "list", "--source", "access", "--by", "hub/first"]).json();
        let events: Vec<String> =
            listed["entries"].as_array()?.iter().map(|entry| entry["event"].to_string()).collect();
        let of_recovery: Vec<&String> = events.iter().filter(|event| event.contains("recovery")).collect();
        (of_recovery == ["\"recovery_begun\"", "\"recovery_finished\""]).then_some(())
    });
    assert_eq!((&done["phase"], &done["only_state"]), (&json!("finished"), &json!([])), "{done}");
    acknowledged(&scene.spokes[1], "goes on");
    scene.all_level();
}

#[test]
fn a_hub_that_begins_again_from_one_backup_twice_gets_back_what_both_logs_had() {
    let folder = Folder::new("recover-twice");
    let mut scene = Scene::new(&folder, None);
    put(&scene.spokes[0], "entity", "shared", &json!({"name": "Ada"}));
    scene.write("before", 1);
    scene.all_level();
    scene.backup_meanwhile();
    scene.write_after();
    let mut log_ids = BTreeSet::from([status(&scene.spokes[0])["cursor"]["log_id"].to_string()]);
    for round in ["first", "second"] {
        scene.begin_again(None);
        assert_eq!(scene.hub.admin(&["recover"]).json()["phase"], "recovering");
        scene.declare();
        scene.written.insert("offline".to_owned());
        scene.all_level();
        for spoke in &scene.spokes {
            assert_eq!(ids(spoke), scene.written, "{round}: {}", spoke.name);
            let shared = spoke.body("entity", "shared");
            assert_eq!(
                shared,
                Some(json!({"name": "Ada", "laptop": 1, "desktop": 1, "again": 1})),
                "{round}"
            );
            let made = json!({"made_by": "tablet", "laptop": true, "desktop": true, "again": true});
            assert_eq!(spoke.body("entity", "new"), Some(made), "{round}");
            assert_eq!(status(spoke)["outbox"]["entries"], 0, "{round}");
        }
        let conflicts = scene.hub.admin(&["conflict", "list"]).json();
        assert_eq!(conflicts["conflicts"], json!([]), "{round}: causes came before effects");
        assert!(log_ids.insert(status(&scene.spokes[0])["cursor"]["log_id"].to_string()), "{log_ids:?}");
        // Of the log that went on, and in no backup.
        scene.write(round, 2);
        let [laptop, _, tablet] = &scene.spokes;
        tablet.ok(&["sync"]);
        for (spoke, value) in [(tablet, round), (laptop, "last")] {
            spoke.ok(&["sync"]);
            spoke.ok(&[
                "patch",
                "entity",
                "shared",
                &json!({"again": value}).to_string(),
                "--wait",
                "durable",
            ]);
            spoke.ok(&["patch", "entity", "shared", &json!({"again": 1}).to_string(), "--wait", "durable"]);
        }
        scene.all_level();
    }
    let done = scene.hub.admin(&["recover", "--finish"]).json();
    assert_eq!((&done["phase"], &done["only_state"]), (&json!("finished"), &json!([])), "{done}");
    acknowledged(&scene.spokes[1], "goes on");
    scene.all_level();
}

#[test]
fn a_hub_that_is_restored_again_before_anybody_came_back_gets_back_what_its_spokes_keep() {
    let folder = Folder::new("restored-again");
    let mut scene = Scene::new(&folder, None);
    scene.write("before", 1);
    scene.all_level();
    scene.backup_meanwhile();
    scene.write("after", 2);
    scene.all_level();
    scene.begin_again(None);
    scene.begin_again(None);
    let begun = scene.hub.admin(&["recover"]).json();
    assert_eq!(begun["not_back"], json!(["desktop", "laptop", "tablet"]), "{begun}");
    until("the daemons have come back by themselves", || {
        scene.spokes.iter().all(|spoke| status(spoke)["stopped"].is_null()).then_some(())
    });
    scene.written.insert("offline".to_owned());
    scene.all_level();
    for spoke in &scene.spokes {
        assert_eq!(ids(spoke), scene.written, "{}", spoke.name);
    }
    assert_eq!(scene.hub.admin(&["recover", "--finish"]).json()["not_back"], json!([]));
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

/// A gateway that still runs would go on with what it knows of the store that is replaced.
#[test]
fn a_restore_on_postgres_is_refused_while_a_gateway_runs() {
    let folder = Folder::new("restore-under-hub");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let mut hub = Hub::start(&folder, false, Some(&postgres.url));
    backup(&hub, &folder, "first");
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let _daemon = laptop.daemon();
    acknowledged(&laptop, "before");
    backup(&hub, &folder, "second");
    acknowledged(&laptop, "after");
    let restore = |hub: &Hub| hub.on_store(&["restore", &folder.at("second"), "--replace"]);
    let is_refused = |ran: &trials::process::Ran| {
        let told = ran.error()["error"].clone();
        let detail = told["detail"].as_str().unwrap_or_default();
        assert_eq!(told["reason"], "STORE_UNAVAILABLE", "{told}");
        assert!(
            detail.contains("1 gateway serves") && detail.contains("stop every gateway first"),
            "{detail}"
        );
    };
    is_refused(&restore(&hub));
    hub.process().signal("-STOP");
    is_refused(&restore(&hub));
    hub.process().signal("-CONT");
    acknowledged(&laptop, "goes on");
    assert_eq!(status(&laptop)["stopped"], Value::Null, "nothing has changed");

    hub.kill();
    assert_eq!(restore(&hub).json()["keys"], "there", "who was killed holds nothing");
    hub.restart();
    until("the spoke has stopped", || (status(&laptop)["stopped"]["reason"] == "LOG_FORKED").then_some(()));
    assert_eq!(hub.admin(&["recover"]).json()["phase"], "recovering");
    all_level(&hub, &[&laptop]);
    assert_eq!(ids(&laptop), ["after", "before", "goes on"].map(str::to_owned).into());
}
