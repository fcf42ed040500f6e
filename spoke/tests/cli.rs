//! The binary, without a hub: everything local works, and every refusal has its exit code.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use semantics::ids::{Domain, NodeId, TenantId};
use serde_json::{Value, json};
use spoke::folder::{Folder, SpokeConfig};
use spoke::trust::NodeKey;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder of a node that has joined a hub nobody serves; removed at the end.
struct Data(PathBuf);

impl Data {
    fn empty() -> Self {
        let n = FOLDERS.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("spoke-cli-{}-{n}", std::process::id())))
    }

    fn joined() -> Self {
        let data = Self::empty();
        let folder = Folder::create(&data.0).unwrap();
        NodeKey::create(&folder.paths().key(), [7; 32]).unwrap();
        let config = SpokeConfig {
            node: NodeId([1; 16]),
            tenant: TenantId::new("default").unwrap(),
            name: "test".to_owned(),
            node_type: "desktop".to_owned(),
            domain: Domain::default_domain(),
            hubs: vec!["http://127.0.0.1:1".to_owned()],
            ca_pin: None,
        };
        folder.save_config(&config).unwrap();
        data
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spoke"));
        command.arg("--data").arg(&self.0).args(["--output", "json"]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that succeeds prints.
    fn ok(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Exit code and reason of a command that is refused.
    fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let error: Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
        for field in ["class", "detail", "remedy", "transient"] {
            assert!(!error["error"][field].is_null(), "{error}");
        }
        (output.status.code().unwrap(), error["error"]["reason"].as_str().unwrap().to_owned())
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A daemon; killed at the end.
struct Daemon(Child);

impl Daemon {
    fn start(data: &Data) -> Self {
        let mut child = data.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], json!(true));
        Self(child)
    }

    fn signal(&mut self, signal: &str) -> std::process::ExitStatus {
        // The shell's own, because a bare machine has no other.
        let kill = format!("kill {signal} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.0.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn help_names_every_command() {
    let output = Data::empty().run(&["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "join",
        "run",
        "sync",
        "put",
        "patch",
        "get",
        "rm",
        "ls",
        "history",
        "watch",
        "status",
        "config",
        "outbox",
        "conflicts",
        "digest",
        "import",
        "export",
        "adopt-log",
    ] {
        assert!(text.contains(&format!("\n  {name} ")), "{name}:\n{text}");
    }
}

#[test]
fn settings_come_from_flags_then_variables_then_the_folders_file_and_secrets_are_not_shown() {
    let data = Data::joined();
    let file = data.0.join("spoke.toml");
    std::fs::write(&file, "schedule = 'batch'\nevery_s = 9\nbatch_changes = 5").unwrap();
    assert_eq!(data.ok(&["config", "check"])["file"], json!(file));
    std::fs::write(&file, "schedule = 'batch'\nevery_s = 9\nbatch_changes = 5\ntoken = 's3cret'").unwrap();
    let mut command = data.command(&["config", "print", "--every-s", "7"]);
    let output = command.env("SPOKE_BATCH_CHANGES", "6").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let rows = shown["settings"].as_array().unwrap();
    let row = |key: &str| rows.iter().find(|row| row["setting"] == key).unwrap();
    let from_file = format!("file {}", file.display());
    for (key, value, from) in [
        ("schedule", json!("batch"), from_file.as_str()),
        ("every_s", json!(7), "flag"),
        ("batch_changes", json!(6), "variable SPOKE_BATCH_CHANGES"),
        ("batch_wait_s", json!(60), "default"),
        ("token", json!("(redacted)"), &from_file),
        ("data", json!(data.0), "flag"),
    ] {
        assert_eq!((&row(key)["value"], row(key)["from"].as_str().unwrap()), (&value, from), "{key}");
    }
    std::fs::write(&file, "shedule = 'batch'").unwrap();
    assert_eq!(data.refused(&["config", "check"]), (3, "MALFORMED".to_owned()));
    assert_eq!(data.refused(&["run"]), (3, "MALFORMED".to_owned()));
}

#[test]
fn the_variables_of_the_hubs_count_for_commands_without_a_flag_for_them() {
    let data = Data::joined();
    std::fs::write(data.0.join("spoke.toml"), "hubs = ['http://127.0.0.1:2']").unwrap();
    assert_eq!(data.ok(&["status"])["hubs"], json!(["http://127.0.0.1:2"]));
    let status = |value: &str| data.command(&["status"]).env("SPOKE_HUBS", value).output().unwrap();
    let shown: Value =
        serde_json::from_slice(&status("http://127.0.0.1:3,http://127.0.0.1:4").stdout).unwrap();
    assert_eq!(shown["hubs"], json!(["http://127.0.0.1:3", "http://127.0.0.1:4"]));
    let odd = String::from_utf8_lossy(&status("hub").stderr).into_owned();
    assert!(odd.contains("give https://HOST:PORT"), "{odd}");
}

#[test]
fn a_variable_that_nothing_reads_is_refused_by_the_check_with_the_one_that_was_meant() {
    let data = Data::joined();
    let check = |name: &str| {
        let output = data.command(&["config", "check"]).env(name, "on_event").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, near) in [("SPOKE_SHEDULE", "SPOKE_SCHEDULE"), ("SPOKE_HUB", "SPOKE_HUBS")] {
        let (code, text) = check(name);
        assert_eq!(code, 3, "{text}");
        let told = format!("variable {name} is read by nothing: unset it; did you mean {near}?");
        assert!(text.contains(&told), "{text}");
    }
    let none = data.0.join("no-token").display().to_string();
    let token_file = data.command(&["config", "check"]).env("SPOKE_TOKEN_FILE", &none).output().unwrap();
    assert!(String::from_utf8_lossy(&token_file.stderr).contains(&none), "a secret's file is read");
    for name in ["SPOKE_SCHEDULE", "MY_SPOKE_X"] {
        assert_eq!(check(name).0, 0, "{name}");
    }
    let logged = data.command(&["config", "check"]).env("SPOKE_LOG", "loud").output().unwrap();
    let text = String::from_utf8_lossy(&logged.stderr);
    assert!(text.contains("SPOKE_LOG: ") && text.contains("is no level: give one of off, error, "), "{text}");
}

#[test]
fn what_a_join_cannot_use_is_refused_in_one_line_that_says_what_to_give() {
    let fresh = Data::empty();
    let file = std::env::temp_dir().join(format!("spoke-cli-file-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let in_file = file.join("below").display().to_string();
    let told = |data: &str, args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_spoke");
        let output = Command::new(program).args(["--data", data]).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.lines().count() == 1, "{args:?}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
        text
    };
    let (folder, rest) = (fresh.0.display().to_string(), ["--name", "n", "--type", "edge"]);
    let (hub, token) = ("https://hub:7420", "hwo1_s3cret");
    for (data, hub, what_to_do) in [
        (folder.as_str(), "hub.example.org", "give https://HOST:PORT"),
        (&folder, "https://me:s3cret@hub", "names a user"),
        (&folder, "https://hub:7420/path", "goes on after the port"),
        (&folder, hub, "a join token begins with hwj1_"),
        (&in_file, hub, "is no folder: name a folder"),
        ("", hub, "a value is required for '--data <DIR>'"),
    ] {
        let join = [&["join", "--hub", hub, "--token", token], &rest[..]].concat();
        assert!(told(data, &join).contains(what_to_do), "{}", told(data, &join));
        let check = ["config", "check", "--hub", hub, "--token", token];
        assert!(told(data, &check).contains(what_to_do), "{}", told(data, &check));
    }
    assert!(!fresh.0.join("spoke.json").exists());
    std::fs::remove_file(file).unwrap();
    // It would not be kept: it is set where it is used.
    let text = told(&folder, &["join", "--hub", hub, "--compression", "gzip"]);
    assert!(text.contains("--compression"), "{text}");
}

#[test]
fn records_are_written_and_read_without_a_hub() {
    let data = Data::joined();
    assert_eq!(data.ok(&["put", "entity", "a", r#"{"n": 1.0, "t": "x"}"#])["changed"], json!(true));
    assert_eq!(data.ok(&["put", "entity", "a", r#"{"t": "x", "n": 1}"#])["changed"], json!(false));
    data.ok(&["patch", "entity", "a", r#"{"m": 2}"#, "--remove", "t"]);
    let shown = data.ok(&["get", "entity", "a"]);
    assert_eq!(shown["body"], json!({"n": 1, "m": 2}));
    assert_eq!((&shown["pending"], &shown["revision"]), (&json!(true), &json!(0)));
    data.ok(&["put", "entity", "b", r#"{"n": 5}"#]);
    let listed = data.ok(&["ls", "entity", "--where", "n=5"]);
    assert_eq!(listed["records"].as_array().unwrap().len(), 1);
    data.ok(&["rm", "entity", "b"]);
    assert_eq!(data.ok(&["ls"])["records"].as_array().unwrap().len(), 1);
    assert_eq!(data.ok(&["outbox", "list"])["entries"].as_array().unwrap().len(), 4);
    assert_eq!(data.ok(&["status"])["outbox"]["queued"], json!(4));
    assert_eq!(data.ok(&["digest"])["revision"], json!(0));
}

#[test]
fn every_refusal_has_its_reason_and_exit_code() {
    let refused = |(code, reason): (i32, &str)| (code, reason.to_owned());
    assert_eq!(Data::empty().refused(&["status"]), refused((6, "NOT_JOINED")));
    let data = Data::joined();
    for (args, expected) in [
        (&["get", "entity", "none"][..], (3, "RECORD_ABSENT")),
        (&["put", "nokind", "a", "{}"], (3, "KIND_UNDECLARED")),
        (&["put", "view", "a", "{}"], (4, "CONTROL_KIND")),
        (&["put", "entity", "a", "{bad"], (3, "MALFORMED")),
        (&["put", "entity", "a", "[1]"], (3, "MALFORMED")),
        (&["put", "entity", "a", r#"{"n": 9007199254740993}"#], (3, "UNSAFE_NUMBER")),
        (&["put", "edge", "a", "{}"], (3, "SCHEMA_VIOLATION")),
        (&["ls", "--prefix", "a"], (3, "MALFORMED")),
        (&["outbox", "drop", "00"], (3, "MALFORMED")),
        (&["outbox", "drop", "00000000000000000000000000000000"], (3, "NOT_FOUND")),
        (&["sync"], (5, "UNREACHABLE")),
        (
            &["join", "--hub", "http://127.0.0.1:1", "--token", "x", "--name", "n", "--type", "edge"],
            (4, "JOIN_TOKEN_INVALID"),
        ),
    ] {
        assert_eq!(data.refused(args), refused(expected), "{args:?}");
    }
}

#[test]
fn a_file_is_imported_once_and_exported_when_confirmed() {
    let data = Data::joined();
    let file = data.0.join("rows.jsonl");
    std::fs::write(&file, "{\"id\": \"a\", \"n\": 1.0}\n{\"id\": \"b\"}\nnonsense\n").unwrap();
    let file = file.to_str().unwrap();
    let first = data.ok(&["import", file, "--kind", "entity"]);
    assert_eq!((&first["written"], &first["rejected"]), (&json!(2), &json!(1)));
    let second = data.ok(&["import", file, "--kind", "entity"]);
    assert_eq!((&second["written"], &second["unchanged"]), (&json!(0), &json!(2)));
    assert_eq!(data.run(&["export"]).stdout, b"", "nothing is confirmed yet");
}

#[test]
fn commands_use_the_daemon_that_owns_the_folder() {
    let data = Data::joined();
    let mut daemon = Daemon::start(&data);
    assert_eq!(data.ok(&["status"])["daemon"], json!(true));
    data.ok(&["put", "note", "a", r#"{"text": "hi"}"#]);
    assert_eq!(data.ok(&["get", "note", "a"])["body"], json!({"text": "hi"}));
    assert_eq!(data.refused(&["get", "note", "b"]), (3, "RECORD_ABSENT".to_owned()));
    assert_eq!(data.refused(&["run"]), (6, "REPLICA_LOCKED".to_owned()));
    let file = data.0.join("rows.json");
    std::fs::write(&file, r#"[{"id": "x"}]"#).unwrap();
    assert_eq!(data.ok(&["import", file.to_str().unwrap(), "--kind", "note"])["written"], json!(1));
    assert!(daemon.signal("-TERM").success());
    assert!(!socket(&data.0).exists());
    assert_eq!(data.ok(&["status"])["daemon"], json!(false));
    assert_eq!(data.ok(&["ls", "note"])["records"].as_array().unwrap().len(), 2);
}

#[test]
fn a_field_is_compared_by_value_and_large_records_come_in_more_pages() {
    let data = Data::joined();
    data.ok(&["put", "note", "a", r#"{"n": 5, "t": "x=y"}"#]);
    for asked in ["n=5", "n=5.0", "n=5e0", "t=x=y", r#"t="x=y""#] {
        let listed = data.ok(&["ls", "note", "--where", asked]);
        assert_eq!(listed["records"].as_array().unwrap().len(), 1, "{asked}");
    }
    assert_eq!(data.refused(&["ls", "note", "--where", "n=9007199254740993"]).1, "UNSAFE_NUMBER");
    let file = data.0.join("large.jsonl");
    let text = "y".repeat(260_000);
    let rows: String = (0..300).map(|n| format!("{{\"id\":\"{n:03}\",\"text\":\"{text}\"}}\n")).collect();
    std::fs::write(&file, format!("\u{feff}{rows}")).unwrap();
    let _daemon = Daemon::start(&data);
    let imported = data.ok(&["import", file.to_str().unwrap(), "--kind", "moment"]);
    assert_eq!((&imported["written"], &imported["rejected"]), (&json!(300), &json!(0)));
    assert_eq!(data.ok(&["ls", "moment"])["records"].as_array().unwrap().len(), 300);
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let data = Data::joined();
    let mut daemon = Daemon::start(&data);
    data.ok(&["put", "note", "a", "{}"]);
    assert!(!daemon.signal("-KILL").success());
    assert!(socket(&data.0).exists());
    assert_eq!(data.ok(&["get", "note", "a"])["body"], json!({}));
    let _again = Daemon::start(&data);
    assert_eq!(data.ok(&["status"])["daemon"], json!(true));
}

#[test]
fn a_watch_goes_on_after_the_position_it_printed() {
    let data = Data::joined();
    let _daemon = Daemon::start(&data);
    let first = {
        data.ok(&["put", "note", "a", "{}"]);
        let line = first_line(&data, &["watch", "note", "--after", "0"]);
        assert_eq!((&line["kind"], &line["id"]), (&json!("note"), &json!("a")));
        line["position"].to_string()
    };
    data.ok(&["rm", "note", "a"]);
    let line = first_line(&data, &["watch", "note", "--after", &first]);
    assert_eq!((&line["id"], &line["deleted"]), (&json!("a"), &json!(true)));
}

fn first_line(data: &Data, args: &[&str]) -> Value {
    let mut child = data.command(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    serde_json::from_str(&line).unwrap()
}

fn socket(data: &Path) -> PathBuf {
    data.join("daemon.sock")
}

#[test]
fn a_write_that_is_waited_for_says_how_far_it_came() {
    let data = Data::joined();
    let put = data.ok(&["put", "note", "a", "{}", "--wait", "queued"]);
    assert_eq!((&put["reached"], &put["revision"]), (&json!("queued"), &json!(null)));
    let unoffered = data.refused(&["put", "note", "never", "{}", "--wait", "checkpointed"]);
    assert_eq!(unoffered, (6, "NOT_OFFERED".to_owned()));
    assert_eq!(data.refused(&["get", "note", "never"]).1, "RECORD_ABSENT", "refused before it is written");
    for grade in ["seen=0", "seen=", "later"] {
        assert_eq!(
            data.run(&["put", "note", "never", "{}", "--wait", grade]).status.code(),
            Some(2),
            "{grade}"
        );
    }
    let late = ["patch", "note", "a", r#"{"n":1}"#, "--wait", "durable", "--wait-timeout", "0"];
    assert_eq!(data.refused(&late), (5, "DEADLINE_EXCEEDED".to_owned()));
    let _daemon = Daemon::start(&data);
    let rm = ["rm", "note", "a", "--wait", "durable", "--wait-timeout", "0"];
    assert_eq!(data.refused(&rm), (5, "DEADLINE_EXCEEDED".to_owned()));
    assert_eq!(data.ok(&["outbox", "list"])["entries"].as_array().unwrap().len(), 3, "the writes go on");
}

#[test]
fn a_path_too_long_for_a_socket_is_refused_with_its_remedy() {
    let mut data = Data::joined();
    let long = data.0.with_extension("x".repeat(150));
    std::fs::rename(&data.0, &long).unwrap();
    data.0 = long;
    let output = data.run(&["run"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("at most 103") && text.contains("shorter path"), "{text}");
    assert_eq!(data.ok(&["put", "note", "a", "{}"])["changed"], json!(true), "commands need no socket");
}

#[test]
fn the_socket_of_another_user_does_not_answer() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let data = Data::joined();
    let _daemon = Daemon::start(&data);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data.0), mode(&socket(&data.0))), (0o700, 0o600));
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can be another user");
        return;
    }
    let run = |user: u32, args: &[&str]| data.command(args).uid(user).gid(user).output().unwrap();
    let health = |user: u32| run(user, &["health"]);
    let refused = |args: &[&str]| {
        let output = run(NOBODY, args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {text}");
        assert!(text.contains("PERMISSION_DENIED"), "{args:?}: {text}");
        text
    };
    let owner_is_told = |args: &[&str]| {
        let text = refused(args);
        assert!(text.contains("belongs to user 0, whose daemon"), "{args:?}: {text}");
    };
    let folder_is_told = |owner: u32| {
        let text = refused(&["health"]);
        let told = format!("belongs to user {owner}, may not be looked into by user {NOBODY}");
        assert!(text.contains(&told) && !text.contains("daemon"), "{text}");
    };
    assert!(health(0).status.success());
    // What is behind a closed folder nobody knows; one's own may be closed, too.
    folder_is_told(0);
    std::os::unix::fs::chown(&data.0, Some(NOBODY), None).unwrap();
    std::fs::set_permissions(&data.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder_is_told(NOBODY);
    std::os::unix::fs::chown(&data.0, Some(0), None).unwrap();
    // Even where the files' rights let it through.
    std::fs::set_permissions(&data.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(socket(&data.0), std::fs::Permissions::from_mode(0o666)).unwrap();
    owner_is_told(&["health"]);
    owner_is_told(&["get", "note", "a"]);
    owner_is_told(&["watch", "note"]);
    assert!(health(0).status.success());
}
