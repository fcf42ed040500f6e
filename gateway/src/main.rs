//! The binary `hubward`.

use std::process::ExitCode;

fn main() -> ExitCode {
    semantics::fault::plant_named(std::env::var(semantics::fault::VARIABLE).ok().as_deref());
    gateway::cli::main()
}
