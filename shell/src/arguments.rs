//! From the words of a command line to a command whose settings are found.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::OsStr;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};
use semantics::reason::Refusal;

use crate::settings::{CONFIG, OUTPUT, Program, file_key};
use crate::sources::{Resolved, SettingsFile, Sources, Variables};
use crate::usage::{self, Misuse};

/// A command and the settings it runs with.
#[derive(Debug)]
pub struct Parsed<C> {
    /// The command.
    pub command: C,
    /// The settings; `None` for a command that has none.
    pub settings: Option<Resolved>,
}

/// Why there is no command to run.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for: this is it.
    Said(String),
    /// The help, because nothing was asked for.
    Help(String),
    /// The words make no command.
    Misuse(Misuse),
    /// The settings cannot be.
    Refused(Refusal),
}

impl Program {
    /// The command line as clap knows it, with variables and defaults in its help.
    #[must_use]
    pub fn command<C: Parser>(&self) -> Command {
        dress(C::command(), &|arg| self.described(arg))
    }

    /// Finds the settings, then the command.
    ///
    /// # Errors
    /// What to print instead.
    pub fn parse<C: Parser>(&self, words: &[OsString], variables: Variables) -> Result<Parsed<C>, Stop> {
        let stop = |error: clap::Error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Said(error.render().to_string()),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Help(error.render().to_string()),
            _ => Stop::Misuse(usage::misuse(self, &error)),
        };
        let command = self.command::<C>();
        let is_setting = |arg: &Arg| self.setting(arg.get_id().as_str()).is_some();
        let lenient = dress(command.clone(), &|arg| if is_setting(&arg) { arg.required(false) } else { arg });
        let matches = lenient.try_get_matches_from(words).map_err(stop)?;
        if matches.subcommand_name().is_some_and(|name| self.without_settings.contains(&name)) {
            let command = C::from_arg_matches(&matches).map_err(stop)?;
            return Ok(Parsed { command, settings: None });
        }
        let flags = self.flags(&matches);
        let file = SettingsFile::find(self, &flags, &variables).map_err(Stop::Refused)?;
        let settings = Sources { flags, variables, file }.resolve(self).map_err(Stop::Refused)?;
        let matches =
            dress(command, &|arg| settled(arg, &settings)).try_get_matches_from(words).map_err(stop)?;
        let command = C::from_arg_matches(&matches).map_err(stop)?;
        Ok(Parsed { command, settings: Some(settings) })
    }

    /// Whether errors are to be JSON, also where the words make no command.
    #[must_use]
    pub fn wants_json(&self, words: &[OsString], variables: &Variables) -> bool {
        let flag = format!("--{OUTPUT}");
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        let joined = words.iter().rev().find_map(|word| word.strip_prefix(&flag)?.strip_prefix('='));
        let apart = words.windows(2).rev().find_map(|pair| match pair {
            [name, value] if *name == flag => Some(*value),
            _ => None,
        });
        joined.or(apart).or_else(|| variables.get(&self.variable(OUTPUT))) == Some("json")
    }

    /// The flags of an argument, by its id, anywhere below a command.
    #[must_use]
    pub fn flag(command: &Command, id: &str) -> Option<String> {
        let own = command.get_arguments().find(|arg| arg.get_id() == id).and_then(Arg::get_long);
        own.map(|long| format!("--{long}"))
            .or_else(|| command.get_subcommands().find_map(|below| Self::flag(below, id)))
    }

    fn described(&self, arg: Arg) -> Arg {
        let id = arg.get_id().as_str().to_owned();
        let of_secret = self.settings.iter().find(|s| s.is_secret && file_key(s.key) == id);
        let mut more = Vec::new();
        if id == CONFIG || of_secret.is_some() {
            more.push(format!("[env: {}]", self.variable(&id)));
        } else if let Some(setting) = self.setting(&id) {
            more.push(format!("[env: {}]", self.variable(&id)));
            more.extend(setting.default.map(|value| format!("[default: {value}]")));
            if setting.is_secret {
                more.push("(every user of this machine sees a command line: prefer the file)".to_owned());
            }
        } else {
            return arg;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} {}", more.join(" ")))
    }

    /// What was said on the command line, by key.
    fn flags(&self, matches: &ArgMatches) -> BTreeMap<String, Vec<String>> {
        let mut flags = BTreeMap::new();
        let mut level = Some(matches);
        while let Some(matches) = level {
            for key in self.keys().into_iter().chain([CONFIG.to_owned()]) {
                let is_there = matches.try_contains_id(&key).unwrap_or(false);
                if is_there && matches.value_source(&key) == Some(ValueSource::CommandLine) {
                    let raw = matches.try_get_raw(&key).ok().flatten();
                    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
                    let values: Vec<String> =
                        raw.map(|values| values.map(text).collect()).unwrap_or_default();
                    // A switch has no value: that it is there says true.
                    let values = if values.is_empty() { vec!["true".to_owned()] } else { values };
                    flags.insert(key, values);
                }
            }
            level = matches.subcommand().map(|(_, below)| below);
        }
        flags
    }
}

fn settled(arg: Arg, settings: &Resolved) -> Arg {
    match settings.defaults(arg.get_id().as_str()) {
        Some(values) => {
            arg.required(false).default_values(values.iter().map(|value| OsStr::from(value.clone())))
        }
        None => arg,
    }
}

/// Changes every argument of a command and of those below it.
fn dress(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = command.mut_args(change);
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| dress(below, change)))
}

#[cfg(test)]
mod tests;
