//! Files of the home: paths that cannot leave it, and the messages of the file routes.
//!
//! Routes (below `/v1/`):
//! - `GET files?path=` → [`DirectoryListing`].
//! - `GET files/find?query=&ignored=` → [`FoundFiles`].
//! - `GET files/search` → a stream of [`SearchEvent`](crate::search::SearchEvent)s.
//! - `GET files/content?path=` → the bytes. Supports `Range` and `ETag`; `download=1` adds a
//!   `Content-Disposition`.
//! - `PUT files/content?path=` → [`FileEntry`]. Replaces the whole file atomically. Supports
//!   `If-Match` and `If-None-Match: *`.
//! - `POST files/directory` ([`NewDirectory`]), `POST files/rename` ([`RenameRequest`]) and
//!   `POST files/copy` ([`CopyRequest`]) → [`FileEntry`].
//! - `DELETE files?path=&recursive=`.
//! - `files/watch`: a WebSocket of JSON text messages, [`WatchRequest`] from the client and
//!   [`DirectoryChanges`] from the agent.
//!
//! [`HomePath`] is the lexical half of the guard against leaving the home. The agent has the other
//! half: it resolves every path beneath the home with `openat2`, so that symbolic links cannot lead
//! out of it either.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most bytes of a path, as in Linux.
pub const MAX_PATH_BYTES: usize = 4096;
/// Most bytes of one file's name, as in Linux.
pub const MAX_NAME_BYTES: usize = 255;
/// Most entries of a listing. A longer listing is cut after sorting and marked as `truncated`.
pub const MAX_ENTRIES: usize = 20_000;
/// Most files that one search returns.
pub const MAX_FOUND_FILES: usize = 100;
/// Most directories that one watcher may watch.
pub const MAX_WATCHES: usize = 512;

/// A path relative to the home: no leading `/`, no `.` or `..`, no empty segment, no NUL. The empty
/// path is the home itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HomePath(String);

/// Why a text is not a [`HomePath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Absolute, or with a `..` segment.
    #[error("the path leaves the home")]
    Outside,
    /// Longer than [`MAX_PATH_BYTES`], or with a name longer than [`MAX_NAME_BYTES`].
    #[error("the path is longer than Linux allows")]
    Long,
    /// Contains a NUL byte.
    #[error("the path contains a NUL byte")]
    Nul,
}

impl HomePath {
    /// Normalizes `text` (repeated slashes, `.` segments, a trailing slash) and refuses what could
    /// leave the home.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        if text.len() > MAX_PATH_BYTES {
            return Err(BadPath::Long);
        }
        if text.contains('\0') {
            return Err(BadPath::Nul);
        }
        if text.starts_with('/') {
            return Err(BadPath::Outside);
        }
        let segments: Vec<&str> =
            text.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
        if segments.contains(&"..") {
            return Err(BadPath::Outside);
        }
        if segments.iter().any(|segment| segment.len() > MAX_NAME_BYTES) {
            return Err(BadPath::Long);
        }
        Ok(Self(segments.join("/")))
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the home itself.
    pub fn is_home(&self) -> bool {
        self.0.is_empty()
    }

    /// The last segment. `None` for the home itself.
    pub fn name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The directory that contains the path. `None` for the home itself.
    pub fn parent(&self) -> Option<Self> {
        if self.is_home() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())))
    }

    /// The path of `name` in this directory.
    pub fn child(&self, name: &str) -> Result<Self, BadPath> {
        Self::parse(&if self.is_home() { name.to_owned() } else { format!("{}/{name}", self.0) })
    }
}

impl fmt::Display for HomePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HomePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, pipe or device.
    Other,
}

/// A file, directory or link as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "notes.md",
    "utf8": true,
    "kind": "file",
    "size": 2048,
    "modified": 1_764_374_400_000_u64,
    "mode": 420,
    "etag": "\"fd00-81-800-692a3c00.0-692a3c00.0\""
}))]
pub struct FileEntry {
    /// Name in its directory. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub name: String,
    /// Whether `name` is exact. If not, the entry can be shown but not addressed.
    pub utf8: bool,
    /// Type of the entry. Links are not followed.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last modification in Unix milliseconds.
    pub modified: i64,
    /// Permission bits, for example 420 (0o644).
    pub mode: u32,
    /// Target of a symbolic link. It may name any path; the agent follows none out of the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Entity tag of a regular file, for `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// Answer to `GET files`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectoryListing {
    /// The normalized path of the directory, relative to the home.
    pub path: String,
    /// Directories first, then by name.
    pub entries: Vec<FileEntry>,
    /// Whether the directory has more than 20,000 entries and some are left out.
    pub truncated: bool,
}

/// Answer to `GET files/find`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FoundFiles {
    /// Paths of files relative to the home, best match first. At most 100.
    pub paths: Vec<String>,
    /// Whether the home has more files than one search visits, so that some were not compared.
    pub truncated: bool,
}

/// Body of `POST files/directory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "path": "project/src", "parents": true }))]
pub struct NewDirectory {
    /// Path of the new directory, relative to the home.
    pub path: String,
    /// Create missing parent directories too.
    #[serde(default)]
    pub parents: bool,
}

/// Body of `POST files/rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "from": "draft.md", "to": "docs/guide.md" }))]
pub struct RenameRequest {
    /// Current path, relative to the home.
    pub from: String,
    /// New path, relative to the home.
    pub to: String,
    /// Replace what exists at `to`. Otherwise the request fails with `conflict`.
    #[serde(default)]
    pub overwrite: bool,
}

/// Body of `POST files/copy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "from": "draft.md", "to": "draft copy.md" }))]
pub struct CopyRequest {
    /// Path of the original, relative to the home.
    pub from: String,
    /// Path of the copy, relative to the home. Nothing may exist there.
    pub to: String,
}

/// A client's message on `files/watch`. Only direct entries of a watched directory are reported. A
/// path stays watched when its directory is deleted, created again or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchRequest {
    /// Starts watching a directory.
    Watch {
        /// Path relative to the home.
        path: String,
    },
    /// Stops watching a directory.
    Unwatch {
        /// Path exactly as in the `watch` request.
        path: String,
    },
    /// Asks for an empty [`DirectoryChanges`], so that a dead connection is noticed.
    Ping,
}

/// The agent's message on `files/watch`: these directories changed, list them again. The first one
/// after a `watch` request means that the directory is watched from now on. Changes within 80 ms are
/// one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "directories": ["project/src"], "all": false }))]
pub struct DirectoryChanges {
    /// Changed directories, as the client named them in its requests.
    pub directories: Vec<String>,
    /// Events were lost: list every watched directory again.
    #[serde(default)]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_keeps_paths_in_the_home() {
        for (text, expected) in [
            ("", Ok("")),
            ("a/b", Ok("a/b")),
            ("a//b/", Ok("a/b")),
            ("./a/./b", Ok("a/b")),
            ("with\nnewline", Ok("with\nnewline")),
            ("..", Err(BadPath::Outside)),
            ("a/../../b", Err(BadPath::Outside)),
            ("a/..", Err(BadPath::Outside)),
            ("/etc/passwd", Err(BadPath::Outside)),
            ("a\0b", Err(BadPath::Nul)),
            ("..a/b..", Ok("..a/b..")),
        ] {
            assert_eq!(
                HomePath::parse(text).as_ref().map(HomePath::as_str).map_err(|e| *e),
                expected,
                "{text:?}"
            );
        }
        assert_eq!(HomePath::parse(&"a".repeat(256)), Err(BadPath::Long));
        assert_eq!(HomePath::parse(&"a/".repeat(2049)), Err(BadPath::Long));
    }

    #[test]
    fn parent_ends_at_the_home() {
        let path = HomePath::parse("a/b").expect("valid");
        let parent = path.parent().expect("a parent");
        assert_eq!((parent.as_str(), path.name()), ("a", Some("b")));
        assert_eq!(parent.parent(), Some(HomePath::default()));
        assert_eq!(HomePath::default().parent(), None);
        assert_eq!(parent.child("../x"), Err(BadPath::Outside));
    }
}
