//! The commands of `hubward`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use semantics::reason::{Reason, Refusal};

mod backup;
mod client;
mod consensus;
mod doctor;
mod health;
mod keys;
mod operate;
mod output;
mod process;

use self::output::Printer;
use crate::ambient::{Clock, SystemClock};
use crate::config::{DATA, Given};

/// How long threads may take to end when the command is done.
const EXIT_WITHIN: Duration = Duration::from_millis(500);

/// The Hubward hub and the commands of its operators.
#[derive(Debug, Parser)]
#[command(name = "hubward", version, about)]
pub struct Cli {
    /// Folder of the hub's files; operator commands find the local hub and credential there.
    #[arg(long, global = true, env = "HUBWARD_DATA", default_value = DATA)]
    data: PathBuf,
    /// A hub elsewhere, as https://HOST:PORT of its operator listener.
    #[arg(long, global = true, env = "HUBWARD_HUB")]
    hub: Option<String>,
    /// File of the operator credential for that hub; the credential itself may stand in HUBWARD_TOKEN.
    #[arg(long, global = true, env = "HUBWARD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File of that hub's CA certificate (`hubward ca show`); without it the CA in the data folder.
    #[arg(long, global = true)]
    ca: Option<PathBuf>,
    /// How answers and errors are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object.
    Json,
    /// For people.
    Table,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the hub.
    Serve {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Makes or upgrades the store, the keys and the operator credential.
    Migrate {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// The keys of access tokens: in the data folder, and what the store knows of them.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Backups of the store.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Begins again from a backup: puts it into an empty store, as a new log that knows the old one.
    Restore {
        /// The backup's folder.
        folder: PathBuf,
        /// Gives up what the store holds now; a replaced file is kept beside the new one.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// The settings of `serve`: flags, then variables HUBWARD_…, then the settings file, then defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Asks whether the hub is ready: exit code 0 when it is.
    Health,
    /// Looks at the hub as it lies there: logs, chains, sums of records, nodes, the store. Problems first, each with what
    /// to do; exit code 3 when one of them is a fault.
    Doctor(doctor::Doctor),
    /// Prints a script that completes the words of this command; your shell's manual says where it belongs.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Which of several states of one identity would win.
    #[command(subcommand)]
    Consensus(consensus::ConsensusCommand),
    #[command(flatten)]
    Operate(operate::Operate),
    /// Who operates the hub, and what they may do.
    #[command(subcommand)]
    Operator(operate::operators::Operator),
    /// Access tokens for services: instead of an operator's credential with each call.
    #[command(subcommand)]
    AccessToken(operate::access_token::AccessToken),
    /// Who did what, and when.
    #[command(subcommand)]
    Audit(operate::audit::AuditCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Checks them without using them.
    Check {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Shows each and where its value comes from; secrets are not shown.
    Print {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// The command line, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The flag or variable that says what an argument is, if one does.
fn said(id: &str) -> Option<String> {
    let matches = Cli::command().try_get_matches_from(std::env::args_os()).ok()?;
    let mut level = Some(&matches);
    while let Some(matches) = level {
        let source = matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id));
        match source {
            Some(ValueSource::CommandLine) => return Some("flag".to_owned()),
            Some(ValueSource::EnvVariable) => {
                return Some(format!("variable HUBWARD_{}", id.to_ascii_uppercase()));
            }
            _ => level = matches.subcommand().map(|(_, below)| below),
        }
    }
    None
}

/// Exit code of a command line that cannot be read.
const USAGE: u8 = 2;

/// Runs the command that the process was started with, to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => unread(&error, std::env::args()),
    }
}

/// A command line that cannot be read, or that asks for help. Scripts that ask for JSON get the error as JSON too.
fn unread(error: &clap::Error, args: impl Iterator<Item = String>) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let args: Vec<String> = args.collect();
    let asks_for_json = args.iter().any(|arg| arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if !error.use_stderr() || (is_help && !asks_for_json) {
        error.exit();
    }
    let format = if asks_for_json { Format::Json } else { Format::Table };
    Printer { format }.refused(&Refusal::new(Reason::Malformed, complaint(error)));
    ExitCode::from(USAGE)
}

/// What is wrong with a command line and how it is used, in one line.
fn complaint(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("For more information").next().unwrap_or_default();
    let (wrong, usage) = text.split_once("Usage:").unwrap_or((text, ""));
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wrong = one_line(wrong.trim_start_matches("error:")).replace(" tip: ", "; ");
    let usage = one_line(usage.lines().next().unwrap_or_default());
    if usage.is_empty() { wrong } else { format!("{wrong}; usage: {usage}") }
}

/// Runs a command to its exit code.
fn run(cli: Cli) -> ExitCode {
    let printer = Printer { format: cli.output };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.run(printer));
            // What is left by now waits for nobody.
            runtime.shutdown_timeout(EXIT_WITHIN);
            done
        }
        Err(error) => Err(Refusal::new(Reason::Internal, format!("cannot start the runtime: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            printer.refused(&refusal);
            ExitCode::from(refusal.reason.class().exit_code())
        }
    }
}

impl Cli {
    async fn run(self, printer: Printer) -> Result<(), Refusal> {
        match self.command {
            Command::Serve { given, config } => process::serve(given, config, self.data).await,
            Command::Migrate { given, config } => process::migrate(given, config, self.data, printer).await,
            Command::Keys(command) => command.run(self.data, printer).await,
            Command::Backup(command) => command.run(self.data, printer).await,
            Command::Restore { folder, replace, given, config } => {
                backup::restore(&folder, replace, (given, config), self.data, printer).await
            }
            Command::Config(ConfigCommand::Check { given, config }) => {
                process::check(given, config, self.data, printer)
            }
            Command::Config(ConfigCommand::Print { given, config }) => {
                process::print(given, config, self.data, &said, printer)
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command(), "hubward", &mut script);
                output::raw(&script);
                Ok(())
            }
            Command::Consensus(command) => consensus::run(&command, printer),
            Command::Health => {
                let at = client::At { data: self.data, hub: self.hub, token: None, ca: self.ca };
                health::run(&at, printer).await
            }
            Command::Doctor(doctor) => {
                let token = credential(self.token_file)?;
                let at = client::At { data: self.data, hub: self.hub, token, ca: self.ca };
                doctor.run(&at, printer).await
            }
            Command::Operate(operate) => {
                let token = credential(self.token_file)?;
                let at = client::At { data: self.data, hub: self.hub, token, ca: self.ca };
                operate.run(&at, printer).await
            }
            Command::Audit(audit) => {
                let token = credential(self.token_file)?;
                let at = client::At { data: self.data, hub: self.hub, token, ca: self.ca };
                audit.run(&at, SystemClock.now_ms(), printer).await
            }
            Command::Operator(operator) => {
                let token = credential(self.token_file)?;
                let at = client::At { data: self.data, hub: self.hub, token, ca: self.ca };
                operator.run(&at, printer).await
            }
            Command::AccessToken(token) => {
                let credential = credential(self.token_file)?;
                let at = client::At { data: self.data, hub: self.hub, token: credential, ca: self.ca };
                token.run(&at, printer).await
            }
        }
    }
}

/// The operator credential, where the environment or a file gives one.
fn credential(file: Option<PathBuf>) -> Result<Option<String>, Refusal> {
    match (std::env::var("HUBWARD_TOKEN").ok(), file) {
        (Some(_), Some(_)) => {
            let detail = "HUBWARD_TOKEN and the token file are both given: give one of them";
            Err(Refusal::new(Reason::Malformed, detail))
        }
        (None, Some(path)) => Ok(Some(crate::config::secret("token_file", &path)?)),
        (token, None) => Ok(token),
    }
}
