//! Tasks whose end someone sees.
//!
//! A role's tasks run in one [`Tasks`]. A task that panics or fails takes its role down in an orderly way: half a role that
//! looks alive is worse than one that is started again.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tasks of one role. Cheap to clone; clones are the same set.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: Arc<std::sync::atomic::AtomicBool>,
}

/// What is still running when the deadline has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All tasks ended, and well.
    Clean,
    /// All ended, one of them by failure; the log says which.
    Failed,
    /// So many did not end in time.
    Stuck(usize),
}

impl Tasks {
    /// A set that ends with `shutdown`, and cancels it when one of its tasks fails.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, failed: Arc::default() }
    }

    /// Cancelled when the role is to end. Each task must watch it.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Runs a task that the role cannot live without: an error or a panic ends the role.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let guard = self.clone();
        let handle = tokio::spawn(task.in_current_span());
        self.tracker.spawn(async move {
            if guard.ended_well(name, handle.await) {
                return;
            }
            guard.failed.store(true, std::sync::atomic::Ordering::Relaxed);
            guard.shutdown.cancel();
        });
    }

    /// Runs a task whose failure concerns only itself (one connection): a panic is logged and goes no further.
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

    /// Waits until all have ended, `deadline` at the longest. No more tasks may be added after it.
    pub async fn join(&self, deadline: Duration) -> End {
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_err() {
            return End::Stuck(self.tracker.len());
        }
        if self.failed.load(std::sync::atomic::Ordering::Relaxed) { End::Failed } else { End::Clean }
    }

    fn ended_well(&self, name: &'static str, end: Result<anyhow::Result<()>, JoinError>) -> bool {
        match end {
            Ok(Ok(())) if self.shutdown.is_cancelled() => true,
            Ok(Ok(())) => {
                tracing::error!(task = name, "ended before its time");
                false
            }
            Ok(Err(error)) => {
                tracing::error!(task = name, error = format!("{error:#}"), "failed");
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
        tracing::error!(task = name, "panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_failure_ends_the_role() {
        let tasks = Tasks::new(CancellationToken::new());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_essential("patient", async move {
            shutdown.cancelled().await;
            Ok(())
        });
        tasks.spawn_essential("failing", async { anyhow::bail!("no") });
        assert_eq!(tasks.join(SOON).await, End::Failed);
    }

    #[tokio::test]
    async fn a_connections_panic_does_not() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("connection", async { panic!("one connection's own") });
        assert_eq!(tasks.join(SOON).await, End::Clean);
        assert!(!tasks.shutdown().is_cancelled());
    }

    #[tokio::test]
    async fn what_does_not_end_is_counted() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("stuck", std::future::pending());
        assert_eq!(tasks.join(Duration::ZERO).await, End::Stuck(1));
    }
}
