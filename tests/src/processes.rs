//! The processes of a running server.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The children of a process, of all its threads. None if it has ended.
pub fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let parse = |list: String| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>();
    lists.flat_map(parse).collect()
}

/// The children of a process, theirs, and so on.
pub fn descendants_of(pid: u32) -> Vec<u32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children_of(*pid));
        next += 1;
    }
    found
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

/// The fields of `/proc/<pid>/status` of a process that lives.
pub fn status_of(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Fails unless a process is this user and group, in no other group, without capabilities and without a way
/// to gain any.
#[track_caller]
pub fn assert_unprivileged(pid: u32, user: u32) {
    let status = status_of(pid);
    for ids in ["Uid", "Gid"] {
        assert_eq!(status[ids], vec![user.to_string(); 4].join("\t"), "{ids}");
    }
    assert_eq!((status["Groups"].as_str(), status["NoNewPrivs"].as_str()), ("", "1"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0".repeat(16), "{set}");
    }
}

/// All files that a process sees below its root directory, but not what is inside `shown`.
pub fn visible_files(pid: u32, shown: &[&Path]) -> Vec<PathBuf> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let (mut found, mut directories) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable").flatten() {
            let path = PathBuf::from("/").join(entry.path().strip_prefix(&root).expect("below it"));
            if entry.file_type().expect("known").is_dir() && !shown.contains(&path.as_path()) {
                directories.push(entry.path());
            }
            found.push(path);
        }
    }
    found
}
