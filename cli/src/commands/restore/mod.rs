//! `burrow restore`: brings files, or the whole home, back from a snapshot.
//!
//! Nothing that exists is lost: files that differ are kept, a restore into a running home can be
//! undone, and the previous state of a whole home stays a snapshot.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use protocol::{
    RestoreId,
    api::{
        restore::{NewRestore, RestoreOutcome},
        snapshot::{Restore as RestoreRequest, Snapshot},
        workspace::Workspace,
    },
    workspace::{Phase, StartPriority},
};

use self::{
    local::LocalTarget,
    results::{count, print_results},
};
use super::{
    history::{SnapshotFiles, parse_path},
    wait::{self, Goal},
    workspace,
};
use crate::{
    context::Context,
    output::{CommandError, ErrorKind, progress::Step},
    server::Server,
    snapshots::{self, describe, quote, short_id},
};

mod local;
mod results;
mod running;

/// Restore files or the whole home from a snapshot
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow restore demo --at 2h notes.txt              # into the running workspace
  burrow restore demo --at yesterday src docs
  burrow restore demo --at yesterday src --dry-run   # only show what would change
  burrow restore demo --at 14:03 src --to ./rescued  # onto this computer
  burrow restore demo --at before-exam --all         # the whole home

Contents, permissions, times, extended attributes, links and holes are restored. Entries that are the
same already are skipped, and files that are not in the snapshot stay as they are. What is replaced
moves to ~/.burrow-restores in the workspace, and --undo returns it; the last ten restores are kept.
With --to, the workspace need not be running, and an existing file that differs is kept as
NAME.before-restore-TIME. With --all, the workspace is stopped and started again, and its present
home is kept as a snapshot. See `burrow history --help` for how to write a time.")]
pub struct Restore {
    /// Name of the workspace
    #[arg(add = ArgValueCandidates::new(super::candidates::workspaces))]
    pub workspace: String,
    /// Files and directories to restore, relative to the home
    #[arg(required_unless_present_any = ["all", "undo"], value_name = "PATH")]
    pub paths: Vec<String>,
    /// Snapshot to restore from: its identifier, its name, an age or a time
    #[arg(long, env = "BURROW_AT", value_name = "TIME", required_unless_present = "undo")]
    pub at: Option<String>,
    /// Write to this directory or file on this computer
    #[arg(long, env = "BURROW_TO", value_name = "DIR|FILE", conflicts_with = "all")]
    pub to: Option<PathBuf>,
    /// Overwrite files that differ
    #[arg(long, env = "BURROW_FORCE", conflicts_with = "all")]
    pub force: bool,
    /// Restore the whole home
    #[arg(long, env = "BURROW_ALL", conflicts_with = "paths")]
    pub all: bool,
    /// Only show what would be restored
    #[arg(long, env = "BURROW_DRY_RUN", conflicts_with_all = ["all", "to"])]
    pub dry_run: bool,
    /// Continue a restore that ended early
    #[arg(long, env = "BURROW_RESUME", value_name = "ID", conflicts_with_all = ["all", "to", "dry_run"])]
    pub resume: Option<RestoreId>,
    /// Undo a restore
    #[arg(long, env = "BURROW_UNDO", value_name = "ID", conflicts_with_all = ["all", "to", "paths", "force"])]
    pub undo: Option<RestoreId>,
    /// Do not ask for confirmation
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

impl Restore {
    /// Restores what was asked for, and prints what was written.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let paths = self.paths.iter().map(|path| parse_path(path)).collect::<Result<Vec<_>, _>>()?;
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.workspace).await?;
        if let Some(restore) = self.undo {
            return running::undo(context, &server, &workspace, restore).await;
        }
        let at = snapshots::resolve(&server, &workspace, self.at.as_deref().unwrap_or_default()).await?;
        if self.all {
            return restore_home(context, &server, workspace, &at, self.yes).await;
        }
        if self.to.is_none() && workspace.phase != Phase::Running {
            return Err(not_running(&workspace));
        }
        let files = SnapshotFiles { server: &server, workspace: &workspace };
        // Find all paths first: a mistyped one must not leave the work half done.
        for path in &paths {
            files.find(&at, path).await?;
        }
        let step = Step::begin(context.style, format!("Restoring from {}", describe(&at)));
        let Some(to) = &self.to else {
            let request = NewRestore {
                snapshot: at.id,
                paths: paths.iter().map(ToString::to_string).collect(),
                dry_run: self.dry_run,
                force: self.force,
                resume: self.resume,
            };
            let command = self.command_line(&at);
            return running::restore_files(context, &server, &workspace, &request, command, step).await;
        };
        let (target, suffix) = (LocalTarget::new(to, &paths, self.force), LocalTarget::suffix());
        let mut results = Vec::new();
        for path in &paths {
            results.extend(target.restore(&files, at.id, path, &suffix).await?);
        }
        step.done();
        let has_replaced = count(&results, RestoreOutcome::Replaced) > 0;
        let hint =
            (has_replaced && !self.force).then(|| format!("What was replaced is kept as NAME{suffix}"));
        print_results(context, results, hint.as_slice())
    }

    /// The command line that repeats this restore.
    fn command_line(&self, at: &Snapshot) -> String {
        let paths = self.paths.iter().map(|path| quote(path)).collect::<Vec<_>>().join(" ");
        let force = if self.force { " --force" } else { "" };
        format!("burrow restore {} --at {} {paths}{force}", self.workspace, at.id)
    }
}

fn not_running(workspace: &Workspace) -> CommandError {
    let name = &workspace.name;
    CommandError::new(ErrorKind::Conflict, format!("Cannot restore files: workspace {name} is not running"))
        .hint(format!(
            "burrow start {name}; or restore to this computer with --to DIR, or the whole home with --all"
        ))
}

/// Restores the whole home. A running workspace is stopped for it and started again.
async fn restore_home(
    context: &Context,
    server: &Server,
    workspace: Workspace,
    at: &Snapshot,
    yes: bool,
) -> Result<(), CommandError> {
    let was_running = workspace.phase != Phase::Terminated;
    let name = &workspace.name;
    let stops = if was_running { format!("stops {name} and ") } else { String::new() };
    let action = format!("{stops}restores the whole home of {name} from snapshot {}", describe(at));
    context.confirm(yes, &action, name)?;
    let stopped = if was_running {
        let stopping = server.stop_workspace(workspace.id).await?;
        wait::until(context.style, server, stopping, Goal::Stopped, wait::DEFAULT_TIMEOUT).await?
    } else {
        workspace
    };
    let before = server.snapshots(stopped.id, None, 1).await?.snapshots.into_iter().next();
    let step = Step::begin(context.style, "Restoring the home");
    let restored = server.restore(stopped.id, &RestoreRequest { snapshot: at.id }).await?;
    step.done();
    let name = &restored.name;
    context.output.say(&format!("Restored the home of {name} from snapshot {}", describe(at)));
    if let Some(before) = before {
        context
            .output
            .say(&format!("To undo this: burrow restore {name} --at {} --all", short_id(before.id)));
    }
    let workspace = if was_running {
        let starting = server.start_workspace(restored.id, StartPriority::default()).await?;
        wait::until(context.style, server, starting, Goal::Running, wait::DEFAULT_TIMEOUT).await?
    } else {
        restored
    };
    workspace::print_outcome(context, &workspace)
}
