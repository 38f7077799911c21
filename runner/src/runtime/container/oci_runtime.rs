//! The OCI runtime that starts containers: crun or runc.

use std::path::{Path, PathBuf};

const DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];

/// Finds the program. crun is faster, but refuses hosts that have version 1 of cgroups beside version 2.
pub fn find(has_version_1: bool) -> Option<PathBuf> {
    choose(has_version_1, |name| {
        DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
    })
}

fn choose(has_version_1: bool, find: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if has_version_1 { find("runc") } else { find("crun").or_else(|| find("runc")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_suits_the_hosts_cgroups() {
        for (has_version_1, installed, expected) in [
            (false, &["crun", "runc"][..], Some("crun")),
            (false, &["runc"], Some("runc")),
            (true, &["crun", "runc"], Some("runc")),
            (true, &["crun"], None),
            (false, &[], None),
        ] {
            let found = choose(has_version_1, |name| installed.contains(&name).then(|| name.into()));
            assert_eq!(found, expected.map(PathBuf::from), "{has_version_1} {installed:?}");
        }
    }
}
