//! The programs that the builder runs. If one is missing, the error names its package; if one
//! fails, the error has its output; and each has a timeout. Must not know what an image is.

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

use super::error::{ImageError, full};

/// A program that the builder runs.
#[derive(Debug, Clone, Copy)]
pub struct BuildTool {
    pub program: &'static str,
    /// The Debian package that contains it.
    pub package: &'static str,
    /// How long one run may take.
    pub timeout: Duration,
}

const MINUTE: Duration = Duration::from_mins(1);
/// Downloads and installs some hundred packages.
pub const MMDEBSTRAP: BuildTool =
    BuildTool { program: "mmdebstrap", package: "mmdebstrap", timeout: Duration::from_hours(1) };
/// Packs the root file system.
pub const MKFS_EROFS: BuildTool =
    BuildTool { program: "mkfs.erofs", package: "erofs-utils", timeout: Duration::from_mins(30) };
/// Packs the initramfs, and unpacks kernels.
pub const LZ4: BuildTool = BuildTool { program: "lz4", package: "lz4", timeout: Duration::from_mins(5) };
/// Unpacks kernels and modules.
pub const XZ: BuildTool = BuildTool { program: "xz", package: "xz-utils", timeout: Duration::from_mins(5) };
/// Unpacks kernels and modules.
pub const ZSTD: BuildTool = BuildTool { program: "zstd", package: "zstd", timeout: Duration::from_mins(5) };
/// Unpacks kernels and modules.
pub const GZIP: BuildTool = BuildTool { program: "gzip", package: "gzip", timeout: Duration::from_mins(5) };
/// Isolates the program that mounts file systems while it works.
pub const UNSHARE: BuildTool = BuildTool { program: "unshare", package: "util-linux", timeout: MINUTE };
/// All programs that a build may need.
pub const ALL: [BuildTool; 7] = [MMDEBSTRAP, MKFS_EROFS, LZ4, XZ, ZSTD, GZIP, UNSHARE];

/// How many of a program's last lines an error contains.
const MAX_ERROR_LINES: usize = 12;
/// Longest line; a longer one is split.
const MAX_LINE_BYTES: u64 = 4096;
/// Lines that are read and not yet handled.
const MAX_QUEUED_LINES: usize = 64;
/// How often a program whose output has ended is polled for its exit.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a program may clean up after SIGTERM.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
/// Where programs are searched, whatever our own PATH: a user's PATH may not contain the sbin
/// directories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Environment variables that programs inherit: how to reach the network, and no secrets.
const INHERITED_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

impl BuildTool {
    /// Checks that the program is installed, to fail before minutes of work.
    pub fn require(&self) -> Result<(), ImageError> {
        let found = PATH.split(':').any(|directory| Path::new(directory).join(self.program).is_file());
        if found { Ok(()) } else { Err(self.missing()) }
    }

    /// A command with a clean environment. The program gets SIGTERM when the thread that starts it ends.
    pub fn command(&self) -> Command {
        clean_command(self.program, Signal::TERM)
    }

    /// A command in its own mount namespace and process namespace. Nothing that it mounts is visible
    /// outside, and all its processes are killed with it or when the thread that starts it ends.
    /// Then the kernel removes the mounts. Needs root.
    pub fn isolated_command(&self) -> Command {
        // `unshare` ignores SIGTERM while it waits.
        let mut command = clean_command(UNSHARE.program, Signal::KILL);
        command
            .args(["--mount", "--propagation=private", "--pid", "--mount-proc", "--fork", "--kill-child"])
            .arg("--")
            .arg(self.program);
        command
    }

    /// Runs a command to its end. `on_line` gets each line that it prints to standard error.
    pub fn run(&self, command: &mut Command, on_line: &mut dyn FnMut(&str)) -> Result<(), ImageError> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => self.failed("cannot be started", &error.to_string()),
        })?;
        let end = Instant::now() + self.timeout;
        let lines = read_lines(&mut child);
        let mut last_lines = VecDeque::with_capacity(MAX_ERROR_LINES);
        let is_output_complete = receive_lines(&lines, end, &mut |line| {
            on_line(line);
            if last_lines.len() == MAX_ERROR_LINES {
                last_lines.pop_front();
            }
            last_lines.push_back(line.to_owned());
        });
        let status = if is_output_complete { wait_until(&mut child, end) } else { None };
        let Some(status) = status else {
            kill_group(&mut child);
            return Err(ImageError::Timeout {
                program: self.program,
                minutes: self.timeout.as_secs() / MINUTE.as_secs(),
            });
        };
        if status.success() { Ok(()) } else { Err(self.explain(status, &last_lines)) }
    }

    fn explain(&self, status: ExitStatus, last_lines: &VecDeque<String>) -> ImageError {
        let has = |marks: &[&str]| {
            last_lines.iter().rev().find(|line| marks.iter().any(|mark| line.contains(mark)))
        };
        if has(&FULL_MARKS).is_some() {
            return full(&std::env::temp_dir());
        }
        if let Some(line) = has(&UNREACHABLE_MARKS) {
            return ImageError::NoNetwork { detail: line.trim_start_matches("E: ").trim().to_owned() };
        }
        let output = last_lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        self.failed(&status.to_string(), if output.is_empty() { "no output" } else { &output })
    }

    fn missing(&self) -> ImageError {
        ImageError::MissingTool { program: self.program, package: self.package }
    }

    fn failed(&self, status: &str, output: &str) -> ImageError {
        ImageError::Tool { program: self.program, status: status.to_owned(), output: output.to_owned() }
    }
}

/// What programs print when the disk is full.
const FULL_MARKS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
/// What programs print when the network is unreachable.
const UNREACHABLE_MARKS: [&str; 8] = [
    "Temporary failure resolving",
    "Could not resolve",
    "Something wicked happened resolving",
    "Could not connect",
    "Cannot initiate the connection",
    "Unable to connect",
    "Network is unreachable",
    "Failed to fetch",
];

/// Runs a program as a filter from one file to another, such as a compressor.
pub fn filter<A: AsRef<OsStr>>(
    tool: &BuildTool,
    arguments: &[A],
    from: &Path,
    to: &Path,
) -> Result<(), ImageError> {
    let source = std::fs::File::open(from).map_err(super::error::at("read", from))?;
    let target = std::fs::File::create(to).map_err(super::error::at("write", to))?;
    tool.run(tool.command().args(arguments).stdin(source).stdout(target), &mut |_| {})
}

/// A command without our environment, in its own process group. It gets `death_signal` when the
/// thread that starts it ends.
fn clean_command(program: &str, death_signal: Signal) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8").env("HOME", "/");
    command.envs(INHERITED_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    die_with_parent(&mut command, death_signal);
    command
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let set_signal = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have died before the signal was set.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, allocates nothing and takes
    // no lock.
    unsafe { command.pre_exec(set_signal) };
}

/// Reads the lines of a child's standard error in a thread, until it is closed.
fn read_lines(child: &mut Child) -> Receiver<String> {
    let (send, lines) = sync_channel(MAX_QUEUED_LINES);
    if let Some(stderr) = child.stderr.take() {
        // The thread ends with the child's output, or when the receiver is dropped.
        std::thread::spawn(move || {
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            while stderr
                .by_ref()
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
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

/// Handles lines until the output ends. False if `end` comes first.
fn receive_lines(lines: &Receiver<String>, end: Instant, on_line: &mut dyn FnMut(&str)) -> bool {
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => on_line(&line),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// The exit status, or `None` at `end`.
fn wait_until(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL_INTERVAL),
            _ => return None,
        }
    }
}

/// Ends a child and its whole process group: SIGTERM, a grace period, then SIGKILL.
fn kill_group(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    wait_until(child, Instant::now() + TERMINATE_GRACE);
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: BuildTool = BuildTool { program: "sh", package: "dash", timeout: Duration::from_secs(20) };

    fn shell(tool: &BuildTool, script: &str) -> (Result<(), ImageError>, Vec<String>) {
        let mut lines = Vec::new();
        let result = tool.run(tool.command().args(["-c", script]), &mut |line| lines.push(line.to_owned()));
        (result, lines)
    }

    #[test]
    fn error_contains_the_last_lines() {
        let (result, lines) = shell(&SHELL, "for i in $(seq 40); do echo line $i >&2; done; exit 3");
        assert_eq!(lines.len(), 40);
        let message = result.expect_err("status 3 is a failure").to_string();
        assert!(
            message.contains("line 40") && message.contains("line 29;") && !message.contains("line 28;"),
            "{message}"
        );
    }

    #[test]
    fn known_failures_have_their_own_errors() {
        let (result, _) =
            shell(&SHELL, "echo 'E: Failed to fetch http://x/ Temporary failure resolving x' >&2; exit 100");
        assert!(matches!(result, Err(ImageError::NoNetwork { .. })), "{result:?}");
        let (result, _) = shell(&SHELL, "echo 'cp: write error: No space left on device' >&2; exit 1");
        assert!(matches!(result, Err(ImageError::DiskFull { .. })), "{result:?}");
    }

    #[test]
    fn missing_program_names_its_package() {
        let tool = BuildTool { program: "no-such-program-here", package: "the-package", timeout: MINUTE };
        assert!(
            tool.require().expect_err("it is missing").to_string().contains("apt-get install the-package")
        );
        assert!(matches!(tool.run(&mut tool.command(), &mut |_| {}), Err(ImageError::MissingTool { .. })));
    }

    #[test]
    fn timeout_kills_the_process_group() {
        let tool = BuildTool { timeout: Duration::from_millis(100), ..SHELL };
        let (result, _) = shell(&tool, "sleep 1000 & sleep 1000");
        assert!(matches!(result, Err(ImageError::Timeout { .. })), "{result:?}");
    }

    /// The script mounts a file system as mmdebstrap does, and is killed before it can unmount it.
    #[test]
    fn killed_build_leaves_no_mounts() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: it needs root");
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let point = directory.path().to_str().expect("text");
        let script =
            format!("mount -t tmpfs none {point} && touch {point}/inside && echo mounted >&2 && sleep 1000");
        let tool = BuildTool { timeout: Duration::from_secs(1), ..SHELL };
        let mut is_mounted = false;
        let result = tool.run(tool.isolated_command().args(["-c", &script]), &mut |line| {
            is_mounted |= line == "mounted";
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
            assert!(!mounts.contains(point), "the mount is visible outside");
            assert!(!directory.path().join("inside").exists());
        });
        assert!(is_mounted && matches!(result, Err(ImageError::Timeout { .. })), "{result:?}");
        std::fs::remove_dir(directory.path()).expect("nothing is mounted on it");
    }

    #[test]
    fn isolated_processes_end_with_their_starter() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: it needs root");
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe");
        // A grandchild holds the pipe open. Its other end reads the end of file when it is dead.
        let script = format!("sh -c 'exec >{}; echo ready; sleep 1000' & sleep 1000", pipe.display());
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let starter = std::thread::spawn(move || {
            let child = SHELL.isolated_command().args(["-c", &script]).stderr(Stdio::null()).spawn();
            let _ = wait.recv();
            child
        });
        let mut reader = BufReader::new(std::fs::File::open(&pipe).expect("opened"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        drop(ready);
        let mut child = starter.join().expect("no panic").expect("started");
        assert_eq!(reader.read_line(&mut line).expect("the end"), 0);
        child.wait().expect("killed");
    }

    #[test]
    fn secrets_are_not_inherited() {
        let (_, lines) = shell(&SHELL, "env >&2");
        let names: Vec<_> = lines.iter().filter_map(|line| line.split('=').next()).collect();
        assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    }
}
