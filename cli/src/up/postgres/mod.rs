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
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    process::{Signal, pidfd_send_signal},
};

pub use self::socket::MAX_SOCKET_PATH_BYTES;
use self::{
    account::Account,
    installation::Installation,
    log::Log,
    process::{open_process, postmaster, stop_orphans, wait_process},
    socket::{percent, socket_directory},
};

mod account;
mod installation;
mod log;
mod process;
mod socket;

/// The role that owns everything; on a socket that nobody else reaches it needs no password.
const ROLE: &str = "burrow";
const DATABASE: &str = "burrow";

/// A start after a power cut replays the log first; on a slow disk that takes its time.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// A fast shutdown writes one checkpoint.
const FAST_STOP: Duration = Duration::from_secs(30);
/// An immediate shutdown writes nothing.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
const KILLED_STOP: Duration = Duration::from_secs(5);
/// Ever ruder ways to end a server, and how long each is given.
const STAGES: [(Signal, Duration); 3] =
    [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP), (Signal::KILL, KILLED_STOP)];
/// A wait without an end is one after the other of these.
const POLL_FOR_END: Duration = Duration::from_hours(1);
/// How often a file or process without an event is looked at.
const POLL: Duration = Duration::from_millis(20);

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
    #[error("Postgres was not ready after {} seconds: {log}", READY_TIMEOUT.as_secs())]
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

    /// The newest server that is installed here, by its major version.
    pub fn installed() -> Option<u32> {
        Installation::all().first().map(|(version, _)| *version)
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

    /// Resolves when the server has ended. A thread of its own waits: it ends with the server.
    pub async fn ended(&self) -> io::Result<()> {
        let process = self.process.try_clone()?;
        let (tell, told) = tokio::sync::oneshot::channel();
        thread::Builder::new().name("postgres-end".to_owned()).spawn(move || {
            while !wait_process(&process, POLL_FOR_END) {}
            let _ = tell.send(());
        })?;
        told.await.map_err(io::Error::other)
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
        for (signal, patience) in STAGES {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&self.process, signal);
            if wait_process(&self.process, patience) {
                return;
            }
            tracing::warn!(pid = self.pid, ?signal, "postgres does not end");
        }
    }

    fn wait_ready(&self, data: &Path) -> Result<(), PostgresError> {
        let deadline = Instant::now() + READY_TIMEOUT;
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
            let _ = std::fs::remove_dir_all(&self.socket_directory);
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
