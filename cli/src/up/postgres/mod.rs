//! A private Postgres: the distribution's server as a child of this process. This module knows
//! nothing of what is stored in it.
//!
//! ```text
//! up ── thread "postgres" ── setpriv (uid, no new privileges, death signal) ── postgres
//!                │                                                               │
//!                └── its stderr → tracing          <data-dir>/postgres ──────────┘  data and socket
//! ```
//!
//! The server listens only on a Unix socket, in a directory that only its user and root can enter.
//! It refuses to run as root, so `up` under root runs it as `_burrow` (the user of the package),
//! `postgres` or `nobody`. Only the user of this process may connect. The kernel
//! kills it when the thread that started it ends (`PDEATHSIG`), so that thread lives as long as the
//! server. A server that outlived a killed `up` is stopped at the next start. Everything here
//! blocks; call it from a blocking thread.

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

use self::{
    access::AccessFiles,
    account::Account,
    installation::Installation,
    log::Log,
    process::{open_process, postmaster, stop_orphans, wait_process},
    socket::{percent_encode, socket_directory},
};
pub use self::{connection::Connection, socket::MAX_SOCKET_PATH_BYTES};

mod access;
mod account;
mod connection;
mod installation;
mod log;
mod process;
mod socket;

/// The role that owns everything. It has no password: only this process's user may become it.
const ROLE: &str = "burrow";
const DATABASE: &str = "burrow";

/// A start after a power failure replays the log first, which takes long on a slow disk.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// A fast shutdown writes one checkpoint.
const FAST_STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// An immediate shutdown writes nothing.
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// The signals that stop a server, from gentle to forced, and how long to wait after each.
const STOP_STAGES: [(Signal, Duration); 3] =
    [(Signal::INT, FAST_STOP_TIMEOUT), (Signal::QUIT, IMMEDIATE_STOP_TIMEOUT), (Signal::KILL, KILL_TIMEOUT)];
/// An unlimited wait is a loop of waits of this length.
const WAIT_SLICE_TIMEOUT: Duration = Duration::from_hours(1);
/// How often a file or process that has no event is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Why the server cannot be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// This host has no server to start.
    #[error("cannot find a Postgres server on PATH or in /usr/lib/postgresql")]
    NotInstalled,
    /// Postgres only opens a database of its own major version.
    #[error(
        "cannot open the database in {data}: it needs Postgres {data_version}, but only {installed} is \
         installed"
    )]
    OtherVersion {
        /// Directory of the database.
        data: PathBuf,
        /// Major version that created it.
        data_version: String,
        /// The versions of this host, as text.
        installed: String,
    },
    /// Postgres does not run as root, and the user that it runs as cannot reach the data directory.
    #[error("cannot start Postgres: its user `{user}` cannot access {path}")]
    Unreachable {
        /// The user that Postgres would run as.
        user: String,
        /// The first directory that this user cannot enter.
        path: PathBuf,
    },
    /// The directory belongs to another user, or others can write to it.
    #[error("cannot use {0}: other users can write to it")]
    ForeignDirectory(PathBuf),
    /// `initdb` failed, with the end of its output.
    #[error("cannot create the database: {0}")]
    Init(String),
    /// The server ended before it was ready, with the end of its log.
    #[error("cannot start Postgres: {0}")]
    EndedEarly(String),
    /// The server runs but accepts no connection.
    #[error("cannot start Postgres: it is not ready after {} seconds: {log}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// The end of its log.
        log: String,
    },
    /// A server that an earlier `burrow up` left behind does not end.
    #[error("cannot stop an old Postgres of this data directory (process {0})")]
    OrphanRemains(u32),
    /// A file or a process of the server cannot be used.
    #[error("{what}")]
    Io {
        /// What failed, as a sentence.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

impl PostgresError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotInstalled => "apt-get install postgresql".to_owned(),
            Self::OtherVersion { data, data_version, .. } => format!(
                "apt-get install postgresql-{data_version}, or move the data with pg_upgrade into {}",
                data.display()
            ),
            Self::Unreachable { path, .. } => format!(
                "choose another --data-dir, or let other users enter its parents (chmod o+x) up to {}",
                path.display()
            ),
            Self::ForeignDirectory(path) => format!("remove {} and try again", path.display()),
            Self::OrphanRemains(pid) => format!("kill {pid}, and try again"),
            Self::Init(text) | Self::EndedEarly(text) if text.contains("No space left") => {
                "free up space on the disk of the data directory and try again".to_owned()
            }
            Self::Init(_) | Self::EndedEarly(_) | Self::NotReady { .. } | Self::Io { .. } => {
                "burrow doctor".to_owned()
            }
        }
    }
}

/// Turns an I/O error into a [`PostgresError`]. `what`: "cannot verb object".
fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Io { what, source }
}

/// A running server. Dropping it stops the server; [`Postgres::stop`] also returns whether that
/// worked.
#[derive(Debug)]
pub struct Postgres {
    pid: u32,
    process: OwnedFd,
    connection: Connection,
    /// Whether the socket is outside the data directory, because its path there would be too long.
    is_socket_elsewhere: bool,
    watcher: Option<thread::JoinHandle<io::Result<ExitStatus>>>,
    log: Arc<Log>,
}

impl Postgres {
    /// Starts the server of `data_dir`, and creates its database if there is none. The caller holds
    /// the lock of the data directory, so a server that is still running there is an orphan, and is
    /// stopped.
    pub fn start(data_dir: &Path) -> Result<Self, PostgresError> {
        let data = data_dir.join("postgres");
        let account = Account::choose(&data)?;
        stop_orphans(&data)?;
        let installation = Installation::find(&data)?;
        if !data.join("PG_VERSION").exists() {
            installation.create_database(&account, &data)?;
        }
        account.check_access(&data)?;
        let (socket_directory, is_socket_elsewhere) = socket_directory(&data, &account)?;
        let access =
            AccessFiles::write(&data).map_err(failed("cannot write the access rules of Postgres"))?;
        let server = ServerArguments {
            program: installation.postgres.clone(),
            data: data.clone(),
            access,
            socket_directory: socket_directory.clone(),
        };
        let log = Arc::new(Log::default());
        let (watcher, pid) = spawn_watched(account.command(&server.program), &server, log.clone())?;
        let process = open_process(pid).map_err(failed("cannot watch the Postgres process"))?;
        let postgres = Self {
            pid,
            process,
            connection: Connection::new(&installation, socket_directory),
            is_socket_elsewhere,
            watcher: Some(watcher),
            log: log.clone(),
        };
        postgres.wait_ready(&data)?;
        Ok(postgres)
    }

    /// The newest major version that is installed.
    pub fn installed() -> Option<u32> {
        Installation::all().first().map(|installation| installation.version)
    }

    /// The URL that the controller connects to.
    pub fn url(&self) -> String {
        let directory = percent_encode(self.socket_directory().as_os_str());
        format!("postgres://{ROLE}@localhost/{DATABASE}?host={directory}")
    }

    /// How the programs of Postgres connect to it.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The directory of its socket.
    pub fn socket_directory(&self) -> &Path {
        &self.connection.socket_directory
    }

    /// Blocks until the server exits by itself. Returns whether it did so within `timeout`.
    pub fn wait_ended(&self, timeout: Duration) -> bool {
        wait_process(&self.process, timeout)
    }

    /// Resolves when the server has exited. A separate thread waits for it, and ends with it.
    pub async fn ended(&self) -> io::Result<()> {
        let process = self.process.try_clone()?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        thread::Builder::new().name("postgres-end".to_owned()).spawn(move || {
            while !wait_process(&process, WAIT_SLICE_TIMEOUT) {}
            let _ = sender.send(());
        })?;
        receiver.await.map_err(io::Error::other)
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.log.tail()
    }

    /// Stops it cleanly: sessions are closed and a checkpoint is written.
    pub fn stop(mut self) -> Result<ExitStatus, PostgresError> {
        self.signal_until_exit();
        let watcher = self.watcher.take().expect("taken only here and in drop");
        let status = watcher
            .join()
            .map_err(|_| io::Error::other("its watcher panicked"))
            .and_then(|status| status)
            .map_err(failed("cannot read the exit status of Postgres"));
        self.remove_socket_directory();
        status
    }

    fn signal_until_exit(&self) {
        for (signal, timeout) in STOP_STAGES {
            // It may have exited by itself.
            let _ = pidfd_send_signal(&self.process, signal);
            if wait_process(&self.process, timeout) {
                return;
            }
            tracing::warn!(pid = self.pid, ?signal, "postgres does not stop");
        }
    }

    fn wait_ready(&self, data: &Path) -> Result<(), PostgresError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if postmaster(data).is_some_and(|found| found.pid == self.pid && found.is_ready) {
                return Ok(());
            }
            if wait_process(&self.process, POLL_INTERVAL) {
                // The last lines may still be in the pipe. The watcher has read them once it has
                // ended.
                return Err(PostgresError::EndedEarly(self.log.tail_at_end()));
            }
            if Instant::now() > deadline {
                return Err(PostgresError::NotReady { log: self.log.tail() });
            }
        }
    }

    fn remove_socket_directory(&self) {
        if self.is_socket_elsewhere {
            let _ = std::fs::remove_dir_all(self.socket_directory());
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            self.signal_until_exit();
            let _ = watcher.join();
            self.remove_socket_directory();
        }
    }
}

/// The command line of the server.
struct ServerArguments {
    program: PathBuf,
    data: PathBuf,
    access: AccessFiles,
    socket_directory: PathBuf,
}

impl ServerArguments {
    fn apply_to(&self, command: &mut Command) {
        command.arg("-D").arg(&self.data);
        for setting in [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "cluster_name=burrow",
            // The database of one host: little memory, no replicas, and no JIT compiler for short
            // queries.
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
        for (name, path) in [
            ("unix_socket_directories=", &self.socket_directory),
            ("hba_file=", &self.access.rules),
            ("ident_file=", &self.access.map),
        ] {
            let mut setting = std::ffi::OsString::from(name);
            setting.push(path);
            command.arg("-c").arg(setting);
        }
    }
}

/// Starts the server on a thread that lives until the server has exited, because the kernel sends
/// the death signal when the *thread* that started the child ends.
fn spawn_watched(
    mut command: Command,
    server: &ServerArguments,
    log: Arc<Log>,
) -> Result<(thread::JoinHandle<io::Result<ExitStatus>>, u32), PostgresError> {
    server.apply_to(&mut command);
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
        .map_err(failed("cannot start a thread"))?;
    let pid = start
        .recv()
        .map_err(io::Error::other)
        .and_then(|started| started)
        .map_err(failed(format!("cannot start {}", server.program.display())))?;
    Ok((watcher, pid))
}
