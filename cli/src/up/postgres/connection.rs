//! How the programs that come with a server, such as `pg_dump`, connect to it.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{DATABASE, PostgresError, ROLE, failed, installation::Installation, process::postmaster};

/// A running server, and the programs of its version.
#[derive(Clone, Debug)]
pub struct Connection {
    programs: PathBuf,
    version: u32,
    pub(super) socket_directory: PathBuf,
}

impl Connection {
    pub(super) fn new(installation: &Installation, socket_directory: PathBuf) -> Self {
        let programs = installation.postgres.parent().expect("a program is in a directory").to_owned();
        Self { programs, version: installation.version, socket_directory }
    }

    /// Connects to the server that another process runs in this data directory. `None` if none is ready.
    pub fn to_running(data_dir: &Path) -> Result<Option<Self>, PostgresError> {
        let data = data_dir.join("postgres");
        let Some(server) = postmaster(&data).filter(|server| server.is_ready) else { return Ok(None) };
        Ok(Some(Self::new(&Installation::find(&data)?, server.socket_directory)))
    }

    /// The name of the database.
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// The major version of the server.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A command that runs a program of the server's version as this user, with a clean environment.
    pub fn command(&self, program: &str) -> Result<Command, PostgresError> {
        let path = self.programs.join(program);
        if !path.is_file() {
            let what = format!("cannot find {} (package postgresql-client-{})", path.display(), self.version);
            return Err(failed(what)(io::ErrorKind::NotFound.into()));
        }
        let mut command = Command::new(path);
        command.env_clear().env("LC_ALL", "C.UTF-8").current_dir("/").stdin(Stdio::null());
        command.arg("--no-password").arg("--username").arg(ROLE).arg("--host").arg(&self.socket_directory);
        Ok(command)
    }
}
