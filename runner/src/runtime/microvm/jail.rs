//! Starting the VMM with as little as it needs: a user of its own, no capability, no environment, the descriptors that it is
//! given and no other, in the machine's network namespace. It dies with this process.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd},
    process::Stdio,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Gid, Pid, Signal, Uid, getpid, getppid, set_parent_process_death_signal},
    thread::{
        LinkNameSpaceType, move_into_link_name_space, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};
use tokio::process::{Child, Command};

pub const VMM: &str = "qemu-system-x86_64";

/// What the VMM may have.
pub struct Jail {
    /// Its user and group; none when this process may not change users.
    pub uid: Option<u32>,
    /// Beside its own: the one that may use /dev/kvm.
    pub groups: Vec<u32>,
    pub namespace: Option<OwnedFd>,
    /// Kept open for it, under the same numbers.
    pub descriptors: Vec<OwnedFd>,
}

impl Jail {
    /// The number under which the VMM will find `descriptor`.
    pub fn hand_over(&mut self, descriptor: impl Into<OwnedFd>) -> RawFd {
        use std::os::fd::AsRawFd as _;
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    /// Starts the VMM. Its standard output is piped: the machine's console; its standard error goes where ours goes.
    pub fn spawn(self, arguments: &[String]) -> io::Result<Child> {
        let parent = getpid();
        let mut command = Command::new(VMM);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // SAFETY: between fork and exec only system calls are made, without allocation and without locks; the descriptors live
        // in `self`, which lives until after the spawn.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || self.enter(parent))
        };
        command.spawn()
    }

    /// In the child, before it becomes the VMM. The order matters: namespaces and groups need what giving up the user takes away,
    /// and changing the user forgets the death signal.
    fn enter(&self, parent: Pid) -> io::Result<()> {
        for descriptor in &self.descriptors {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        if let Some(namespace) = &self.namespace {
            enter_network(namespace.as_fd())?;
        }
        if let Some(uid) = self.uid {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            // At most one other group: no allocation.
            match self.groups.first() {
                Some(other) => set_thread_groups(&[Gid::from_raw(*other)])?,
                None => set_thread_groups(&[])?,
            }
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
        }
        set_no_new_privs(true)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was set.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}
