//! Logging with `tracing`: readable lines on a terminal, JSON elsewhere, and optionally a bounded file.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

/// Environment variable with the log filter, in the syntax of `tracing`: `burrow=debug,warn`.
pub const FILTER_VARIABLE: &str = "BURROW_LOG";

/// Filter of the file if the variable is unset: enough to find a request by its id.
const FILE_FILTER: &str = "info,sqlx=warn";

/// Size of the log file, in bytes. A full file is renamed to `.old` and replaces the previous one.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// Starts logging to standard error. `default` is the filter if the variable is unset. A second
/// call has no effect.
pub fn init(default: &str) {
    let started = tracing_subscriber::registry().with(standard_error(default)).try_init();
    // The only possible error is that logging runs already.
    drop(started);
}

/// Like [`init`], and also logs to the file at `path` as JSON. Returns what adds the lines of child
/// processes.
///
/// Errors: the file cannot be opened or created.
pub fn init_with_file(default: &str, path: &Path) -> io::Result<ChildLog> {
    let file = SharedLogFile(Arc::new(Mutex::new(LogFile::open(path)?)));
    let writer = file.clone();
    let layer = fmt::layer().with_writer(move || writer.clone()).with_ansi(false).json().flatten_event(true);
    // On a full disk lines are lost. Do not print an error for each of them.
    let layer = layer.log_internal_errors(false).with_filter(filter(FILE_FILTER));
    drop(tracing_subscriber::registry().with(standard_error(default)).with(layer).try_init());
    Ok(ChildLog { file, is_terminal: io::stderr().is_terminal() })
}

/// Adds the lines that a child process logs with [`init`] to this process's log. Clones share it.
#[derive(Clone)]
pub struct ChildLog {
    file: SharedLogFile,
    is_terminal: bool,
}

impl ChildLog {
    /// Writes a line of JSON to the file, and to standard error if it is a warning or an error. Anything
    /// else, such as the message of a panic, goes to both.
    pub fn write_line(&self, line: &str) {
        // As for this process's own lines: on a full disk they are lost, and a terminal may be closed.
        let _ = self.file.clone().write_all(format!("{line}\n").as_bytes());
        let event = ChildEvent::parse(line);
        let is_shown = event.as_ref().is_none_or(|event| matches!(event.level, "WARN" | "ERROR"));
        if is_shown {
            // The child may be in the hands of an attacker: nothing of it controls the terminal.
            let text =
                event.filter(|_| self.is_terminal).map_or_else(|| line.to_owned(), |event| event.to_text());
            let _ = writeln!(io::stderr(), "{}", escape_controls(&text));
        }
    }
}

/// What a user at a terminal needs of a line.
#[derive(serde::Deserialize)]
struct ChildEvent<'a> {
    level: &'a str,
    #[serde(borrow)]
    message: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    error: Option<std::borrow::Cow<'a, str>>,
}

impl<'a> ChildEvent<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    fn to_text(&self) -> String {
        let error = self.error.as_ref().map(|error| format!(" error={error}")).unwrap_or_default();
        format!("{:>5} {}{error}", self.level, self.message)
    }
}

fn escape_controls(text: &str) -> String {
    text.chars()
        .flat_map(|one| if one.is_control() { one.escape_default().collect() } else { vec![one] })
        .collect()
}

/// A log file that several threads write to, a whole line at a time.
#[derive(Clone)]
struct SharedLogFile(Arc<Mutex<LogFile>>);

impl Write for SharedLogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default))
}

fn standard_error<S>(default: &str) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    // A terminal that was closed takes no lines. Reporting that to it would panic.
    let layer = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    if io::stderr().is_terminal() {
        layer.with_target(false).compact().with_filter(filter(default)).boxed()
    } else {
        layer.json().flatten_event(true).with_filter(filter(default)).boxed()
    }
}

/// A log file of bounded size, with one older file (`.old`) beside it.
struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_owned(), bytes: file.metadata()?.len(), file })
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > MAX_FILE_BYTES {
            std::fs::rename(&self.path, self.path.with_added_extension("old"))?;
            *self = Self::open(&self.path)?;
        }
        let count = self.file.write(line)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_lines_are_written_as_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("burrow.log");
        let file = SharedLogFile(Arc::new(Mutex::new(LogFile::open(&path).expect("opened"))));
        let log = ChildLog { file, is_terminal: false };
        let lines = [r#"{"level":"INFO","message":"a \"b\"","request":"7"}"#, "thread panicked"];
        for line in lines {
            log.write_line(line);
        }
        assert_eq!(std::fs::read_to_string(&path).expect("there").lines().collect::<Vec<_>>(), lines);
        assert_eq!(ChildEvent::parse(lines[0]).expect("an event").message, "a \"b\"");
        assert!(ChildEvent::parse(lines[1]).is_none());
        let failed = r#"{"level":"ERROR","message":"failed\u001b[2J","error":"no"}"#;
        let text = ChildEvent::parse(failed).expect("an event").to_text();
        assert_eq!(escape_controls(&text), "ERROR failed\\u{1b}[2J error=no");
    }

    #[test]
    fn full_log_is_rotated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("burrow.log");
        let mut log = LogFile::open(&path).expect("opened");
        let line = vec![b'x'; MAX_FILE_BYTES as usize / 2];
        for _ in 0..5 {
            log.write_all(&line).expect("written");
        }
        let size = |path: &Path| std::fs::metadata(path).expect("there").len();
        assert_eq!(size(&path), MAX_FILE_BYTES / 2);
        assert_eq!(size(&path.with_added_extension("old")), MAX_FILE_BYTES);
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 2);
        assert_eq!(LogFile::open(&path).expect("opened").bytes, MAX_FILE_BYTES / 2, "it appends");
    }
}
