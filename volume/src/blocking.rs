//! Work that blocks: file access, compression, encryption. Runs it on the runtime's threads for
//! that.

use crate::error::VolumeError;

/// Runs the work on a blocking thread and waits for it. A panic in it becomes
/// [`VolumeError::Failed`].
///
/// Dropping the future does not stop the work: it runs to its end.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    #[cfg(test)]
    if inline::is_enabled() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(VolumeError::Failed(error.to_string())))
}

#[cfg(test)]
pub mod inline {
    //! Lets a test run blocking work on its own thread: a history is then the same each time, and
    //! many times faster.

    use std::cell::Cell;

    thread_local! {
        static IS_ENABLED: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on this thread runs blocking work itself.
    pub fn enable() {
        IS_ENABLED.set(true);
    }

    pub fn is_enabled() -> bool {
        IS_ENABLED.get()
    }
}
