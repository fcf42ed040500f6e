//! A tour through every command, of an operator and of the users of two spokes.

use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Process, run, until};
use trials::tree::root;

use super::{compare, masked, shown};

/// What was said to the commands, and what they answered.
struct Tour<'a> {
    folder: &'a Folder,
    said: String,
}

impl Tour<'_> {
    /// Runs a command on a data folder; gives what it printed.
    fn step(&mut self, program: &str, data: &str, words: &[&str]) -> String {
        let ran = run(program, &[&["--data", data], words].concat());
        self.said += &shown(&format!("{program} {}", words.join(" ")), &ran);
        ran.stdout
    }

    /// Runs a command whose output is another program's business, and keeps how it begins.
    fn begins(&mut self, program: &str, data: &str, words: &[&str]) {
        let ran = run(program, &[&["--data", data], words].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let first = ran.stdout.lines().next().unwrap_or_default();
        self.said += &format!("$ {program} {}\n{first}\n…\n\n", words.join(" "));
    }

    /// What a command prints first that does not end by itself.
    fn stays(&mut self, program: &str, data: &str, words: &[&str]) -> Process {
        let process = Process::start(program, &[&["--data", data], words].concat());
        self.said += &format!("$ {program} {}\n{}\n…\n\n", words.join(" "), process.line());
        process
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.at(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

/// A 64-digit or 32-digit name out of what a command printed.
fn named(printed: &str, digits: usize) -> String {
    let mut words = printed.split(|c: char| !c.is_ascii_hexdigit());
    words.find(|word| word.len() == digits).unwrap_or_else(|| panic!("no name in {printed}")).to_owned()
}

/// A branch that does not stand: eight digits, a hyphen and a number.
fn branch_of(listed: &str) -> &str {
    let lines = listed.lines().filter(|line| line.contains("false"));
    let mut words = lines.flat_map(str::split_whitespace);
    let is_name = |word: &&str| {
        word.split_once('-').is_some_and(|(node, n)| node.len() == 8 && n.parse::<u64>().is_ok())
    };
    words.find(is_name).unwrap_or_else(|| panic!("no branch in {listed}"))
}

/// The key that was rotated, or the one that took its place: before, then kid.
fn named_key(rotated: &str, at: usize) -> &str {
    let mut words = rotated.split_whitespace().filter(|word| word.len() == 16);
    words.nth(at).unwrap_or_else(|| panic!("no key in {rotated}"))
}

fn sync(data: &str) {
    let ran = run("spoke", &["--data", data, "sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn operators(tour: &mut Tour<'_>, hub: &str, fresh: &str) {
    let free = ["serve", "--listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"];
    tour.step("hubward", fresh, &["migrate"]);
    assert_eq!(tour.stays("hubward", fresh, &free).terminate(), 0);
    let rotated = tour.step("hubward", fresh, &["keys", "rotate"]);
    tour.step("hubward", fresh, &["keys", "rotate"]);
    tour.step("hubward", fresh, &["keys", "list"]);
    tour.step("hubward", fresh, &["keys", "retire", named_key(&rotated, 0)]);
    tour.step("hubward", fresh, &["keys", "retire", named_key(&rotated, 1)]);
    tour.step("hubward", fresh, &["keys", "retire", "nothing"]);
    tour.step("hubward", fresh, &["config", "check"]);
    tour.begins("hubward", fresh, &["completions", "bash"]);
    tour.step("hubward", hub, &["tenant", "create", "zoo"]);
    tour.step("hubward", hub, &["tenant", "create", "zoo"]);
    tour.step("hubward", hub, &["tenant", "create", "NOT A NAME"]);
    let lamp = tour.file("lamp.json", r#"{"name":"lamp","policy":"fields"}"#);
    tour.step("hubward", hub, &["kind", "apply", &lamp]);
    let odd = tour.file("odd.json", r#"{"name":"lamp","policy":"luck"}"#);
    tour.step("hubward", hub, &["kind", "apply", &odd]);
    tour.step("hubward", hub, &["kind", "list"]);
    tour.step("hubward", hub, &["policy", "set", "lamp", "branch"]);
    tour.step("hubward", hub, &["policy", "set", "lamp", "coin toss"]);
    tour.step("hubward", hub, &["policy", "set", "lamp", "--reset"]);
    tour.step("hubward", hub, &["policy", "list"]);
    tour.begins("hubward", hub, &["ca", "show"]);
    let votes = r#"{"candidates":[
        {"id":"A","stability":3.2,"health":0.9,"recency":0.8,"priority":0.7},
        {"id":"B","stability":2.4,"health":0.8,"recency":0.7,"priority":0.6}]}"#;
    let votes = tour.file("votes.json", votes);
    tour.step("hubward", hub, &["consensus", "weigh", &votes]);
    let unfit = tour.file("unfit.json", r#"{"candidates":[]}"#);
    tour.step("hubward", hub, &["consensus", "weigh", &unfit]);
    tour.step("hubward", hub, &["node", "show", "laptop"]);
    tour.step("hubward", hub, &["node", "set", "laptop", "--capability", "light"]);
    tour.step("hubward", hub, &["node-type", "set", "edge", "--nothing"]);
    tour.step("hubward", hub, &["node-type", "set", "mobile", "--kind", "entity", "--kind", "edge"]);
    tour.step("hubward", hub, &["node-type", "set", "mobile", "--kind", "view"]);
    tour.step("hubward", hub, &["node-type", "list"]);
    tour.step("hubward", hub, &["view", "set", "--node", "laptop", "--cell", "default"]);
    tour.step("hubward", hub, &["operator", "create", "ada", "--role", "viewer"]);
    tour.step("hubward", hub, &["operator", "create", "ada", "--role", "queen"]);
    tour.step("hubward", hub, &["operator", "rotate", "ada", "--grace", "1m"]);
    tour.step("hubward", hub, &["operator", "list"]);
    tokens(tour, hub);
    let issued = tour.step("hubward", hub, &["access-token", "issue"]);
    let token = issued.split_whitespace().find(|word| word.starts_with("eyJ")).unwrap_or_default();
    let token = tour.file("access-token", token);
    tour.step("hubward", hub, &["--token-file", &token, "access-token", "issue"]);
    tour.step("hubward", hub, &["operator", "revoke", "ada"]);
    tour.step("hubward", hub, &["operator", "revoke", "nobody"]);
    tour.step("hubward", hub, &["audit", "list", "--source", "commits", "--kind", "kind"]);
    tour.step("hubward", hub, &["audit", "verify", "--noted", "nowhere"]);
    tour.step("hubward", hub, &["recover", "--status"]);
    tour.begins("hubward", hub, &["doctor"]);
}

fn tokens(tour: &mut Tour<'_>, hub: &str) {
    let made = run("hubward", &["--data", hub, "--output", "json", "token", "create", "--tenant", "zoo"]);
    let id = made.json()["id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
    tour.step("hubward", hub, &["token", "list", "--tenant", "zoo"]);
    tour.step("hubward", hub, &["token", "revoke", &id]);
    tour.step("hubward", hub, &["token", "revoke", &id, "--tenant", "zoo"]);
    tour.step("hubward", hub, &["token", "revoke", &id, "--tenant", "zoo"]);
    tour.step("hubward", hub, &["token", "revoke", "hwj1_all-of-it", "--tenant", "zoo"]);
    tour.step("hubward", hub, &["token", "list", "--tenant", "zoo"]);
}

fn conflict(tour: &mut Tour<'_>, laptop: &str, desktop: &str) {
    tour.step("spoke", laptop, &["put", "note", "plan", "{\"text\":\"one\"}"]);
    for data in [laptop, desktop] {
        sync(data);
    }
    tour.step("spoke", laptop, &["patch", "note", "plan", "{\"text\":\"two\"}"]);
    tour.step("spoke", desktop, &["patch", "note", "plan", "{\"text\":\"three\"}"]);
    for data in [laptop, desktop, laptop] {
        sync(data);
    }
    let listed = tour.step("spoke", laptop, &["conflicts", "list"]);
    let id = named(&listed, 64);
    tour.step("spoke", laptop, &["conflicts", "show", &id]);
    let branches = tour.step("spoke", laptop, &["branch", "list"]);
    let branch = branch_of(&branches);
    tour.step("spoke", laptop, &["branch", "diff", "note", "plan", branch]);
    tour.step("spoke", laptop, &["branch", "merge", "note", "plan", branch]);
    tour.step("spoke", laptop, &["history", "note", "plan"]);
    tour.step("spoke", laptop, &["conflicts", "resolve", &id]);
    tour.step("spoke", laptop, &["conflicts", "resolve", &id, "--side", "loser", "--reason", "asked them"]);
    tour.step("spoke", laptop, &["conflicts", "resolve", &id, "--keep"]);
    tour.step("spoke", laptop, &["conflicts", "undo", &id, "--reason", "asked again"]);
    sync(laptop);
    tour.step("spoke", laptop, &["digest"]);
    tour.step("spoke", laptop, &["digest", "--content"]);
    tour.begins("spoke", laptop, &["doctor"]);
}

fn own(tour: &mut Tour<'_>, laptop: &str) {
    tour.step("spoke", laptop, &["status"]);
    tour.step("spoke", laptop, &["remnants"]);
    tour.step("spoke", laptop, &["config", "check"]);
    tour.step("spoke", laptop, &["config", "print", "--output", "json"]);
    tour.begins("spoke", laptop, &["completions", "fish"]);
    tour.step("spoke", laptop, &["rm", "note", "plan"]);
    let listed = tour.step("spoke", laptop, &["outbox", "list"]);
    let mutation = named(&listed, 32);
    tour.step("spoke", laptop, &["outbox", "retry", &mutation]);
    tour.step("spoke", laptop, &["outbox", "retry", "--all"]);
    tour.step("spoke", laptop, &["outbox", "drop", &mutation]);
    tour.step("spoke", laptop, &["outbox", "drop", "nonsense"]);
    let memory = tour.file(
        "memory.json",
        "{\"type\":\"entity\",\"name\":\"N\",\"entityType\":\"T\",\"observations\":[]}\nx\n",
    );
    tour.step("spoke", laptop, &["import", &memory, "--mapping", "mcp-memory"]);
    identity(tour, laptop);
    let absent = tour.folder.at("absent.json");
    tour.step("spoke", laptop, &["import", &absent]);
    let daemon = tour.stays("spoke", laptop, &["run"]);
    until("the daemon has caught up", || {
        run("spoke", &["--data", laptop, "health"]).stdout.contains("live").then_some(())
    });
    tour.step("spoke", laptop, &["health"]);
    // Nothing is on its way any more, so that the watch tells a state that stays.
    sync(laptop);
    let watch = tour.stays("spoke", laptop, &["watch", "entity", "--after", "0"]);
    drop(watch);
    let watch = tour.stays("spoke", laptop, &["identity", "watch", "--after", "0"]);
    drop(watch);
    assert_eq!(daemon.terminate(), 0);
    tour.step("spoke", laptop, &["adopt-log"]);
}

fn identity(tour: &mut Tour<'_>, laptop: &str) {
    let metrics =
        r#""stability_metrics":{"current_is_score":3.47,"parameter_values":{"D":6,"C":0.78,"R":0.89}}"#;
    let snapshot = tour.file("snapshot.json", &format!(r#"{{"identity_snapshot":{{{metrics}}}}}"#));
    tour.step("spoke", laptop, &["identity", "score", &snapshot]);
    tour.step("spoke", laptop, &["identity", "validate", &snapshot]);
    let profile = tour.file("profile.json", r#"{"identity_profile":{"name":"Ada","version":"1.0.0"}}"#);
    tour.step("spoke", laptop, &["identity", "validate", &profile]);
    tour.step("spoke", laptop, &["identity", "score", &profile]);
    tour.step("spoke", laptop, &["identity", "import", &profile]);
    tour.step("spoke", laptop, &["identity", "import", &snapshot]);
    tour.step("spoke", laptop, &["identity", "interact", &snapshot]);
    tour.step("spoke", laptop, &["identity", "validate", &snapshot, "--against", &snapshot]);
    tour.step("spoke", laptop, &["identity", "export", "Ada"]);
    tour.step("spoke", laptop, &["identity", "export", "nobody"]);
    tour.step("spoke", laptop, &["identity", "rollback", "Ada"]);
}

fn topology(tour: &mut Tour<'_>, hub_data: &str) {
    let set = ["topology", "set", "primary-replica"];
    tour.step("hubward", hub_data, &set);
    tour.step("hubward", hub_data, &[&set[..], &["--primary", "nobody"]].concat());
    tour.step("hubward", hub_data, &[&set[..], &["--primary", "laptop", "--kind", "note"]].concat());
    tour.step("hubward", hub_data, &["topology", "show"]);
    tour.step("hubward", hub_data, &["topology", "promote", "desktop"]);
    tour.step("hubward", hub_data, &["topology", "set", "federation", "--site", "lima"]);
    tour.step("hubward", hub_data, &["topology", "set", "multi-master"]);
    tour.step("hubward", hub_data, &["topology", "promote", "desktop"]);
}

#[test]
fn every_command_answers_as_kept() {
    let folder = Folder::new("snapshots-tour");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let mut tour = Tour { folder: &folder, said: String::new() };
    let (hub_data, fresh) = (folder.at("hub"), folder.at("fresh"));
    operators(&mut tour, &hub_data, &fresh);
    let token = named_token(&hub);
    let token = tour.file("token", &token);
    let desktop = folder.at("desktop");
    let join =
        ["join", "--hub", &hub.url(), "--name", "desktop", "--type", "desktop", "--token-file", &token];
    tour.step("spoke", &desktop, &join);
    tour.step("spoke", &desktop, &join);
    conflict(&mut tour, &laptop.data, &desktop);
    tour.step("hubward", &hub_data, &["record", "get", "kind", "lamp"]);
    let listed = tour.step("hubward", &hub_data, &["conflict", "list"]);
    let id = named(&listed, 64);
    tour.step("hubward", &hub_data, &["conflict", "show", &id]);
    tour.step("hubward", &hub_data, &["conflict", "resolve", &id, "--side", "3"]);
    tour.step("hubward", &hub_data, &["conflict", "preview", "--policy", "last_writer", "--kind", "note"]);
    tour.step("hubward", &hub_data, &["conflict", "resolve", "--kind", "note", "--keep"]);
    tour.step("hubward", &hub_data, &["conflict", "undo", &id]);
    let resolve =
        ["conflict", "resolve", &id, "--side", "primary", "--reason", "the later one counts", "--precedent"];
    tour.step("hubward", &hub_data, &resolve);
    tour.step("hubward", &hub_data, &["identity", "health"]);
    tour.step("hubward", &hub_data, &["identity", "divergence"]);
    tour.step("hubward", &hub_data, &["identity", "convergence"]);
    topology(&mut tour, &hub_data);
    let precedents = tour.step("hubward", &hub_data, &["precedent", "list"]);
    tour.step("hubward", &hub_data, &["precedent", "revoke", &named(&precedents, 64)]);
    tour.step("hubward", &hub_data, &["precedent", "list"]);
    tour.step("hubward", &hub_data, &["record", "history", "note", "plan"]);
    tour.step("hubward", &hub_data, &["digest", "--node", "laptop"]);
    let backup = folder.at("backup");
    tour.begins("hubward", &hub_data, &["backup", "create", &backup]);
    tour.begins("hubward", &hub_data, &["backup", "check", &backup]);
    tour.step("hubward", &hub_data, &["restore", &backup]);
    own(&mut tour, &laptop.data);
    tour.step("hubward", &hub_data, &["backup", "check", &fresh]);
    tour.step("hubward", &fresh, &["restore", &backup]);
    tour.step("hubward", &hub_data, &["node", "revoke", "desktop"]);
    tour.step("spoke", &desktop, &["sync"]);
    compare("commands.txt", &masked(&tour.said, &folder.path().display().to_string()));
}

fn named_token(hub: &Hub) -> String {
    let made = hub.admin(&["token", "create"]).json();
    made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// Commands that are no group of others.
pub(super) fn leaves(program: &str, command: &clap::Command, all: &mut Vec<String>) {
    let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() {
        all.push(program.to_owned());
    }
    for command in below {
        leaves(&format!("{program} {}", command.get_name()), command, all);
    }
}

#[test]
fn no_command_is_without_its_answer_among_those_kept() {
    let kept = ["answers.txt", "commands.txt", "wrong.txt"].map(|name| {
        std::fs::read_to_string(root().join("trials/data/snapshots").join(name)).unwrap_or_default()
    });
    let mut all = Vec::new();
    for (program, command) in [("hubward", gateway::cli::command()), ("spoke", spoke::cli::command())] {
        leaves(program, &command, &mut all);
    }
    assert!(all.len() > 40, "{all:?}");
    for command in all {
        let is_kept = kept.concat().lines().any(|line| {
            line.strip_prefix("$ ")
                .and_then(|line| line.strip_prefix(&command))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        assert!(is_kept, "no answer of `{command}` is kept: add it to the tour");
    }
}
