//! A file as the file system describes it. Pure.

use protocol::{api::snapshot::PastEntry, files::EntryKind};

/// Longest name in a directory.
pub const MAX_NAME_BYTES: usize = protocol::files::MAX_NAME_BYTES;
/// Longest target of a symbolic link, as in Linux.
pub const MAX_TARGET_BYTES: usize = 4096;

/// An instant, in seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Instant {
    fn milliseconds(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanoseconds / 1_000_000))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Empty for the home itself.
    pub name: Vec<u8>,
    pub inode: u32,
    pub kind: EntryKind,
    pub size: u64,
    pub modified: Instant,
    /// When anything of the inode changed; programs cannot set it.
    pub changed: Instant,
    pub mode: u16,
    pub target: Option<Vec<u8>>,
}

impl Node {
    /// One whose directory names it and whose inode cannot be read: it is seen, as empty and without permissions.
    pub fn unreadable(name: Vec<u8>, inode: u32, kind: EntryKind) -> Self {
        let never = Instant::default();
        Self { name, inode, kind, size: 0, modified: never, changed: never, mode: 0, target: None }
    }

    pub fn into_entry(self) -> PastEntry {
        let (name, utf8) = text(self.name);
        PastEntry {
            name,
            utf8,
            kind: self.kind,
            size: self.size,
            modified_ms: self.modified.milliseconds(),
            mode: u32::from(self.mode),
            target: self.target.map(|target| text(target).0),
        }
    }
}

/// Whether a directory may hold such a name.
pub fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
        && !matches!(name, b"." | b"..")
}

/// As text, and whether it is exact.
fn text(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_directory_holds_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'a'; 256]] {
            assert!(!is_name(name), "{name:?}");
        }
        for name in [&b"a"[..], b"...", b"\xff", b"a\nb", &[b'a'; 255]] {
            assert!(is_name(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_said_to_be_so() {
        let entry = Node::unreadable(b"a\xffb".to_vec(), 12, EntryKind::File).into_entry();
        assert_eq!((entry.name.as_str(), entry.utf8), ("a\u{fffd}b", false));
    }

    #[test]
    fn instants_before_1970_are_before_it() {
        let instant = Instant { seconds: -2, nanoseconds: 500_000_000 };
        assert_eq!(instant.milliseconds(), -1500);
        assert_eq!(Instant { seconds: i64::MAX, nanoseconds: 0 }.milliseconds(), i64::MAX);
    }
}
