//! Programs that the init process runs: with a timeout, and with their output in the error.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::children;

/// How often a running program is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long output is awaited after the program has ended. A process that it started may hold its
/// pipes open for longer.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// Most bytes of each output stream that are kept.
const MAX_OUTPUT_BYTES: u64 = 4 * 1024;

/// Runs a program to its end. Returns an error if it did not start, was killed, or ran longer than
/// `limit`.
pub fn run(program: &str, arguments: &[&str], limit: Duration) -> anyhow::Result<FinishedTool> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let (mut child, _guard) = children::spawn_owned(|| command.spawn(), |child| Some(child.id()))
        .with_context(|| format!("cannot run {program}"))?;
    // Some tools report errors on standard output, some on standard error.
    let outputs = [child.stdout.take().map(read_on_thread), child.stderr.take().map(read_on_thread)];
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("{program} did not end within {} seconds", limit.as_secs());
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let outputs: Vec<String> =
        outputs.into_iter().flatten().filter_map(|output| output.recv_timeout(OUTPUT_TIMEOUT).ok()).collect();
    let output = outputs.join(" ").trim().to_owned();
    let Some(status) = status.code() else { bail!("{program} was killed: {output}") };
    Ok(FinishedTool { status, output, program: program.to_owned() })
}

/// Reads a pipe to its end on a thread, because a full pipe would block the program. The thread
/// ends with the pipe.
fn read_on_thread(mut pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.by_ref().take(MAX_OUTPUT_BYTES).read_to_end(&mut text);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        let _ = sender.send(String::from_utf8_lossy(&text).trim().to_owned());
    });
    output
}

/// A program that has exited by itself.
#[derive(Debug)]
pub struct FinishedTool {
    /// Its exit status.
    pub status: i32,
    output: String,
    program: String,
}

impl FinishedTool {
    /// Returns an error with the program's output if its status is above `max`.
    pub fn require_status(self, max: i32) -> anyhow::Result<()> {
        if self.status > max {
            bail!("{} failed with status {}: {}", self.program, self.status, self.output);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_contains_the_output() {
        let finished =
            run("/bin/sh", &["-c", "echo no >&2; exit 3"], Duration::from_secs(20)).expect("it runs");
        assert_eq!(finished.status, 3);
        let error = finished.require_status(1).expect_err("3 is above 1");
        assert!(error.to_string().contains("status 3: no"), "{error}");
    }

    #[test]
    fn run_kills_the_program_at_the_limit() {
        let error = run("/bin/sleep", &["1000"], Duration::from_millis(50)).expect_err("a timeout");
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
