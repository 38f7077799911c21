//! A sandbox's process, as the supervisor has it.

use std::{
    io::{PipeWriter, Write as _},
    os::unix::process::ExitStatusExt as _,
    sync::Arc,
    time::Duration,
};

use tokio::{process::Child, sync::Notify, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A process whose exit status is written to a pipe: 4 bytes, as `wait` gives them.
pub struct SupervisedProcess {
    kill: Arc<Notify>,
    task: AbortOnDropHandle<()>,
}

impl SupervisedProcess {
    /// Follows a process, which may consist of more than the child that `child_of` finds in it. All of it
    /// ends with the child.
    pub fn start<P: Send + 'static>(
        process: P,
        child_of: fn(&mut P) -> &mut Child,
        exit: PipeWriter,
    ) -> Self {
        let kill = Arc::new(Notify::new());
        let task = AbortOnDropHandle::new(tokio::spawn(follow(process, child_of, kill.clone(), exit)));
        Self { kill, task }
    }

    /// Waits for its exit. Returns whether that was in time.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        self.task.is_finished() || timeout(limit, &mut self.task).await.is_ok()
    }

    /// Kills it, and waits for its end.
    pub async fn kill(&mut self) {
        self.kill.notify_one();
        if !self.ends_within(KILL_TIMEOUT).await {
            tracing::error!("the sandbox's process survived SIGKILL");
        }
    }
}

/// Waits for the exit, and kills the child if that is asked for.
async fn follow<P>(
    mut process: P,
    child_of: fn(&mut P) -> &mut Child,
    kill: Arc<Notify>,
    mut exit: PipeWriter,
) {
    let child = child_of(&mut process);
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => match child.kill().await {
            Ok(()) => child.wait().await,
            Err(error) => Err(error),
        },
    };
    match status {
        // The session may be gone. A pipe holds so few bytes.
        Ok(status) => drop(exit.write_all(&status.into_raw().to_le_bytes())),
        Err(error) => tracing::error!(%error, "cannot wait for the sandbox's process"),
    }
}
