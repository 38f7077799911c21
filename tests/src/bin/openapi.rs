//! Prints the OpenAPI document of the whole public API: the controller's routes and the agent's.
//! `cargo xtask prepare` records it; the gateway serves the record at `/openapi.json`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match burrow_tests::openapi::document().to_pretty_json() {
        Ok(document) => {
            println!("{document}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Cannot write the OpenAPI document: {error}");
            ExitCode::FAILURE
        }
    }
}
