//! `version`: of this program and, where one answers, of the server.

use super::Context;
use crate::{
    failure::Failure,
    output::{self, Format},
    progress,
    server::{API, Server},
};

const OURS: &str = env!("CARGO_PKG_VERSION");

pub async fn version(context: &Context) -> Result<(), Failure> {
    // Without a sign-in there is still a default server to ask; that none answers is no error here.
    let server = context
        .server()
        .or_else(|_| Server::anonymous(context.url().unwrap_or(crate::credentials::DEFAULT_URL)));
    let theirs = match &server {
        Ok(server) => server.version().await.ok(),
        Err(_) => None,
    };
    if context.output.format == Format::Json {
        return context.output.json(&serde_json::json!({
            "client": { "version": OURS, "api": API },
            "server": theirs,
        }));
    }
    output::line(&format!("burrow {OURS}"))?;
    match theirs {
        Some(theirs) => {
            output::line(&format!("server {}", output::printable(&theirs.version)))?;
            if theirs.api != API {
                progress::write_line(&format!(
                    "warning: the server speaks version {} of the API, this program version {API}",
                    theirs.api
                ));
            }
            Ok(())
        }
        None => output::line("server not reachable"),
    }
}
