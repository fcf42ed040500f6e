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

/// Runs a command to its exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
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
