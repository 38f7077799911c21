//! The reading process alone, as `burrow ext4-reader` is it: what the tests start.

use std::process::ExitCode;

fn main() -> ExitCode {
    burrow_reader::child::main()
}
