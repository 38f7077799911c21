//! Files of the home: paths that cannot point out of it, and the messages of the file routes.
//!
//! Routes (below `/v1/`): `GET files?path=` → [`Listing`]; `GET files/content?path=` (Range, `ETag`; `download=1` adds a
//! content disposition); `PUT files/content?path=` (whole file, written aside and renamed; `If-Match`, `If-None-Match: *`)
//! → [`Entry`]; `POST files/directory` ([`NewDirectory`]); `POST files/rename` ([`Rename`]); `DELETE
//! files?path=&recursive=`; `files/watch` is a WebSocket of JSON: [`WatchRequest`] up, [`Changed`] down.
//!
//! [`HomePath`] is the lexical half of the guard. The other half is the agent's: it resolves beneath the home with
//! `openat2`, so that a symbolic link leads nowhere else either.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest path, as in Linux.
pub const MAX_PATH_BYTES: usize = 4096;
/// Longest name of one file.
pub const MAX_NAME_BYTES: usize = 255;
/// Most entries that a listing holds; a directory with more says so by `truncated`.
pub const MAX_ENTRIES: usize = 10_000;
/// Most directories that one watcher may watch.
pub const MAX_WATCHES: usize = 512;

/// A path relative to the home: no leading `/`, no `.` or `..`, no empty segment, no NUL. The empty path is the home itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HomePath(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path leads out of the home")]
    Outside,
    #[error("the path is longer than Linux allows")]
    Long,
    #[error("the path holds a NUL byte")]
    Nul,
}

impl HomePath {
    /// Tidies `text` (repeated slashes, `.` segments, a trailing slash) and refuses what could leave the home.
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

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_home(&self) -> bool {
        self.0.is_empty()
    }

    /// The last segment; none for the home itself.
    pub fn name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The directory that holds it; none for the home itself.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// Socket, pipe, device.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// With replacement characters where it is not UTF-8.
    pub name: String,
    /// Whether `name` is exact; where it is not, the entry can be seen but not addressed.
    pub utf8: bool,
    pub kind: EntryKind,
    pub size: u64,
    /// Unix milliseconds.
    pub modified: i64,
    /// Permission bits.
    pub mode: u32,
    /// What a symbolic link says (it may point anywhere; the agent follows none out of the home).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    pub path: String,
    /// Directories first, then by name.
    pub entries: Vec<Entry>,
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewDirectory {
    pub path: String,
    /// Make missing parents too.
    #[serde(default)]
    pub parents: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rename {
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub overwrite: bool,
}

/// What a watcher wants to hear of: the direct entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchRequest {
    Watch { path: String },
    Unwatch { path: String },
}

/// Something in these directories changed: list them again. Changes close in time come as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    pub directories: Vec<String>,
    /// Events were lost: list everything again.
    #[serde(default)]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_home() {
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
    fn parents_end_at_the_home() {
        let path = HomePath::parse("a/b").expect("valid");
        let parent = path.parent().expect("has one");
        assert_eq!((parent.as_str(), path.name()), ("a", Some("b")));
        assert_eq!(parent.parent(), Some(HomePath::default()));
        assert_eq!(HomePath::default().parent(), None);
        assert_eq!(parent.child("../x"), Err(BadPath::Outside));
    }
}
