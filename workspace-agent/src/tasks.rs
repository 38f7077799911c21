//! The owner of the agent's background tasks.
//!
//! Every task of the agent is started here, or is a future that a library spawns and that was
//! wrapped by [`Tasks::adopt`]. [`Tasks::shut_down`] cancels all of them and waits until they have
//! ended.

use std::time::Duration;

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long [`Tasks::shut_down`] waits for tasks that were cancelled. A task ends at its next await
/// point.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to all tasks. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    /// Starts a task. Its handle returns `None` if the task was cancelled by a shutdown.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tracker.spawn(self.shutdown.clone().run_until_cancelled_owned(task))
    }

    /// Wraps a future that a library spawns, so that it is cancelled and awaited like a task.
    pub fn adopt<F: Future>(&self, task: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        self.tracker.track_future(self.shutdown.clone().run_until_cancelled_owned(task))
    }

    /// Asks all tasks to end, without waiting for them.
    pub fn request_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Resolves once a shutdown was requested.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// Cancels all tasks and waits until they have ended.
    pub async fn shut_down(&self) {
        self.request_shutdown();
        self.tracker.close();
        if timeout(SHUTDOWN_TIMEOUT, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks still run after the shutdown timeout");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shut_down_cancels_and_awaits_tasks() {
        let tasks = Tasks::default();
        let task = tasks.spawn(std::future::pending::<()>());
        let adopted = tokio::spawn(tasks.adopt(std::future::pending::<()>()));
        tasks.shut_down().await;
        assert!(tasks.tracker.is_empty());
        assert_eq!(task.await.expect("no panic"), None);
        assert_eq!(adopted.await.expect("no panic"), None);
    }
}
