//! Errors of reading a home, by what a caller can do about them.

use std::io;

/// Why a file system cannot be read. The reader sends a number, never text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FaultReason {
    #[error("the disk is blank")]
    Blank,
    #[error("the disk has no ext4 file system")]
    NotExt4,
    #[error("the file system uses an unknown feature")]
    Feature,
    #[error("the journal uses an unknown feature")]
    JournalFeature,
    #[error("the journal is on another device")]
    JournalElsewhere,
    #[error("the file's content is stored in its inode (inline_data)")]
    InlineData,
    #[error("the file is encrypted")]
    Encrypted,
    #[error("the superblock is inconsistent")]
    Superblock,
    #[error("a group descriptor is invalid")]
    Group,
    #[error("an inode is invalid")]
    Inode,
    #[error("a directory is invalid")]
    Directory,
    #[error("a file's block map is invalid")]
    Map,
    #[error("a symbolic link is invalid")]
    Link,
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
    #[error("No such file or directory")]
    NotFound,
    /// A part of the path is not a directory. Symbolic links are not followed.
    #[error("Not a directory")]
    NotADirectory,
    #[error("Is a directory")]
    IsADirectory,
    #[error("Not a regular file")]
    NotAFile,
    #[error("Cannot read this home: {0}")]
    NotAHome(FaultReason),
    #[error("Cannot read this home: {0}")]
    Unsupported(FaultReason),
    #[error("Cannot read this home: {0}. Its file system is damaged")]
    Damaged(FaultReason),
    /// The reader did not answer in time, and was killed. Open the snapshot again.
    #[error("Cannot read this home: the reader did not answer in time")]
    Timeout,
    #[error("Cannot start the reader")]
    Spawn(#[source] io::Error),
    /// The reader exited, or sent an invalid reply and was killed. Open the snapshot again.
    #[error("Cannot read this home: the reader failed: {0}")]
    Broken(&'static str),
    #[error("Cannot read a block of this home")]
    Disk(#[source] io::Error),
}
