//! Who waits for the store at the moment: work in the background steps aside for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Readers {
    waiting: AtomicUsize,
    none: Notify,
}

/// One who waits, for as long as it lives.
pub struct Waiting<'a>(&'a Readers);

impl Readers {
    pub fn enter(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// Resolves when nobody waits.
    pub async fn gone(&self) {
        loop {
            let none = self.none.notified();
            if self.waiting.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
