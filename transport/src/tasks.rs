//! The tasks that run for one link, most of them started by hyper, with an owner that ends them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Owns the tasks of one link. Dropping it aborts those that still run.
#[derive(Debug)]
pub struct LinkTasks(LinkExecutor);

/// Starts tasks for hyper. Clones share one owner; after its end they start nothing.
///
/// The set is `None` after the end of the link.
#[derive(Clone, Debug)]
pub struct LinkExecutor(Arc<Mutex<Option<JoinSet<()>>>>);

impl LinkTasks {
    pub fn new() -> Self {
        Self(LinkExecutor(Arc::new(Mutex::new(Some(JoinSet::new())))))
    }

    pub fn executor(&self) -> LinkExecutor {
        self.0.clone()
    }
}

impl Drop for LinkTasks {
    fn drop(&mut self) {
        let tasks = self.0.lock().take();
        // A task may have a clone of the executor, so its abort must not find the lock held.
        drop(tasks);
    }
}

impl LinkExecutor {
    fn lock(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for LinkExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if let Some(tasks) = self.lock().as_mut() {
            // A set keeps ended tasks until they are joined, and a link may live for weeks.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::{runtime::Handle, task::yield_now, time::timeout};

    use super::*;

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let tasks = LinkTasks::new();
        let executor = tasks.executor();
        executor.execute(pending());
        executor.execute(async {});
        let alive = || Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive(), 2);
        drop(tasks);
        executor.execute(pending());
        let none_left = async {
            while alive() > 0 {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), none_left).await.expect("no task is left");
    }
}
