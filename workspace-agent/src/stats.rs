//! Figures of the machine for the status bar, as the kernel gives them.

use std::sync::Arc;

use axum::{Json, extract::State};
use protocol::agent::Stats;

use crate::app::App;

pub async fn show(State(app): State<Arc<App>>) -> Json<Stats> {
    let (home_used_bytes, home_total_bytes) = app.home.space().unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = kibibytes(&memory, "MemTotal:");
    Json(Stats {
        load_1m: first_number("/proc/loadavg") as f32,
        memory_used_bytes: total.saturating_sub(kibibytes(&memory, "MemAvailable:")),
        memory_total_bytes: total,
        home_used_bytes,
        home_total_bytes,
        uptime_seconds: first_number("/proc/uptime") as u64,
        terminals: app.terminals.count() as u32,
        documents: app.documents.count() as u32,
    })
}

/// A line of `/proc/meminfo`, in bytes; 0 where it is missing.
fn kibibytes(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn first_number(file: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       24630512 kB\nMemFree: 1 kB\n";
        assert_eq!(kibibytes(text, "MemTotal:"), 24_630_512 * 1024);
        assert_eq!(kibibytes(text, "MemAvailable:"), 0);
    }
}
