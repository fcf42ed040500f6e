//! Each cell of the matrix of conflicts: a type, and what settles it first, then, and by a person's hand.
#![allow(clippy::expect_used, reason = "helpers of tests: a panic is how a test fails")]

use semantics::identity::snapshot::state_hash;
use serde_json::{Value, json};
use trials::clock::Clock;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

use super::{put, sync_both};

const KIND: &str = "identity";

/// A snapshot of this depth and precedence that holds what it says of itself.
fn state(name: &str, depth: u8, precedence: f64) -> Value {
    let parameters = json!({"D": depth, "C": 0.5, "R": 1});
    let snapshot = json!({"context_state": {"conversation_summary": name},
        "stability_metrics": {"parameter_values": parameters}});
    let hash = state_hash(&snapshot).expect("it is hashed").to_string();
    let about = json!({"precedence_priority": precedence, "state_hash": hash});
    json!({"sync_metadata": about, "identity_snapshot": snapshot})
}

/// One with a byte that is not what was hashed.
fn broken(name: &str) -> Value {
    let mut state = state("what was hashed", 5, 0.5);
    state["identity_snapshot"]["context_state"]["conversation_summary"] = json!(name);
    state
}

struct World {
    hub: Hub,
    laptop: Spoke,
    desktop: Spoke,
    clock: Clock,
}

impl World {
    fn new(folder: &Folder) -> Self {
        let clock = Clock::under(std::path::Path::new(&folder.at("")));
        let mut hub = Hub::start(folder, false, None);
        for (name, value) in clock.environment() {
            hub.set(&name, &value);
        }
        let _ = hub.terminate();
        hub.restart();
        let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
        Self { hub, laptop, desktop, clock }
    }

    /// Both spokes write without each other, the desktop last, unless both clocks stand still. The conflict's id.
    fn apart(&self, id: &str, [laptop, desktop]: [&[&Value]; 2], stands_still: bool) -> String {
        let env = if stands_still {
            // After what both write on, which was written just now.
            let history = self.laptop.ok(&["history", KIND, id]).json();
            let written_ms = history["rows"][0]["written_ms"].as_u64().expect("a time");
            self.clock.stop_at(written_ms / 1_000 + 2);
            let env = self.clock.environment().to_vec();
            // A spoke goes by the hub's time as it was told it last: no two are told the same of a time that moves.
            for spoke in [&self.laptop, &self.desktop] {
                spoke.ok_in(&["sync"], &env);
            }
            env
        } else {
            Vec::new()
        };
        for (spoke, states) in [(&self.laptop, laptop), (&self.desktop, desktop)] {
            for state in states {
                spoke.ok_in(&["put", KIND, id, &state.to_string()], &env);
            }
        }
        self.clock.set(0);
        sync_both(&self.laptop, &self.desktop);
        let listed = self.hub.admin(&["conflict", "list", "--record", id, "--all"]).json();
        let conflicts = listed["conflicts"].as_array().expect("a list");
        let newest = conflicts.iter().max_by_key(|conflict| conflict["revision"].as_u64());
        newest.expect("there is a conflict")["id"].as_str().expect("an id").to_owned()
    }

    fn begin(&self, id: &str, base: &Value) {
        put(&self.laptop, KIND, id, base);
        sync_both(&self.laptop, &self.desktop);
    }

    fn conflict(&self, id: &str) -> Value {
        self.hub.admin(&["conflict", "show", id]).json()
    }

    /// Waits until it is settled; gives it, and why.
    fn settled(&self, id: &str) -> (Value, String) {
        let conflict = until("the conflict is settled", || {
            Some(self.conflict(id)).filter(|conflict| conflict["open"] == json!(false))
        });
        let by = &conflict["resolution"]["by"];
        assert_eq!(by["name"], "by_type", "{conflict}");
        let reason = by["reason"].as_str().expect("a reason").to_owned();
        (conflict, reason)
    }

    /// Both spokes show this and prove that they hold what the hub holds.
    fn converged(&self, id: &str, expected: &Value) {
        sync_both(&self.laptop, &self.desktop);
        for spoke in [&self.laptop, &self.desktop] {
            assert_eq!(spoke.body(KIND, id).as_ref(), Some(expected), "{id} at {}", spoke.name);
            assert_eq!(spoke.digest(), self.hub.digest(&spoke.name));
        }
    }

    fn admin(&self, args: &[&str]) {
        let done = self.hub.admin(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
    }

    fn revision(&self, id: &str) -> u64 {
        let history = self.desktop.ok(&["history", KIND, id]).json();
        history["rows"][0]["revision"].as_u64().expect("a revision")
    }

    /// A person takes it back, which is a new revision, and has it otherwise: whatever settled it is not asked again.
    fn overruled(&self, (record, id): (&str, &str), before: &Value, otherwise: &Value) {
        let settled_at = self.revision(record);
        let stood = self.desktop.body(KIND, record).as_ref() == Some(before);
        self.admin(&["conflict", "undo", id, "--reason", "no"]);
        self.converged(record, before);
        assert!(stood || self.revision(record) > settled_at, "{record}");
        assert_eq!(self.conflict(id)["open"], json!(true), "nobody overrules who took it back");
        self.admin(&["conflict", "resolve", id, "--value", &otherwise.to_string(), "--reason", "so"]);
        self.converged(record, otherwise);
    }
}

/// Name; type, level and strategy; what laptop and desktop write; whether at one time; what stands.
type Cell<'a> = (&'a str, [&'a str; 3], [&'a [&'a Value]; 2], bool, &'a Value);

/// Version, divergent and corruption: what is tried first, and what then; a person may have it otherwise in each.
#[test]
fn a_conflict_is_settled_by_its_type_and_a_person_may_have_it_otherwise() {
    let folder = Folder::new("matrix");
    let world = World::new(&folder);
    let (base, weak, strong) = (state("base", 4, 0.5), state("weak", 4, 0.5), state("strong", 6, 0.5));
    let (mid, bad, own) = (state("mid", 4, 0.5), broken("bad"), state("a person's", 7, 0.5));
    let cells: [Cell<'_>; 5] = [
        ("later", ["version", "always", "timestamp precedence"], [&[&strong], &[&weak]], false, &weak),
        ("healthier", ["version", "always", "health"], [&[&strong], &[&weak]], true, &strong),
        (
            "heavier",
            ["divergent", "recommended", "weighted consensus"],
            [&[&weak, &strong], &[&mid]],
            false,
            &strong,
        ),
        ("level", ["divergent", "recommended", "rollback"], [&[&weak], &[&strong, &mid]], true, &base),
        ("sound", ["corruption", "optional", "discard"], [&[&weak], &[&bad]], false, &weak),
    ];
    for (record, [of_type, level, strategy], writes, at_once, expected) in cells {
        world.begin(record, &base);
        let id = world.apart(record, writes, at_once);
        let (conflict, reason) = world.settled(&id);
        assert_eq!(
            (&conflict["type"], &conflict["override"]),
            (&json!(of_type), &json!(level)),
            "{conflict}"
        );
        assert!(reason.starts_with(&format!("{of_type}, {strategy}")), "{record}: {reason}");
        world.converged(record, expected);
        let before = &conflict["primary"]["value"];
        world.overruled((record, &id), before, &own);
        let listed = world.hub.admin(&["conflict", "list", "--type", of_type, "--all"]).json().to_string();
        assert!(listed.contains(&id), "{listed}");
    }
}

/// Corruption on both sides goes back to the newest state that held; where a person kept what does not hold, that too.
#[test]
fn what_no_side_holds_is_restored_from_history() {
    let folder = Folder::new("matrix-restored");
    let world = World::new(&folder);
    let (sound, bad, worse) = (state("sound", 4, 0.5), broken("bad"), broken("worse"));
    world.begin("me", &sound);
    // Written with everything in sight, and discarded all the same; a person has it so after all.
    let id = world.apart("me", [&[&bad], &[]], false);
    let (conflict, reason) = world.settled(&id);
    assert!(conflict["type"] == "corruption" && reason.starts_with("corruption, discard"), "{conflict}");
    world.converged("me", &sound);
    world.admin(&["conflict", "undo", &id]);
    world.admin(&["conflict", "resolve", &id, "--keep"]);
    world.converged("me", &bad);

    let id = world.apart("me", [&[&worse], &[&broken("worst")]], false);
    let (conflict, reason) = world.settled(&id);
    assert!(reason.starts_with("corruption, restore from history"), "{reason}");
    assert_eq!(conflict["override"], "optional");
    world.converged("me", &sound);
}

/// Two that went on without each other: precedence decides, and where it is equal a person must. Meanwhile all others
/// go on; the operator's answer reaches both, and its undo is a new revision with the state before.
#[test]
fn split_brain_without_precedence_waits_for_a_person_and_blocks_nothing() {
    let folder = Folder::new("split-brain");
    let world = World::new(&folder);
    let base = state("base", 4, 0.5);
    let of = |who: &str, precedence| {
        (
            state(&format!("{who} went on"), 4, precedence),
            state(&format!("{who} went on further"), 4, precedence),
        )
    };
    let (first, second) = (of("laptop", 0.9), of("desktop", 0.2));
    world.begin("ranked", &base);
    let id = world.apart("ranked", [&[&first.0, &first.1], &[&second.0, &second.1]], false);
    let (conflict, reason) = world.settled(&id);
    assert_eq!((&conflict["type"], &conflict["override"]), (&json!("split-brain"), &json!("required")));
    assert!(reason.starts_with("split-brain, precedence"), "{reason}");
    world.converged("ranked", &first.1);
    world.overruled(("ranked", &id), &second.1, &state("a person's", 7, 0.5));

    let (first, second) = (of("laptop", 0.5), of("desktop", 0.5));
    world.begin("equal", &base);
    let waiting = world.apart("equal", [&[&first.0, &first.1], &[&second.0, &second.1]], false);
    // What comes up is judged in its order: this one was, once a later one is settled.
    world.begin("other", &base);
    let other = world.apart("other", [&[&first.0], &[&second.0]], false);
    world.settled(&other);
    world.converged("other", &second.0);
    let shown = world.conflict(&waiting);
    assert_eq!((&shown["type"], &shown["open"]), (&json!("split-brain"), &json!(true)), "{shown}");
    let mine = world.laptop.ok(&["conflicts", "list", "--type", "split-brain"]).json();
    assert_eq!(
        (&mine["conflicts"][0]["id"], &mine["conflicts"][0]["override"]),
        (&json!(waiting), &json!("required"))
    );
    // The record itself is not blocked either.
    let before = second.1.clone();
    world.converged("equal", &before);

    world.admin(&["conflict", "resolve", &waiting, "--side", "loser", "--reason", "the laptop is right"]);
    world.converged("equal", &first.1);
    let settled_at = world.revision("equal");
    world.admin(&["conflict", "undo", &waiting]);
    world.converged("equal", &before);
    assert!(world.revision("equal") > settled_at);
}
