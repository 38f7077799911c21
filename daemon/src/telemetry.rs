//! Logging with `tracing`: readable lines on a terminal, JSON elsewhere, and optionally a bounded file.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
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

/// Like [`init`], and also logs to the file at `path` as JSON.
///
/// Errors: the file cannot be opened or created.
pub fn init_with_file(default: &str, path: &Path) -> io::Result<()> {
    let file = Mutex::new(LogFile::open(path)?);
    let layer = fmt::layer().with_writer(file).with_ansi(false).json().flatten_event(true);
    // On a full disk lines are lost. Do not print an error for each of them.
    let layer = layer.log_internal_errors(false).with_filter(filter(FILE_FILTER));
    drop(tracing_subscriber::registry().with(standard_error(default)).with(layer).try_init());
    Ok(())
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
