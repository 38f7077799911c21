//! `burrow hold`.

use std::time::Duration;

use clap::Args;
use protocol::api::workspace::HoldWorkspace;

use super::{
    wait::parse_duration,
    workspace::{self, WorkspaceArgument},
};
use crate::{
    context::Context,
    output::{CommandError, clock::Clock},
};

/// Keep a workspace running for a time, even if nobody uses it
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow hold demo 2h
  burrow hold demo
  burrow hold demo --release

Without a time, it runs as long as if it was used now. `burrow show` says what keeps a workspace awake and
when it stops. The operator limits the time. A stop ends it.")]
pub struct Hold {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// For how long, such as 90m or 2h
    #[arg(value_name = "TIME", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// Let it stop again when nobody uses it
    #[arg(long, env = "BURROW_RELEASE", conflicts_with = "time")]
    pub release: bool,
}

impl Hold {
    /// Holds or releases the workspace.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let found = workspace::find(&server, &self.target.workspace).await?;
        let seconds = if self.release { Some(0) } else { self.time.map(|time| time.as_secs()) };
        let held = server.hold_workspace(found.id, HoldWorkspace { seconds }).await?;
        let until = held.idle.as_ref().and_then(|idle| idle.held_until);
        context.output.say(&match until {
            Some(until) => format!("{} runs until {} at least", held.name, Clock::read().wall(until)),
            None => format!("{} stops when nobody has used it for a while", held.name),
        });
        workspace::print_outcome(context, &held)
    }
}
