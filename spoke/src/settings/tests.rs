use super::*;

/// A folder with a settings file; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, text: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("spoke-settings-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(FILE), text).unwrap();
        Self(dir)
    }

    fn settings(&self) -> Result<Settings, Refusal> {
        Settings::gather(Some(&self.0), None)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn given() -> All {
    All::default()
}

#[test]
fn the_keys_are_those_of_the_parts() {
    let joining = Joining {
        token: Some(String::new()),
        token_file: Some(PathBuf::new()),
        name: Some(String::new()),
        node_type: Some(NodeType::Edge),
        domain: Some(String::new()),
        capabilities: vec![String::new()],
    };
    let syncing = Syncing {
        schedule: Some(String::new()),
        every_s: Some(1),
        batch_changes: Some(1),
        batch_wait_s: Some(1),
        identity_every_interactions: Some(1),
        identity_every_s: Some(1),
        identity_soon_interactions: Some(1),
        metrics_listen: Some("127.0.0.1:0".to_owned()),
        compression: Some(Compression::None),
    };
    let hubs = Hubs { hubs: vec![String::new()] };
    let mut keys: Vec<String> = vec!["data".to_owned()];
    for part in [Table::try_from(joining), Table::try_from(syncing), Table::try_from(hubs)] {
        keys.extend(part.unwrap().keys().cloned());
    }
    keys.sort();
    assert_eq!(keys, KEYS);
}

#[test]
fn defaults_fill_what_nobody_said() {
    let folder = Folder::with("defaults", "");
    let settings = folder.settings().unwrap();
    assert_eq!(settings.schedule().unwrap(), Schedule::default());
    assert_eq!(settings.cadence().unwrap(), Cadence::default());
    assert_eq!(settings.reach().unwrap(), Reach::default());
    assert!(settings.check().is_ok());
    for (key, shown) in [("every_s", 300), ("batch_changes", 100), ("batch_wait_s", 60)] {
        assert_eq!(settings.shown(key), shown);
    }
}

#[test]
fn what_was_said_first_wins() {
    let folder = Folder::with("first", "schedule = 'batch'\nbatch_changes = 7\nevery_s = 9");
    let mut flags = given();
    flags.syncing.every_s = Some(8);
    let settings = folder.settings().unwrap().with(&flags.syncing).unwrap();
    let schedule = settings.schedule().unwrap();
    assert_eq!((schedule.mode, schedule.batch_changes, schedule.every_ms), (Mode::Batch, 7, 8_000));
    assert_eq!(settings.said("every_s").map(|(_, is_in_file)| is_in_file), Some(false));
    assert_eq!(settings.said("schedule").map(|(_, is_in_file)| is_in_file), Some(true));
}

#[test]
fn an_unknown_key_is_told_the_nearest_known_one() {
    for (key, known) in [("shedule", "schedule"), ("hub", "hubs"), ("tokenfile", "token_file")] {
        let folder = Folder::with(key, &format!("{key} = 'x'"));
        let refusal = folder.settings().unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed);
        let told = format!("{FILE}, line 1: unknown key {key}; did you mean {known}?");
        assert!(refusal.detail.ends_with(&told), "{}", refusal.detail);
    }
}

#[test]
fn a_bad_value_is_refused_by_name() {
    for (text, told) in [
        ("every_s = 0", "every_s: 0 is not in 1 to 604800"),
        ("every_s = 'often'", "every_s: "),
        ("batch_changes = 1000000", "batch_changes: 1000000 is not in 1 to 100000"),
        ("identity_every_interactions = 0", "identity_every_interactions: 0 is not in 1 to 100000"),
        ("identity_every_s = 604801", "identity_every_s: 604801 is not in 1 to 604800"),
        (
            "identity_every_interactions = 3\nidentity_soon_interactions = 4",
            "identity_soon_interactions: 4 is not in 1 to 3",
        ),
        ("batch_wait_s = -1", "batch_wait_s: "),
        ("metrics_listen = 1", "metrics_listen: "),
        ("metrics_listen = '0.0.0.0:9000'", "metrics_listen: \"0.0.0.0:9000\" is no"),
        ("schedule = 'sometimes'", "schedule: \"sometimes\" is none of"),
        ("compression = 'rar'", "compression: "),
        ("hubs = ['example.org']", "hubs: \"example.org\" is no"),
        ("type = 'toaster'", "type: "),
        ("domain = ''", "domain: "),
        ("token = 'a'\ntoken_file = 'b'", "token and token_file are both given"),
        ("hubs = ['https://me:s3cret@hub']", "hubs: a URL with '@' names a user"),
        ("hubs = ['https://hub:7420/path']", "goes on after the port"),
        ("data = 'elsewhere'", "data: a folder's own file cannot name another"),
    ] {
        let folder = Folder::with("bad", text);
        let refusal = folder.settings().and_then(|settings| settings.check()).unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed, "{text}");
        assert!(refusal.detail.contains(told), "{text}: {}", refusal.detail);
    }
}

#[test]
fn a_value_of_another_sort_is_refused_by_key_and_line_and_not_repeated() {
    let numbers = [
        "token",
        "token_file",
        "name",
        "domain",
        "schedule",
        "metrics_listen",
        "data",
        "hubs",
        "capabilities",
    ];
    for key in KEYS {
        let value = if numbers.contains(&key) { "7777" } else { "'hwj1_s3cret'" };
        let folder = Folder::with(key, &format!("# settings\n\n{key} = {value}\n"));
        let refusal = folder.settings().unwrap_err();
        let told = format!("{FILE}, line 3: {key}: the value is of type ");
        assert!(refusal.detail.contains(&told), "{refusal}");
        assert!(!refusal.detail.contains("7777") && !refusal.detail.contains("s3cret"), "{refusal}");
    }
}

#[test]
fn a_join_says_what_is_missing_and_takes_its_token_from_a_file() {
    let folder = Folder::with("join", "hubs = ['https://a:1', 'https://b:1']\ntype = 'cloud'");
    let settings = folder.settings().unwrap();
    assert!(settings.join().unwrap_err().detail.starts_with("token_file: give --token-file"));
    let token = folder.0.join("token");
    std::fs::write(&token, "hwj1_s3cret\n").unwrap();
    let mut flags = given();
    flags.joining.token_file = Some(token);
    let settings = settings.with(&flags.joining).unwrap();
    assert!(settings.join().unwrap_err().detail.starts_with("name: give --name"));
    flags.joining.name = Some("fern".to_owned());
    let join = settings.with(&flags.joining).unwrap().join().unwrap();
    assert_eq!((join.token.as_str(), join.name.as_str(), join.hubs.len()), ("hwj1_s3cret", "fern", 2));
}

#[test]
fn a_token_is_never_shown_and_one_that_is_given_stands_for_the_files() {
    let folder = Folder::with("secret", "token = 'hwj1_s3cret'");
    let settings = folder.settings().unwrap();
    assert_eq!(settings.shown("token"), "(redacted)");
    let mut flags = given();
    flags.joining.token_file = Some(folder.0.join("other"));
    let settings = settings.with(&flags.joining).unwrap();
    assert_eq!(settings.shown("token"), serde_json::Value::Null);
}

#[test]
fn a_user_in_the_url_of_a_hub_is_not_shown() {
    let folder = Folder::with("users", "hubs = ['https://hub:7420', 'https://me:s3cret@hub:7420']");
    let shown = folder.settings().unwrap().shown("hubs");
    assert_eq!(shown, serde_json::json!(["https://hub:7420", "(redacted)"]));
}

#[test]
fn a_token_and_a_folder_that_cannot_be_used_are_found_by_the_check() {
    let folder = Folder::with("odd", "token = 'hwo1_s3cret'");
    let refusal = folder.settings().unwrap().check().unwrap_err();
    assert_eq!(refusal.reason, Reason::JoinTokenInvalid);
    assert!(refusal.detail.starts_with("token: ") && !refusal.detail.contains("s3cret"), "{refusal}");
    let odd = folder.0.join(FILE);
    let refusal = Settings::gather(Some(&odd), None).unwrap().check().unwrap_err();
    assert!(refusal.detail.contains("is no folder: name a folder"), "{refusal}");
}
