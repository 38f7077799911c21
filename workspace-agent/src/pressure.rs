//! Which limits of their cgroup the user's programs have reached, from the kernel's counters.
//!
//! Nothing else in a guest says so where the user sees it: a program that the kernel ends for lack of
//! memory just disappears, and a shell at its limit of processes only fails to fork.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::agent::Pressure;

use crate::guest::{cgroups, kernel_log::KernelLog};

/// How long a limit counts as reached after the kernel has last enforced it. Longer than the runner's
/// interval, so that each time is seen.
const PRESSURE_TTL: Duration = Duration::from_secs(60);

/// Watches the counters of one cgroup and its children.
pub struct PressureMonitor {
    cgroup: PathBuf,
    /// `None` if the kernel's log cannot be read. Then no program is named.
    kernel_log: Option<KernelLog>,
    counters: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    kills: EventCounter,
    refused_forks: EventCounter,
    /// The program that the kernel has ended last for lack of memory.
    killed_program: Option<String>,
}

/// A counter of the kernel, and when it was last seen to have grown.
#[derive(Default)]
struct EventCounter {
    count: u64,
    grown_at: Option<Instant>,
}

impl PressureMonitor {
    /// Watches the cgroup at `cgroup`.
    pub fn new(cgroup: PathBuf) -> Self {
        let kernel_log = KernelLog::open();
        if let Err(error) = &kernel_log {
            tracing::warn!(%error, "cannot read the kernel's log");
        }
        Self { cgroup, kernel_log: kernel_log.ok(), counters: Mutex::default() }
    }

    /// The most serious limit that was reached within the last moments, and the program that the
    /// kernel has ended, if it has ended one.
    pub fn find_pressure(&self) -> (Option<Pressure>, Option<String>) {
        // First, so that the counters and the log are of one moment.
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let kills = read_event(&self.cgroup.join("memory.events"), "oom_kill");
        let refused_forks = self.count_refused_forks();
        let killed = self.kernel_log.as_ref().and_then(KernelLog::find_killed_program);
        let pressure = counters.observe(kills, refused_forks, Instant::now());
        counters.killed_program = killed.or(counters.killed_program.take());
        let is_killed = pressure == Some(Pressure::OutOfMemory);
        (pressure, counters.killed_program.clone().filter(|_| is_killed))
    }

    /// Kernels before 6.11 count a refused fork only in the cgroup of the process that forks.
    fn count_refused_forks(&self) -> u64 {
        let groups = cgroups::children(&self.cgroup).into_iter().chain([self.cgroup.clone()]);
        groups.map(|group| read_event(&group.join("pids.events"), "max")).sum()
    }
}

impl Counters {
    fn observe(&mut self, kills: u64, refused_forks: u64, now: Instant) -> Option<Pressure> {
        let has_killed = self.kills.observe(kills, now);
        let has_refused = self.refused_forks.observe(refused_forks, now);
        match (has_killed, has_refused) {
            (true, _) => Some(Pressure::OutOfMemory),
            (false, true) => Some(Pressure::ProcessLimit),
            (false, false) => None,
        }
    }
}

impl EventCounter {
    /// Whether the counter has grown within [`PRESSURE_TTL`].
    fn observe(&mut self, count: u64, now: Instant) -> bool {
        if count > self.count {
            self.grown_at = Some(now);
        }
        self.count = count;
        self.grown_at.is_some_and(|grown_at| now.duration_since(grown_at) < PRESSURE_TTL)
    }
}

/// The value of `name` in a file of events. 0 if there is none.
fn read_event(file: &Path, name: &str) -> u64 {
    parse_event(&std::fs::read_to_string(file).unwrap_or_default(), name)
}

fn parse_event(events: &str, name: &str) -> u64 {
    let value = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_as_reached_for_a_while() {
        let mut counters = Counters::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (seconds, kills, refused, expected) in [
            (0, 0, 0, None),
            (2, 0, 7, Some(Pressure::ProcessLimit)),
            (4, 1, 7, Some(Pressure::OutOfMemory)),
            (63, 1, 7, Some(Pressure::OutOfMemory)),
            (64, 1, 7, None),
            (70, 1, 8, Some(Pressure::ProcessLimit)),
        ] {
            assert_eq!(counters.observe(kills, refused, after(seconds)), expected, "after {seconds} s");
        }
    }

    #[test]
    fn events_are_found_by_their_whole_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(parse_event(events, "oom_kill"), 2);
        assert_eq!(parse_event(events, "oom"), 3);
        assert_eq!(parse_event(events, "max"), 12);
        assert_eq!(parse_event("", "max"), 0);
    }
}
