//! The directory of the server's socket, and its URL.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::unistd::Uid;

use super::{PostgresError, account::Account, failed};

const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Longest path of a Unix socket, without the final NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The data directory, or a short directory elsewhere if the path of the socket would be too long.
/// Returns whether it is elsewhere.
pub(super) fn socket_directory(data: &Path, account: &Account) -> Result<(PathBuf, bool), PostgresError> {
    let data = data.canonicalize().map_err(failed(format!("cannot find {}", data.display())))?;
    if data.join(SOCKET_NAME).as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        return Ok((data, false));
    }
    let parent = if Uid::effective().is_root() {
        PathBuf::from("/run")
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
    };
    let directory = parent.join(format!("burrow-{:016x}", fnv(data.as_os_str().as_bytes())));
    account.create_directory(&directory).map_err(failed(format!("cannot create {}", directory.display())))?;
    let metadata = fs::symlink_metadata(&directory)
        .map_err(failed(format!("cannot read the metadata of {}", directory.display())))?;
    // In a directory that everyone can write to, another user may have created it first.
    let is_private = metadata.permissions().mode() & 0o777 == 0o700;
    if metadata.is_dir() && metadata.uid() == account.uid().as_raw() && is_private {
        Ok((directory, true))
    } else {
        Err(PostgresError::ForeignDirectory(directory))
    }
}

/// A short name for a path: FNV-1a. It need not resist attacks.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Percent-encodes a path for a URL.
pub(super) fn percent_encode(text: &OsStr) -> String {
    text.as_bytes().iter().fold(String::new(), |url, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            url + char::from(*byte).encode_utf8(&mut [0; 4])
        }
        _ => url + &format!("%{byte:02X}"),
    })
}
