//! Users of a container on the host: a mapping for mounts, so that files of user 1000 on a disk belong to
//! the container's user, whatever user that is on the host.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
};

use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{
    super::{RuntimeError, cannot},
    bundle::USER_ID,
};

mod calls {
    #![allow(unsafe_code)]

    use std::{
        io,
        os::{
            fd::{AsRawFd as _, BorrowedFd},
            unix::process::CommandExt as _,
        },
        process::Command,
    };

    /// Maps the users of a mount that is not attached anywhere yet.
    pub fn set_user_namespace(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            attr_clr: 0,
            propagation: 0,
            userns_fd: u64::try_from(users.as_raw_fd()).expect("an open descriptor"),
        };
        // SAFETY: the path is a constant with a zero at its end, and the kernel reads the structure, whose
        // size is given, during the call only.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Makes the command start in a user namespace of its own.
    pub fn start_in_new_user_namespace(command: &mut Command) {
        // SAFETY: between fork and exec there is one system call, without allocations.
        unsafe {
            command.pre_exec(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(io::Error::from)
            });
        }
    }
}

/// Creates a user namespace in which `user` is the container's user and `root` its root, by their numbers
/// on the host.
pub fn create_user_namespace(user: u32, root: u32) -> Result<OwnedFd, RuntimeError> {
    create(user, root).map_err(cannot("create the container's user namespace"))
}

fn create(user: u32, root: u32) -> io::Result<OwnedFd> {
    // It waits for the end of its input. A namespace exists as long as a descriptor of it.
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    calls::start_in_new_user_namespace(&mut command);
    let mut holder = command.spawn()?;
    let directory = Path::new("/proc").join(holder.id().to_string());
    let mapping = format!("0 {root} 1\n{USER_ID} {user} 1\n");
    let opened = fs::write(directory.join("uid_map"), &mapping)
        .and_then(|()| fs::write(directory.join("gid_map"), &mapping))
        .and_then(|()| File::open(directory.join("ns/user")));
    drop(holder.stdin.take());
    holder.wait()?;
    Ok(opened?.into())
}

/// Mounts `source`, a mounted file system, also on `target`, with the users of a namespace.
pub fn bind_mapped(source: &Path, target: &Path, users: &OwnedFd) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(rustix::fs::CWD, source, flags)?;
    calls::set_user_namespace(mount.as_fd(), users.as_fd())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(&mount, "", rustix::fs::CWD, target, flags)?)
}
