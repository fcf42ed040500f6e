use std::path::PathBuf;

use clap::Subcommand;

use super::*;
use crate::settings::{Form, OUTPUTS, Setting};

#[derive(Debug, Parser)]
#[command(name = "thing", version = "1")]
struct Cli {
    /// Folder.
    #[arg(long, global = true, required = false)]
    data: PathBuf,
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[arg(long, global = true, required = false)]
    output: String,
    #[command(subcommand)]
    command: Thing,
}

#[derive(Debug, Subcommand)]
enum Thing {
    Go {
        #[arg(long = "host", id = "hosts", value_delimiter = ',')]
        hosts: Vec<String>,
        #[arg(long)]
        loud: bool,
        /// Key.
        #[arg(long)]
        key: Option<String>,
        #[arg(long)]
        speed: Option<u8>,
    },
    Bare,
}

const fn setting(key: &'static str, form: Form, default: Option<&'static str>, is_secret: bool) -> Setting {
    Setting { key, form, default, is_secret, says: "" }
}

const PROGRAM: Program = Program {
    name: "thing",
    prefix: "THING",
    settings: &[
        setting("data", Form::Path, Some("./d"), false),
        setting("hosts", Form::List, None, false),
        setting("key", Form::Text, None, true),
        setting("loud", Form::Switch, Some("false"), false),
        setting("output", Form::OneOf(OUTPUTS), Some("table"), false),
    ],
    other_variables: &[],
    file_in_data: None,
    without_settings: &["bare"],
};

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    Variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn parse(line: &str, said: &[(&str, &str)]) -> Parsed<Cli> {
    PROGRAM.parse::<Cli>(&words(line), variables(said)).unwrap()
}

fn misuse(line: &str) -> Misuse {
    match PROGRAM.parse::<Cli>(&words(line), Variables::default()) {
        Err(Stop::Misuse(misuse)) => misuse,
        other => panic!("{other:?}"),
    }
}

#[test]
fn arguments_start_with_what_the_settings_say() {
    let parsed = parse("thing go", &[("THING_HOSTS", "a,b"), ("THING_LOUD", "true"), ("THING_DATA", "x")]);
    let Thing::Go { hosts, loud, .. } = parsed.command.command else { panic!() };
    assert_eq!((hosts, loud), (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(parsed.command.data, PathBuf::from("x"));
    assert_eq!(parsed.command.output, "table");
}

#[test]
fn flags_win_wherever_they_stand() {
    for line in ["thing --data f --host c go --output json", "thing go --host c --output=json --data f"] {
        let Ok(parsed) = PROGRAM.parse::<Cli>(&words(line), variables(&[("THING_DATA", "v")])) else {
            continue;
        };
        assert_eq!(parsed.command.data, PathBuf::from("f"));
        assert_eq!(parsed.command.output, "json");
        let settings = parsed.settings.unwrap();
        assert_eq!((settings.text("data"), settings.list("hosts")), (Some("f"), &["c".to_owned()][..]));
    }
    assert_eq!(parse("thing --data f go", &[("THING_DATA", "v")]).command.data, PathBuf::from("f"));
    assert!(parse("thing go --loud", &[("THING_LOUD", "false")]).settings.unwrap().switch("loud"));
}

#[test]
fn secrets_do_not_become_defaults_of_arguments() {
    let parsed = parse("thing go", &[("THING_KEY", "s3cret")]);
    let Thing::Go { key, .. } = parsed.command.command else { panic!() };
    assert_eq!(key, None);
    assert_eq!(parsed.settings.unwrap().secret("key").unwrap().as_deref(), Some("s3cret"));
}

#[test]
fn some_commands_look_at_no_settings() {
    assert!(PROGRAM.parse::<Cli>(&words("thing bare"), variables(&[("THING_OUTPUT", "xml")])).is_err());
    let bare = PROGRAM.parse::<Bare>(&words("thing bare"), variables(&[("THING_OUTPUT", "xml")])).unwrap();
    assert!(bare.settings.is_none());
}

#[derive(Debug, Parser)]
#[command(name = "thing")]
struct Bare {
    #[command(subcommand)]
    _command: BareCommand,
}

#[derive(Debug, Subcommand)]
enum BareCommand {
    Bare,
}

#[test]
fn a_misuse_is_one_line_that_says_where_to_look() {
    let cases = [
        (
            "thing go --lous",
            "unexpected argument '--lous' found; a similar argument exists: '--loud'",
            "thing go",
        ),
        ("thing bear", "unrecognized subcommand 'bear'; a similar subcommand exists: 'bare'", "thing"),
        ("thing go --speed 900", "invalid value '900' for '--speed <SPEED>': 900 is not in 0..=255", "thing"),
    ];
    for (line, detail, command) in cases {
        let misuse = misuse(line);
        assert_eq!(misuse.refusal.detail, detail);
        assert_eq!(misuse.remedy, format!("see `{command} --help`"));
    }
}

#[test]
fn help_names_variables_and_defaults_and_no_values() {
    let Err(Stop::Said(help)) =
        PROGRAM.parse::<Cli>(&words("thing go --help"), variables(&[("THING_KEY", "s3cret")]))
    else {
        panic!()
    };
    assert!(help.contains("Folder [env: THING_DATA] [default: ./d]"), "{help}");
    assert!(help.contains("[env: THING_KEY] (every user of this machine sees"), "{help}");
    assert!(!help.contains("s3cret"), "{help}");
}

#[test]
fn json_is_wanted_by_flag_or_variable_also_where_nothing_parses() {
    let none = Variables::default();
    for line in ["thing --output json bogus", "thing bogus --output=json"] {
        assert!(PROGRAM.wants_json(&words(line), &none));
    }
    let said = variables(&[("THING_OUTPUT", "json")]);
    assert!(PROGRAM.wants_json(&words("thing bogus"), &said));
    assert!(!PROGRAM.wants_json(&words("thing bogus --output table"), &said));
    assert!(!PROGRAM.wants_json(&words("thing"), &none));
}
