//! `burrow create`.

use clap::Args;
use protocol::{
    Code,
    api::workspace::NewWorkspace,
    workspace::{Phase, StartPriority},
};

use super::{
    wait::{Goal, WaitOptions},
    workspace,
};
use crate::{context::Context, output::CommandError};

/// Create a workspace and start it
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow create demo
  burrow create demo --template base --no-start
  burrow create demo --if-not-exists --timeout 5m")]
pub struct Create {
    /// Name of the workspace: 1 to 63 characters of a-z, 0-9 and -
    pub name: String,
    /// Template to create it from
    #[arg(long, env = "BURROW_TEMPLATE", default_value = "base")]
    pub template: String,
    /// Create it without starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    /// Succeed if it already exists
    #[arg(long, env = "BURROW_IF_NOT_EXISTS")]
    pub if_not_exists: bool,
    #[command(flatten)]
    pub wait: WaitOptions,
}

impl Create {
    /// Creates the workspace, starts it and waits until it runs.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let request = NewWorkspace {
            name: self.name.clone(),
            template: Some(self.template.clone()),
            start: Some(!self.no_start),
        };
        let created = match server.create_workspace(&request).await {
            Err(refused) if self.if_not_exists && refused.is(Code::NameTaken) => {
                let existing = workspace::find(&server, &self.name).await?;
                if self.no_start || existing.phase == Phase::Running {
                    existing
                } else {
                    workspace::begin_start(&server, &existing, StartPriority::default()).await?
                }
            }
            created => created?,
        };
        let created = if self.no_start {
            created
        } else {
            workspace::wait_for(context, &server, created, Goal::Running, self.wait).await?
        };
        workspace::print_outcome(context, &created)?;
        workspace::say_next_step(context, &created);
        Ok(())
    }
}
