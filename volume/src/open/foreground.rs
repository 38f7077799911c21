//! Reads and writes of the guest that wait for the store. Background work steps aside for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the guest's requests that wait for the store.
#[derive(Debug, Default)]
pub struct ForegroundReads {
    waiting: AtomicUsize,
    idle: Notify,
}

/// One waiting request, for as long as it lives.
pub struct ForegroundRead<'a>(&'a ForegroundReads);

impl ForegroundReads {
    /// Counts a request until the returned guard is dropped.
    pub fn begin(&self) -> ForegroundRead<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        ForegroundRead(self)
    }

    /// Resolves when no request waits.
    pub async fn wait_until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.waiting.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for ForegroundRead<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
