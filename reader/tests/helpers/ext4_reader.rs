//! The reader alone, like `burrow ext4-reader`: what the tests start.

use std::process::ExitCode;

fn main() -> ExitCode {
    burrow_reader::child::main()
}
