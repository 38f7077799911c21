//! `burrow push`.

use clap::Args;

use super::{
    transfer::{TransferOptions, transfer},
    workspace::WorkspaceArgument,
};
use crate::{context::Context, output::CommandError};

/// Copy the home of a workspace to another server
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow push demo --to https://burrow.example.org
  burrow push demo --to https://burrow.example.org --as thesis --at 2h
  burrow --url http://127.0.0.1:8080 push demo --to https://burrow.example.org

Sign in to both servers first with `burrow login URL`. The last login is where commands go, unless
--url names another server. The servers need not reach each other: the data goes through this
computer.

Only what the other server does not have is sent. If the command is interrupted, run it again: it
continues where it stopped. Pushing again later updates the same workspace, which must be stopped;
its previous home is kept as a snapshot. If the pushed workspace is running, a snapshot of it is
sent, and it keeps running.")]
pub struct Push {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Address of the other server
    #[arg(long, env = "BURROW_TO", value_name = "URL")]
    pub to: String,
    #[command(flatten)]
    pub options: TransferOptions,
}

impl Push {
    /// Copies the home to the other server.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let (local, remote) = (context.server()?, context.other_server(&self.to)?);
        transfer(context, &local, &remote, &self.target.workspace, self.options).await
    }
}
