//! The grammar of a home's past, of its size, and of its upkeep.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{MasterKey, OneWorkspace, Waiting};

/// Snapshots in one answer, unless more are asked for.
const LISTED: u32 = 50;

/// Which snapshots to show.
#[derive(Clone, Debug, Args)]
pub struct Listed {
    /// Only later ones, as 2h, 3d, 14:03 or 2026-01-31
    #[arg(long, env = "BURROW_SINCE", value_name = "TIME")]
    pub since: Option<String>,
    /// Most to show [default: 50; with --since, all]
    #[arg(long, env = "BURROW_LIMIT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

impl Listed {
    pub fn most(&self) -> u32 {
        self.limit.unwrap_or(if self.since.is_some() { u32::MAX } else { LISTED })
    }
}

/// Show a home's past: its snapshots, what was in them, what has changed since
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow history demo                                 its snapshots
  burrow history demo notes.txt                       when a file changed
  burrow history demo --at 2h src                     a directory as it was
  burrow history demo --at 14:03 notes.txt > old.txt  a file as it was
  burrow history demo --at yesterday --diff           what has changed since
  burrow history demo --at 2h --diff --with 1h notes.txt

A time is a snapshot's identifier, the beginning of it, or its name; an age (10m, 2h, 3d); or a time of yours (14:03, \
yesterday 14:03, 2026-01-31, 2026-01-31 14:03) or RFC 3339: it means the newest snapshot that is not later. None of this \
needs a running machine.")]
pub struct History {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// A file or directory of the home
    pub path: Option<String>,
    #[command(flatten)]
    pub listed: Listed,
    /// The home as it was then: lists a directory, prints a file
    #[arg(long, env = "BURROW_AT", value_name = "TIME", conflicts_with_all = ["since", "limit"])]
    pub at: Option<String>,
    /// What has changed since; of a file, line by line
    #[arg(long, env = "BURROW_DIFF", requires = "at")]
    pub diff: bool,
    /// Compare with this time instead of the newest snapshot
    #[arg(long, env = "BURROW_WITH", value_name = "TIME", requires = "diff")]
    pub with: Option<String>,
}

/// Bring back files, directories or the whole home as they were
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow restore demo --at 2h notes.txt              into the running workspace
  burrow restore demo --at yesterday src docs
  burrow restore demo --at 14:03 src --to ./rescued  onto this machine
  burrow restore demo --at before-exam --all         the whole home

What differs from what is brought back is kept beside it as NAME.before-restore-TIME; what came later stays. With --all, the \
workspace is stopped and started again, and its home as it is now stays a snapshot. With --to, it need not run. Times are as \
in `burrow history --help`.")]
pub struct Restore {
    /// The workspace's name
    pub workspace: String,
    /// Files and directories, relative to the home
    #[arg(required_unless_present = "all", value_name = "PATH")]
    pub paths: Vec<String>,
    /// From when: a snapshot, an age or a time
    #[arg(long, env = "BURROW_AT", value_name = "TIME")]
    pub at: String,
    /// Write here, on this machine
    #[arg(long, env = "BURROW_TO", value_name = "DIR|FILE", conflicts_with = "all")]
    pub to: Option<PathBuf>,
    /// Overwrite files that differ
    #[arg(long, env = "BURROW_FORCE", conflicts_with = "all")]
    pub force: bool,
    /// The whole home
    #[arg(long, env = "BURROW_ALL", conflicts_with = "paths")]
    pub all: bool,
    /// Do not ask for the name again
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Take a snapshot now; it stays until it is deleted
    #[command(before_long_help = "\
Examples:
  burrow snapshot create demo
  burrow snapshot create demo before-exam")]
    Create {
        #[command(flatten)]
        target: OneWorkspace,
        /// What to call it
        name: Option<String>,
    },
    /// List a workspace's snapshots, as `burrow history` does
    #[command(
        visible_alias = "ls",
        before_long_help = "\
Examples:
  burrow snapshot list demo
  burrow snapshot list demo --since 2h -o json"
    )]
    List {
        #[command(flatten)]
        target: OneWorkspace,
        #[command(flatten)]
        listed: Listed,
    },
    /// Name a snapshot: a named one stays until it is deleted
    #[command(before_long_help = "\
Examples:
  burrow snapshot rename demo before-exam after-lecture-3
  burrow snapshot rename demo 10m it-still-worked-here")]
    Rename {
        /// The workspace's name
        workspace: String,
        /// Its identifier, the beginning of it, its name, or a time
        snapshot: String,
        /// What to call it
        name: String,
    },
    /// Delete a snapshot, for good
    #[command(
        visible_alias = "rm",
        before_long_help = "\
Examples:
  burrow snapshot delete demo before-exam
  burrow snapshot delete demo 0199f0aa-1b2c --yes"
    )]
    Delete {
        /// The workspace's name
        workspace: String,
        /// Its identifier, the beginning of it, or its name
        snapshot: String,
        /// Do not ask for the name again
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
}

/// Make a new workspace whose home begins as this one's; no data is copied
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow fork demo
  burrow fork demo experiment --at 2h
  burrow fork demo experiment --no-start

Of a running workspace a snapshot is taken, and it goes on.")]
pub struct Fork {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// 1 to 63 characters of a-z, 0-9 and - [default: WORKSPACE-fork, or the next free number behind]
    pub name: Option<String>,
    /// From when: a snapshot, an age or a time [default: now]
    #[arg(long, env = "BURROW_AT", value_name = "TIME")]
    pub at: Option<String>,
    /// Only make it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Give a home more room, also while its machine runs; it never shrinks
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow grow demo 20G   to 20 GiB
  burrow grow demo +5G   by 5 GiB")]
pub struct Grow {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// As 20G, 512M or 1T; with + in front, by so much
    #[arg(value_parser = parse_growth, allow_hyphen_values = true)]
    pub size: Growth,
}

/// What a home's size becomes. MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    To(u32),
    By(u32),
}

impl Growth {
    /// From this size. None: larger than can be said.
    pub fn of(self, home_mib: u32) -> Option<u32> {
        match self {
            Self::To(mib) => Some(mib),
            Self::By(mib) => home_mib.checked_add(mib),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Volume {
    Check(Check),
}

/// Read every object of a home from the store, and verify it
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow volume check demo
  burrow volume check demo --all
  burrow volume check demo --repair

With --repair, what is damaged in the newest snapshot is stored anew from the cache of the running machine, and read again. \
Status 1: something that was read is damaged; after a repair, still.")]
pub struct Check {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// Of all snapshots, not of the newest only
    #[arg(long, env = "BURROW_ALL")]
    pub all: bool,
    /// Store anew what the running machine still has of what is damaged
    #[arg(long, env = "BURROW_REPAIR")]
    pub repair: bool,
}

#[derive(Debug, Subcommand)]
pub enum Admin {
    Retention(Retention),
    /// Delete from the store what no home refers to any more
    #[command(before_long_help = "\
Examples:
  burrow admin collect
  burrow admin collect -o json

The server does so by itself. An object goes when it was found unused twice, some time apart.")]
    Collect,
    RotateMasterKey(RotateMasterKey),
    ForgetTenant(ForgetTenant),
}

/// Destroy the key of all homes of the organisation that you own: nothing brings them back
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow admin forget-tenant

Machines end at once, unsaved. Every home, snapshot and backup of them is unreadable from then on, wherever it lies. The \
organisation's name is asked for; without a terminal it is given with --name.")]
pub struct ForgetTenant {
    /// The organisation's name, in place of typing it when asked
    #[arg(long, env = "BURROW_NAME", value_name = "NAME")]
    pub name: Option<String>,
}

/// Put a fresh master key in place of the one that seals all homes' keys; no home is rewritten
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow admin rotate-master-key
  burrow admin rotate-master-key --data-dir /srv/burrow
  burrow admin rotate-master-key --to service --master-key-service https://vault:8200
  burrow admin rotate-master-key --to file --master-key-service https://vault:8200

The server must not run meanwhile. The old key opens nothing any more: replace its copies. Killed half-way, the next start ends it. \
In a key service the key gets a new version; with --to it moves there from its file, or into a fresh file from there.")]
pub struct RotateMasterKey {
    /// Where everything is kept [default: as of `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// An existing Postgres in place of the private one. Its password belongs into the environment variable
    #[arg(long, env = "BURROW_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    #[command(flatten)]
    pub master_key: MasterKey,
    /// Where the fresh key is to be [default: where the present one is]
    #[arg(long, env = "BURROW_TO", value_enum)]
    pub to: Option<Keeper>,
    /// Do not ask
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keeper {
    /// In a file of this machine
    File,
    /// In the key service
    Service,
}

/// Show or set how automatic snapshots thin out
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow admin retention
  burrow admin retention --all-hours 2 --daily-hours 17520
  burrow admin retention -o json

What is not given stays as it is. Snapshots that were asked for or named, and a home's newest, always stay.")]
pub struct Retention {
    /// Hours for which every snapshot stays
    #[arg(long, env = "BURROW_ALL_HOURS", value_name = "HOURS")]
    pub all_hours: Option<u32>,
    /// Hours for which one a minute stays
    #[arg(long, env = "BURROW_MINUTELY_HOURS", value_name = "HOURS")]
    pub minutely_hours: Option<u32>,
    /// Hours for which one an hour stays
    #[arg(long, env = "BURROW_HOURLY_HOURS", value_name = "HOURS")]
    pub hourly_hours: Option<u32>,
    /// Hours for which one a day stays
    #[arg(long, env = "BURROW_DAILY_HOURS", value_name = "HOURS")]
    pub daily_hours: Option<u32>,
    /// Do not ask when snapshots would go sooner
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

/// "20G", "+5G", "512MiB".
fn parse_growth(text: &str) -> Result<Growth, String> {
    let (growth, size): (fn(u32) -> Growth, &str) = match text.strip_prefix('+') {
        Some(size) => (Growth::By, size),
        None => (Growth::To, text),
    };
    let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    let factor: u32 = match unit.to_ascii_lowercase().as_str() {
        "m" | "mib" => 1,
        "g" | "gib" => 1024,
        "t" | "tib" => 1024 * 1024,
        "" if !number.is_empty() => return Err("a unit is missing: M, G or T".to_owned()),
        _ => return Err("expected a size such as 20G, 512M or +5G".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "expected a size such as 20G, 512M or +5G".to_owned())?;
    match number.checked_mul(factor) {
        None => Err("the size is too large".to_owned()),
        Some(0) => Err("the size is nothing".to_owned()),
        Some(mib) => Ok(growth(mib)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, growth) in [
            ("20G", Growth::To(20 * 1024)),
            ("512M", Growth::To(512)),
            ("1t", Growth::To(1024 * 1024)),
            ("20GiB", Growth::To(20 * 1024)),
            ("+5G", Growth::By(5 * 1024)),
        ] {
            assert_eq!(parse_growth(text), Ok(growth), "{text}");
        }
        for text in ["", "20", "G", "+", "-5G", "1.5G", "0G", "20GB", "5 G", "4294967295G", "99999999999G"] {
            assert!(parse_growth(text).is_err(), "{text}");
        }
    }

    #[test]
    fn growth_counts_from_the_size_there_is() {
        assert_eq!(Growth::To(20).of(10), Some(20));
        assert_eq!(Growth::By(20).of(10), Some(30));
        assert_eq!(Growth::By(u32::MAX).of(1), None);
    }
}
