//! The guest's cgroups: one for the agent, and one for the user's programs with a child for each
//! program that the agent starts.
//!
//! Together the programs leave memory to the agent. Each alone also leaves memory and processes to
//! the others, and gets no larger share of the CPUs than they do. So a program that takes all it can
//! get (a fork bomb) does not keep its user from starting a terminal to end it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where the cgroups are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";
/// The agent's cgroup, without limits.
const AGENT: &str = "/sys/fs/cgroup/agent";
/// The cgroup of the user's programs. Its processes are in its children.
pub const USER: &str = "/sys/fs/cgroup/user";

/// Share of the memory that programs cannot use, so that the agent can still respond: one
/// sixteenth.
const RESERVE_DIVISOR: u64 = 16;
/// Least memory that programs cannot use.
const MIN_RESERVE_BYTES: u64 = 32 * 1024 * 1024;

/// The agent's weight when CPU time is scarce. All programs together have 100, the kernel's default.
const AGENT_CPU_WEIGHT: u32 = 1000;

/// Share of the processes that one program leaves to the others: one eighth.
const SPARE_PROCESSES_DIVISOR: u64 = 8;
/// Memory that one program leaves to the others: enough for a login shell and a few tools.
const SPARE_BYTES: u64 = 24 * 1024 * 1024;

/// How often entering a new cgroup is tried. Another launcher may remove it while it is empty.
const MAX_ENTER_ATTEMPTS: u32 = 10;

/// Creates the cgroups of the agent and of the programs below the mounted [`ROOT`], and protects the
/// agent.
pub fn create() -> anyhow::Result<()> {
    for group in [AGENT, USER] {
        std::fs::create_dir_all(group).with_context(|| format!("cannot create {group}"))?;
    }
    write(Path::new(AGENT), "cgroup.procs", "0")?;
    for group in [ROOT, USER] {
        write(Path::new(group), "cgroup.subtree_control", "+memory +pids")?;
        if let Err(error) = write(Path::new(group), "cgroup.subtree_control", "+cpu") {
            tracing::warn!(%error, "the guest's kernel cannot divide the CPUs between programs");
        }
    }
    let total = memory_bytes()?;
    let reserve = (total / RESERVE_DIVISOR).max(MIN_RESERVE_BYTES).min(total / 2);
    write(Path::new(USER), "memory.max", &(total - reserve).to_string())?;
    write(Path::new(AGENT), "memory.min", &reserve.to_string())?;
    // Fails only without the CPU controller, which was reported above.
    let _ = write(Path::new(AGENT), "cpu.weight", &AGENT_CPU_WEIGHT.to_string());
    std::fs::write("/proc/self/oom_score_adj", "-1000").context("cannot set the OOM score")
}

/// Limits the number of the user's processes.
pub fn limit_processes(max: u32) -> anyhow::Result<()> {
    write(Path::new(USER), "pids.max", &max.to_string())
}

/// Moves the calling process into a new child of `parent`, and removes children that are empty. The memory
/// that one program can use is divided by `memory_divisor`.
///
/// A child lives for as long as a process of it. The next program that is started removes it, so
/// there are never more empty children than programs that were running at once.
pub fn enter_child(parent: &Path, memory_divisor: u64) -> anyhow::Result<()> {
    remove_empty_children(parent);
    let child = parent.join(format!("program-{}", std::process::id()));
    let limits = ProgramLimits::read(parent, memory_divisor);
    let mut attempts = 1;
    loop {
        let entered = limits.create(&child).and_then(|()| write(&child, "cgroup.procs", "0"));
        match entered {
            Ok(()) => return Ok(()),
            Err(error) if attempts == MAX_ENTER_ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

/// The limits of one program. `None`: the kernel has none for its parent.
#[derive(Debug, PartialEq, Eq)]
struct ProgramLimits {
    processes: Option<u64>,
    memory_bytes: Option<u64>,
}

impl ProgramLimits {
    fn read(parent: &Path, memory_divisor: u64) -> Self {
        let limit = |file: &str| std::fs::read_to_string(parent.join(file)).ok()?.trim().parse().ok();
        Self::within(limit("pids.max"), limit("memory.max"), memory_divisor)
    }

    fn within(processes: Option<u64>, memory_bytes: Option<u64>, memory_divisor: u64) -> Self {
        Self {
            processes: processes.map(|all| (all - all / SPARE_PROCESSES_DIVISOR).max(1)),
            memory_bytes: memory_bytes.map(|all| (all - SPARE_BYTES.min(all / 4)) / memory_divisor),
        }
    }

    fn create(&self, child: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(child).context("cannot create the program's cgroup")?;
        for (file, limit) in [("pids.max", self.processes), ("memory.max", self.memory_bytes)] {
            if let Some(limit) = limit {
                write(child, file, &limit.to_string())?;
            }
        }
        Ok(())
    }
}

/// The children of a cgroup.
pub fn children(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_empty_children(parent: &Path) {
    for child in children(parent) {
        // The kernel refuses to remove a cgroup that has processes.
        let _ = std::fs::remove_dir(child);
    }
}

fn memory_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.context("/proc/meminfo has no MemTotal")? * 1024)
}

fn write(group: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let file = group.join(file);
    std::fs::write(&file, text).with_context(|| format!("cannot write {text} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_leaves_room_for_others() {
        let mib = 1024 * 1024;
        for (processes, memory, expected) in [
            (Some(4096), Some(960 * mib), (Some(3584), Some(936 * mib))),
            (Some(7), Some(64 * mib), (Some(7), Some(48 * mib))),
            (Some(1), None, (Some(1), None)),
            (None, None, (None, None)),
        ] {
            let limits = ProgramLimits::within(processes, memory, 1);
            assert_eq!((limits.processes, limits.memory_bytes), expected);
            let helper = ProgramLimits::within(processes, memory, 2);
            assert_eq!(helper.memory_bytes, expected.1.map(|bytes| bytes / 2));
        }
    }
}
