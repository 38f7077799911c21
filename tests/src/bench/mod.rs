//! Rows of measurements, and what they share.

use std::time::Duration;

use burrow_tests::{Options, Stack};
use serde_json::Value;

pub mod echo;
pub mod far;
pub mod footprint;
pub mod start;
pub mod volume;

/// One measurement beside its goal.
pub struct Row {
    pub what: &'static str,
    /// What it was measured against, in words, with the plain figures.
    pub detail: String,
    pub value: f64,
    pub goal: Goal,
    pub unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Told, and not judged.
    None,
}

impl Row {
    pub fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
            Goal::None => true,
        }
    }
}

pub fn print(rows: &[Row]) {
    println!("\n{:44} {:>9} {:>10}       how", "measured", "value", "goal");
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
        println!("{:44} {:>6.3} {:3} {goal:>9}  {verdict:4}  {}", row.what, row.value, row.unit, row.detail);
    }
}

/// A short place, since sockets lie below it.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

pub async fn stack(runtime: &'static str, place: &tempfile::TempDir) -> Stack {
    Stack::start(Options::new(runtime, &place.path().join("d"))).await
}

/// The id of the workspace of this name.
pub async fn id_of(stack: &Stack, name: &str) -> String {
    let shown = stack.ok(&["show", name, "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    shown["id"].as_str().expect("an id").to_owned()
}

/// The value below which the share `at` (0 to 1) of them lies.
pub fn quantile(times: &[Duration], at: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

pub fn median(times: &[Duration]) -> Duration {
    quantile(times, 0.5)
}
