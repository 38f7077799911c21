//! File operations of all documents, a few at a time.
//!
//! A `git checkout` changes the files of all open documents in a moment. Each look at a file reads it and
//! compares it with what was known. Done all at once, that would take a thread and some copies of its text
//! for each document.

use std::{io, sync::Arc};

use tokio::sync::Semaphore;

use super::diff::{TextEdit, text_edits};
use crate::files::home_directory::{HomeDirectory, HomeFiles};

/// Most files that are read or compared at a time. Each takes up to four times
/// [`MAX_DOCUMENT_BYTES`](protocol::document::MAX_DOCUMENT_BYTES).
const MAX_READS: usize = 4;
/// Most files that are written at a time. They have places of their own: while the home is frozen, writes
/// wait and reads do not.
const MAX_WRITES: usize = 4;
/// A difference between shorter texts is found faster than a thread takes over.
const MIN_DIFF_BYTES: usize = 16 * 1024;

/// Runs file operations. Clones share the limits.
#[derive(Clone)]
pub struct FileWork {
    home: HomeDirectory,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl FileWork {
    /// Operations in this home.
    pub fn new(home: HomeDirectory) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self { home, reads: slots(MAX_READS), writes: slots(MAX_WRITES) }
    }

    /// The home.
    pub fn home(&self) -> &HomeDirectory {
        &self.home
    }

    /// Runs an operation that only reads.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&HomeFiles<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let _slot = self.reads.acquire().await.expect("the semaphore is never closed");
        self.home.run(work).await
    }

    /// Runs an operation that writes.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&HomeFiles<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let _slot = self.writes.acquire().await.expect("the semaphore is never closed");
        self.home.run(work).await
    }

    /// The difference between two texts, as [`text_edits`]. For long ones it is found on a thread of its
    /// own: it may take half a second, in which terminals must go on.
    pub async fn find_edits(&self, old: String, new: String) -> Vec<TextEdit> {
        if old.len().max(new.len()) < MIN_DIFF_BYTES {
            return text_edits(&old, &new);
        }
        let _slot = self.reads.acquire().await.expect("the semaphore is never closed");
        let found = tokio::task::spawn_blocking(move || text_edits(&old, &new)).await;
        // A panic ends the document, as everywhere.
        found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn operations_at_a_time_are_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let work = FileWork::new(home);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let operations = (0..100).map(|_| {
            let (running, most) = (running.clone(), most.clone());
            work.read(move |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, io::Error>(())
            })
        });
        assert!(join_all(operations).await.iter().all(Result::is_ok));
        assert!((1..=MAX_READS).contains(&most.load(Ordering::SeqCst)));
    }
}
