//! What takes the privileges of a gateway's process away. The process must have one thread.

use std::path::Path;

use anyhow::Context as _;
use daemon::isolation::{READ_ONLY, RootDirectory, become_user, is_forbidden};
use nix::sched::CloneFlags;
use rustix::{
    mount::MountFlags,
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::set_no_new_privs,
};

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
fn enter_root(directory: &Path) -> std::io::Result<()> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    nix::sched::unshare(namespaces)?;
    let mut root = RootDirectory::default();
    root.show(directory, READ_ONLY | MountFlags::NOEXEC);
    root.enter()
}

fn drop_privileges(user: u32) -> std::io::Result<()> {
    become_user(user, None)?;
    set_no_new_privs(true)?;
    // No process of the same user may inspect this one.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
