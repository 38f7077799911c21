//! `file:` URIs of paths in the home, and back. Pure.

use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use protocol::files::HomePath;

/// What is encoded in a URI: everything but the unreserved characters and the slash.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URI of an absolute path.
pub fn uri_of(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), ENCODED))
}

/// The absolute path of a `file:` URI.
pub fn path_of(uri: &str) -> Option<PathBuf> {
    let encoded = uri.strip_prefix("file://")?;
    let encoded = encoded.strip_prefix("localhost").unwrap_or(encoded);
    let bytes: Vec<u8> = percent_decode_str(encoded).collect();
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    path.is_absolute().then_some(path)
}

/// The path of a `file:` URI in the home. `None`: it is elsewhere, or not a path that can be opened.
pub fn home_path_of(home: &Path, uri: &str) -> Option<HomePath> {
    let path = path_of(uri)?;
    HomePath::parse(path.strip_prefix(home).map(Path::as_os_str).ok().and_then(OsStr::to_str)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_round_trip() {
        let home = Path::new("/home/dev");
        for name in ["a.py", "ä b/%41#?.ts", "x/\u{1f600}.rs"] {
            let uri = uri_of(&home.join(name));
            assert!(uri.is_ascii(), "{uri}");
            assert_eq!(home_path_of(home, &uri).map(|path| path.to_string()).as_deref(), Some(name));
        }
        assert_eq!(uri_of(Path::new("/a b")), "file:///a%20b");
    }

    #[test]
    fn paths_outside_are_refused() {
        let home = Path::new("/home/dev");
        for uri in [
            "file:///etc/passwd",
            "file:///home/dev/../root/x",
            "file:///home/device/x",
            "file://x",
            "untitled:1",
            "file:///home/dev/a%00b",
            "",
        ] {
            assert_eq!(home_path_of(home, uri), None, "{uri}");
        }
        assert_eq!(path_of("file:///usr/lib/x"), Some(PathBuf::from("/usr/lib/x")));
    }
}
