//! `burrow snapshot`: create, list, rename and delete.

use clap::{Args, Subcommand};
use protocol::api::{
    snapshot::{
        Consistency, EditSnapshot, MAX_NAME_BYTES, NewSnapshot, Snapshot as SnapshotRecord, SnapshotKind,
    },
    workspace::Workspace,
};
use time::OffsetDateTime;

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Record, clock::Clock, progress::Step},
    server::Server,
    snapshots::{self, describe, quote, selector::Selector, short_id},
};

/// Snapshots that a list shows unless the user asks for more.
const DEFAULT_LIMIT: u32 = 50;

/// Manage snapshots
#[derive(Debug, Args)]
pub struct Snapshot {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// The subcommands of `burrow snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Create a snapshot now and keep it until it is deleted
    #[command(after_long_help = "\
Examples:
  burrow snapshot create demo
  burrow snapshot create demo before-exam")]
    Create {
        #[command(flatten)]
        target: WorkspaceArgument,
        /// Name of the snapshot
        name: Option<String>,
    },
    /// List the snapshots of a workspace
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  burrow snapshot list demo
  burrow snapshot list demo --since 2h -o json"
    )]
    List {
        #[command(flatten)]
        target: WorkspaceArgument,
        #[command(flatten)]
        range: RangeOptions,
    },
    /// Name a snapshot and keep it until it is deleted
    #[command(after_long_help = "\
Examples:
  burrow snapshot rename demo before-exam after-lecture-3
  burrow snapshot rename demo 10m it-still-worked-here")]
    Rename {
        /// Name of the workspace
        workspace: String,
        /// Snapshot: its identifier, its name, an age or a time
        snapshot: String,
        /// New name
        name: String,
    },
    /// Delete a snapshot permanently
    #[command(
        visible_alias = "rm",
        after_long_help = "\
Examples:
  burrow snapshot delete demo before-exam
  burrow snapshot delete demo 0199f0aa-1b2c --yes"
    )]
    Delete {
        /// Name of the workspace
        workspace: String,
        /// Snapshot: its identifier or its name
        snapshot: String,
        /// Do not ask for confirmation
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
}

/// Which snapshots a list shows.
#[derive(Clone, Debug, Args)]
pub struct RangeOptions {
    /// Show only snapshots after this time, such as 2h, 3d, 14:03 or 2026-01-31
    #[arg(long, env = "BURROW_SINCE", value_name = "TIME")]
    pub since: Option<String>,
    /// Maximum number of snapshots to show [default: 50; with --since, all]
    #[arg(long, env = "BURROW_LIMIT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

impl RangeOptions {
    /// The limit that applies.
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(if self.since.is_some() { u32::MAX } else { DEFAULT_LIMIT })
    }
}

impl Snapshot {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            SnapshotCommand::Create { target, name } => {
                name.as_deref().map_or(Ok(()), check_name)?;
                let workspace = workspace::find(&server, &target.workspace).await?;
                let step = Step::begin(context.style, "Creating a snapshot");
                let created = server.create_snapshot(workspace.id, &NewSnapshot { name }).await?;
                step.done();
                print_created(context, &workspace, &created)
            }
            SnapshotCommand::List { target, range } => {
                let workspace = workspace::find(&server, &target.workspace).await?;
                list(context, &server, &workspace, &range).await
            }
            SnapshotCommand::Rename { workspace, snapshot, name } => {
                check_name(&name)?;
                let workspace = workspace::find(&server, &workspace).await?;
                let found = snapshots::resolve(&server, &workspace, &snapshot).await?;
                server.edit_snapshot(workspace.id, found.id, &EditSnapshot { name: name.clone() }).await?;
                context.output.say(&format!("Renamed {} to {name}", describe(&found)));
                Ok(())
            }
            SnapshotCommand::Delete { workspace, snapshot, yes } => {
                let workspace = workspace::find(&server, &workspace).await?;
                let found = snapshots::resolve_exactly(&server, &workspace, &snapshot).await?;
                let (text, owner) = (describe(&found), &workspace.name);
                let action = format!("deletes snapshot {text} of {owner} permanently");
                let answer = found.name.clone().unwrap_or_else(|| short_id(found.id));
                context.confirm(yes, &action, &answer)?;
                server.delete_snapshot(workspace.id, found.id).await?;
                context.output.say(&format!("Deleted {text}"));
                Ok(())
            }
        }
    }
}

fn print_created(
    context: &Context,
    workspace: &Workspace,
    created: &SnapshotRecord,
) -> Result<(), CommandError> {
    if !context.output.format.is_human() || context.output.quiet {
        return context.output.one(created);
    }
    let label = created.name.as_deref().map_or_else(|| short_id(created.id), output::printable);
    let (name, uploaded) = (&workspace.name, output::size(created.uploaded_bytes));
    context.output.say(&format!("{name}: created snapshot {label} ({uploaded} uploaded)"));
    context.output.say(&format!("Next: burrow history {name} --at {}", quote(&label)));
    Ok(())
}

/// Refuses names that could not be found again, because they mean a time or `latest`.
fn check_name(name: &str) -> Result<(), CommandError> {
    let invalid = |cause: &str| {
        let what = format!("Cannot use `{}` as a snapshot name", output::printable(name));
        Err(CommandError::new(ErrorKind::Usage, what).cause(cause))
    };
    if name.trim() != name || name.is_empty() || name.len() > MAX_NAME_BYTES {
        return invalid("a name has 1 to 100 bytes and does not begin or end with a space");
    }
    if name.chars().any(char::is_control) {
        return invalid("a name has no control characters");
    }
    match Selector::parse(name, &Clock::read()) {
        Selector::Named(_) => Ok(()),
        Selector::Latest | Selector::Before(_) => invalid("it means a time; choose another name"),
    }
}

/// Prints the snapshots of a workspace, newest first. `burrow history` without a path does the
/// same.
pub async fn list(
    context: &Context,
    server: &Server,
    workspace: &Workspace,
    range: &RangeOptions,
) -> Result<(), CommandError> {
    let since = range.since.as_deref().map(snapshots::parse_since).transpose()?;
    let (snapshots, has_more) = snapshots::fetch(server, workspace, since, range.limit()).await?;
    context.output.list(&snapshots)?;
    if !context.output.format.is_human() {
        return Ok(());
    }
    if snapshots.is_empty() {
        context.output.say(&match &range.since {
            Some(since) => format!("{} has no snapshots since {since}", workspace.name),
            None => snapshots::explain_empty(workspace).0,
        });
    } else if has_more {
        context.output.say("There are older snapshots. To show them: --limit N, --since TIME or --at TIME");
    }
    Ok(())
}

impl Record for SnapshotRecord {
    const COLUMNS: &'static [&'static str] = &["id", "when", "kind", "state", "changed", "uploaded", "name"];
    const WIDE: &'static [&'static str] = &["time", "stored"];

    fn cells(&self) -> Vec<String> {
        vec![
            short_id(self.id),
            output::ago(self.created_at, OffsetDateTime::now_utc()),
            kind_text(self.kind).to_owned(),
            consistency_text(self.consistency).to_owned(),
            output::size(self.changed_bytes),
            output::size(self.uploaded_bytes),
            self.name.as_deref().map_or_else(|| "–".to_owned(), output::printable),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![Clock::read().exact(self.created_at), output::size(self.stored_bytes)]
    }

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn kind_text(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Stream => "stream",
        SnapshotKind::Stop => "stop",
        SnapshotKind::Requested => "requested",
    }
}

fn consistency_text(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::Clean => "clean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_found_again() {
        for name in ["before-exam", "Übung 3", "v1.0", "0199"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", " a", "a\n", "10m", "14:03", "latest", "yesterday", "2026-01-31", &"a".repeat(101)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
