//! Figures for the status bar, as the kernel reports them.

use protocol::agent::Stats;

use crate::files::home_directory::HomeDirectory;

/// Reads all figures. A figure that cannot be read is 0.
pub fn read_stats(home: &HomeDirectory, terminals: usize, documents: usize) -> Stats {
    let space = home.space().unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo_bytes(&memory, "MemTotal:");
    Stats {
        load_1m: first_number("/proc/loadavg") as f32,
        memory_used_bytes: total.saturating_sub(meminfo_bytes(&memory, "MemAvailable:")),
        memory_total_bytes: total,
        home_used_bytes: space.used_bytes,
        home_total_bytes: space.total_bytes,
        uptime_seconds: first_number("/proc/uptime") as u64,
        terminals: terminals as u32,
        documents: documents as u32,
    }
}

/// The value of a line in `/proc/meminfo`, converted to bytes. 0 if the line is missing.
fn meminfo_bytes(meminfo: &str, name: &str) -> u64 {
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
    fn meminfo_kibibytes_become_bytes() {
        let text = "MemTotal:       24630512 kB\nMemFree: 1 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal:"), 24_630_512 * 1024);
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), 0);
    }
}
