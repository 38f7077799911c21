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

/// How long a disk may take to appear after its driver was loaded.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);
const DISK_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Offset of an ext4 file system's superblock, and its size.
const SUPERBLOCK: u64 = 1024;
/// Offset of the magic number in the superblock.
const MAGIC_OFFSET: usize = 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];
/// Offset of the superblock's first backup, for blocks of 4 KiB.
const BACKUP_SUPERBLOCK: u64 = 32768 * 4096;
/// How much of a disk must be zero for it to count as blank.
const HEAD_BYTES: usize = 64 * 1024;

/// What a disk contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskContent {
    /// Only zeros.
    Blank,
    /// An ext4 file system.
    Ext4(FileSystemState),
    /// Something else, which must not be overwritten.
    Unknown,
}

/// What an ext4 file system records about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemState {
    /// Whether it was unmounted properly: no journal to replay, no error recorded.
    pub is_clean: bool,
    /// Size of the file system in bytes.
    pub bytes: u64,
}

impl FileSystemState {
    /// Parses a superblock of 1024 bytes. The offsets are those of the kernel's documentation,
    /// "ext4 super block".
    fn from_superblock(bytes: &[u8]) -> Self {
        let read_u16 = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let read_u32 = |at: usize| read_u16(at) | read_u16(at + 2) << 16;
        let incompatible_features = read_u32(0x60);
        let (is_64bit, needs_replay) = (incompatible_features & 0x80 != 0, incompatible_features & 0x4 != 0);
        let blocks = u64::from(read_u32(0x4)) | if is_64bit { u64::from(read_u32(0x150)) << 32 } else { 0 };
        let block_bytes = 1024_u64.checked_shl(read_u32(0x18)).unwrap_or(0);
        let is_clean = read_u16(0x3a) == 1 && !needs_replay;
        Self { is_clean, bytes: blocks.saturating_mul(block_bytes) }
    }
}

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
    let content = content_of(&head);
    // A home whose first blocks were wiped is not blank: it still has the backup of its superblock.
    if content == DiskContent::Blank && has_backup_superblock(&mut disk)? {
        return Ok(DiskContent::Unknown);
    }
    Ok(content)
}

fn has_backup_superblock(disk: &mut File) -> io::Result<bool> {
    if disk.seek(io::SeekFrom::End(0))? < BACKUP_SUPERBLOCK + SUPERBLOCK {
        return Ok(false);
    }
    disk.seek(io::SeekFrom::Start(BACKUP_SUPERBLOCK))?;
    let mut backup = [0; SUPERBLOCK as usize];
    disk.read_exact(&mut backup)?;
    Ok(backup[MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()] == MAGIC)
}

fn content_of(head: &[u8]) -> DiskContent {
    let magic = SUPERBLOCK as usize + MAGIC_OFFSET;
    if head[magic..magic + MAGIC.len()] == MAGIC {
        DiskContent::Ext4(FileSystemState::from_superblock(&head[SUPERBLOCK as usize..]))
    } else if head.iter().all(|byte| *byte == 0) {
        DiskContent::Blank
    } else {
        DiskContent::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_are_blank() {
        let mut head = vec![0; HEAD_BYTES];
        assert_eq!(content_of(&head), DiskContent::Blank);
        head[HEAD_BYTES - 1] = 1;
        assert_eq!(content_of(&head), DiskContent::Unknown);
        head[SUPERBLOCK as usize + MAGIC_OFFSET] = 0x53;
        head[SUPERBLOCK as usize + MAGIC_OFFSET + 1] = 0xef;
        assert!(matches!(content_of(&head), DiskContent::Ext4(_)));
    }

    /// Uses a real file system, made by `mkfs.ext4`.
    #[test]
    fn superblock_has_size_and_clean_state() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(64 << 20).expect("a sparse file");
        let made = std::process::Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            return eprintln!("skipped: mkfs.ext4 is not installed");
        }
        let expected = FileSystemState { is_clean: true, bytes: 64 << 20 };
        assert_eq!(read_content(file.path()).expect("readable"), DiskContent::Ext4(expected));
        assert_eq!(disk_size(file.path()).expect("readable"), 64 << 20);
        for (at, value) in [(0x3a, 0), (0x3a, 3), (0x60, 0xff)] {
            let mut head = std::fs::read(file.path()).expect("readable");
            head[SUPERBLOCK as usize + at] = value;
            let content = content_of(&head[..HEAD_BYTES]);
            let is_unclean = matches!(content, DiskContent::Ext4(FileSystemState { is_clean: false, .. }));
            assert!(is_unclean, "{at:x} = {value}");
        }
        std::io::Write::flush(&mut file).expect("flushed");
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
