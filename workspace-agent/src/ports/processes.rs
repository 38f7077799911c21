//! Which processes have which sockets, by `/proc/PID/fd`.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
};

use protocol::{ports::MAX_PROCESS_BYTES, workspace::cut};

/// Finds the process of each of these sockets: its id, and its name. A process that may not be looked into,
/// or has ended, has none.
pub fn find_owners(inodes: HashSet<u64>) -> io::Result<HashMap<u64, (u32, String)>> {
    let mut owners = HashMap::new();
    if inodes.is_empty() {
        return Ok(owners);
    }
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        for inode in sockets_of(&entry.path()).filter(|inode| inodes.contains(inode)) {
            // The first process that has it has created it, unless it has ended: children inherit sockets.
            owners.entry(inode).or_insert_with(|| (pid, name_of(&entry.path())));
        }
        if owners.len() == inodes.len() {
            break;
        }
    }
    Ok(owners)
}

/// The inodes of a process's sockets.
fn sockets_of(process: &Path) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

fn name_of(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    cut(name.trim_end().chars().filter(|c| !c.is_control()).collect(), MAX_PROCESS_BYTES)
}
