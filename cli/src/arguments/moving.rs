//! The grammar of moving homes between installations.

use clap::Args;

use super::OneWorkspace;

/// Copy a workspace's home to another server; only what is lacking there is sent
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow push demo --to https://burrow.example.org
  burrow push demo --to https://burrow.example.org --as thesis --at 2h
  burrow --url http://127.0.0.1:8080 push demo --to https://burrow.example.org

Sign in to both servers first (`burrow login URL`; the last one is where commands go unless --url says otherwise); they need not \
see each other. Cut short, the same command goes on where it was. Pushed \
again later, only what has changed is sent, into the same workspace, which must be stopped: what its home was stays a \
snapshot. A running workspace is not disturbed: a snapshot of it is pushed.")]
pub struct Push {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// The other server's address
    #[arg(long, env = "BURROW_TO", value_name = "URL")]
    pub to: String,
    #[command(flatten)]
    pub moving: Moving,
}

/// Copy a workspace's home from another server to this one; only what is lacking here is fetched
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow pull demo --from https://burrow.example.org
  burrow pull demo --from https://burrow.example.org --as demo-from-work

As `burrow push`, the other way.")]
pub struct Pull {
    /// The workspace's name on the other server
    pub workspace: String,
    /// The other server's address
    #[arg(long, env = "BURROW_FROM", value_name = "URL")]
    pub from: String,
    #[command(flatten)]
    pub moving: Moving,
}

/// What both directions are told.
#[derive(Clone, Debug, Args)]
pub struct Moving {
    /// What it is called where it goes [default: as it is called]
    #[arg(long = "as", env = "BURROW_AS", value_name = "NAME")]
    pub name: Option<String>,
    /// The home as it was then: a snapshot, an age or a time, as in `burrow history --help` [default: now]
    #[arg(long, env = "BURROW_AT", value_name = "TIME")]
    pub at: Option<String>,
    /// Of the workspace that is made [default: the same]
    #[arg(long, env = "BURROW_TEMPLATE", value_name = "NAME")]
    pub template: Option<String>,
    /// Put it into the workspace of that name wherever that came from; what its home was stays a snapshot
    #[arg(long, env = "BURROW_REPLACE")]
    pub replace: bool,
}
