//! A private Postgres: the distribution's server as a child of this process. It knows nothing of what is stored in it.
//!
//! ```text
//! up ── thread "postgres" ── setpriv (uid, no new privileges, death signal) ── postgres
//!                │                                                               │
//!                └── its stderr → tracing          <data-dir>/postgres ──────────┘  data and socket
//! ```
//!
//! The server listens on a Unix socket only, in a directory that only its user and root may enter. It refuses to run as
//! root, so root's `up` drops to `postgres` or `nobody` for it. The kernel ends it with the thread that started it
//! (`PDEATHSIG`), so that thread lives as long as the server. What a killed `up` left all the same is stopped at the next start.
//! Everything here blocks; callers use a blocking thread.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, User};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// The role that owns everything; on a socket that nobody else reaches it needs no password.
const ROLE: &str = "burrow";
const DATABASE: &str = "burrow";
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Longest path of a Unix socket, without its final NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A start after a power cut replays the log first; on a slow disk that takes its time.
const READY_DEADLINE: Duration = Duration::from_mins(2);
/// `initdb` takes about two seconds, and its final sync longer on a busy disk.
const INITDB_DEADLINE: Duration = Duration::from_mins(3);
/// A fast shutdown writes one checkpoint.
const FAST_STOP: Duration = Duration::from_secs(30);
/// An immediate shutdown writes nothing.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
const KILLED_STOP: Duration = Duration::from_secs(5);
/// How often a file or process without an event is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Last lines of the server's log that an error shows.
const LOG_LINES_KEPT: usize = 20;
/// Longest line of the server's log; the rest becomes the next line.
const LOG_LINE_BYTES_MAX: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("no Postgres server was found on PATH or in /usr/lib/postgresql")]
    NotInstalled,
    #[error(
        "the database in {data} was made by Postgres {data_version}, and only version {installed} is installed"
    )]
    OtherVersion { data: PathBuf, data_version: String, installed: String },
    #[error("the user `{user}`, which Postgres runs as, cannot enter {path}")]
    Unreachable { user: String, path: PathBuf },
    #[error("{0} is not a directory of ours alone")]
    ForeignDirectory(PathBuf),
    #[error("initdb failed: {0}")]
    Init(String),
    #[error("Postgres ended while it started: {0}")]
    EndedEarly(String),
    #[error("Postgres was not ready after {} seconds: {log}", READY_DEADLINE.as_secs())]
    NotReady { log: String },
    #[error("an old Postgres (process {0}) of this data directory does not end")]
    OrphanStays(u32),
    #[error("{what}")]
    Io { what: String, source: io::Error },
}

impl PostgresError {
    /// What to do now.
    pub fn next(&self) -> String {
        match self {
            Self::NotInstalled => "apt-get install postgresql".to_owned(),
            Self::OtherVersion { data, data_version, .. } => format!(
                "apt-get install postgresql-{data_version}, or move the data with pg_upgrade into {}",
                data.display()
            ),
            Self::Unreachable { path, .. } => format!(
                "choose another --data-dir, or let others pass through its parents (chmod o+x) up to {}",
                path.display()
            ),
            Self::ForeignDirectory(path) => format!("remove {} and try again", path.display()),
            Self::OrphanStays(pid) => format!("end process {pid} and try again"),
            Self::Init(text) | Self::EndedEarly(text) if text.contains("No space left") => {
                "free some space on the disk of the data directory and try again".to_owned()
            }
            Self::Init(_) | Self::EndedEarly(_) | Self::NotReady { .. } | Self::Io { .. } => {
                "burrow doctor".to_owned()
            }
        }
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Io { what, source }
}

/// A running server. Dropping it stops the server too, but [`Postgres::stop`] says whether that went well.
#[derive(Debug)]
pub struct Postgres {
    pid: u32,
    process: OwnedFd,
    socket_directory: PathBuf,
    /// Whether the socket lies outside the data directory, because the path there would be too long.
    socket_apart: bool,
    watcher: Option<thread::JoinHandle<io::Result<ExitStatus>>>,
    log: Arc<Log>,
}

impl Postgres {
    /// Starts the server of `data_dir`, making its database first where there is none. The caller holds the data
    /// directory's lock: any server that still runs in it is an orphan, and is stopped.
    pub fn start(data_dir: &Path) -> Result<Self, PostgresError> {
        let data = data_dir.join("postgres");
        let account = Account::choose()?;
        stop_orphans(&data)?;
        let installation = Installation::find(&data)?;
        if !data.join("PG_VERSION").exists() {
            installation.make_database(&account, &data)?;
        }
        account.check_reach(&data)?;
        let (socket_directory, socket_apart) = socket_directory(&data, &account)?;
        let server = Server {
            program: installation.postgres.clone(),
            data: data.clone(),
            socket_directory: socket_directory.clone(),
        };
        let log = Arc::new(Log::default());
        let (watcher, pid) = spawn_watched(account.command(&server.program), &server, log.clone())?;
        let process = open_process(pid).map_err(failed("the new Postgres process cannot be watched"))?;
        let postgres =
            Self { pid, process, socket_directory, socket_apart, watcher: Some(watcher), log: log.clone() };
        postgres.wait_ready(&data)?;
        Ok(postgres)
    }

    /// Where the controller connects to.
    pub fn url(&self) -> String {
        let directory = percent(self.socket_directory.as_os_str());
        format!("postgres://{ROLE}@localhost/{DATABASE}?host={directory}")
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// Blocks until the server ends by itself, or `deadline` passes; true if it has ended.
    pub fn wait_ended(&self, deadline: Duration) -> bool {
        wait_process(&self.process, deadline)
    }

    /// A descriptor that becomes readable when the server ends.
    pub fn process(&self) -> &OwnedFd {
        &self.process
    }

    /// The last words of its log.
    pub fn last_words(&self) -> String {
        self.log.tail()
    }

    /// Ends it in good order: sessions are cut off, a checkpoint is written.
    pub fn stop(mut self) -> Result<ExitStatus, PostgresError> {
        self.signal_until_gone();
        let watcher = self.watcher.take().expect("taken only here and in drop");
        let status = watcher
            .join()
            .map_err(|_| io::Error::other("its watcher panicked"))
            .and_then(|status| status)
            .map_err(failed("Postgres's exit status cannot be read"));
        self.remove_socket_directory();
        status
    }

    fn signal_until_gone(&self) {
        for (signal, patience) in
            [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP), (Signal::KILL, KILLED_STOP)]
        {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&self.process, signal);
            if wait_process(&self.process, patience) {
                return;
            }
            tracing::warn!(pid = self.pid, ?signal, "postgres does not end");
        }
    }

    fn wait_ready(&self, data: &Path) -> Result<(), PostgresError> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if postmaster(data).is_some_and(|found| found.pid == self.pid && found.ready) {
                return Ok(());
            }
            if wait_process(&self.process, POLL) {
                // Its last line may still be in the pipe; the watcher has read all once it has ended.
                return Err(PostgresError::EndedEarly(self.log.tail_at_end()));
            }
            if Instant::now() > deadline {
                return Err(PostgresError::NotReady { log: self.log.tail() });
            }
        }
    }

    fn remove_socket_directory(&self) {
        if self.socket_apart {
            let _ = fs::remove_dir_all(&self.socket_directory);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            self.signal_until_gone();
            let _ = watcher.join();
            self.remove_socket_directory();
        }
    }
}

/// The account that the server runs as.
struct Account {
    /// None: the present one.
    other: Option<(Uid, Gid, String)>,
    setpriv: PathBuf,
}

impl Account {
    fn choose() -> Result<Self, PostgresError> {
        let setpriv = find_program("setpriv", &[]).ok_or_else(|| {
            failed("the program setpriv (package util-linux) is missing")(io::ErrorKind::NotFound.into())
        })?;
        let other = if Uid::effective().is_root() {
            let user = ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .ok_or_else(|| {
                    failed("neither a user postgres nor nobody exists")(io::ErrorKind::NotFound.into())
                })?;
            Some((user.uid, user.gid, user.name))
        } else {
            None
        };
        Ok(Self { other, setpriv })
    }

    fn name(&self) -> String {
        self.other.as_ref().map_or_else(|| Uid::effective().to_string(), |(_, _, name)| name.clone())
    }

    fn uid(&self) -> Uid {
        self.other.as_ref().map_or_else(Uid::effective, |(uid, _, _)| *uid)
    }

    /// `program` as this account, ended with the thread that spawns it, with a clean environment. It is no member of the
    /// terminal's foreground group: Ctrl-C is for `up`, which then stops its parts in order.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.setpriv);
        if let Some((uid, gid, _)) = &self.other {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command.args(["--no-new-privs", "--pdeathsig=INT", "--"]).arg(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// A directory of this account alone.
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if let Some((uid, gid, _)) = &self.other {
            std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        Ok(())
    }

    /// Parents that are closed to the account would make Postgres fail in less clear words.
    fn check_reach(&self, path: &Path) -> Result<(), PostgresError> {
        let mut command = self.command(&find_program("test", &[]).unwrap_or_else(|| "/usr/bin/test".into()));
        command.arg("-w").arg(path).stderr(Stdio::null());
        let status = command.status().map_err(failed("setpriv cannot be started"))?;
        if status.success() {
            Ok(())
        } else {
            Err(PostgresError::Unreachable { user: self.name(), path: path.to_owned() })
        }
    }
}

/// The programs of one Postgres version.
struct Installation {
    postgres: PathBuf,
    initdb: PathBuf,
}

impl Installation {
    /// Of the data's version where there is data, else the newest.
    fn find(data: &Path) -> Result<Self, PostgresError> {
        let mut installed = Self::all();
        if installed.is_empty() {
            return Err(PostgresError::NotInstalled);
        }
        let Ok(data_version) = fs::read_to_string(data.join("PG_VERSION")) else {
            let (_, newest) = installed.swap_remove(0);
            return Ok(newest);
        };
        let data_version = data_version.trim().to_owned();
        let names: Vec<String> = installed.iter().map(|(version, _)| version.to_string()).collect();
        installed
            .into_iter()
            .find(|(version, _)| version.to_string() == data_version)
            .map(|(_, installation)| installation)
            .ok_or_else(|| PostgresError::OtherVersion {
                data: data.to_owned(),
                data_version,
                installed: names.join(", "),
            })
    }

    /// All that can be found, with their major versions, the newest first.
    fn all() -> Vec<(u32, Self)> {
        let distribution = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> = distribution.map(|entry| entry.path().join("bin")).collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        directories.extend(std::env::split_paths(&path));
        let mut found: Vec<(u32, Self)> = directories
            .iter()
            .filter_map(|directory| {
                // `initdb` looks for its `postgres` beside itself, so links are followed first.
                let postgres = directory.join("postgres").canonicalize().ok()?;
                let initdb = directory.join("initdb").canonicalize().ok()?;
                Some((major_version(&postgres)?, Self { postgres, initdb }))
            })
            .collect();
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        found.dedup_by_key(|(version, _)| *version);
        found
    }

    /// Makes the data beside its place and renames it, so that a half-made one is never taken for one.
    fn make_database(&self, account: &Account, data: &Path) -> Result<(), PostgresError> {
        let unfinished = data.with_extension("unfinished");
        remove_if_there(&unfinished)
            .map_err(failed(format!("{} cannot be removed", unfinished.display())))?;
        account
            .make_directory(&unfinished)
            .map_err(failed(format!("{} cannot be made", unfinished.display())))?;
        account.check_reach(&unfinished)?;
        let mut initdb = account.command(&self.initdb);
        initdb
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--username", ROLE])
            .arg("--pgdata")
            .arg(&unfinished);
        run(initdb, b"", INITDB_DEADLINE)?;
        let mut single = account.command(&self.postgres);
        single.arg("--single").arg("-D").arg(&unfinished).arg("postgres");
        run(single, format!("CREATE DATABASE {DATABASE}\n").as_bytes(), INITDB_DEADLINE)?;
        fs::rename(&unfinished, data)
            .map_err(failed(format!("{} cannot be put in its place", data.display())))
    }
}

/// Runs a short program to its end; its standard error becomes the error.
fn run(mut command: Command, input: &[u8], deadline: Duration) -> Result<(), PostgresError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("a program of Postgres cannot be started"))?;
    let mut stdin = child.stdin.take().expect("piped");
    // A program that ends early says why on its standard error.
    let _ = stdin.write_all(input);
    drop(stdin);
    let process = open_process(child.id()).map_err(failed("a program of Postgres cannot be watched"))?;
    let reader = read_all(child.stderr.take().expect("piped"));
    if !wait_process(&process, deadline) {
        let _ = child.kill();
    }
    let Output { status, stderr, .. } =
        collect(child, reader).map_err(failed("a program of Postgres was lost"))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(PostgresError::Init(lines[lines.len().saturating_sub(3)..].join("; ")))
}

fn read_all(stderr: ChildStderr) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.take(LOG_LINES_KEPT as u64 * LOG_LINE_BYTES_MAX).read_to_end(&mut bytes);
        bytes
    })
}

fn collect(mut child: Child, reader: thread::JoinHandle<Vec<u8>>) -> io::Result<Output> {
    let status = child.wait()?;
    let stderr = reader.join().unwrap_or_default();
    Ok(Output { status, stdout: Vec::new(), stderr })
}

/// What the server's command line says.
struct Server {
    program: PathBuf,
    data: PathBuf,
    socket_directory: PathBuf,
}

impl Server {
    fn arguments(&self, command: &mut Command) {
        command.arg("-D").arg(&self.data);
        for setting in [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "cluster_name=burrow",
            // One machine's control plane: little memory, no replicas, no just-in-time compiler for short queries.
            "shared_buffers=32MB",
            "max_connections=100",
            "wal_level=minimal",
            "max_wal_senders=0",
            "max_wal_size=256MB",
            "jit=off",
            "timezone=UTC",
            "log_timezone=UTC",
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=",
        ] {
            command.arg("-c").arg(setting);
        }
        let mut directory = std::ffi::OsString::from("unix_socket_directories=");
        directory.push(&self.socket_directory);
        command.arg("-c").arg(directory);
    }
}

/// Starts the server on a thread of its own that lives until the server has ended: the kernel sends the death signal
/// when the *thread* that started the child ends.
fn spawn_watched(
    mut command: Command,
    server: &Server,
    log: Arc<Log>,
) -> Result<(thread::JoinHandle<io::Result<ExitStatus>>, u32), PostgresError> {
    server.arguments(&mut command);
    command.stderr(Stdio::piped());
    let (started, start) = mpsc::sync_channel(1);
    let watcher = thread::Builder::new()
        .name("postgres".to_owned())
        .spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Err(io::ErrorKind::NotFound.into());
                }
            };
            let _ = started.send(Ok(child.id()));
            log.follow(child.stderr.take().expect("piped"));
            child.wait()
        })
        .map_err(failed("no thread can be started"))?;
    let pid = start
        .recv()
        .map_err(io::Error::other)
        .and_then(|started| started)
        .map_err(failed(format!("{} cannot be started", server.program.display())))?;
    Ok((watcher, pid))
}

/// The server's log: passed on to ours, its last lines kept for an error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<VecDeque<String>>,
    ended: Mutex<bool>,
    end: std::sync::Condvar,
}

impl Log {
    fn follow(&self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => self.push(String::from_utf8_lossy(&line).trim_end().to_owned()),
            }
        }
        *self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    fn push(&self, line: String) {
        if line.contains("ERROR:") || line.contains("FATAL:") || line.contains("PANIC:") {
            tracing::warn!(target: "burrow::postgres", "{line}");
        } else {
            tracing::debug!(target: "burrow::postgres", "{line}");
        }
        let mut lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() == LOG_LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines that say what went wrong, else the last.
    fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bad = lines.iter().filter(|line| line.contains("FATAL:") || line.contains("PANIC:"));
        let bad: Vec<&str> = bad.map(String::as_str).collect();
        if bad.is_empty() { lines.back().cloned().unwrap_or_default() } else { bad.join("; ") }
    }

    fn tail_at_end(&self) -> String {
        let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(self.end.wait_timeout_while(ended, IMMEDIATE_STOP, |ended| !*ended));
        self.tail()
    }
}

/// What the server wrote about itself.
struct Postmaster {
    pid: u32,
    ready: bool,
}

/// Reads `postmaster.pid`: the process on the first line, the state on the eighth.
fn postmaster(data: &Path) -> Option<Postmaster> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    Some(Postmaster { pid, ready: lines.nth(6).is_some_and(|state| state.trim() == "ready") })
}

/// Stops what still runs in `data`: a server whose `up` was killed, or sessions whose server was.
fn stop_orphans(data: &Path) -> Result<(), PostgresError> {
    let Ok(data) = data.canonicalize() else { return Ok(()) };
    let main = postmaster(&data).map(|found| found.pid);
    let stages = [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP), (Signal::KILL, KILLED_STOP)];
    for (signal, patience) in stages {
        let orphans = processes_in(&data);
        let Some((&first, _)) = orphans.split_first() else { break };
        tracing::warn!(pid = first, ?signal, "stopping a postgres that an earlier `up` left");
        for pid in orphans.iter().filter(|pid| signal != Signal::INT || main == Some(**pid)) {
            if let Ok(process) = open_process(*pid) {
                let _ = pidfd_send_signal(&process, signal);
            }
        }
        let deadline = Instant::now() + if main.is_none() && signal == Signal::INT { POLL } else { patience };
        while !processes_in(&data).is_empty() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
    if let Some(&stays) = processes_in(&data).first() {
        return Err(PostgresError::OrphanStays(stays));
    }
    // The number in it may by now be some other process's, which would keep the server from starting.
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("a stale postmaster.pid cannot be removed")(error))
        }
        _ => Ok(()),
    }
}

/// Processes whose working directory is `data`: Postgres, and nobody else, works there.
fn processes_in(data: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_ascii().starts_with(b"postgres"))
        })
        .collect()
}

/// The data directory itself, or a short one elsewhere when the socket's path would be too long.
fn socket_directory(data: &Path, account: &Account) -> Result<(PathBuf, bool), PostgresError> {
    let data = data.canonicalize().map_err(failed(format!("{} cannot be found", data.display())))?;
    if data.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((data, false));
    }
    let parent = if Uid::effective().is_root() {
        PathBuf::from("/run")
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
    };
    let directory = parent.join(format!("burrow-{:016x}", fnv(data.as_os_str().as_bytes())));
    account.make_directory(&directory).map_err(failed(format!("{} cannot be made", directory.display())))?;
    let about = fs::symlink_metadata(&directory)
        .map_err(failed(format!("{} cannot be looked at", directory.display())))?;
    // In a directory that all may write to, somebody else may have been quicker.
    let closed = about.permissions().mode() & 0o777 == 0o700;
    if about.is_dir() && about.uid() == account.uid().as_raw() && closed {
        Ok((directory, true))
    } else {
        Err(PostgresError::ForeignDirectory(directory))
    }
}

/// A short name for a path: FNV-1a, which needs no crate and fends off nobody.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn percent(text: &OsStr) -> String {
    text.as_bytes().iter().fold(String::new(), |url, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            url + char::from(*byte).encode_utf8(&mut [0; 4])
        }
        _ => url + &format!("%{byte:02X}"),
    })
}

fn major_version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

fn find_program(name: &str, more: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(standard)
        .chain(more.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)
}

/// Whether the process ends within `deadline`.
fn wait_process(process: &OwnedFd, deadline: Duration) -> bool {
    let until = Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("deadlines here are of seconds");
        let mut descriptors = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}
