//! The last lines that a machine printed: guest text, bounded, for whoever asks why it did not start.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use protocol::workspace::{Failure, cut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

const READ_BYTES: usize = 4096;
/// As a kernel begins its last words; what follows may be more lines than are kept.
const PANIC: &str = "Kernel panic - not syncing";

/// Clones are the same console.
#[derive(Clone)]
pub struct Console(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    /// Grows with each line.
    count: watch::Sender<u64>,
    panicked: AtomicBool,
    /// Cancelled once there is nothing more to read.
    ended: CancellationToken,
}

#[derive(Default)]
struct Lines {
    whole: VecDeque<String>,
    begun: Vec<u8>,
}

impl Console {
    /// Reads `from` to its end, in a task of its own: a writer must never be held up.
    pub fn read(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let console = Self(Arc::new(Shared {
            lines: Mutex::default(),
            count: watch::Sender::new(0),
            panicked: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }));
        tokio::spawn(console.clone().follow(from));
        console
    }

    async fn follow(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; READ_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let lines = self.lines().take_in(&buffer[..count]);
            for line in &lines {
                tracing::debug!(line, "console");
                if line.contains(PANIC) {
                    self.0.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.0.count.send_modify(|count| *count += lines.len() as u64);
        }
        self.0.ended.cancel();
    }

    /// Resolves once all that was printed is here: the printer is gone.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Whether the machine's kernel has panicked.
    pub fn has_panicked(&self) -> bool {
        self.0.panicked.load(Ordering::Relaxed)
    }

    /// The last lines, oldest first.
    pub fn last(&self) -> Vec<String> {
        let lines = self.lines();
        let begun = Lines::line(&lines.begun);
        lines.whole.iter().cloned().chain((!begun.is_empty()).then_some(begun)).collect()
    }

    /// Resolves once a line holds `word`; only the lines that are kept are looked at. Pending for ever when the machine is gone.
    pub async fn says(&self, word: &str) {
        let mut count = self.0.count.subscribe();
        loop {
            count.borrow_and_update();
            if self.last().iter().any(|line| line.contains(word)) {
                return;
            }
            if count.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn take_in(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut new = Vec::new();
        for &byte in bytes {
            if byte != b'\n' && self.begun.len() < Failure::MAX_TEXT {
                self.begun.push(byte);
                continue;
            }
            let line = Self::line(&self.begun);
            self.begun.clear();
            if line.is_empty() {
                continue;
            }
            if self.whole.len() == Failure::MAX_LOG_LINES {
                self.whole.pop_front();
            }
            self.whole.push_back(line.clone());
            new.push(line);
        }
        new
    }

    /// Without control characters: what a guest prints moves nobody's cursor.
    fn line(bytes: &[u8]) -> String {
        let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
        cut(text.trim_end().to_owned(), Failure::MAX_TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_known_whatever_follows_it() {
        let trace = " ? do_something+0x1/0x2\r\n".repeat(Failure::MAX_LOG_LINES * 2);
        for (begin, expected) in
            [("[ 1.0] Kernel panic - not syncing: why\r\n", true), ("[ 1.0] fine\r\n", false)]
        {
            let said = format!("{begin}{trace}").into_bytes();
            let console = Console::read(std::io::Cursor::new(said));
            console.ended().await;
            assert_eq!(console.has_panicked(), expected);
            assert_eq!(console.last().len(), Failure::MAX_LOG_LINES);
        }
    }

    #[test]
    fn only_the_last_lines_stay_and_none_is_long() {
        let mut lines = Lines::default();
        let long = vec![b'x'; Failure::MAX_TEXT * 3];
        lines.take_in(&long);
        for number in 0..100 {
            lines.take_in(format!("line \x1b[31m{number}\r\n").as_bytes());
        }
        assert_eq!(lines.whole.len(), Failure::MAX_LOG_LINES);
        assert_eq!(lines.whole.back().map(String::as_str), Some("line [31m99"));
        assert!(lines.whole.iter().all(|line| line.len() <= Failure::MAX_TEXT));
    }
}
