//! Finding the machine's disks by their serials, and telling a blank one from one with a file system.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;

/// Devices appear some moments after their drivers are loaded.
const APPEAR: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Where an ext4 file system has its superblock, and the magic in it.
const SUPERBLOCK: u64 = 1024;
const MAGIC_AT: usize = 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];
/// The first copy of the superblock, with blocks of 4 KiB.
const SPARE_SUPERBLOCK: u64 = 32768 * 4096;
/// What is looked at to call a disk blank.
const HEAD: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Blank,
    Ext4(Superblock),
    /// Something else: nothing that we may overwrite.
    Unknown,
}

/// What a file system says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// It was put away in order: no journal to replay, no error noted.
    pub clean: bool,
    pub bytes: u64,
}

impl Superblock {
    /// From its 1024 bytes; the offsets are of the kernel's documentation, "ext4 super block".
    fn parse(bytes: &[u8]) -> Self {
        let half = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let word = |at: usize| half(at) | half(at + 2) << 16;
        let (wide, replays) = (word(0x60) & 0x80 != 0, word(0x60) & 0x4 != 0);
        let blocks = u64::from(word(0x4)) | if wide { u64::from(word(0x150)) << 32 } else { 0 };
        let block = 1024_u64.checked_shl(word(0x18)).unwrap_or(0);
        Self { clean: half(0x3a) == 1 && !replays, bytes: blocks.saturating_mul(block) }
    }
}

/// The size of a disk.
pub fn size(path: &Path) -> io::Result<u64> {
    File::open(path)?.seek(io::SeekFrom::End(0))
}

/// Waits for the disk with `serial`.
pub fn find(serial: &str) -> anyhow::Result<PathBuf> {
    let end = Instant::now() + APPEAR;
    loop {
        if let Some(disk) = look_for(Path::new("/sys/block"), serial) {
            return Ok(Path::new("/dev").join(disk));
        }
        if Instant::now() >= end {
            bail!("the machine has no disk with the serial {serial}");
        }
        std::thread::sleep(POLL);
    }
}

fn look_for(block: &Path, serial: &str) -> Option<std::ffi::OsString> {
    let entries = std::fs::read_dir(block).ok()?;
    let has_serial = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("serial")).is_ok_and(|text| text.trim() == serial)
    };
    entries.flatten().find(has_serial).map(|entry| entry.file_name())
}

/// What is on a disk.
pub fn content(path: &Path) -> io::Result<Content> {
    let mut disk = File::open(path)?;
    let mut head = vec![0; HEAD];
    disk.read_exact(&mut head)?;
    let content = content_of(&head);
    // A home whose head was wiped is not blank: its first spare superblock tells.
    if content == Content::Blank && has_spare(&mut disk)? {
        return Ok(Content::Unknown);
    }
    Ok(content)
}

fn has_spare(disk: &mut File) -> io::Result<bool> {
    if disk.seek(io::SeekFrom::End(0))? < SPARE_SUPERBLOCK + SUPERBLOCK {
        return Ok(false);
    }
    disk.seek(io::SeekFrom::Start(SPARE_SUPERBLOCK))?;
    let mut spare = [0; SUPERBLOCK as usize];
    disk.read_exact(&mut spare)?;
    Ok(spare[MAGIC_AT..MAGIC_AT + MAGIC.len()] == MAGIC)
}

fn content_of(head: &[u8]) -> Content {
    let magic = SUPERBLOCK as usize + MAGIC_AT;
    if head[magic..magic + MAGIC.len()] == MAGIC {
        Content::Ext4(Superblock::parse(&head[SUPERBLOCK as usize..]))
    } else if head.iter().all(|byte| *byte == 0) {
        Content::Blank
    } else {
        Content::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_are_blank() {
        let mut head = vec![0; HEAD];
        assert_eq!(content_of(&head), Content::Blank);
        head[HEAD - 1] = 1;
        assert_eq!(content_of(&head), Content::Unknown);
        head[SUPERBLOCK as usize + MAGIC_AT] = 0x53;
        head[SUPERBLOCK as usize + MAGIC_AT + 1] = 0xef;
        assert!(matches!(content_of(&head), Content::Ext4(_)));
    }

    /// A real one, made by the tool that makes them.
    #[test]
    fn a_file_system_tells_its_size_and_whether_it_was_put_away() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(64 << 20).expect("sparse");
        let made = std::process::Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            return eprintln!("mkfs.ext4 is not here");
        }
        let expected = Superblock { clean: true, bytes: 64 << 20 };
        assert_eq!(content(file.path()).expect("readable"), Content::Ext4(expected));
        assert_eq!(size(file.path()).expect("readable"), 64 << 20);
        for (at, value) in [(0x3a, 0), (0x3a, 3), (0x60, 0xff)] {
            let mut head = std::fs::read(file.path()).expect("readable");
            head[SUPERBLOCK as usize + at] = value;
            let unclean = matches!(content_of(&head[..HEAD]), Content::Ext4(Superblock { clean: false, .. }));
            assert!(unclean, "{at:x} = {value}");
        }
        std::io::Write::flush(&mut file).expect("flushed");
    }

    #[test]
    fn disks_are_known_by_their_serial() {
        let block = tempfile::tempdir().expect("a directory");
        for (disk, serial) in [("vda", "burrow-home\n"), ("vdb", "burrow-root")] {
            std::fs::create_dir(block.path().join(disk)).expect("a directory");
            std::fs::write(block.path().join(disk).join("serial"), serial).expect("a file");
        }
        std::fs::create_dir(block.path().join("loop0")).expect("a directory");
        assert_eq!(look_for(block.path(), "burrow-root"), Some("vdb".into()));
        assert_eq!(look_for(block.path(), "burrow-scratch"), None);
    }
}
