//! The commands of `hubward`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use semantics::reason::{Reason, Refusal};

mod client;
mod operate;
mod output;
mod process;

use self::output::Printer;
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
    #[arg(long, global = true, requires = "token_file")]
    hub: Option<String>,
    /// File of the operator credential for that hub.
    #[arg(long, global = true)]
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
    #[command(flatten)]
    Operate(operate::Operate),
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
    let args: Vec<String> = args.collect();
    let asks_for_json = args.iter().any(|arg| arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if !error.use_stderr() || !asks_for_json {
        error.exit();
    }
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let detail = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let detail = detail.strip_prefix("error: ").unwrap_or(&detail);
    Printer { format: Format::Json }.refused(&Refusal::new(Reason::Malformed, detail));
    ExitCode::from(USAGE)
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
            Command::Operate(operate) => {
                let at =
                    client::At { data: self.data, hub: self.hub, token_file: self.token_file, ca: self.ca };
                operate.run(&at, printer).await
            }
        }
    }
}
