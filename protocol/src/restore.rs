//! Restoring files of a snapshot into a running home: the messages between controller and agent.
//!
//! The controller reads the snapshot, the agent compares and writes. The routes are below `/v1/`,
//! and the gateway relays none of them:
//!
//! - `POST restores/compare`: [`CompareRequest`] → [`CompareReply`]. Changes nothing.
//! - `POST restores/{id}`: [`BeginRestore`]. Prepares the record of the restore.
//! - `POST restores/{id}/entries`: a tar archive → a list of [`RestoredEntry`], one for each member.
//! - `POST restores/{id}/finish`: sets the attributes of created directories.
//! - `POST restores/{id}/undo` → [`UndoneRestore`].
//!
//! [`RestoredEntry`]: crate::api::restore::RestoredEntry
//! [`UndoneRestore`]: crate::api::restore::UndoneRestore

use serde::{Deserialize, Serialize};

use crate::files::{EntryKind, HomePath};

/// The directory of the home that holds the records of restores, and what they replaced. It is
/// never restored itself.
pub const RECORDS_DIRECTORY: &str = ".burrow-restores";
/// The permission bits that are restored. Set-user-ID and the like are not.
pub const PERMISSIONS: u32 = 0o777;
/// Most bytes of a request to compare.
pub const MAX_COMPARE_BYTES: u64 = 32 << 20;
/// Most bytes of one archive. A batch of small files is far smaller; the largest file is a member
/// of an archive by itself.
pub const MAX_ARCHIVE_BYTES: u64 = 1 << 44;

/// A point in time: seconds since 1970, possibly negative, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl FileTime {
    /// Milliseconds since 1970.
    pub fn milliseconds(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanoseconds / 1_000_000))
    }
}

/// A part of a file that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes. At least one.
    pub length: u64,
}

impl Segment {
    /// The offset behind the last byte.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Most segments of one file. A file with more has a last segment that reaches to its end.
pub const MAX_SEGMENTS: usize = 8192;
/// Most bytes of all extended attributes of one file, with their names. Linux allows one block.
pub const MAX_ATTRIBUTES_BYTES: usize = 64 << 10;
/// Longest name of an extended attribute, without its prefix, as in Linux.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 255;

/// An entry of a snapshot, as far as it can be compared without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Its path in the home.
    pub path: HomePath,
    /// Type of the entry.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// When the content changed.
    pub modified: FileTime,
    /// Permission bits.
    pub mode: u32,
    /// Target of a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For a further name of a file: the path of its first name in this restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_link: Option<HomePath>,
}

/// Entries of one directory of the snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComparedDirectory {
    /// The directory's path in the home.
    pub path: HomePath,
    /// Whether `entries` is the whole directory. Only then entries that the snapshot does not have
    /// are counted.
    pub is_complete: bool,
    /// The entries.
    pub entries: Vec<SourceEntry>,
}

/// Asks how entries of a snapshot differ from the home.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompareRequest {
    /// Parents come before their children.
    pub directories: Vec<ComparedDirectory>,
}

/// What a restore would do about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// The home has nothing at this path.
    Missing,
    /// The home has something else, or a file of which the content must be compared.
    Different,
    /// The home has the same.
    Same,
    /// Both are directories. A restore changes only what is in it.
    Merged,
}

/// Answer to [`CompareRequest`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompareReply {
    /// One for each entry, in order.
    pub comparisons: Vec<Comparison>,
    /// Entries of complete directories that the snapshot does not have.
    pub newer: u64,
}

/// Begins or resumes a restore.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct BeginRestore {
    /// Continue a restore that ended early. Fails if there is no record of it.
    pub resume: bool,
}

/// Query of `POST restores/{id}/entries`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct WriteEntries {
    /// Overwrite files that differ, without keeping them.
    #[serde(default)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_may_be_negative() {
        let timestamp = FileTime { seconds: -2, nanoseconds: 500_000_000 };
        assert_eq!(timestamp.milliseconds(), -1500);
        assert_eq!(FileTime { seconds: i64::MAX, nanoseconds: 0 }.milliseconds(), i64::MAX);
    }
}
