//! A Postgres for one task, in a temporary directory. It ends and is deleted when its guard is dropped.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::run;

/// `initdb` and a start take about two seconds; a busy host may take many times longer.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Between two reads of the file in which Postgres announces that it is ready.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running server. Its data directory is deleted with it.
pub struct Postgres {
    directory: TempDir,
    server: Child,
}

impl Postgres {
    /// Creates a cluster and waits until it accepts connections.
    pub fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("burrow-pg").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        let user = unprivileged_user()?;
        if let Some(user) = &user {
            run::run(Command::new("chown").arg(user).arg(&data))?;
        }
        let initdb = find("initdb")?;
        run::run(
            as_user(user.as_deref(), &initdb)
                .args([
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                    "--username=postgres",
                    "-D",
                ])
                .arg(&data)
                .stdout(Stdio::null()),
        )?;
        let server = as_user(user.as_deref(), &find("postgres")?)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", data.display()))
            .arg("-D")
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .context("Cannot start postgres")?;
        let mut postgres = Self { directory, server };
        postgres.wait_ready()?;
        Ok(postgres)
    }

    /// The address for clients: a Unix socket in the data directory.
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.data().display())
    }

    /// Runs a file of SQL in one transaction.
    pub fn apply(&self, file: &std::path::Path) -> Result<()> {
        run::run(
            Command::new(find("psql")?)
                .args(["-XqA1", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-f"])
                .arg(file)
                .stdout(Stdio::null()),
        )
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let file = self.data().join("postmaster.pid");
        while !fs::read_to_string(&file)
            .is_ok_and(|text| text.lines().nth(7).is_some_and(|l| l.trim() == "ready"))
        {
            if let Some(status) = self.server.try_wait()? {
                bail!("Cannot start postgres: it exited with {status}");
            }
            if Instant::now() > deadline {
                bail!("Cannot start postgres: not ready after {} s", READY_TIMEOUT.as_secs());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The data is deleted, so an immediate shutdown without a checkpoint is enough.
        let pid = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.server.wait();
    }
}

fn find(name: &str) -> Result<PathBuf> {
    run::find(name).with_context(|| format!("Cannot find {name}. Install the package postgresql"))
}

/// The user to run Postgres as, because it refuses to run as root. None: the current user, who is not root.
fn unprivileged_user() -> Result<Option<String>> {
    if !run::is_root() {
        return Ok(None);
    }
    let known =
        |name: &&str| Command::new("id").arg(name).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let user =
        ["postgres", "nobody"].into_iter().find(|name| known(name).is_ok_and(|status| status.success()));
    user.map(|name| Some(name.to_owned()))
        .context("Cannot run postgres as root: there is neither a user postgres nor nobody")
}

fn as_user(user: Option<&str>, program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program).current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}
