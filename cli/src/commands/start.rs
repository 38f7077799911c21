//! `burrow start`.

use clap::Args;

use super::{
    wait::{Goal, WaitOptions},
    workspace::{self, WorkspaceArgument},
};
use crate::{context::Context, output::CommandError};

/// Start a workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow start demo
  burrow start demo --no-wait")]
pub struct Start {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    #[command(flatten)]
    pub wait: WaitOptions,
}

impl Start {
    /// Starts the workspace and waits until it runs.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let starting = workspace::begin_start(&server, &workspace).await?;
        let started = workspace::wait_for(context, &server, starting, Goal::Running, self.wait).await?;
        workspace::print_outcome(context, &started)
    }
}
