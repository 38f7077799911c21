//! Where the server's socket lies, and the address that leads to it.

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

pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Longest path of a Unix socket, without its final NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The data directory itself, or a short one elsewhere when the socket's path would be too long.
pub(super) fn socket_directory(data: &Path, account: &Account) -> Result<(PathBuf, bool), PostgresError> {
    let data = data.canonicalize().map_err(failed(format!("{} cannot be found", data.display())))?;
    if data.join(SOCKET_NAME).as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        return Ok((data, false));
    }
    let parent = if Uid::effective().is_root() {
        PathBuf::from("/run")
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
    };
    let directory = parent.join(format!("burrow-{:016x}", fnv(data.as_os_str().as_bytes())));
    account.make_directory(&directory).map_err(failed(format!("{} cannot be made", directory.display())))?;
    let about = fs::symlink_metadata(&directory)
        .map_err(failed(format!("{} cannot be looked at", directory.display())))?;
    // In a directory that all may write to, somebody else may have been quicker.
    let closed = about.permissions().mode() & 0o777 == 0o700;
    if about.is_dir() && about.uid() == account.uid().as_raw() && closed {
        Ok((directory, true))
    } else {
        Err(PostgresError::ForeignDirectory(directory))
    }
}

/// A short name for a path: FNV-1a, which needs no crate and fends off nobody.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub(super) fn percent(text: &OsStr) -> String {
    text.as_bytes().iter().fold(String::new(), |url, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            url + char::from(*byte).encode_utf8(&mut [0; 4])
        }
        _ => url + &format!("%{byte:02X}"),
    })
}
