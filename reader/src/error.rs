//! Errors of reading a home, by what a caller can do about them.

use std::io;

/// Why a file system cannot be read. The reader sends a number, never text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FaultReason {
    /// The disk has only zeros: no home was ever formatted.
    #[error("the disk is blank")]
    Blank,
    /// Something else than ext4.
    #[error("the disk has no ext4 file system")]
    NotExt4,
    /// An incompatible feature that we do not know.
    #[error("the file system uses an unknown feature")]
    Feature,
    /// An incompatible feature of the journal.
    #[error("the journal uses an unknown feature")]
    JournalFeature,
    /// An external journal.
    #[error("the journal is on another device")]
    JournalElsewhere,
    /// A feature that our guests do not use.
    #[error("the file's content is stored in its inode (inline_data)")]
    InlineData,
    /// Its key is in the guest only.
    #[error("the file is encrypted")]
    Encrypted,
    /// Its fields contradict each other or the disk's size.
    #[error("the superblock is inconsistent")]
    Superblock,
    /// Its checksum or its block numbers are wrong.
    #[error("a group descriptor is invalid")]
    Group,
    /// Its checksum, number or mode is wrong.
    #[error("an inode is invalid")]
    Inode,
    /// Its checksum or its records are wrong.
    #[error("a directory is invalid")]
    Directory,
    /// It points outside the disk, or its tree is wrong.
    #[error("a file's block map is invalid")]
    Map,
    /// Its target is too long.
    #[error("a symbolic link is invalid")]
    Link,
    /// Its superblock or its blocks are wrong.
    #[error("the journal is invalid")]
    Journal,
}

impl FaultReason {
    /// All reasons. The position is the number on the wire.
    pub(crate) const ALL: [Self; 14] = [
        Self::Blank,
        Self::NotExt4,
        Self::Feature,
        Self::JournalFeature,
        Self::JournalElsewhere,
        Self::InlineData,
        Self::Encrypted,
        Self::Superblock,
        Self::Group,
        Self::Inode,
        Self::Directory,
        Self::Map,
        Self::Link,
        Self::Journal,
    ];
}

/// Why an operation on a file system failed, inside the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NotFound,
    NotADirectory,
    IsADirectory,
    NotAFile,
    NotAHome(FaultReason),
    Unsupported(FaultReason),
    Damaged(FaultReason),
    /// The parent did not provide a block.
    Disk,
}

/// Why a snapshot's files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Nothing exists at the path.
    #[error("No such file or directory")]
    NotFound,
    /// A part of the path is not a directory. Symbolic links are not followed.
    #[error("Not a directory")]
    NotADirectory,
    /// A file was requested.
    #[error("Is a directory")]
    IsADirectory,
    /// A link, device or socket has no content.
    #[error("Not a regular file")]
    NotAFile,
    /// The disk has no file system.
    #[error("Cannot read this home: {0}")]
    NotAHome(FaultReason),
    /// A valid file system that we cannot read.
    #[error("Cannot read this home: {0}")]
    Unsupported(FaultReason),
    /// The file system contradicts itself.
    #[error("Cannot read this home: {0}. Its file system is damaged")]
    Damaged(FaultReason),
    /// The reader did not answer in time, and was killed. Open the snapshot again.
    #[error("Cannot read this home: the reader did not answer in time")]
    Timeout,
    /// The operating system refused to start it.
    #[error("Cannot start the reader")]
    Spawn(#[source] io::Error),
    /// The reader exited, or sent an invalid reply and was killed. Open the snapshot again.
    #[error("Cannot read this home: the reader failed: {0}")]
    Broken(&'static str),
    /// The snapshot's [`crate::ReadAt`] failed.
    #[error("Cannot read a block of this home")]
    Disk(#[source] io::Error),
}
