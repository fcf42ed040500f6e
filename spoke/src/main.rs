//! The binary `spoke`.

use std::process::ExitCode;

fn main() -> ExitCode {
    spoke::cli::main()
}
