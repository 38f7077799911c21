//! `burrow history`: the snapshots of a home, the versions of a file, and the files and changes of
//! a snapshot.

use clap::Args;
use protocol::files::HomePath;

pub use self::files::SnapshotFiles;
use super::{
    snapshot::{self, RangeOptions},
    workspace::{self, WorkspaceArgument},
};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind},
    snapshots,
};

mod files;
mod versions;

/// Show the snapshots of a home, and the files in them
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow history demo                                 # list snapshots
  burrow history demo notes.txt                       # list the versions of a file
  burrow history demo --at 2h src                     # list a directory
  burrow history demo --at 14:03 notes.txt > old.txt  # print a file
  burrow history demo --at yesterday --diff           # list what has changed since
  burrow history demo --at 2h --diff --with 1h notes.txt

A snapshot is given by its identifier, the beginning of it, or its name; or by a time, which means
the newest snapshot that is not later: an age (10m, 2h, 3d), a local time (14:03, yesterday 14:03,
2026-01-31, 2026-01-31 14:03) or an RFC 3339 time. The workspace need not be running.")]
pub struct History {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// File or directory, relative to the home
    pub path: Option<String>,
    #[command(flatten)]
    pub range: RangeOptions,
    /// Show the files of this snapshot: list a directory, or print a file
    #[arg(long, env = "BURROW_AT", value_name = "TIME", conflicts_with_all = ["since", "limit"])]
    pub at: Option<String>,
    /// Show what has changed since; of a file, line by line
    #[arg(long, env = "BURROW_DIFF", requires = "at")]
    pub diff: bool,
    /// Compare with this snapshot instead of the newest
    #[arg(long, env = "BURROW_WITH", value_name = "TIME", requires = "diff")]
    pub with: Option<String>,
}

impl History {
    /// Prints what the options ask for.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let path = self.path.as_deref().map(parse_path).transpose()?;
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let files = SnapshotFiles { server: &server, workspace: &workspace };
        let Some(at) = self.at else {
            return match path {
                Some(path) if !path.is_home() => versions::list(context, &files, &path, &self.range).await,
                _ => snapshot::list(context, &server, &workspace, &self.range).await,
            };
        };
        let at = snapshots::resolve(&server, &workspace, &at).await?;
        let path = path.unwrap_or_default();
        if !self.diff {
            return files.show(context, &at, &path).await;
        }
        let with = self.with.as_deref().unwrap_or("latest");
        let with = snapshots::resolve(&server, &workspace, with).await?;
        let (older, newer) = if at.created_at <= with.created_at { (at, with) } else { (with, at) };
        files.compare(context, &older, &newer, &path).await
    }
}

/// Parses a path as users write it.
pub fn parse_path(text: &str) -> Result<HomePath, CommandError> {
    HomePath::parse(text).map_err(|error| {
        CommandError::new(ErrorKind::Usage, format!("Cannot use `{}` as a path", output::printable(text)))
            .cause(error.to_string())
            .hint("paths are relative to the home, such as src/main.rs")
    })
}
