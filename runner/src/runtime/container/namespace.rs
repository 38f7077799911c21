//! A mount namespace that exists as long as a descriptor of it, or a process in it. What is mounted in it
//! is seen by nothing else on the host, and the kernel unmounts it with the last of them.
//!
//! The session of the runner serves the home's volume to the kernel. So no thread of the session may wait for
//! the home: if it were killed at that moment, the kernel would wait for the thread and the thread for the
//! volume, for ever. No thread of the supervisor may either, because a session that was taken over need not
//! answer. Only other processes access the home; when the session dies, they get errors.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::{process::Command, sync::oneshot};

use super::super::{RuntimeError, cannot};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A mount namespace. Clones refer to the same one.
#[derive(Clone, Debug)]
pub struct MountNamespace(Arc<OwnedFd>);

impl MountNamespace {
    /// Creates one with the host's mounts.
    pub async fn create() -> Result<Self, RuntimeError> {
        let created = on_own_thread(|| {
            let create = || {
                unshare(CloneFlags::CLONE_NEWNS)?;
                // Neither side sees the other's changes.
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                File::open("/proc/thread-self/ns/mnt")
            };
            create().map_err(cannot("create a mount namespace"))
        });
        Ok(Self(Arc::new(created.await?.into())))
    }

    /// Runs `work` on a thread in the namespace. It must not access the home.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let namespace = self.0.clone();
        on_own_thread(move || {
            // A thread that shares its working directory with others cannot enter.
            let entered = unshare(CloneFlags::CLONE_FS).map_err(io::Error::from).and_then(|()| {
                Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
            });
            entered.map_err(cannot("enter the sandbox's mount namespace"))?;
            work()
        })
        .await
    }

    /// A program that will run in the namespace, without the runner's environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).current_dir("/").kill_on_drop(true);
        let namespace = self.0.clone();
        // SAFETY: between fork and exec there are system calls only. The closure owns the descriptor.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
            })
        };
        command
    }
}

async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    let (done, result) = oneshot::channel();
    let run = move || {
        let _ = done.send(work());
    };
    let failed = || cannot("run a thread for the sandbox's mounts");
    thread::Builder::new().name("mounts".to_owned()).spawn(run).map_err(failed())?;
    result.await.map_err(|_| failed()(io::Error::other("it panicked")))?
}
