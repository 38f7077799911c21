//! A file, directory or link as the file system describes it. Pure.

pub use protocol::restore::{FileTime, MAX_SEGMENTS, Segment};
use protocol::{api::snapshot::SnapshotEntry, files::EntryKind};

/// Longest name in a directory.
pub const MAX_NAME_BYTES: usize = protocol::files::MAX_NAME_BYTES;
/// Longest target of a symbolic link, as in Linux.
pub const MAX_TARGET_BYTES: usize = 4096;

/// An entry of a directory with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name; empty for the home itself. Not necessarily UTF-8.
    pub name: Vec<u8>,
    /// Number of the inode. Names with the same one are hard links of one file.
    pub inode: u32,
    /// What it is.
    pub kind: EntryKind,
    /// Length of the content, in bytes, with holes.
    pub size: u64,
    /// When the content changed (mtime).
    pub modified: FileTime,
    /// When anything in the inode changed (ctime). Programs cannot set it.
    pub changed: FileTime,
    /// Permission bits.
    pub mode: u16,
    /// Names that the inode has in directories. 0: the inode cannot be read.
    pub links: u16,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
}

impl Node {
    /// A node whose directory names it but whose inode cannot be read. It is shown as empty and
    /// without permissions.
    pub fn unreadable(name: Vec<u8>, inode: u32, kind: EntryKind) -> Self {
        let never = FileTime::default();
        Self { name, inode, kind, size: 0, modified: never, changed: never, mode: 0, links: 0, target: None }
    }

    /// The entry for API clients. Names and targets that are not UTF-8 are converted with
    /// replacement characters.
    pub fn into_entry(self) -> SnapshotEntry {
        let (name, utf8) = decode_text(self.name);
        SnapshotEntry {
            name,
            utf8,
            kind: self.kind,
            size: self.size,
            modified_ms: self.modified.milliseconds(),
            mode: u32::from(self.mode),
            target: self.target.map(|target| decode_text(target).0),
        }
    }
}

/// What a restore needs to know about a file beside its [`Node`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileDetails {
    /// Names without the prefix `user.`, sorted, and values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The parts of a regular file that are not holes, in order.
    pub segments: Vec<Segment>,
}

/// Whether a directory may contain this name.
pub fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
        && !matches!(name, b"." | b"..")
}

/// The bytes as text, and whether the text is exact.
fn decode_text(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'a'; 256]] {
            assert!(!is_name(name), "{name:?}");
        }
        for name in [&b"a"[..], b"...", b"\xff", b"a\nb", &[b'a'; 255]] {
            assert!(is_name(name), "{name:?}");
        }
    }

    #[test]
    fn non_utf8_names_are_marked() {
        let entry = Node::unreadable(b"a\xffb".to_vec(), 12, EntryKind::File).into_entry();
        assert_eq!((entry.name.as_str(), entry.utf8), ("a\u{fffd}b", false));
    }
}
