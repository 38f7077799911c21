//! `burrow delete`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::workspace;
use crate::{
    context::Context,
    output::{CommandError, ErrorKind},
};

/// Delete a workspace and its home
#[derive(Debug, Args)]
#[command(
    visible_alias = "rm",
    after_long_help = "\
Examples:
  burrow delete demo
  burrow delete demo --yes

A deleted workspace can be restored with `burrow undelete` for some days."
)]
pub struct Delete {
    /// Name of the workspace
    #[arg(add = ArgValueCandidates::new(super::candidates::workspaces))]
    pub workspace: String,
    /// Do not ask for confirmation
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
    /// Succeed if it does not exist
    #[arg(long, env = "BURROW_IGNORE_NOT_FOUND")]
    pub ignore_not_found: bool,
}

impl Delete {
    /// Deletes the workspace after a confirmation.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = match workspace::find(&server, &self.workspace).await {
            Err(error) if error.kind == ErrorKind::NotFound && self.ignore_not_found => return Ok(()),
            found => found?,
        };
        let (name, owner) = (&workspace.name, &workspace.owner_name);
        let action = format!("deletes workspace {name} of {owner}, with its home and all snapshots");
        context.confirm(self.yes, &action, name)?;
        server.delete_workspace(workspace.id).await?;
        context.output.say(&format!("Deleted {name}. To restore it: burrow undelete {name}"));
        Ok(())
    }
}
