//! Programs that the init runs: with a deadline, and with their words in the error.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::children;

/// How often an unfinished program is looked at.
const POLL: Duration = Duration::from_millis(10);
/// A program that has ended may have left one behind that holds its pipes: that one is not waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What of a program's words is kept.
const MAX_WORDS: u64 = 4 * 1024;

/// Runs a program to its end. Gives its exit status; an error if it did not start, was killed, or took too long.
pub fn run(program: &str, arguments: &[&str], deadline: Duration) -> anyhow::Result<Finished> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let (mut child, _owned) = children::own(|| command.spawn(), |child| Some(child.id()))
        .with_context(|| format!("cannot run {program}"))?;
    // Some name the trouble on one, some on the other.
    let words = [child.stdout.take().map(listen), child.stderr.take().map(listen)];
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("{program} did not end within {} seconds", deadline.as_secs());
        }
        std::thread::sleep(POLL);
    };
    let words: Vec<String> =
        words.into_iter().flatten().filter_map(|words| words.recv_timeout(LAST_WORDS).ok()).collect();
    let words = words.join(" ").trim().to_owned();
    let Some(code) = status.code() else { bail!("{program} was killed: {words}") };
    Ok(Finished { code, words, program: program.to_owned() })
}

/// Hears what a program says to its end, on a thread of its own: a full pipe would stop it.
fn listen(mut pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (heard, words) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.by_ref().take(MAX_WORDS).read_to_end(&mut text);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        let _ = heard.send(String::from_utf8_lossy(&text).trim().to_owned());
    });
    words
}

/// A program that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    words: String,
    program: String,
}

impl Finished {
    /// Refuses any status above `most`.
    pub fn at_most(self, most: i32) -> anyhow::Result<()> {
        if self.code > most {
            bail!("{} failed with status {}: {}", self.program, self.code, self.words);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_words() {
        let finished =
            run("/bin/sh", &["-c", "echo no >&2; exit 3"], Duration::from_secs(20)).expect("it runs");
        assert_eq!(finished.code, 3);
        let error = finished.at_most(1).expect_err("three is more than one");
        assert!(error.to_string().contains("status 3: no"), "{error}");
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let error = run("/bin/sleep", &["1000"], Duration::from_millis(50)).expect_err("a deadline");
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
