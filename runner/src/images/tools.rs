//! Programs that the builder runs: found or named with their package, bounded in time, their words in the error.
//!
//! Must not know what an image is.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use super::error::{Error, full};

#[derive(Debug, Clone, Copy)]
pub struct Tool {
    pub program: &'static str,
    /// The package of Debian that has it.
    pub package: &'static str,
    pub deadline: Duration,
}

const MINUTE: Duration = Duration::from_mins(1);
/// Fetches and installs some hundred packages.
pub const MMDEBSTRAP: Tool =
    Tool { program: "mmdebstrap", package: "mmdebstrap", deadline: Duration::from_hours(1) };
pub const MKFS_EROFS: Tool =
    Tool { program: "mkfs.erofs", package: "erofs-utils", deadline: Duration::from_mins(30) };
pub const LZ4: Tool = Tool { program: "lz4", package: "lz4", deadline: Duration::from_mins(5) };
pub const XZ: Tool = Tool { program: "xz", package: "xz-utils", deadline: Duration::from_mins(5) };
pub const ZSTD: Tool = Tool { program: "zstd", package: "zstd", deadline: Duration::from_mins(5) };
pub const GZIP: Tool = Tool { program: "gzip", package: "gzip", deadline: Duration::from_mins(5) };
pub const ALL: [Tool; 6] = [MMDEBSTRAP, MKFS_EROFS, LZ4, XZ, ZSTD, GZIP];

/// Of a program's words: how many lines are kept for an error, and how long a line may be.
const KEPT_LINES: usize = 12;
const MAX_LINE: u64 = 4096;
/// Lines read and not yet looked at.
const LINES_WAITING: usize = 64;
/// How often an ended output's program is looked at.
const POLL: Duration = Duration::from_millis(10);
/// What a program gets to clean up after it was told to end.
const GRACE: Duration = Duration::from_secs(10);
/// Where programs are looked for besides PATH: a person's PATH may lack the administrator's directories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What programs get of our environment: how to reach the network, and nothing that is secret to us.
const KEPT_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

impl Tool {
    /// Says at once which package is missing, rather than after minutes of work.
    pub fn require(&self) -> Result<(), Error> {
        let found = PATH.split(':').any(|directory| Path::new(directory).join(self.program).is_file());
        if found { Ok(()) } else { Err(self.missing()) }
    }

    /// A command with a clean environment, that ends when the thread that started it does.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/");
        command.envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        die_with_parent(&mut command);
        command
    }

    /// Runs a command to its end; `heard` gets each line that it says on standard error.
    pub fn run(&self, command: &mut Command, heard: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => self.failed("it did not start", &error.to_string()),
        })?;
        let end = Instant::now() + self.deadline;
        let lines = listen(&mut child);
        let mut kept = VecDeque::with_capacity(KEPT_LINES);
        let heard_all = hear(&lines, end, &mut |line| {
            heard(line);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line.to_owned());
        });
        let status = if heard_all { wait(&mut child, end) } else { None };
        let Some(status) = status else {
            stop(&mut child);
            return Err(Error::Deadline {
                program: self.program,
                minutes: self.deadline.as_secs() / MINUTE.as_secs(),
            });
        };
        if status.success() { Ok(()) } else { Err(self.explain(status, &kept)) }
    }

    fn explain(&self, status: ExitStatus, kept: &VecDeque<String>) -> Error {
        let has =
            |signs: &[&str]| kept.iter().rev().find(|line| signs.iter().any(|sign| line.contains(sign)));
        if has(&FULL).is_some() {
            return full(&std::env::temp_dir());
        }
        if let Some(line) = has(&UNREACHABLE) {
            return Error::NoNetwork { detail: line.trim_start_matches("E: ").trim().to_owned() };
        }
        let words = kept.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        self.failed(&status.to_string(), if words.is_empty() { "it said nothing" } else { &words })
    }

    fn missing(&self) -> Error {
        Error::MissingTool { program: self.program, package: self.package }
    }

    fn failed(&self, status: &str, words: &str) -> Error {
        Error::Tool { program: self.program, status: status.to_owned(), words: words.to_owned() }
    }
}

const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
const UNREACHABLE: [&str; 8] = [
    "Temporary failure resolving",
    "Could not resolve",
    "Something wicked happened resolving",
    "Could not connect",
    "Cannot initiate the connection",
    "Unable to connect",
    "Network is unreachable",
    "Failed to fetch",
];

/// Decompresses or compresses a file into another by a program that writes to its standard output.
pub fn filter<A: AsRef<OsStr>>(tool: &Tool, arguments: &[A], from: &Path, to: &Path) -> Result<(), Error> {
    let source = std::fs::File::open(from).map_err(super::error::at("read", from))?;
    let target = std::fs::File::create(to).map_err(super::error::at("write", to))?;
    tool.run(tool.command().args(arguments).stdin(source).stdout(target), &mut |_| {})
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arrange = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have died before the signal was arranged.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(arrange) };
}

/// Lines of a child's standard error, until it is closed.
fn listen(child: &mut Child) -> Receiver<String> {
    let (send, lines) = sync_channel(LINES_WAITING);
    if let Some(words) = child.stderr.take() {
        // Ends with the child's output, or when no one listens any more.
        std::thread::spawn(move || {
            let mut words = BufReader::new(words);
            let mut line = Vec::new();
            while words.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if send.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    lines
}

/// False if the deadline came before the end of the lines.
fn hear(lines: &Receiver<String>, end: Instant, heard: &mut dyn FnMut(&str)) -> bool {
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => heard(&line),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

fn wait(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            _ => return None,
        }
    }
}

/// Ends a child and all that it started.
fn stop(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    wait(child, Instant::now() + GRACE);
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool = Tool { program: "sh", package: "dash", deadline: Duration::from_secs(20) };

    fn shell(tool: &Tool, script: &str) -> (Result<(), Error>, Vec<String>) {
        let mut lines = Vec::new();
        let result = tool.run(tool.command().args(["-c", script]), &mut |line| lines.push(line.to_owned()));
        (result, lines)
    }

    #[test]
    fn lines_are_heard_and_the_last_are_in_the_error() {
        let (result, lines) = shell(&SHELL, "for i in $(seq 40); do echo line $i >&2; done; exit 3");
        assert_eq!(lines.len(), 40);
        let words = result.expect_err("three is no success").to_string();
        assert!(
            words.contains("line 40") && words.contains("line 29;") && !words.contains("line 28;"),
            "{words}"
        );
    }

    #[test]
    fn known_troubles_are_told_apart() {
        let (result, _) =
            shell(&SHELL, "echo 'E: Failed to fetch http://x/ Temporary failure resolving x' >&2; exit 100");
        assert!(matches!(result, Err(Error::NoNetwork { .. })), "{result:?}");
        let (result, _) = shell(&SHELL, "echo 'cp: write error: No space left on device' >&2; exit 1");
        assert!(matches!(result, Err(Error::DiskFull { .. })), "{result:?}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let tool = Tool { program: "no-such-program-here", package: "the-package", deadline: MINUTE };
        assert!(tool.require().expect_err("it is missing").to_string().contains("apt install the-package"));
        assert!(matches!(tool.run(&mut tool.command(), &mut |_| {}), Err(Error::MissingTool { .. })));
    }

    #[test]
    fn what_does_not_end_is_ended_with_its_children() {
        let tool = Tool { deadline: Duration::from_millis(100), ..SHELL };
        let (result, _) = shell(&tool, "sleep 1000 & sleep 1000");
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    }

    #[test]
    fn secrets_of_our_environment_are_not_handed_on() {
        let (_, lines) = shell(&SHELL, "env >&2");
        let names: Vec<_> = lines.iter().filter_map(|line| line.split('=').next()).collect();
        assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    }
}
