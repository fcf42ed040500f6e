//! The commands of `hubward`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use semantics::reason::{Reason, Refusal};
use shell::completion::{self, Shell};
use shell::{Parsed, Resolved};

mod client;
mod health;
mod operate;
mod output;
mod process;

use self::output::Printer;
use crate::config::Given;
use crate::settings::PROGRAM;

/// How long threads may take to end when the command is done.
const EXIT_WITHIN: Duration = Duration::from_millis(500);

/// Heading of the flags that every command takes.
const EVERYWHERE: &str = "Every command";

/// The Hubward hub and the commands of its operators.
#[derive(Debug, Parser)]
#[command(name = "hubward", version, about)]
pub struct Cli {
    /// Folder of the hub's files; operator commands find the local hub and credential there.
    #[arg(long, global = true, help_heading = EVERYWHERE, required = false, value_name = "DIR")]
    data: PathBuf,
    /// Settings as TOML; flags and variables win.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A hub elsewhere, as https://HOST:PORT of its operator listener.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "URL")]
    hub: Option<String>,
    /// File of the operator credential for that hub.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File of that hub's CA certificate (`hubward ca show`); without it the CA in the data folder.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How answers and errors are printed.
    #[arg(long, global = true, help_heading = EVERYWHERE, required = false, value_enum)]
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
    },
    /// Makes or upgrades the store, the keys and the operator credential.
    Migrate {
        #[command(flatten)]
        given: Given,
    },
    /// The settings: flags, variables HUBWARD_…, settings file.
    #[command(subcommand)]
    Config(Config),
    /// Asks whether the hub is ready: exit code 0 when it is.
    Health,
    /// Prints a script that completes the words of this command; your shell's manual says where it belongs.
    Completions {
        /// The shell.
        shell: Shell,
    },
    #[command(flatten)]
    Operate(operate::Operate),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Checks the settings without using them: flags, variables, file, and that secrets can be read.
    Check {
        #[command(flatten)]
        given: Given,
    },
    /// Shows every setting and where its value comes from; secrets are not shown.
    Print {
        #[command(flatten)]
        given: Given,
    },
}

/// The command line, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    PROGRAM.command::<Cli>()
}

/// Runs the command that the process was started with, to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    PROGRAM.start::<Cli>(|Parsed { command, settings }| match settings {
        Some(settings) => run(command, &settings),
        None => without_settings(&command.command),
    })
}

fn without_settings(asked: &Command) -> ExitCode {
    if let Command::Completions { shell } = asked {
        output::raw(&completion::script(*shell, command()));
    }
    ExitCode::SUCCESS
}

fn run(cli: Cli, settings: &Resolved) -> ExitCode {
    let printer = Printer { format: cli.output };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.run(settings, printer));
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
    async fn run(self, settings: &Resolved, printer: Printer) -> Result<(), Refusal> {
        let given = |given: Given| -> Result<Given, Refusal> {
            let database_url = settings.secret("database_url")?;
            Ok(Given { database_url, data: Some(self.data.clone()), ..given })
        };
        match self.command {
            Command::Serve { given: said } => process::serve(given(said)?).await,
            Command::Migrate { given: said } => process::migrate(given(said)?, printer).await,
            Command::Config(Config::Check { given: said }) => {
                settings.check_secrets()?;
                process::check(given(said)?, settings, printer)
            }
            Command::Config(Config::Print { .. }) => {
                process::print(settings, printer);
                Ok(())
            }
            Command::Completions { .. } => Ok(()),
            Command::Health => {
                health::run(&client::At { data: self.data, hub: self.hub, token: None, ca: self.ca }, printer)
                    .await
            }
            Command::Operate(operate) => {
                let token = settings.secret("token")?;
                let at = client::At { data: self.data, hub: self.hub, token, ca: self.ca };
                operate.run(&at, printer).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
