//! The server's log: forwarded to ours, with its last lines kept for error messages.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    process::ChildStderr,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// How long to wait for the last lines of a server that has exited.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Last lines of the server's log that are kept.
pub(super) const MAX_LOG_LINES: usize = 20;
/// Longest line of the server's log. The rest becomes the next line.
pub(super) const MAX_LOG_LINE_BYTES: u64 = 4096;

/// The log of one server.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Mutex<VecDeque<String>>,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Log {
    /// Reads standard error until its end.
    pub(super) fn follow(&self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(MAX_LOG_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => self.push(String::from_utf8_lossy(&line).trim_end().to_owned()),
            }
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    fn push(&self, line: String) {
        if line.contains("ERROR:") || line.contains("FATAL:") || line.contains("PANIC:") {
            tracing::warn!(target: "burrow::postgres", "{line}");
        } else {
            tracing::debug!(target: "burrow::postgres", "{line}");
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MAX_LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines that name an error; if there are none, the last line.
    pub(super) fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = lines.iter().filter(|line| line.contains("FATAL:") || line.contains("PANIC:"));
        let bad: Vec<&str> = bad.map(String::as_str).collect();
        if bad.is_empty() { lines.back().cloned().unwrap_or_default() } else { bad.join("; ") }
    }

    /// Like [`Log::tail`], after the server has exited and all lines are read.
    pub(super) fn tail_at_end(&self) -> String {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.end.wait_timeout_while(ended, END_TIMEOUT, |ended| !*ended));
        self.tail()
    }
}
