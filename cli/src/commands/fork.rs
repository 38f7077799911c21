//! `burrow fork`: a new workspace that starts from a snapshot of another.

use clap::Args;
use protocol::{
    Code, SnapshotId,
    api::{snapshot::Fork as ForkRequest, workspace::Workspace},
};

use super::{
    wait::{Goal, WaitOptions},
    workspace::{self, WorkspaceArgument},
};
use crate::{
    context::Context,
    output::{CommandError, progress::Step},
    server::Server,
    snapshots::{self, describe},
};

/// Names that are tried before the user is asked for one.
const MAX_NAME_ATTEMPTS: u32 = 50;
/// Longest name of a workspace, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Create a workspace from a snapshot of another
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow fork demo
  burrow fork demo experiment --at 2h
  burrow fork demo experiment --no-start
  burrow fork demo demo-gvisor --template gvisor

No data is copied. If the workspace is running, a snapshot is taken first, and it keeps running.")]
pub struct Fork {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Name of the new workspace [default: NAME-fork, or the next free NAME-fork-N]
    pub name: Option<String>,
    /// Snapshot to start from: its identifier, its name, an age or a time [default: now]
    #[arg(long, env = "BURROW_AT", value_name = "TIME")]
    pub at: Option<String>,
    /// Template of the new workspace, for another size or tier [default: that of the origin]
    #[arg(long, env = "BURROW_TEMPLATE", value_name = "TEMPLATE")]
    pub template: Option<String>,
    /// Create it without starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    #[command(flatten)]
    pub wait: WaitOptions,
}

impl Fork {
    /// Forks, starts the new workspace and waits until it runs.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let origin = workspace::find(&server, &self.target.workspace).await?;
        let at = match &self.at {
            Some(at) => Some(snapshots::resolve(&server, &origin, at).await?),
            None => None,
        };
        let step = Step::begin(context.style, format!("Forking {}", origin.name));
        let attempt = ForkAttempt {
            snapshot: at.as_ref().map(|at| at.id),
            template: self.template.clone(),
            start: !self.no_start,
        };
        let created = match &self.name {
            Some(name) => attempt.send(&server, &origin, name).await?,
            None => attempt.send_with_free_name(&server, &origin).await?,
        };
        step.done();
        let source = at.as_ref().map_or_else(|| "its present state".to_owned(), describe);
        context.output.say(&format!("Forked {} from {} ({source})", created.name, origin.name));
        let created = if self.no_start {
            created
        } else {
            workspace::wait_for(context, &server, created, Goal::Running, self.wait).await?
        };
        workspace::print_outcome(context, &created)?;
        workspace::say_next_step(context, &created);
        Ok(())
    }
}

/// The request without its name.
struct ForkAttempt {
    snapshot: Option<SnapshotId>,
    template: Option<String>,
    start: bool,
}

impl ForkAttempt {
    async fn send(&self, server: &Server, origin: &Workspace, name: &str) -> Result<Workspace, CommandError> {
        let request = ForkRequest {
            name: name.to_owned(),
            snapshot: self.snapshot,
            template: self.template.clone(),
            start: Some(self.start),
        };
        Ok(server.fork(origin.id, &request).await?)
    }

    /// Tries one name after the other: only the server knows which are free.
    async fn send_with_free_name(
        &self,
        server: &Server,
        origin: &Workspace,
    ) -> Result<Workspace, CommandError> {
        for number in 1..MAX_NAME_ATTEMPTS {
            match self.send(server, origin, &fork_name(&origin.name, number)).await {
                Err(error) if error.is(Code::NameTaken) => {}
                answer => return answer,
            }
        }
        let name = fork_name(&origin.name, MAX_NAME_ATTEMPTS);
        self.send(server, origin, &name)
            .await
            .map_err(|error| error.hint(format!("burrow fork {} NAME", origin.name)))
    }
}

/// "demo-fork", "demo-fork-2" and so on, within the length of a name.
fn fork_name(origin: &str, number: u32) -> String {
    let suffix = if number == 1 { "-fork".to_owned() } else { format!("-fork-{number}") };
    let prefix = origin.get(..MAX_NAME_BYTES - suffix.len()).unwrap_or(origin);
    format!("{}{suffix}", prefix.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_names_are_valid() {
        assert_eq!(fork_name("demo", 1), "demo-fork");
        assert_eq!(fork_name("demo", 2), "demo-fork-2");
        let long = "a".repeat(63);
        assert_eq!(fork_name(&long, 1).len(), 63);
        assert_eq!(
            fork_name(&format!("{}-bcdefg", "a".repeat(56)), 10),
            format!("{}-fork-10", "a".repeat(55))
        );
    }
}
