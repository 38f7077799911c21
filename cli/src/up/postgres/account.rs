//! The user account that Postgres runs as, and starting programs as that user.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt as _},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid, User};

use super::{PostgresError, failed};

/// Users that the server may run as, the best first: the package's own, which no other program
/// runs as, then those of every Debian.
const USERS: [&str; 3] = ["_burrow", "postgres", "nobody"];

/// The account of the server. It refuses to run as root, so under root it is one of [`USERS`];
/// otherwise the present user.
pub(super) struct Account {
    /// None: the present user.
    other: Option<(Uid, Gid, String)>,
    setpriv: PathBuf,
}

impl Account {
    /// Chooses the account: the owner of the database in `data`, if there is one.
    pub(super) fn choose(data: &Path) -> Result<Self, PostgresError> {
        let setpriv = find_program("setpriv", &[]).ok_or_else(|| {
            failed("cannot find the program setpriv (package util-linux)")(io::ErrorKind::NotFound.into())
        })?;
        let other = if Uid::effective().is_root() {
            let user = owner(data)
                .or_else(|| USERS.into_iter().find_map(|name| User::from_name(name).ok().flatten()))
                .ok_or_else(|| {
                    failed("cannot find a user named _burrow, postgres or nobody")(
                        io::ErrorKind::NotFound.into(),
                    )
                })?;
            Some((user.uid, user.gid, user.name))
        } else {
            None
        };
        Ok(Self { other, setpriv })
    }

    /// Its name, or its number if the name is not needed.
    pub(super) fn name(&self) -> String {
        self.other.as_ref().map_or_else(|| Uid::effective().to_string(), |(_, _, name)| name.clone())
    }

    /// Its user id.
    pub(super) fn uid(&self) -> Uid {
        self.other.as_ref().map_or_else(Uid::effective, |(uid, _, _)| *uid)
    }

    /// A command that runs `program` as this account with a clean environment, and that is killed
    /// when the thread that spawns it ends. It has its own process group, so that Ctrl-C reaches
    /// only `up`, which then stops its parts in order.
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

    /// Creates a directory that only this account can access.
    pub(super) fn create_directory(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        if let Some((uid, gid, _)) = &self.other {
            std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        Ok(())
    }

    /// Checks that the account can reach and write `path`. Postgres itself would fail with a less
    /// clear error.
    pub(super) fn check_access(&self, path: &Path) -> Result<(), PostgresError> {
        let mut command = self.command(&find_program("test", &[]).unwrap_or_else(|| "/usr/bin/test".into()));
        command.arg("-w").arg(path).stderr(Stdio::null());
        let status = command.status().map_err(failed("cannot start setpriv"))?;
        if status.success() {
            Ok(())
        } else {
            Err(PostgresError::Unreachable { user: self.name(), path: path.to_owned() })
        }
    }
}

/// The user who owns a database, unless it is root.
fn owner(data: &Path) -> Option<User> {
    let uid = fs::metadata(data).ok()?.uid();
    if uid == 0 { None } else { User::from_uid(Uid::from_raw(uid)).ok().flatten() }
}

/// Finds a program on PATH, in the standard directories, or in `extra` ones.
pub(super) fn find_program(name: &str, extra: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(standard)
        .chain(extra.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
