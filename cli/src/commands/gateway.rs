//! `burrow gateway`: the process that accepts connections.

use clap::Args;

use crate::{context::Context, output::CommandError, output::ExitStatus};

/// Accept connections; reads its specification from standard input
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Gateway {}

impl Gateway {
    /// Never called: `main` starts the gateway before there is an async runtime.
    #[expect(clippy::unused_async, reason = "all commands have the same signature")]
    pub async fn run(self, _context: &Context) -> Result<ExitStatus, CommandError> {
        unreachable!("the gateway gives up its privileges before it has an async runtime")
    }
}
