//! Identities through the commands, over hubs on every store.

#![allow(clippy::expect_used, reason = "a test that panics has failed")]

use std::path::Path;

use semantics::canonical::to_canonical;
use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Process, run, until};

use super::{each_hub, sync_both};

fn import(folder: &Folder, spoke: &Spoke, id: &str, document: &Value) -> Value {
    let file = folder.at("identity.json");
    std::fs::write(Path::new(&file), document.to_string()).expect("the folder is ours");
    spoke.ok(&["identity", "import", &file, "--id", id]).json()
}

fn exported(spoke: &Spoke, id: &str) -> String {
    spoke.ok(&["identity", "export", id]).stdout
}

fn canonical(document: &Value) -> String {
    String::from_utf8(to_canonical(document).expect("it is JSON")).expect("and text") + "\n"
}

fn state(depth: u8, mark: &str) -> Value {
    let metrics =
        json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}, "x_odd": [1e-7, "\u{e9}\u{1F600}"]});
    json!({
        "sync_metadata": {"system_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "x_origin": mark},
        "identity_snapshot": {"stability_metrics": metrics, "x_unknown": {"b": 1.0, "a": [null, {"": true}]}},
    })
}

#[test]
fn both_shapes_of_a_profile_and_what_nobody_knows_of_them_reach_a_second_spoke_byte_for_byte() {
    each_hub("identity-shapes", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        let nested = json!({"identity_profile": {
            "metadata": {"name": "Ada", "version": "1.0.0", "x_by": "hand"}, "archetype": "guide",
            "stability_configuration": {"stability_thresholds": {"warning": 2.5, "critical": 1.2, "x": 0}},
            "x_section": {"z": 1, "a": {"\u{20ac}": 1.5e-9}},
        }});
        let flat = json!({"identity_profile": {
            "name": "Bob", "version": "1.0.0", "stability_thresholds": {"warning": 2.5}, "x_mood": ["odd", 0.1],
        }});
        let documents = [("ada", nested), ("bob", flat), ("eve", state(5, "first"))];
        for (id, document) in &documents {
            import(folder, &laptop, id, document);
        }
        sync_both(&laptop, &desktop);
        for (id, document) in &documents {
            for spoke in [&laptop, &desktop] {
                assert_eq!(exported(spoke, id), canonical(document));
            }
        }
        // What came out goes in again and changes nothing.
        let again = import(folder, &desktop, "eve", &documents[2].1);
        assert_eq!(again["mutation"], Value::Null, "{again}");
        assert_eq!(laptop.digest(), hub.digest("laptop"));
    });
}

#[test]
fn spokes_that_sync_in_rounds_prove_that_they_have_converged() {
    each_hub("identity-rounds", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        import(folder, &laptop, "ada", &state(5, "healthy"));
        sync_both(&laptop, &desktop);
        until("both have proven it", || {
            sync_both(&laptop, &desktop);
            let told = hub.admin(&["identity", "convergence"]).json();
            let identity = &told["identities"][0];
            assert_eq!(identity["identity"], "ada", "{told}");
            (identity["converged"] == true).then_some(())
        });
    });
}

/// A healthy identity, and a collapsed state that somebody writes who had seen it.
#[test]
fn a_collapsed_state_waits_for_a_person_and_is_rolled_back_on_demand() {
    each_hub("identity-collapse", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        let (healthy, collapsed) = (state(5, "healthy"), state(1, "collapsed"));
        assert_eq!(hub.admin(&["policy", "set", "identity", "branch"]).code, 0);
        import(folder, &laptop, "ada", &healthy);
        sync_both(&laptop, &desktop);
        let taken = import(folder, &desktop, "ada", &collapsed);
        assert_eq!(taken["status"], "collapsed", "{taken}");
        sync_both(&desktop, &laptop);
        for spoke in [&laptop, &desktop] {
            assert_eq!(exported(spoke, "ada"), canonical(&healthy), "{}", spoke.name);
        }
        let listed = laptop.ok(&["conflicts", "list", "--kind", "identity"]).json();
        let id = listed["conflicts"][0]["id"].as_str().expect("a conflict").to_owned();
        let refused = laptop.run(&["identity", "rollback", "ada"]);
        assert!(refused.stderr.contains("ALREADY_EXISTS"), "{}", refused.stderr);

        let decided = hub.admin(&["conflict", "resolve", &id, "--side", "loser", "--reason", "a drill"]);
        assert_eq!(decided.code, 0, "{}", decided.stderr);
        sync_both(&laptop, &desktop);
        assert_eq!(exported(&laptop, "ada"), canonical(&collapsed));
        let back = laptop.ok(&["identity", "rollback", "ada"]).json();
        assert_eq!(back["status"], "stable", "{back}");
        sync_both(&laptop, &desktop);
        for spoke in [&laptop, &desktop] {
            assert_eq!(exported(spoke, "ada"), canonical(&healthy), "{}", spoke.name);
            assert_eq!(spoke.digest(), hub.digest(&spoke.name));
        }
        let args = ["--data", &laptop.data, "identity", "watch", "ada", "--after", "0"];
        let watch = Process::start("spoke", &args);
        let line: Value = serde_json::from_str(&watch.line()).expect("one JSON object a line");
        assert_eq!((&line["id"], &line["status"]), (&json!("ada"), &json!("stable")), "{line}");
        assert_eq!(canonical(&line["document"]), canonical(&healthy));
    });
}

/// The next line of a watch about something else than another version of the same state.
fn event(watch: &Process) -> (String, String, bool) {
    loop {
        let line: Value = serde_json::from_str(&watch.line()).expect("one JSON object a line");
        if line["trigger"] != "changed" {
            let told = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            return (told("trigger"), told("priority"), line["conflict"].is_string());
        }
    }
}

/// The state that stands does not move when its agent collapses, and everybody hears of it all the same.
#[test]
fn a_collapse_that_was_kept_out_is_an_event_at_its_author_and_elsewhere() {
    each_hub("identity-kept-out", |folder, hub| {
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        import(folder, &laptop, "ada", &state(5, "healthy"));
        sync_both(&laptop, &desktop);
        let daemons = [laptop.daemon(), desktop.daemon()];
        let watch = |spoke: &Spoke| {
            Process::start("spoke", &["--data", &spoke.data, "identity", "watch", "--after", "0"])
        };
        let (author, peer) = (watch(&laptop), watch(&desktop));
        for watch in [&author, &peer] {
            assert!(watch.line().contains("\"changed\""), "the state that stands");
        }
        import(folder, &laptop, "ada", &state(1, "collapsed"));
        let high = |trigger: &str, is_at_the_hub| (trigger.to_owned(), "high".to_owned(), is_at_the_hub);
        // Here at once; there, and here again, when the hub has it.
        assert_eq!(event(&author), high("collapsed", false));
        assert_eq!(event(&author), high("collapsed", true));
        assert_eq!(event(&peer), high("collapsed", true));
        let health = hub.admin(&["identity", "health"]).json();
        let ada = &health["identities"][0];
        assert_eq!((&ada["status"], &ada["kept_out_by"]), (&json!("stable"), &json!("laptop")), "{ada}");
        import(folder, &laptop, "ada", &state(6, "rescued"));
        for watch in [&author, &peer] {
            assert_eq!(event(watch), high("rescued", false));
        }
        drop(daemons);
    });
}

/// A daemon whose own schedule would sync in an hour: what is due by the cadence goes out all the same.
#[test]
fn a_state_is_shared_when_it_is_due_and_what_is_high_at_once() {
    let folder = Folder::new("identity-cadence");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    import(&folder, &laptop, "ada", &state(5, "0"));
    sync_both(&laptop, &desktop);
    let settings = [
        ("SPOKE_SCHEDULE", "periodic"),
        ("SPOKE_EVERY_S", "3600"),
        ("SPOKE_IDENTITY_EVERY_INTERACTIONS", "4"),
        ("SPOKE_IDENTITY_SOON_INTERACTIONS", "2"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (daemon, _other) = (laptop.daemon_in(&settings), desktop.daemon());
    let told = |depth: u8, mark: &str| {
        let file = folder.at("interaction.json");
        std::fs::write(&file, state(depth, mark).to_string()).expect("the folder is ours");
        laptop.ok(&["identity", "interact", &file, "--id", "ada"]).json()
    };
    let arrives = |depth: u8, mark: &str| {
        until(mark, || Some(()).filter(|()| exported(&desktop, "ada") == canonical(&state(depth, mark))));
    };
    // Everything else: after four interactions, written here, and to the others by the schedule.
    for (n, held) in [("1", true), ("2", true), ("3", true), ("4", false)] {
        let told = told(5, n);
        assert_eq!((&told["trigger"], &told["held"]), (&json!("changed"), &json!(held)), "{told}");
    }
    assert_eq!(exported(&laptop, "ada"), canonical(&state(5, "4")));
    // Worse: within two interactions.
    let worse = told(2, "worse");
    assert_eq!((&worse["priority"], &worse["held"]), (&json!("medium"), &json!(true)), "{worse}");
    told(2, "worse 1");
    assert_eq!(told(2, "worse 2")["held"], false);
    arrives(2, "worse 2");
    // A restart: at once.
    let file = folder.at("interaction.json");
    std::fs::write(&file, state(2, "anew").to_string()).expect("the folder is ours");
    let anew = laptop.ok(&["identity", "interact", &file, "--id", "ada", "--restarted"]).json();
    assert_eq!((&anew["priority"], &anew["held"]), (&json!("high"), &json!(false)), "{anew}");
    arrives(2, "anew");
    // What is held is written before the daemon ends.
    assert_eq!(told(2, "last")["held"], true);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(exported(&laptop, "ada"), canonical(&state(2, "last")));
}

#[test]
fn a_state_is_compared_with_that_of_another_system() {
    let folder = Folder::new("identity-across");
    let (here, there) = (folder.at("here.json"), folder.at("there.json"));
    for (file, depth) in [(&here, 5), (&there, 4)] {
        let metrics = json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}, "current_is_score": 0.81 * f64::from(depth), "degradation_trend": "stable"});
        let document = json!({"identity_snapshot": {"stability_metrics": metrics}});
        std::fs::write(file, document.to_string()).expect("the folder is ours");
    }
    let report = |more: &[&str]| -> Value {
        let args = [["--output", "json", "identity", "validate", &here].as_slice(), more].concat();
        let ran = run("spoke", &args);
        assert_eq!(ran.code, 3, "something is wrong: {ran:?}");
        serde_json::from_str(&ran.stdout).expect("a report")
    };
    let (alone, both) = (report(&[]), report(&["--against", &there]));
    let paths = |report: &Value| -> Vec<String> {
        let problems = report["problems"].as_array().expect("a report").iter();
        problems.map(|problem| problem["path"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let more: Vec<String> = paths(&both).into_iter().skip(paths(&alone).len()).collect();
    assert_eq!(more, ["/identity_snapshot/stability_metrics/current_is_score"], "{both}");
    let reason = both["problems"].to_string();
    assert!(reason.contains("more than 0.1 apart"), "{reason}");
}
