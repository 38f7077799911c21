//! What takes the privileges of a gateway's process away. The process must have one thread.

use std::{
    fs, io,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::sched::CloneFlags;
use rustix::{
    fs::Mode,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
    process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// Where the root is built, in a mount namespace of its own. Every host has this directory.
const PLACE: &str = "/tmp";
/// Bytes and files of the root itself, which holds only mount points.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=755,size=64k,nr_inodes=64";
const ROOT_FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Closes what the process has inherited beside its standard streams and these descriptors.
pub fn close_foreign_descriptors(wanted: &[RawFd]) -> anyhow::Result<()> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let mut first = 3;
    for descriptor in sorted.into_iter().chain([RawFd::MAX]) {
        close_range(first, descriptor - 1).context("Cannot close inherited files")?;
        first = descriptor.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: nothing in this process owns these descriptors: it has just started, and uses only its standard
    // streams and those that its parent has named.
    #[allow(unsafe_code)]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes this user and group without privileges, who sees no file of the host but those in `directory`.
/// Where root may not create namespaces, as in some containers, it sees what this user may see.
pub fn enter(user: u32, directory: &Path) -> anyhow::Result<()> {
    match enter_root(directory) {
        Err(error) if is_forbidden(&error) => {
            tracing::warn!("the gateway sees the files of the host: it may not create namespaces");
        }
        result => result.with_context(|| format!("Cannot isolate the gateway in {}", directory.display()))?,
    }
    drop_privileges(user).with_context(|| format!("Cannot run the gateway as user {user}"))
}

/// Replaces the root directory by an empty one that shows `directory`, at the same path and read-only.
/// Sockets in it can be connected to.
///
/// The process gets an empty network, too: its listeners and their connections stay where they were made, and
/// sockets with a path are in no network.
fn enter_root(directory: &Path) -> io::Result<()> {
    // The directories on the way to `directory` are for its new user.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    nix::sched::unshare(namespaces)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Entered before the new root may hide it.
    std::env::set_current_dir(directory)?;
    rustix::mount::mount("none", PLACE, "tmpfs", ROOT_FLAGS, ROOT_OPTIONS)?;
    let target = in_place(directory);
    fs::create_dir_all(&target)?;
    rustix::mount::mount_bind(".", &target)?;
    rustix::mount::mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY | ROOT_FLAGS, c"")?;
    std::env::set_current_dir(PLACE)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    Ok(rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | ROOT_FLAGS, c"")?)
}

/// Whether the host forbids namespaces: to this user, in this root directory, or to everybody.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::StorageFull
    )
}

fn in_place(path: &Path) -> PathBuf {
    Path::new(PLACE).join(path.strip_prefix("/").unwrap_or(path))
}

/// The order matters: changing groups and the bounding set needs privileges that changing the user drops.
fn drop_privileges(user: u32) -> io::Result<()> {
    for capability in CapabilitySet::all() {
        // A kernel that does not know a capability cannot give it either.
        let _ = remove_capability_from_bounding_set(capability);
    }
    clear_ambient_capability_set()?;
    set_thread_groups(&[])?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    // No process of the same user may inspect this one.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
