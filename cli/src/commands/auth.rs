//! `burrow auth status`.

use clap::{Args, Subcommand};

use protocol::api::auth::ConfirmPassword;

use crate::{
    context::Context,
    output::{self, CommandError, Format},
    password::PasswordSource,
};

/// Show who is signed in, and confirm your password
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
    /// Prove your password, for commands that ask for it
    #[command(after_long_help = "\
Examples:
  burrow auth confirm
  burrow auth confirm --password - < password.txt

The proof counts for 15 minutes. Commands that need it ask for the password themselves if there is a
terminal.")]
    Confirm(PasswordSource),
}

impl Auth {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            AuthCommand::Status => status(context).await,
            AuthCommand::Confirm(source) => confirm(context, &source).await,
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
    if let Some(scope) = session.token_scope {
        output::line(&format!("Scope:    {}", scope.as_str()))?;
    }
    if let Some(at) = session.destroy_key_at {
        let name = output::printable(&session.user.tenant_name);
        output::line(&format!("Warning:  the homes of {name} are going to be destroyed on {}", at.date()))?;
    }
    output::line(&format!("Expires:  {}", session.expires_at.date()))
}

async fn confirm(context: &Context, source: &PasswordSource) -> Result<(), CommandError> {
    let server = context.server()?;
    let password = source.read(context, &server, "burrow auth confirm --password - < file").await?;
    server.confirm_password(&ConfirmPassword { password }).await?;
    context.output.say("Confirmed for 15 minutes");
    Ok(())
}
