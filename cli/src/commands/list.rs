//! `burrow list`: the workspaces, or those that were deleted and can still be restored.

use clap::Args;
use protocol::{Access, api::workspace::DeletedList};

use super::workspace;
use crate::{context::Context, output::CommandError};

/// List workspaces
#[derive(Debug, Args)]
#[command(
    visible_alias = "ls",
    after_long_help = "\
Examples:
  burrow list
  burrow list --all
  burrow list -o json
  burrow list --deleted"
)]
pub struct List {
    /// List everyone's workspaces that you can see, not only your own
    #[arg(short, long, env = "BURROW_ALL")]
    pub all: bool,
    /// List deleted workspaces that can still be undeleted
    #[arg(long, env = "BURROW_DELETED")]
    pub deleted: bool,
}

impl List {
    /// Prints one row per workspace.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        if self.deleted {
            let DeletedList { workspaces } = server.deleted_workspaces().await?;
            context.output.list(&workspaces)?;
            if workspaces.is_empty() && context.output.format.is_human() {
                context.output.say("There are no deleted workspaces.");
            }
            return Ok(());
        }
        let mut workspaces = workspace::all(&server).await?;
        let total = workspaces.len();
        if !self.all {
            // Only their owner may write to them.
            workspaces.retain(|workspace| workspace.access == Access::Write);
        }
        context.output.list(&workspaces)?;
        if context.output.format.is_human() {
            let others = total - workspaces.len();
            if others > 0 {
                context.output.say(&format!("{others} of other users: burrow list --all"));
            } else if workspaces.is_empty() {
                context.output.say("There are no workspaces yet. Create one: burrow create NAME");
            }
        }
        Ok(())
    }
}
