//! Unix sockets between our processes, and the directories that they are in. Some of these processes run
//! as users of their own; what they may connect to belongs to their group.

use std::{
    fs::{DirBuilder, Permissions, set_permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::Path,
};

use tokio::net::UnixListener;

/// Binds a socket that only our user can connect to, and the members of `group` if there is one. Nothing
/// may exist at `path`. Call it inside the async runtime.
pub fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    // Nobody else can connect in between: that takes the right to write.
    let listener = UnixListener::bind(path)?;
    share(path, group, 0o600, 0o660)?;
    Ok(listener)
}

/// Creates a directory for sockets, unless it exists. Only our user can list it. Members of `group` can
/// reach what is in it.
pub fn create_directory(path: &Path, group: Option<u32>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    share(path, group, 0o700, 0o710)
}

fn share(path: &Path, group: Option<u32>, private: u32, shared: u32) -> io::Result<()> {
    let Some(group) = group else { return set_permissions(path, Permissions::from_mode(private)) };
    chown(path, None, Some(group))?;
    set_permissions(path, Permissions::from_mode(shared))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[tokio::test]
    async fn group_gets_only_what_it_needs() {
        let place = tempfile::tempdir().expect("a directory");
        let group = fs::metadata(place.path()).expect("there").gid();
        for (group, directory_mode, socket_mode) in [(None, 0o700, 0o600), (Some(group), 0o710, 0o660)] {
            let directory = place.path().join("run");
            create_directory(&directory, group).expect("created");
            let socket = directory.join("a.sock");
            let _listener = bind(&socket, group).expect("bound");
            let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
            assert_eq!((mode(&directory), mode(&socket)), (directory_mode, socket_mode));
            fs::remove_file(&socket).expect("removed");
        }
    }
}
