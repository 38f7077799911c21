//! `burrow open`: a workspace, or the preview of one of its ports, in the browser.

use clap::Args;

use super::{
    ports::{OptionalWorkspace, parse_port_argument},
    workspace,
};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, browser},
};

/// Open a workspace or one of its ports in the browser
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow open demo
  burrow open demo --port 3000

Prints the address if there is no browser to open.")]
pub struct Open {
    #[command(flatten)]
    pub target: OptionalWorkspace,
    /// Open the preview of this port
    #[arg(short, long, env = "BURROW_PORT", value_name = "PORT", value_parser = parse_port_argument)]
    pub port: Option<u16>,
}

impl Open {
    /// Opens the page, or prints its address.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find_or_only_running(&server, self.target.workspace.as_deref()).await?;
        let url = match self.port {
            None => server.workspace_url(workspace.id),
            Some(port) => {
                if server.port_settings(workspace.id).await?.preview.is_none() {
                    let what = "Cannot open the port: the server has no addresses for previews";
                    let hint = format!("burrow forward {} {port}", output::shell_word(&workspace.name));
                    return Err(CommandError::new(ErrorKind::Usage, what).hint(hint));
                }
                server.preview_url(workspace.id, port)
            }
        };
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
