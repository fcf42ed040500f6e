//! `spoke config`.

use clap::parser::ValueSource;
use clap::{Args, FromArgMatches};
use semantics::reason::{Reason, Refusal};
use semantics::spelling;
use serde_json::json;

use super::args::ConfigCommand;
use super::print::Printer;
use super::run;
use crate::settings::{All, Hubs, KEYS, Settings, Syncing};

pub(super) fn run(settings: Settings, command: ConfigCommand, printer: Printer) -> Result<(), Refusal> {
    match command {
        ConfigCommand::Check { given } => {
            variables()?;
            run::log_filter()?;
            let settings = with(settings, &given)?;
            settings.check()?;
            printer.show(&json!({"valid": true, "file": settings.path()}))
        }
        ConfigCommand::Print { given } => {
            let settings = with(settings, &given)?;
            let row = |key: &str| json!({"setting": key, "value": settings.shown(key), "from": from(&settings, key)});
            let rows: Vec<_> = KEYS.into_iter().map(row).collect();
            printer.show(&json!({"settings": rows}))
        }
    }
}

fn with(settings: Settings, given: &All) -> Result<Settings, Refusal> {
    settings.with(&given.hubs)?.with(&given.joining)?.with(&given.syncing)
}

/// The settings with what the variables say of how hubs are reached, for commands without flags for it.
pub(super) fn with_variables(settings: Settings) -> Result<Settings, Refusal> {
    let command = <Syncing as Args>::augment_args(<Hubs as Args>::augment_args(clap::Command::new("spoke")));
    let malformed = |error: clap::Error| Refusal::new(Reason::Malformed, super::complaint(&error));
    let said = command.try_get_matches_from(["spoke"]).map_err(malformed)?;
    let (hubs, syncing) = (Hubs::from_arg_matches(&said), Syncing::from_arg_matches(&said));
    settings.with(&hubs.map_err(malformed)?)?.with(&syncing.map_err(malformed)?)
}

/// How the names of our variables begin.
const PREFIX: &str = "SPOKE_";
/// Variables that no flag stands for.
const WITHOUT_FLAG: [&str; 1] = [run::LOG_VARIABLE];

/// A variable of ours that no command reads is a misspelled one.
pub(super) fn variables() -> Result<(), Refusal> {
    fn add(command: &clap::Command, all: &mut Vec<String>) {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        all.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|below| add(below, all));
    }
    let mut known: Vec<String> = WITHOUT_FLAG.map(str::to_owned).into();
    add(&super::command(), &mut known);
    let given = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let Some((name, near)) = spelling::unread_variable(PREFIX, &known, given) else { return Ok(()) };
    let detail = format!("variable {name} is read by nothing: unset it; did you mean {near}?");
    Err(Refusal::new(Reason::Malformed, detail))
}

/// Where a setting's value comes from.
fn from(settings: &Settings, key: &str) -> String {
    match (settings.said(key), settings.path()) {
        (Some((_, true)), Some(path)) => format!("file {}", path.display()),
        (Some(_), _) => said(key).unwrap_or_else(|| "flag".to_owned()),
        (None, _) => "default".to_owned(),
    }
}

/// The flag or variable that says what an argument is, if one does.
fn said(key: &str) -> Option<String> {
    let matches = super::command().try_get_matches_from(std::env::args_os()).ok()?;
    let mut level = Some(&matches);
    while let Some(matches) = level {
        let source = matches.try_contains_id(key).ok().and_then(|_| matches.value_source(key));
        match source {
            Some(ValueSource::CommandLine) => return Some("flag".to_owned()),
            Some(ValueSource::EnvVariable) => {
                return Some(format!("variable SPOKE_{}", key.to_ascii_uppercase()));
            }
            _ => level = matches.subcommand().map(|(_, below)| below),
        }
    }
    None
}
