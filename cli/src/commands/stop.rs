//! `burrow stop`.

use clap::Args;
use protocol::workspace::Phase;

use super::{
    wait::{Goal, WaitOptions},
    workspace::{self, WorkspaceArgument},
};
use crate::{context::Context, output::CommandError};

/// Save the home of a workspace and stop it
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow stop demo
  burrow stop demo --no-wait")]
pub struct Stop {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    #[command(flatten)]
    pub wait: WaitOptions,
}

impl Stop {
    /// Stops the workspace and waits until its home is saved.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let stopping = if workspace.phase == Phase::Terminated {
            workspace
        } else {
            server.stop_workspace(workspace.id).await?
        };
        let stopped = workspace::wait_for(context, &server, stopping, Goal::Stopped, self.wait).await?;
        workspace::print_outcome(context, &stopped)
    }
}
