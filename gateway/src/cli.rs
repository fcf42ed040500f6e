//! The commands of `hubward`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod client;
mod operate;
mod output;
mod process;

use self::output::Printer;
use crate::config::{DATA, Given};

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
    let done = match (runtime, cli.command) {
        (Err(error), _) => Err(semantics::reason::Refusal::new(
            semantics::reason::Reason::Internal,
            format!("cannot start the runtime: {error}"),
        )),
        (Ok(runtime), Command::Serve { given, config }) => {
            runtime.block_on(process::serve(given, config, cli.data))
        }
        (Ok(runtime), Command::Migrate { given, config }) => {
            runtime.block_on(process::migrate(given, config, cli.data, printer))
        }
        (Ok(runtime), Command::Operate(operate)) => {
            let at = client::At { data: cli.data, hub: cli.hub, token_file: cli.token_file, ca: cli.ca };
            runtime.block_on(operate.run(&at, printer))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            printer.refused(&refusal);
            ExitCode::from(refusal.reason.class().exit_code())
        }
    }
}
