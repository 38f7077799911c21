//! The guest's disks: finding one by its serial, and telling a blank disk from one with a file
//! system.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use protocol::home_disk::{BACKUP_BYTES, BACKUP_OFFSET, DiskContent, HEAD_BYTES};

/// How long a disk may take to appear after its driver was loaded.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);
const DISK_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Size of a disk in bytes.
pub fn disk_size(path: &Path) -> io::Result<u64> {
    File::open(path)?.seek(io::SeekFrom::End(0))
}

/// Forgets what the kernel has read of a disk that is not mounted. In a guest that was restored from a
/// prototype, it read another disk.
pub fn forget_content(path: &Path) -> io::Result<()> {
    let disk = File::open(path)?;
    // SAFETY: the ioctl has no argument, and the borrow keeps the descriptor open.
    #[allow(unsafe_code)]
    unsafe {
        ioctl::flush_buffers(disk.as_raw_fd())?;
    }
    Ok(())
}

mod ioctl {
    #![allow(unsafe_code)]

    // BLKFLSBUF
    nix::ioctl_none!(flush_buffers, 0x12, 97);
}

/// Waits for the disk with `serial` and returns its device file.
pub fn wait_for_disk(serial: &str) -> anyhow::Result<PathBuf> {
    let deadline = Instant::now() + DISK_TIMEOUT;
    loop {
        if let Some(disk) = find_disk(Path::new("/sys/block"), serial) {
            return Ok(Path::new("/dev").join(disk));
        }
        if Instant::now() >= deadline {
            bail!("the guest has no disk with the serial {serial}");
        }
        std::thread::sleep(DISK_POLL_INTERVAL);
    }
}

fn find_disk(block_devices: &Path, serial: &str) -> Option<std::ffi::OsString> {
    let entries = std::fs::read_dir(block_devices).ok()?;
    let has_serial = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("serial")).is_ok_and(|text| text.trim() == serial)
    };
    entries.flatten().find(has_serial).map(|entry| entry.file_name())
}

/// Determines what a disk contains.
pub fn read_content(path: &Path) -> io::Result<DiskContent> {
    let mut disk = File::open(path)?;
    let mut head = vec![0; HEAD_BYTES];
    disk.read_exact(&mut head)?;
    let content = DiskContent::parse(&head, &[]);
    if content != DiskContent::Blank {
        return Ok(content);
    }
    let mut backup = Vec::new();
    disk.seek(io::SeekFrom::Start(BACKUP_OFFSET))?;
    disk.take(BACKUP_BYTES as u64).read_to_end(&mut backup)?;
    Ok(DiskContent::parse(&head, &backup))
}

#[cfg(test)]
mod tests {
    use protocol::home_disk::FileSystemState;

    use super::*;

    /// Uses a real file system, made by `mkfs.ext4`.
    #[test]
    fn new_file_system_is_clean() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(64 << 20).expect("a sparse file");
        let made = std::process::Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            return eprintln!("skipped: mkfs.ext4 is not installed");
        }
        let expected = FileSystemState { is_clean: true, bytes: 64 << 20 };
        assert_eq!(read_content(file.path()).expect("readable"), DiskContent::Ext4(expected));
        assert_eq!(disk_size(file.path()).expect("readable"), 64 << 20);
    }

    #[test]
    fn find_disk_matches_the_serial() {
        let block_devices = tempfile::tempdir().expect("a directory");
        for (disk, serial) in [("vda", "burrow-home\n"), ("vdb", "burrow-root")] {
            std::fs::create_dir(block_devices.path().join(disk)).expect("a directory");
            std::fs::write(block_devices.path().join(disk).join("serial"), serial).expect("a file");
        }
        std::fs::create_dir(block_devices.path().join("loop0")).expect("a directory");
        assert_eq!(find_disk(block_devices.path(), "burrow-root"), Some("vdb".into()));
        assert_eq!(find_disk(block_devices.path(), "burrow-scratch"), None);
    }
}
