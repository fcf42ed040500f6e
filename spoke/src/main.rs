//! The binary `spoke`.

use std::process::ExitCode;

fn main() -> ExitCode {
    semantics::fault::plant_named(std::env::var(semantics::fault::VARIABLE).ok().as_deref());
    spoke::cli::main()
}
