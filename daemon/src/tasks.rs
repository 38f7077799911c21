//! Supervised tasks: no task ends unnoticed.
//!
//! A role (controller, gateway, runner) runs its tasks in one [`Tasks`]. When an essential task
//! fails or panics, the whole role shuts down: a role that runs only partly but looks alive is
//! worse than one that is restarted.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tasks of one role. Clones are cheap and refer to the same set.
///
/// [`Tasks::spawn_essential`] starts what the role cannot do without (its listener, its loops);
/// [`Tasks::spawn`] starts what concerns one client (a connection). At shutdown,
/// [`Tasks::shutdown`] is cancelled and [`Tasks::join`] waits for all.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: Arc<std::sync::atomic::AtomicBool>,
}

/// How the tasks of a role ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownOutcome {
    /// All tasks ended without an error.
    Clean,
    /// All tasks ended, at least one of them with an error that is in the log.
    Failed,
    /// This many tasks did not end in time.
    Stuck(usize),
}

impl Tasks {
    /// Creates an empty set. `shutdown` ends its tasks, and is cancelled when an essential task fails.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, failed: Arc::default() }
    }

    /// The token that is cancelled when the role shuts down. Every task must watch it.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Starts a task that the role cannot do without: an error, a panic or an early end shuts the role down.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let guard = self.clone();
        let handle = tokio::spawn(task.in_current_span());
        self.tracker.spawn(async move {
            if guard.log_end(name, handle.await) {
                return;
            }
            guard.failed.store(true, std::sync::atomic::Ordering::Relaxed);
            guard.shutdown.cancel();
        });
    }

    /// Starts a task whose failure concerns only itself, such as one connection. A panic is logged.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = tokio::spawn(task.in_current_span());
        self.tracker.spawn(async move {
            if let Err(error) = handle.await {
                log_panic(name, error);
            }
        });
    }

    /// Waits until all tasks have ended, at most for `limit`. No tasks may be started after this call.
    pub async fn join(&self, limit: Duration) -> ShutdownOutcome {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            return ShutdownOutcome::Stuck(self.tracker.len());
        }
        if self.failed.load(std::sync::atomic::Ordering::Relaxed) {
            ShutdownOutcome::Failed
        } else {
            ShutdownOutcome::Clean
        }
    }

    /// Logs how an essential task ended. Returns whether that was fine.
    fn log_end(&self, name: &'static str, end: Result<anyhow::Result<()>, JoinError>) -> bool {
        match end {
            Ok(Ok(())) if self.shutdown.is_cancelled() => true,
            Ok(Ok(())) => {
                tracing::error!(task = name, "task ended before the shutdown");
                false
            }
            Ok(Err(error)) => {
                tracing::error!(task = name, error = format!("{error:#}"), "task failed");
                false
            }
            Err(error) => {
                log_panic(name, error);
                false
            }
        }
    }
}

fn log_panic(name: &'static str, error: JoinError) {
    if error.is_panic() {
        tracing::error!(task = name, "task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn essential_failure_shuts_down() {
        let tasks = Tasks::new(CancellationToken::new());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_essential("waiting", async move {
            shutdown.cancelled().await;
            Ok(())
        });
        tasks.spawn_essential("failing", async { anyhow::bail!("no") });
        assert_eq!(tasks.join(TIMEOUT).await, ShutdownOutcome::Failed);
    }

    #[tokio::test]
    async fn connection_panic_is_contained() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("connection", async { panic!("in one connection") });
        assert_eq!(tasks.join(TIMEOUT).await, ShutdownOutcome::Clean);
        assert!(!tasks.shutdown().is_cancelled());
    }

    #[tokio::test]
    async fn stuck_tasks_are_counted() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("stuck", std::future::pending());
        assert_eq!(tasks.join(Duration::ZERO).await, ShutdownOutcome::Stuck(1));
    }
}
