//! The binary `hubward`.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::Cli;

fn main() -> ExitCode {
    gateway::cli::run(Cli::parse())
}
