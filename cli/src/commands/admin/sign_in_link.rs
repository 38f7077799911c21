//! `burrow admin sign-in-link`: a one-time link for the owner, from the running server of this host.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use protocol::api::internal::{SIGN_IN_LINK_PATH, SignInLink as LinkReply};

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format},
    up::data_directory::DataDirectory,
};

/// Longest wait for the server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Print a one-time link for the owner to sign in with
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin sign-in-link
  burrow admin sign-in-link --data-dir /srv/burrow

Run it on the host of the server, as the user that runs `burrow up`. The link works once, for 12 hours,
and an older one stops working. After signing in with it, a new password can be set without the old one
for ten minutes.")]
pub struct SignInLink {
    /// Data directory of the server [default: as for `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl SignInLink {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let data = match self.data_dir {
            Some(path) => path,
            None => DataDirectory::default_path()?,
        };
        let run = data.join("run");
        let not_running = |error: &(dyn std::error::Error + 'static)| {
            CommandError::new(ErrorKind::Unavailable, format!("Cannot reach a server in {}", data.display()))
                .because(error)
                .hint("run this on its host, as the user that runs `burrow up`, or give --data-dir")
        };
        let address = std::fs::read_to_string(run.join(ADDRESS_FILE)).map_err(|error| not_running(&error))?;
        let http = reqwest::Client::builder()
            .unix_socket(run.join(controller::SOCKET))
            .timeout(RESPONSE_TIMEOUT)
            .build()
            .map_err(|error| CommandError::error("Cannot build the request").because(&error))?;
        let response = http
            .post(format!("http://controller{SIGN_IN_LINK_PATH}"))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| not_running(&error))?;
        let link: LinkReply = response
            .json()
            .await
            .map_err(|error| CommandError::error("Cannot parse the server's response").because(&error))?;
        let url = format!("{}{}", address.trim(), link.path.expose());
        if context.output.format == Format::Json {
            return context.output.json(&serde_json::json!({ "link": url }));
        }
        output::line(&url)
    }
}

/// The file in the run directory with the address that users type into a browser.
pub const ADDRESS_FILE: &str = "address";
