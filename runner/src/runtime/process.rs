//! A sandbox's process, as the session sees it: a pipe that has its exit status.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::ExitStatus,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::watch};
use tokio_util::task::AbortOnDropHandle;

use crate::supervisor::Supervisor;

/// A process that runs: the VMM, or the OCI runtime, which lives as long as its container. It is killed when
/// this is dropped.
pub struct SandboxProcess {
    supervisor: Supervisor,
    state: watch::Receiver<ProcessState>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessState {
    Running,
    Exited(ExitStatus),
    /// The supervisor has ended, and the process with it.
    Lost,
}

impl SandboxProcess {
    /// Follows the pipe that the supervisor has passed.
    pub fn follow(supervisor: Supervisor, exit: OwnedFd) -> io::Result<Self> {
        let mut pipe = pipe::Receiver::from_owned_fd(exit)?;
        let (sender, state) = watch::channel(ProcessState::Running);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut status = [0; 4];
            let read = pipe.read_exact(&mut status).await;
            sender.send_replace(match read {
                Ok(_) => ProcessState::Exited(ExitStatus::from_raw(i32::from_le_bytes(status))),
                Err(_) => ProcessState::Lost,
            });
        }));
        Ok(Self { supervisor, state, _task: task })
    }

    /// Waits for its exit.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self.state.wait_for(|state| *state != ProcessState::Running).await.as_deref() {
            Ok(ProcessState::Exited(status)) => Ok(*status),
            _ => Err(io::Error::other("the privileged process has ended")),
        }
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        if *self.state.borrow() == ProcessState::Running {
            self.supervisor.request_kill();
        }
    }
}
