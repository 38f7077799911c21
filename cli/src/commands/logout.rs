//! `burrow logout`.

use clap::Args;

use crate::{
    context::Context,
    output::{CommandError, ErrorKind, progress},
    server::{
        Server,
        credentials::{self, Credentials},
    },
};

/// Sign out, and revoke the token on the server
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow logout
  burrow logout --url https://burrow.example.org")]
pub struct Logout {}

impl Logout {
    /// Deletes the credentials here, then revokes the token on the server.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let path = credentials::path()?;
        let mut credentials = Credentials::load(&path)?;
        let Some(wanted) = context.url().or(credentials.current()) else {
            context.output.say("Not signed in to any server");
            return Ok(());
        };
        let url = credentials::normalise(wanted).map_err(|text| CommandError::new(ErrorKind::Usage, text))?;
        let Some(removed) = credentials.remove(&url) else {
            context.output.say(&format!("Not signed in to {url}"));
            return Ok(());
        };
        // Save first: a server that cannot be reached must not keep the user signed in here.
        credentials.save(&path)?;
        if let Err(error) = Server::with_token(&url, removed.token, context.authorities()?)?.sign_out().await
        {
            progress::write_line(&format!(
                "warning: Cannot reach {url} to revoke the token. It stays valid until it expires."
            ));
            tracing::debug!(%error, "cannot revoke the token");
        }
        context.output.say(&format!("Signed out of {url}"));
        Ok(())
    }
}
