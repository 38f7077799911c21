//! `burrow open`: a workspace in the browser.

use clap::Args;

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, browser},
};

/// Open a workspace in the browser
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow open demo

Prints the address if there is no browser to open.")]
pub struct Open {
    #[command(flatten)]
    pub target: WorkspaceArgument,
}

impl Open {
    /// Opens the page, or prints its address.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let url = server.workspace_url(workspace.id);
        if context.output.format == output::Format::Json {
            return context.output.json(&serde_json::json!({ "url": url }));
        }
        if context.output.quiet || !browser::open(&url) {
            return output::line(&url);
        }
        context.output.say(&format!("Opened {url}"));
        Ok(())
    }
}
