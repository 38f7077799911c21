//! The disks of the host that a sandbox uses, by their numbers, as the files of cgroups name them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use protocol::runner::{DiskLimits, RunnerSpec};

/// What may be asked of each of some disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// `MAJOR:MINOR` of whole disks.
    pub numbers: Vec<String>,
    /// None: no limit.
    pub iops: Option<u32>,
    /// None: no limit.
    pub bytes_per_second: Option<u64>,
}

impl Disks {
    /// The disks of a sandbox's files. Those of a file system without a disk of its own, as tmpfs and btrfs
    /// have, cannot be limited.
    pub fn of(spec: &RunnerSpec) -> Self {
        let directories = [&spec.run_dir, &spec.cache_dir, &spec.image_dir];
        let existing = |path: &Path| path.ancestors().find(|path| path.exists()).map(Path::to_owned);
        let mut numbers: Vec<_> = directories
            .into_iter()
            .filter_map(|path| find_disk(&existing(path)?, Path::new("/sys/dev/block")))
            .collect();
        numbers.sort();
        numbers.dedup();
        let DiskLimits { iops, mib_per_second } = spec.disk_limits;
        Self { numbers, iops, bytes_per_second: mib_per_second.map(|mib| u64::from(mib) << 20) }
    }
}

/// The whole disk below a file. `devices` is `/sys/dev/block`.
fn find_disk(file: &Path, devices: &Path) -> Option<String> {
    let device = fs::metadata(file).ok()?.dev();
    find_whole_disk(&format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)), devices)
}

/// A partition has no limits of its own: those of its disk hold.
fn find_whole_disk(number: &str, devices: &Path) -> Option<String> {
    let device = fs::canonicalize(devices.join(number)).ok()?;
    if !device.join("partition").exists() {
        return Some(number.to_owned());
    }
    Some(fs::read_to_string(device.parent()?.join("dev")).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_belongs_to_its_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = directory.path().join("sda");
        fs::create_dir_all(disk.join("sda1")).expect("created");
        fs::write(disk.join("dev"), "8:0\n").expect("written");
        fs::write(disk.join("sda1/dev"), "8:1\n").expect("written");
        fs::write(disk.join("sda1/partition"), "1\n").expect("written");
        let devices = directory.path().join("block");
        fs::create_dir(&devices).expect("created");
        for (number, target) in [("8:0", disk.clone()), ("8:1", disk.join("sda1"))] {
            std::os::unix::fs::symlink(target, devices.join(number)).expect("linked");
            assert_eq!(find_whole_disk(number, &devices).as_deref(), Some("8:0"));
        }
        assert_eq!(find_whole_disk("0:31", &devices), None, "a file system without a disk");
    }
}
