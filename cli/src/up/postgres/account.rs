//! The account that Postgres runs as, and what is started as it.

use std::{
    fs, io,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid, User};

use super::{PostgresError, failed};

/// The server refuses to run as root: root's is `postgres` or `nobody`, everyone else's is their own.
pub(super) struct Account {
    /// None: the present one.
    other: Option<(Uid, Gid, String)>,
    setpriv: PathBuf,
}

impl Account {
    pub(super) fn choose() -> Result<Self, PostgresError> {
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

    pub(super) fn name(&self) -> String {
        self.other.as_ref().map_or_else(|| Uid::effective().to_string(), |(_, _, name)| name.clone())
    }

    pub(super) fn uid(&self) -> Uid {
        self.other.as_ref().map_or_else(Uid::effective, |(uid, _, _)| *uid)
    }

    /// `program` as this account, ended with the thread that spawns it, with a clean environment. It is no member of the
    /// terminal's foreground group: Ctrl-C is for `up`, which then stops its parts in order.
    pub(super) fn command(&self, program: &Path) -> Command {
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
    pub(super) fn make_directory(&self, path: &Path) -> io::Result<()> {
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
    pub(super) fn check_reach(&self, path: &Path) -> Result<(), PostgresError> {
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

pub(super) fn find_program(name: &str, more: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(standard)
        .chain(more.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
