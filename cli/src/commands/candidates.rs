//! Names that the shell completes: those of workspaces, classes and deleted workspaces on the server.
//!
//! A completion must not print anything and must not keep the user waiting, so every error gives no names.

use std::{path::PathBuf, time::Duration};

use clap_complete::engine::CompletionCandidate;

use crate::{
    output::CommandError,
    server::{self, Server},
};

/// How long the shell may wait for names.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(2);

/// Names of the workspaces that the user may see.
pub fn workspaces() -> Vec<CompletionCandidate> {
    complete(async |server: Server| {
        let list = server.workspaces().await?.workspaces;
        Ok(list.into_iter().filter(|one| !one.is_deleting).map(|one| one.name).collect())
    })
}

/// Names of the deleted workspaces that can be undeleted.
pub fn deleted_workspaces() -> Vec<CompletionCandidate> {
    complete(async |server: Server| {
        Ok(server.deleted_workspaces().await?.workspaces.into_iter().map(|one| one.name).collect())
    })
}

/// Names of the user's classes.
pub fn classes() -> Vec<CompletionCandidate> {
    complete(async |server: Server| {
        Ok(server.classes().await?.classes.into_iter().map(|one| one.name).collect())
    })
}

fn complete(list: impl AsyncFnOnce(Server) -> Result<Vec<String>, CommandError>) -> Vec<CompletionCandidate> {
    let names = || {
        let url = std::env::var("BURROW_URL").ok().filter(|url| !url.is_empty());
        let ca_file = std::env::var_os("BURROW_CA_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let server = server::signed_in(url.as_deref(), ca_file.as_deref()).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let listed = runtime.block_on(async { tokio::time::timeout(COMPLETION_TIMEOUT, list(server)).await });
        listed.ok()?.ok()
    };
    names().unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}
