//! `burrow terminals`.

use clap::Args;
use protocol::terminal::{TerminalInfo, TerminalList};
use time::OffsetDateTime;

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, Record},
};

/// List the terminals of a workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow terminals demo
  burrow attach demo --terminal 0199f0aa")]
pub struct Terminals {
    #[command(flatten)]
    pub target: WorkspaceArgument,
}

impl Terminals {
    /// Prints one row per terminal.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let TerminalList { terminals, .. } = server.terminals(workspace.id).await?;
        context.output.list(&terminals)
    }
}

impl Record for TerminalInfo {
    const COLUMNS: &'static [&'static str] = &["id", "title", "size", "viewers", "state", "started"];

    fn cells(&self) -> Vec<String> {
        let started =
            OffsetDateTime::from_unix_timestamp(self.created_at / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        vec![
            self.id.to_string(),
            output::printable(self.name.as_ref().unwrap_or(&self.title)),
            format!("{}×{}", self.size.cols, self.size.rows),
            self.viewers.to_string(),
            self.exit.map_or_else(|| "running".to_owned(), |exit| format!("exited ({})", exit.status())),
            output::ago(started, OffsetDateTime::now_utc()),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}
