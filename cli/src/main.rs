//! The `burrow` executable: parses and starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    burrow_cli::main()
}
