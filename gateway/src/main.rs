//! The binary `hubward`.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::Cli;

fn main() -> ExitCode {
    semantics::fault::plant_named(std::env::var(semantics::fault::VARIABLE).ok().as_deref());
    gateway::cli::run(Cli::parse())
}
