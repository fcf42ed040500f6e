//! The binary `hubward`.

use std::process::ExitCode;

/// A third of a hub's time went into the system's allocator, and what it had once taken it did not give back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    semantics::fault::plant_named(std::env::var(semantics::fault::VARIABLE).ok().as_deref());
    gateway::cli::main()
}
