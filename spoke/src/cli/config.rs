//! `spoke config`.

use clap::parser::ValueSource;
use semantics::reason::Refusal;
use serde_json::json;

use super::args::{Args, ConfigCommand};
use super::print::Printer;
use crate::settings::{All, KEYS, Settings};

pub(super) fn run(settings: Settings, command: ConfigCommand, printer: Printer) -> Result<(), Refusal> {
    match command {
        ConfigCommand::Check { given } => {
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
    let command = <Args as clap::CommandFactory>::command();
    let matches = command.try_get_matches_from(std::env::args_os()).ok()?;
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
