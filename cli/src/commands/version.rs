//! `burrow version`: of this program and, if one answers, of the server.

use clap::Args;

use crate::{
    context::Context,
    output::{self, CommandError, Format, progress},
    server::{API, Server, credentials::DEFAULT_URL},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print the versions of this program and of the server
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow version
  burrow version -o json")]
pub struct Version {}

impl Version {
    /// Prints both versions, and warns if they speak different versions of the API.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        // Without a login there is still a default server to ask. A server that does not answer is
        // not an error.
        let authorities = context.authorities()?;
        let server = context
            .server()
            .or_else(|_| Server::anonymous(context.url().unwrap_or(DEFAULT_URL), authorities));
        let theirs = match &server {
            Ok(server) => server.version().await.ok(),
            Err(_) => None,
        };
        if context.output.format == Format::Json {
            return context.output.json(&serde_json::json!({
                "client": { "version": VERSION, "api": API },
                "server": theirs,
            }));
        }
        output::line(&format!("burrow {VERSION}"))?;
        let Some(theirs) = theirs else { return output::line("server not reachable") };
        output::line(&format!("server {}", output::printable(&theirs.version)))?;
        if theirs.api != API {
            progress::write_line(&format!(
                "warning: The server uses version {} of the API, this program uses version {API}.",
                theirs.api
            ));
        }
        Ok(())
    }
}
