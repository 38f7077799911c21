//! The last lines that a sandbox printed. They are guest text, bounded, and explain to users why it
//! did not start.

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
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const READ_BYTES: usize = 4096;
/// How Linux begins the report of a panic. More lines than are kept may follow it.
const PANIC_MARK: &str = "Kernel panic - not syncing";

/// Collects what a process prints. Its task reads to the end of the output, or until the console is
/// dropped.
pub struct Console {
    output: Arc<ConsoleOutput>,
    _task: AbortOnDropHandle<()>,
}

struct ConsoleOutput {
    lines: Mutex<LineBuffer>,
    /// Number of lines so far; wakes those who wait for a line.
    count: watch::Sender<u64>,
    has_panicked: AtomicBool,
    /// Cancelled at the end of the output.
    ended: CancellationToken,
}

#[derive(Default)]
struct LineBuffer {
    complete: VecDeque<String>,
    /// The beginning of the next line.
    partial: Vec<u8>,
}

impl Console {
    /// Starts to read `from` in a task: the process must never wait for a reader of its output.
    pub fn follow(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let output = Arc::new(ConsoleOutput {
            lines: Mutex::default(),
            count: watch::Sender::new(0),
            has_panicked: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let task = AbortOnDropHandle::new(tokio::spawn(output.clone().read_to_end(from)));
        Self { output, _task: task }
    }

    /// Waits for the end of the output: the process has exited, and everything that it printed is here.
    pub async fn ended(&self) {
        self.output.ended.cancelled().await;
    }

    /// Whether the guest's kernel has reported a panic.
    pub fn has_panicked(&self) -> bool {
        self.output.has_panicked.load(Ordering::Relaxed)
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        let lines = self.output.lines();
        let partial = LineBuffer::decode_line(&lines.partial);
        lines.complete.iter().cloned().chain((!partial.is_empty()).then_some(partial)).collect()
    }

    /// Waits for a line that contains `text`. Only the lines that are kept are searched. Never
    /// resolves if the output ends without such a line.
    pub async fn wait_for_line(&self, text: &str) {
        let mut count = self.output.count.subscribe();
        loop {
            count.borrow_and_update();
            if self.last_lines().iter().any(|line| line.contains(text)) {
                return;
            }
            if count.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl ConsoleOutput {
    async fn read_to_end(self: Arc<Self>, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; READ_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let lines = self.lines().append(&buffer[..count]);
            for line in &lines {
                tracing::debug!(line, "console");
                if line.contains(PANIC_MARK) {
                    self.has_panicked.store(true, Ordering::Relaxed);
                }
            }
            self.count.send_modify(|count| *count += lines.len() as u64);
        }
        self.ended.cancel();
    }

    fn lines(&self) -> MutexGuard<'_, LineBuffer> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineBuffer {
    /// Appends output and returns the lines that it completed. Empty lines are skipped; a line that
    /// is too long is split.
    fn append(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut completed = Vec::new();
        for &byte in bytes {
            if byte != b'\n' && self.partial.len() < Failure::MAX_TEXT {
                self.partial.push(byte);
                continue;
            }
            let line = Self::decode_line(&self.partial);
            self.partial.clear();
            if line.is_empty() {
                continue;
            }
            if self.complete.len() == Failure::MAX_LOG_LINES {
                self.complete.pop_front();
            }
            self.complete.push_back(line.clone());
            completed.push(line);
        }
        completed
    }

    /// Decodes a line and drops its control characters: guest output must not control the terminal
    /// that shows it.
    fn decode_line(bytes: &[u8]) -> String {
        let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
        cut(text.trim_end().to_owned(), Failure::MAX_TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_detected_behind_a_long_trace() {
        let trace = " ? do_something+0x1/0x2\r\n".repeat(Failure::MAX_LOG_LINES * 2);
        for (begin, expected) in
            [("[ 1.0] Kernel panic - not syncing: why\r\n", true), ("[ 1.0] fine\r\n", false)]
        {
            let output = format!("{begin}{trace}").into_bytes();
            let console = Console::follow(std::io::Cursor::new(output));
            console.ended().await;
            assert_eq!(console.has_panicked(), expected);
            assert_eq!(console.last_lines().len(), Failure::MAX_LOG_LINES);
        }
    }

    #[test]
    fn buffer_keeps_the_last_lines_and_bounds_each() {
        let mut lines = LineBuffer::default();
        let long = vec![b'x'; Failure::MAX_TEXT * 3];
        lines.append(&long);
        for number in 0..100 {
            lines.append(format!("line \x1b[31m{number}\r\n").as_bytes());
        }
        assert_eq!(lines.complete.len(), Failure::MAX_LOG_LINES);
        assert_eq!(lines.complete.back().map(String::as_str), Some("line [31m99"));
        assert!(lines.complete.iter().all(|line| line.len() <= Failure::MAX_TEXT));
    }
}
