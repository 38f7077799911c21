//! `burrow start`.

use clap::Args;
use protocol::workspace::StartPriority;

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
  burrow start demo --no-wait
  burrow start demo --batch --no-wait

If the server is full, the start waits in a queue; its place and an estimate are shown. Ctrl-C ends the
command and keeps the place; `burrow stop` cancels the start.")]
pub struct Start {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Nobody waits for it: other starts of your organisation go first
    #[arg(long, env = "BURROW_BATCH")]
    pub batch: bool,
    #[command(flatten)]
    pub wait: WaitOptions,
}

impl Start {
    /// Starts the workspace and waits until it runs.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let priority = if self.batch { StartPriority::Batch } else { StartPriority::Interactive };
        let starting = workspace::begin_start(&server, &workspace, priority).await?;
        let started = workspace::wait_for(context, &server, starting, Goal::Running, self.wait).await?;
        workspace::print_outcome(context, &started)
    }
}
