//! Conflicts put to a program of the user's, which comes and goes.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that panics has failed")]

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Process, until};

use super::{put, sync_both};

/// Starts the example; gives where it listens.
fn resolver(args: &[&str]) -> (Process, String) {
    let process = Process::start("examples/resolver", args);
    let line: Value = serde_json::from_str(&process.line()).expect("it says where it listens");
    (process, line["listen"].as_str().expect("an address").to_owned())
}

/// Two spokes and what they write about, with a conflict in each record that they quarrel about.
struct World {
    hub: Hub,
    laptop: Spoke,
    desktop: Spoke,
}

impl World {
    fn sync(&self) {
        for spoke in [&self.laptop, &self.desktop] {
            spoke.ok(&["sync"]);
        }
    }

    fn quarrel(&self, kind: &str, id: &str) -> String {
        put(&self.laptop, kind, id, &json!({"names": ["Ada"], "text": "-"}));
        self.sync();
        put(&self.laptop, kind, id, &json!({"names": ["Ada", "Augusta"], "text": "a long text"}));
        put(&self.desktop, kind, id, &json!({"names": ["Ada", "Byron"], "text": "short"}));
        self.sync();
        let inbox = self.hub.admin(&["conflict", "list", "--record", id, "--all"]).json();
        inbox["conflicts"][0]["id"].as_str().unwrap_or_else(|| panic!("{inbox}")).to_owned()
    }

    fn conflict(&self, id: &str) -> Value {
        self.hub.admin(&["conflict", "show", id]).json()
    }

    fn settled(&self, id: &str) -> Value {
        until("the conflict is settled", || {
            Some(self.conflict(id)).filter(|shown| shown["open"] == json!(false))
        })
    }

    /// Both show the same, which is what the example makes of the two texts and lists.
    fn converged(&self, kind: &str, id: &str) {
        sync_both(&self.laptop, &self.desktop);
        for spoke in [&self.laptop, &self.desktop] {
            let body = spoke.body(kind, id).expect("it is there");
            assert_eq!(body["text"], "a long text", "{body}");
            let mut names: Vec<&str> =
                body["names"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["Ada", "Augusta", "Byron"], "{body}");
            assert_eq!(spoke.digest(), self.hub.digest(&spoke.name));
        }
    }
}

#[test]
fn a_program_settles_conflicts_while_it_is_there_and_the_others_wait_for_it() {
    let folder = Folder::new("resolver");
    let (process, address) = resolver(&["--listen", "127.0.0.1:0", "--name", "longest-1"]);
    let mut hub = Hub::start(&folder, false, None);
    hub.set("HUBWARD_RESOLVER", &format!("http://{address}"));
    hub.set("HUBWARD_RESOLVER_TIMEOUT_MS", "500");
    assert_eq!(hub.terminate(), 0);
    hub.restart();
    let world = World {
        laptop: Spoke::join(&folder, &hub, "laptop"),
        desktop: Spoke::join(&folder, &hub, "desktop"),
        hub,
    };
    assert_eq!(world.hub.admin(&["policy", "set", "identity", "resolver"]).code, 0);

    let first = world.quarrel("identity", "ada");
    let settled = world.settled(&first);
    let account = &settled["resolution"]["by"];
    assert_eq!(account["name"], json!("resolver/longest-1"), "{settled}");
    assert!(settled["resolution"].to_string().contains("the longer text"), "{settled}");
    world.converged("identity", "ada");
    let history = world.desktop.ok(&["history", "identity", "ada"]).json().to_string();
    assert!(history.contains("resolver/longest-1"), "{history}");

    process.kill();
    let waiting = world.quarrel("identity", "bob");
    let other = world.quarrel("note", "one");
    assert_eq!(world.hub.admin(&["conflict", "resolve", &other, "--side", "loser"]).code, 0);
    let shown = world.conflict(&waiting);
    assert_eq!(
        (&shown["open"], shown["losers"].as_array().map(Vec::len)),
        (&json!(true), Some(1)),
        "{shown}"
    );

    let (_back, _) = resolver(&["--listen", &address, "--name", "longest-2"]);
    let settled = world.settled(&waiting);
    assert_eq!(settled["resolution"]["by"]["name"], json!("resolver/longest-2"), "{settled}");
    world.converged("identity", "bob");
}

#[test]
fn what_is_slow_or_answers_nonsense_leaves_a_conflict_to_a_person() {
    let folder = Folder::new("no-resolver");
    let log = folder.path().join("hub.log");
    // Whoever is there first says where the others are to be.
    let (mut process, address) = resolver(&["--listen", "127.0.0.1:0", "--slow-ms=60000"]);
    let mut hub = Hub::start(&folder, false, None);
    let set = hub.admin(&["policy", "set", "identity", "resolver"]).json();
    assert!(set["note"].as_str().is_some_and(|note| note.contains("no resolver")), "{set}");
    assert_eq!(hub.terminate(), 0);
    hub.set("HUBWARD_RESOLVER", &format!("http://{address}"));
    hub.set("HUBWARD_RESOLVER_TIMEOUT_MS", "500");
    hub.log_to(&log);
    hub.restart();
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let world = World { hub, laptop, desktop };
    for (record, flag, outcome) in
        [("a", "", "timeout"), ("b", "--garbage", "refused"), ("c", "--abstain", "abstained")]
    {
        if !flag.is_empty() {
            process.kill();
            process = resolver(&["--listen", &address, flag]).0;
        }
        let id = world.quarrel("identity", record);
        let said = format!("\"outcome\":\"{outcome}\"");
        until("it was asked about", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Some(()).filter(|()| text.lines().any(|line| line.contains(&id) && line.contains(&said)))
        });
        assert_eq!(world.conflict(&id)["open"], json!(true), "{outcome}");
        let resolved = world.hub.admin(&["conflict", "resolve", &id, "--keep"]);
        assert_eq!(resolved.code, 0, "{outcome}: {}", resolved.stderr);
        sync_both(&world.laptop, &world.desktop);
        assert_eq!(
            world.laptop.body("identity", record),
            world.desktop.body("identity", record),
            "{outcome}"
        );
    }
    drop(process);
}
