//! Who may connect to the server: this process's user, as the role that owns everything. The kernel
//! tells Postgres the user of the other end of a socket (`peer` authentication), so that there is no
//! password to keep, and other programs that run as Postgres's user are refused.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};

use super::ROLE;

/// The two files that tell Postgres who may connect. They are written at every start, so that they
/// also replace what an earlier version allowed.
#[derive(Debug)]
pub(super) struct AccessFiles {
    /// `hba_file`: how connections are authenticated.
    pub(super) rules: PathBuf,
    /// `ident_file`: which user may become which role.
    pub(super) map: PathBuf,
}

impl AccessFiles {
    /// Writes the files into the directory of the database, which only Postgres's user and root can
    /// enter.
    pub(super) fn write(data: &Path) -> io::Result<Self> {
        let files = Self { rules: data.join("burrow_hba.conf"), map: data.join("burrow_ident.conf") };
        write_readable(&files.rules, &format!("local all {ROLE} peer map=burrow\n"))?;
        write_readable(&files.map, &format!("burrow \"{}\" {ROLE}\n", user_name()))?;
        Ok(files)
    }
}

/// Readable for Postgres's user, writable for this process's only.
fn write_readable(path: &Path, text: &str) -> io::Result<()> {
    // Another owner's file could not be replaced by writing to it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// The name of the user that connects, as Postgres finds it.
fn user_name() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
