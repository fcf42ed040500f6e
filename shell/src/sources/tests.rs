use super::*;
use crate::settings::{Form, OUTPUTS};

const PROGRAM: Program = Program {
    name: "thing",
    prefix: "THING",
    settings: &[
        setting("data", Form::Path, Some("./d"), false),
        setting("hosts", Form::List, None, false),
        setting("key", Form::Text, None, true),
        setting("loud", Form::Switch, Some("false"), false),
        setting("output", Form::OneOf(OUTPUTS), Some("table"), false),
        setting("wait_s", Form::Number { min: 1, max: 9, unit: "seconds" }, Some("5"), false),
    ],
    other_variables: &["THING_OTHER"],
    file_in_data: Some("thing.toml"),
    without_settings: &[],
};

const fn setting(key: &'static str, form: Form, default: Option<&'static str>, is_secret: bool) -> Setting {
    Setting { key, form, default, is_secret, says: "" }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Resolved, Refusal> {
    let folder = Scratch::new();
    let path = folder.write("thing.toml", file);
    let flags = pairs(flags).into_iter().map(|(key, value)| (key, vec![value])).collect();
    let file = Some(SettingsFile::read(&PROGRAM, &path)?);
    Sources { flags, variables: Variables(pairs(variables)), file }.resolve(&PROGRAM)
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hubward-shell-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn named(resolved: &Resolved, key: &str) -> String {
    let rows = resolved.rows();
    let row = rows.iter().find(|row| row["key"] == key).unwrap();
    format!("{} {}", row["value"], row["from"].as_str().unwrap())
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = "wait_s = 2";
    let variables = [("THING_WAIT_S", "3")];
    for (flags, variables, file, expected) in [
        (&[("wait_s", "4")][..], &variables[..], file, "4 flag"),
        (&[], &variables, file, "3 variable"),
        (&[], &[], file, "2 file"),
        (&[], &[], "", "5 default"),
        // An empty variable says nothing.
        (&[], &[("THING_WAIT_S", "")], file, "2 file"),
    ] {
        assert_eq!(named(&resolve(flags, variables, file).unwrap(), "wait_s"), expected);
    }
}

#[test]
fn every_form_is_read_from_a_variable_and_from_the_file() {
    let file = "data = 'x'\nhosts = ['a', 'b']\nloud = true\noutput = 'json'\nwait_s = 9";
    let variables = [
        ("THING_DATA", "x"),
        ("THING_HOSTS", "a, b"),
        ("THING_LOUD", "true"),
        ("THING_OUTPUT", "json"),
        ("THING_WAIT_S", "9"),
    ];
    for resolved in [resolve(&[], &[], file).unwrap(), resolve(&[], &variables, "").unwrap()] {
        assert_eq!((resolved.text("data"), resolved.text("output")), (Some("x"), Some("json")));
        assert_eq!(resolved.list("hosts"), ["a", "b"]);
        assert_eq!((resolved.switch("loud"), resolved.number("wait_s")), (true, Some(9)));
    }
}

#[test]
fn what_cannot_be_is_refused_by_name_and_place() {
    for (variables, file, expected) in [
        (
            &[("THING_WAIT_S", "10")][..],
            "",
            "wait_s: \"10\" is not 1 to 9 seconds, from variable THING_WAIT_S",
        ),
        (&[("THING_LOUD", "yes")], "", "loud: \"yes\" is not true or false, from variable THING_LOUD"),
        (&[("THING_OUTPUT", "xml")], "", "output: \"xml\" is not json, table, from variable THING_OUTPUT"),
        (&[], "wait_s = 0", "wait_s: \"0\" is not 1 to 9 seconds, from wait_s in "),
        (&[], "wait_s = '5'", "wait_s must be a whole number, without quotes"),
        (&[], "hosts = 'a'", "hosts must be a list of texts in quotes"),
        (&[], "warp = 5", "unknown key warp; known are data, hosts, key, key_file"),
        (&[], "wiat_s = 5", "unknown key wiat_s; did you mean wait_s?"),
        (&[], "key_fil = 'x'", "unknown key key_fil; did you mean key_file?"),
        (&[], "data = 'x'\nhosts = [", "line 2: "),
    ] {
        let refusal = resolve(&[], variables, file).unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed);
        assert!(refusal.detail.contains(expected), "{}", refusal.detail);
    }
}

#[test]
fn a_secret_and_its_file_in_one_place_are_refused_and_the_stronger_place_wins() {
    let both = "variable THING_KEY and variable THING_KEY_FILE are both given";
    let refusal = resolve(&[], &[("THING_KEY", "a"), ("THING_KEY_FILE", "b")], "").unwrap_err();
    assert!(refusal.detail.contains(both), "{}", refusal.detail);
    let refusal = resolve(&[], &[], "key = 'a'\nkey_file = 'b'").unwrap_err();
    assert!(refusal.detail.contains("are both given: give one of them"), "{}", refusal.detail);
    let resolved = resolve(&[("key", "flag")], &[("THING_KEY_FILE", "b")], "key = 'c'").unwrap();
    assert_eq!(resolved.secret("key").unwrap().as_deref(), Some("flag"));
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end_and_shown_to_nobody() {
    let folder = Scratch::new();
    let path = folder.write("secret", "s3cret\n");
    let path = path.to_str().unwrap();
    let resolved = resolve(&[], &[("THING_KEY_FILE", path)], "").unwrap();
    assert_eq!(resolved.secret("key").unwrap().as_deref(), Some("s3cret"));
    assert_eq!(named(&resolved, "key"), format!("\"(redacted) in {path}\" variable"));
    let resolved = resolve(&[], &[("THING_KEY", "s3cret")], "").unwrap();
    assert_eq!(named(&resolved, "key"), "\"(redacted)\" variable");
    assert_eq!(resolved.text("key"), None);
    assert!(!format!("{:?}", resolved.rows()).contains("s3cret"));
}

#[test]
fn a_file_that_holds_no_secret_is_refused() {
    let folder = Scratch::new();
    let (empty, large) = (
        folder.write("empty", "\n"),
        folder.write("large", &"x".repeat(usize::try_from(SECRET_BYTES_MAX).unwrap() + 1)),
    );
    let absent = folder.0.join("absent");
    for (path, reason) in [(empty, Reason::Malformed), (large, Reason::TooLarge), (absent, Reason::NotFound)]
    {
        let resolved = resolve(&[], &[("THING_KEY_FILE", path.to_str().unwrap())], "").unwrap();
        let refusal = resolved.check_secrets().unwrap_err();
        assert_eq!(refusal.reason, reason, "{}", refusal.detail);
        assert!(refusal.detail.ends_with("from variable THING_KEY_FILE"), "{}", refusal.detail);
    }
}

#[test]
fn the_file_in_the_data_folder_is_read_when_no_other_is_named() {
    let folder = Scratch::new();
    let other = folder.write("other.toml", "wait_s = 1");
    let data: BTreeMap<String, Vec<String>> =
        [("data".to_owned(), vec![folder.0.display().to_string()])].into();
    let none = Variables::default();
    assert!(SettingsFile::find(&PROGRAM, &data, &none).unwrap().is_none());
    let own = folder.write("thing.toml", "wait_s = 2");
    assert_eq!(SettingsFile::find(&PROGRAM, &data, &none).unwrap().unwrap().path, own);
    let named = Variables(pairs(&[("THING_CONFIG", other.to_str().unwrap())]));
    assert_eq!(SettingsFile::find(&PROGRAM, &data, &named).unwrap().unwrap().path, other);
    folder.write("thing.toml", "data = '/elsewhere'");
    assert!(SettingsFile::find(&PROGRAM, &data, &none).unwrap_err().detail.contains("found in it"));
    let gone = Variables(pairs(&[("THING_CONFIG", "/nowhere.toml")]));
    assert_eq!(SettingsFile::find(&PROGRAM, &data, &gone).unwrap_err().reason, Reason::NotFound);
}

#[test]
fn a_settings_file_is_bounded() {
    let folder = Scratch::new();
    let path = folder.write("thing.toml", &"#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1));
    assert_eq!(SettingsFile::read(&PROGRAM, &path).unwrap_err().reason, Reason::TooLarge);
}

#[test]
fn variables_that_mean_nothing_and_secrets_on_the_command_line_are_noted() {
    let variables = [("THING_WIAT_S", "3"), ("THING_OTHER", "x"), ("THING_PORT", "tcp://x")];
    let resolved = resolve(&[("key", "s3cret")], &variables, "").unwrap();
    assert_eq!(
        resolved.notes(),
        [
            "variable THING_PORT is no setting",
            "variable THING_WIAT_S is no setting; did you mean THING_WAIT_S?",
            "flag --key is seen by every user of this machine; THING_KEY_FILE is not",
        ]
    );
}
