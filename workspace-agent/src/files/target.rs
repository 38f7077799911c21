//! A file that is about to be written: its directory, its name, and what is known about it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use protocol::files::HomePath;
use restore::directory;
use rustix::{
    fs::{Access, AtFlags, Mode, OFlags, Stat},
    io::Errno,
};

use super::{entry::is_file, home_directory::HomeFiles};

/// Bits of a mode that a write by another user, or a replacement, removes.
const SPECIAL_BITS: u32 = 0o7000;
/// Any permission to write.
const WRITE_BITS: u32 = 0o222;
/// An attribute that every file has on hosts with SELinux, and that a new file gets as well.
const SELINUX_ATTRIBUTE: &[u8] = b"security.selinux";
/// Flags of an ext4 file that describe its layout and were not set by a user.
const LAYOUT_FLAGS: u32 = 0x1009_0000 | 0x1000;

/// A name in a directory. It must not be a link: [`HomeFiles::resolve`] resolves those.
pub struct TargetFile {
    directory: OwnedFd,
    name: String,
}

/// The file that a target names, open for reading.
#[derive(Debug)]
pub struct ExistingFile {
    /// `None` if the user may write the file but not read it.
    pub file: Option<File>,
    /// Its status when it was opened.
    pub stat: Stat,
}

/// How new content takes the place of the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMethod {
    /// A new file with the old one's mode takes its name in one step.
    Exchange,
    /// The content of the file itself is changed, because a new file would differ in more than that:
    /// it has several names, another owner, special bits or attributes.
    InPlace,
}

impl TargetFile {
    /// Opens the directory of `path`.
    pub fn open(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<Self> {
        let (directory, name) = files.open_parent(path)?;
        Ok(Self { directory, name: name.to_owned() })
    }

    /// The directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The name in the directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The current status. `None` if there is no such file.
    pub fn stat(&self) -> io::Result<Option<Stat>> {
        directory::stat(self.directory(), &self.name)
    }

    /// Opens the existing file. `None` if there is none. Fails if it is not a regular file.
    pub fn open_existing(&self) -> io::Result<Option<ExistingFile>> {
        // With NONBLOCK, opening a pipe does not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, stat) = match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                (Some(File::from(file)), stat)
            }
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS) => match self.stat()? {
                Some(stat) => (None, stat),
                None => return Ok(None),
            },
            Err(error) => return Err(error.into()),
        };
        if !is_file(&stat) {
            return Err(Errno::ISDIR.into());
        }
        Ok(Some(ExistingFile { file, stat }))
    }

    /// Opens the existing file for reading and writing.
    pub fn open_for_writing(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Err(Errno::ACCESS) => {
                let flags = flags.difference(OFlags::RDWR) | OFlags::WRONLY;
                Ok(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?.into())
            }
            result => Ok(result?.into()),
        }
    }

    /// Whether the existing file is protected against writing: the user may not write it, or nobody may.
    pub fn is_protected(&self, existing: &ExistingFile) -> bool {
        existing.stat.st_mode & WRITE_BITS == 0
            || matches!(
                rustix::fs::accessat(&self.directory, &*self.name, Access::WRITE_OK, AtFlags::EACCESS),
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS)
            )
    }
}

impl ExistingFile {
    /// How the file is written, if its new content belongs to `owner` (user and group).
    pub fn write_method(&self, owner: (u32, u32)) -> WriteMethod {
        let is_plain = self.stat.st_nlink == 1
            && self.stat.st_mode & SPECIAL_BITS == 0
            && (self.stat.st_uid, self.stat.st_gid) == owner;
        if is_plain && self.file.as_ref().is_some_and(|file| !has_attributes(file)) {
            WriteMethod::Exchange
        } else {
            WriteMethod::InPlace
        }
    }
}

/// Whether a user has given the file attributes that a new file would not have.
fn has_attributes(file: &File) -> bool {
    let mut names = [0_u8; 1024];
    let has_names = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => {
            names[..length].split(|byte| *byte == 0).any(|name| !name.is_empty() && name != SELINUX_ATTRIBUTE)
        }
        Err(Errno::RANGE) => true,
        Err(_) => false,
    };
    let flags = rustix::fs::ioctl_getflags(file).map_or(0, |flags| flags.bits());
    has_names || flags & !LAYOUT_FLAGS != 0
}
