//! `burrow ext4-reader`: the sandboxed process that parses the file system of a snapshot.

use clap::Args;

use crate::{context::Context, output::CommandError, output::ExitStatus};

/// Parse the file system of a snapshot for the process that started this one
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Ext4Reader {}

impl Ext4Reader {
    /// Never called: `main` starts the reader before there is an async runtime.
    #[expect(clippy::unused_async, reason = "all commands have the same signature")]
    pub async fn run(self, _context: &Context) -> Result<ExitStatus, CommandError> {
        unreachable!("the reader runs in a process without an async runtime")
    }
}
