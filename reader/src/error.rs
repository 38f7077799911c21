//! What can be wrong with reading a home, as a caller can act on it.

use std::io;

/// Why a file system is not read. The child sends a number, never words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    #[error("the disk is blank: no home was ever made on it")]
    Blank,
    #[error("no ext4 file system is on the disk")]
    NotExt4,
    #[error("the file system uses a feature that is not known here")]
    Feature,
    #[error("its journal uses a feature that is not known here")]
    JournalFeature,
    #[error("its journal lies on another device")]
    JournalElsewhere,
    #[error("the file's content lies within its inode (inline_data)")]
    InlineData,
    #[error("it is encrypted")]
    Encrypted,
    #[error("the superblock contradicts itself or the disk")]
    Superblock,
    #[error("a group descriptor is wrong")]
    Group,
    #[error("an inode is wrong")]
    Inode,
    #[error("a directory is wrong")]
    Directory,
    #[error("a file's map of blocks is wrong")]
    Map,
    #[error("a symbolic link is wrong")]
    Link,
    #[error("the journal is wrong")]
    Journal,
}

impl Reason {
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

/// What an operation on a file system ends with when it does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NotFound,
    NotADirectory,
    IsADirectory,
    NotAFile,
    NotAHome(Reason),
    Unsupported(Reason),
    Damaged(Reason),
    /// A block could not be had.
    Disk,
}

#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    #[error("there is no such file")]
    NotFound,
    /// Also of a symbolic link on the way: none is followed.
    #[error("a part of the path is no directory")]
    NotADirectory,
    #[error("it is a directory")]
    IsADirectory,
    #[error("it is no regular file")]
    NotAFile,
    #[error("this is no home: {0}")]
    NotAHome(Reason),
    #[error("the home cannot be read here: {0}")]
    Unsupported(Reason),
    #[error("the home is damaged: {0}")]
    Damaged(Reason),
    /// It took longer than it may. The home must be opened anew.
    #[error("reading took too long")]
    Timeout,
    #[error("the reading process cannot be started")]
    Spawn(#[source] io::Error),
    /// The reading process ended or said what it may not. The home must be opened anew.
    #[error("the reading process failed: {0}")]
    Broken(&'static str),
    #[error("a block cannot be read")]
    Disk(#[source] io::Error),
}
