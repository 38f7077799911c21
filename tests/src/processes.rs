//! The processes of a running server.

use std::fs;

/// The children of a process, of all its threads. None if it has ended.
pub fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let parse = |list: String| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>();
    lists.flat_map(parse).collect()
}

/// The program and the arguments of a process. None if it has ended.
pub fn arguments_of(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.split_terminator('\0').map(str::to_owned).collect()
}

/// The child that runs this subcommand of `burrow`.
pub fn role_of(parent: u32, role: &str) -> Option<u32> {
    children_of(parent).into_iter().find(|pid| arguments_of(*pid).get(1).is_some_and(|first| first == role))
}

/// The parent of a process that lives.
pub fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
