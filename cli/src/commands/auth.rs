//! `burrow auth status`.

use clap::{Args, Subcommand};

use crate::{
    context::Context,
    output::{self, CommandError, Format},
};

/// Show who is signed in
#[derive(Debug, Args)]
pub struct Auth {
    #[command(subcommand)]
    pub command: AuthCommand,
}

/// The subcommands of `burrow auth`.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Show the server, the user and when the session expires
    #[command(after_long_help = "\
Examples:
  burrow auth status
  burrow auth status -o json")]
    Status,
}

impl Auth {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            AuthCommand::Status => status(context).await,
        }
    }
}

async fn status(context: &Context) -> Result<(), CommandError> {
    let server = context.server()?;
    let session = server.session().await?;
    if context.output.format == Format::Json {
        return context.output.json(&serde_json::json!({ "url": server.url(), "session": session }));
    }
    if context.output.quiet || context.output.format == Format::Name {
        return output::line(&session.user.email);
    }
    let role = format!("{:?}", session.user.role).to_lowercase();
    output::line(&format!("Server:   {}", server.url()))?;
    output::line(&format!("User:     {} <{}>", output::printable(&session.user.name), session.user.email))?;
    output::line(&format!("Role:     {role} of {}", output::printable(&session.user.tenant_name)))?;
    output::line(&format!("Expires:  {}", session.expires_at.date()))
}
