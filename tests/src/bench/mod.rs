//! The rows of the benchmark, and what the measurements share.

use std::time::Duration;

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT};
use protocol::WorkspaceId;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

pub mod bare_vm;
pub mod documents;
pub mod echo;
pub mod footprint;
pub mod herd;
pub mod listing;
pub mod neighbour;
pub mod remote_start;
pub mod start;
pub mod tiers;
pub mod volume;

/// One measurement and its goal.
pub struct Row {
    /// Name of the row.
    pub name: &'static str,
    /// What it was compared with, and the absolute figures.
    pub detail: String,
    pub value: f64,
    pub goal: Goal,
    pub unit: &'static str,
}

/// The value that a row should reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// No goal: the row is for information.
    None,
}

impl Row {
    /// Whether the goal is reached.
    pub fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
            Goal::None => true,
        }
    }
}

/// Prints all rows as a table.
pub fn print(rows: &[Row]) {
    println!("\n{:44} {:>9} {:>10}       details", "measurement", "value", "goal");
    for row in rows {
        let (goal, verdict) = match row.goal {
            Goal::AtMost(most) => {
                (format!("≤ {most} {}", row.unit), if row.is_met() { "ok" } else { "MISS" })
            }
            Goal::AtLeast(least) => {
                (format!("≥ {least} {}", row.unit), if row.is_met() { "ok" } else { "MISS" })
            }
            Goal::None => (String::new(), ""),
        };
        println!("{:44} {:>6.3} {:3} {goal:>9}  {verdict:4}  {}", row.name, row.value, row.unit, row.detail);
    }
}

/// A temporary directory with a short path, because sockets are below it.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

/// A running `burrow up` with its data in `directory`.
pub async fn stack(runtime: &'static str, directory: &tempfile::TempDir) -> Stack {
    Stack::start(StackOptions::new(runtime, &directory.path().join("d"))).await
}

/// The id of a workspace.
pub async fn id_of(stack: &Stack, name: &str) -> WorkspaceId {
    let shown = stack.run_ok(&["show", name, "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    shown["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// Creates a workspace that has run before, and is at rest.
pub async fn create_at_rest(stack: &Stack, name: &str, template: &str) -> WorkspaceId {
    stack.run_ok(&["create", name, "--template", template]).await;
    stack.run_ok(&["stop", name]).await;
    id_of(stack, name).await
}

/// Reads until the bytes have come.
pub async fn read_until(reader: &mut (impl AsyncRead + Unpin), needle: &[u8]) {
    let mut seen = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !seen.windows(needle.len()).any(|window| window == needle) {
            let count = reader.read(&mut buffer).await.expect("readable");
            assert_ne!(count, 0, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(WAIT_TIMEOUT, reading).await.expect("in time");
}

/// The value below which the share `at` (0 to 1) of the times is.
pub fn quantile(times: &[Duration], at: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

/// The middle of the times.
pub fn median(times: &[Duration]) -> Duration {
    quantile(times, 0.5)
}

/// The CPU time that the threads of a process have used.
pub fn cpu_time(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it lives").flatten();
    // The first field is the time in nanoseconds. A thread may have ended in between.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanos = stats.filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}
