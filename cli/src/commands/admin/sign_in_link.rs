//! `burrow admin sign-in-link`: a one-time link for the owner, from the running server of this host.

use std::path::PathBuf;

use clap::Args;

use crate::{
    context::Context,
    output::{self, CommandError, Format},
    server::local::LocalServer,
};

/// Print a one-time link for the owner to sign in with
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin sign-in-link
  burrow admin sign-in-link --data-dir /srv/burrow

Run it on the host of the server, as the user that runs `burrow up`. The link works once, for 12 hours,
and an older one stops working. Open it in a browser, or give it to `burrow login` on another computer.
After signing in with it in a browser, a new password can be set without the old one for ten minutes.")]
pub struct SignInLink {
    /// Data directory of the server [default: as for `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl SignInLink {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = LocalServer::find(self.data_dir.as_deref())?;
        let link = server.create_sign_in_link().await?;
        let url = format!("{}{}", server.address(), link.expose());
        if context.output.format == Format::Json {
            return context.output.json(&serde_json::json!({ "link": url }));
        }
        output::line(&url)
    }
}
