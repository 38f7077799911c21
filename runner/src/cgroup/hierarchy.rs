//! Finds the host's cgroup hierarchies: one with version 2, one for each controller with version 1, or
//! both on a *hybrid* host. Pure.

use std::path::{Path, PathBuf};

/// What limits a resource of the processes in a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// Memory, with the page cache of the files that the processes use.
    Memory,
    /// The number of processes and threads.
    Pids,
    /// Block devices.
    Io,
}

/// The version of a hierarchy's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for some of the controllers.
    V1,
    /// The single hierarchy of all controllers.
    V2,
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The version of its files.
    pub version: Version,
    /// The controllers of it that we use. May be none: OCI runtimes use more than we do.
    pub controllers: Vec<Controller>,
    /// The directory below which our cgroups are. With version 1 it is this process's cgroup, so that
    /// sandboxes stay within the limits of the service that started them. With version 2 it is the
    /// top, because a cgroup that has processes cannot have limited children.
    pub parent: PathBuf,
}

impl Controller {
    const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io];

    /// The controller's name in files and mount options.
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cpu, _) => "cpu",
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::V1) => "blkio",
            (Self::Io, Version::V2) => "io",
        }
    }

    fn named(names: &[&str], version: Version) -> Vec<Self> {
        Self::ALL.into_iter().filter(|controller| names.contains(&controller.name(version))).collect()
    }
}

/// Finds the hierarchies in the text of `/proc/self/mountinfo`, with this process's cgroups from
/// `/proc/self/cgroup`. `read_controllers` reads `cgroup.controllers` of a mounted version 2.
pub fn find_hierarchies(
    mounts: &str,
    own_cgroups: &str,
    read_controllers: impl Fn(&Path) -> String,
) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let version = mount.version;
        let controllers = match version {
            Version::V1 => Controller::named(&mount.options, version),
            Version::V2 => {
                let names = read_controllers(&mount.point);
                Controller::named(&names.split_whitespace().collect::<Vec<_>>(), version)
            }
        };
        let is_known = |controller| found.iter().any(|known| known.controllers.contains(controller));
        // A hierarchy may be mounted twice.
        if controllers.iter().any(is_known) {
            continue;
        }
        let parent = match version {
            Version::V1 => mount.own_directory(own_cgroups),
            Version::V2 => mount.point,
        };
        found.push(Hierarchy { version, controllers, parent });
    }
    found
}

/// A line of mountinfo that mounts a hierarchy.
struct Mount<'a> {
    version: Version,
    /// The cgroup that is mounted at `point`.
    root: &'a Path,
    point: PathBuf,
    options: Vec<&'a str>,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (Path::new(left.next()?), PathBuf::from(left.next()?));
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = right.nth(1)?.split(',').collect();
        Some(Self { version, root, point, options })
    }

    /// This process's cgroup in a hierarchy of version 1. Its lines are `NUMBER:CONTROLLERS:PATH`.
    fn own_directory(&self, own_cgroups: &str) -> PathBuf {
        let path = own_cgroups.lines().find_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            names.split(',').any(|name| self.options.contains(&name)).then_some(Path::new(path))
        });
        let below = path.and_then(|path| path.strip_prefix(self.root).ok()).unwrap_or(Path::new(""));
        // An empty path would add a slash.
        if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                           32 24 0:28 / /proc rw - proc proc rw\n";
    const HYBRID: &str = "40 39 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        41 40 0:31 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
        42 40 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
        43 40 0:33 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        44 40 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        45 40 0:33 / /mnt/memory rw - cgroup cgroup rw,memory\n";
    const OWN: &str = "4:memory:/docker/a/b\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/y\n";

    fn find(mounts: &str, controllers: &str) -> Vec<Hierarchy> {
        find_hierarchies(mounts, OWN, |_| controllers.to_owned())
    }

    #[test]
    fn version_2_has_all_controllers_at_the_top() {
        let controllers = vec![Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];
        let expected = Hierarchy { version: Version::V2, controllers, parent: "/sys/fs/cgroup".into() };
        assert_eq!(find(UNIFIED, "cpuset cpu io memory hugetlb pids"), [expected]);
    }

    #[test]
    fn version_1_stays_below_own_cgroup() {
        let of = |controller, parent: &str| Hierarchy {
            version: Version::V1,
            controllers: vec![controller],
            parent: parent.into(),
        };
        let expected = [
            of(Controller::Cpu, "/sys/fs/cgroup/cpu,cpuacct"),
            of(Controller::Memory, "/sys/fs/cgroup/memory/b"),
        ];
        let (limiting, others): (Vec<_>, Vec<_>) =
            find(HYBRID, "").into_iter().partition(|hierarchy| !hierarchy.controllers.is_empty());
        assert_eq!(limiting, expected);
        let others = others.iter().map(|hierarchy| hierarchy.parent.to_str().expect("a text"));
        assert_eq!(others.collect::<Vec<_>>(), ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd/x"]);
    }

    #[test]
    fn host_without_cgroups_has_none() {
        assert_eq!(find("32 24 0:28 / /proc rw - proc proc rw\nbroken\n", ""), []);
        assert!(find(UNIFIED, "").iter().all(|hierarchy| hierarchy.controllers.is_empty()));
    }
}
