//! `burrow pull`.

use clap::Args;

use super::transfer::{TransferOptions, transfer};
use crate::{context::Context, output::CommandError};

/// Copy the home of a workspace from another server to this one
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow pull demo --from https://burrow.example.org
  burrow pull demo --from https://burrow.example.org --as demo-from-work

This is `burrow push` in the other direction. Only what this server does not have is fetched.")]
pub struct Pull {
    /// Name of the workspace on the other server
    pub workspace: String,
    /// Address of the other server
    #[arg(long, env = "BURROW_FROM", value_name = "URL")]
    pub from: String,
    #[command(flatten)]
    pub options: TransferOptions,
}

impl Pull {
    /// Copies the home from the other server.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let (local, remote) = (context.server()?, context.other_server(&self.from)?);
        transfer(context, &remote, &local, &self.workspace, self.options).await
    }
}
