//! The data directory and what is in it, and the files that are installed next to the executable.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;

use super::{bundle, postgres::MAX_SOCKET_PATH_BYTES};
use crate::output::size;

/// Room for the names of sockets below the run directory: `<workspace id>/<name>.sock`.
const MAX_SOCKET_NAME_BYTES: usize = 60;

/// Why the data directory, or a file that is needed, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    #[error("cannot choose a data directory: the home directory is not known")]
    NoHome,
    #[error("cannot use {} as the data directory", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot use {} as the data directory: it belongs to another user (uid {uid})", path.display())]
    OtherOwner { path: PathBuf, uid: u32 },
    #[error("cannot use {} as the data directory: the path is too long for Unix sockets", path.display())]
    PathTooLong { path: PathBuf },
    #[error("cannot find the {what} in {}", join_paths(searched))]
    Missing { what: &'static str, searched: Vec<PathBuf>, option: &'static str },
    #[error("cannot use {}: {} are free, {} are needed", path.display(), size(*free), size(*needed))]
    DiskFull { path: PathBuf, free: u64, needed: u64 },
}

impl DataDirectoryError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoHome | Self::Io { .. } | Self::OtherOwner { .. } | Self::PathTooLong { .. } => {
                "choose another directory with --data-dir".to_owned()
            }
            Self::Missing { option, .. } => {
                format!("give its path with {option}, or run `cargo xtask up` in a checkout")
            }
            Self::DiskFull { .. } => "free up space, or choose another disk with --data-dir".to_owned(),
        }
    }
}

fn join_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The data directory. It is created if it does not exist.
#[derive(Clone, Debug)]
pub struct DataDirectory(PathBuf);

impl DataDirectory {
    /// `$XDG_DATA_HOME/burrow`, or `/var/lib/burrow` for root.
    pub fn default_path() -> Result<PathBuf, DataDirectoryError> {
        if rustix::process::geteuid().is_root() {
            return Ok("/var/lib/burrow".into());
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| DataDirectoryError::NoHome)?;
        Ok(strategy.data_dir().join("burrow"))
    }

    /// Opens `path`, or the default directory. Checks its owner and permissions.
    pub fn open(path: Option<&Path>) -> Result<Self, DataDirectoryError> {
        let path = path.map_or_else(Self::default_path, |path| Ok(path.to_owned()))?;
        let unusable = |source| DataDirectoryError::Io { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o711).create(&path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let metadata = fs::metadata(&path).map_err(unusable)?;
        let uid = rustix::process::geteuid();
        if metadata.uid() != uid.as_raw() {
            return Err(DataDirectoryError::OtherOwner { path, uid: metadata.uid() });
        }
        if path.join("run").as_os_str().len() + MAX_SOCKET_NAME_BYTES > MAX_SOCKET_PATH_BYTES {
            return Err(DataDirectoryError::PathTooLong { path });
        }
        // Under root, Postgres and sandboxes run as other users, which must be able to pass
        // through.
        let mode = if uid.is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(unusable)?;
        Ok(Self(path))
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The default file of the master key.
    pub fn master_key(&self) -> PathBuf {
        self.0.join("master.key")
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.0.join("burrow.log")
    }

    /// The data directory of the private Postgres.
    pub fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// The default directory of built images.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The URL of the default object store.
    pub fn objects_url(&self) -> String {
        format!("file://{}", self.0.join("objects").display())
    }

    /// Fails if the disk has less free space than `needed`, in bytes.
    pub fn check_free_space(&self, needed: u64) -> Result<(), DataDirectoryError> {
        let disk = rustix::fs::statvfs(&self.0)
            .map_err(|errno| DataDirectoryError::Io { path: self.0.clone(), source: errno.into() })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed {
            Err(DataDirectoryError::DiskFull { path: self.0.clone(), free, needed })
        } else {
            Ok(())
        }
    }
}

/// Finds the static agent for guests. Without `path`: the one inside this executable, extracted into
/// `directory`; else one next to the executable; else where a package or a checkout has it.
pub fn find_agent(path: Option<&Path>, directory: &Path) -> Result<PathBuf, DataDirectoryError> {
    if path.is_none() {
        let extracted = bundle::extract_agent(directory);
        let unusable = |source| DataDirectoryError::Io { path: directory.to_owned(), source };
        if let Some(agent) = extracted.map_err(unusable)? {
            return Ok(agent);
        }
    }
    find_installed_agent(path)
}

/// The static agent for guests as [`find_agent`] returns it, if this executable does not contain it.
pub fn find_installed_agent(path: Option<&Path>) -> Result<PathBuf, DataDirectoryError> {
    let directory = executable_directory();
    let mut candidates =
        vec![directory.join("workspace-agent"), directory.join("../lib/burrow/workspace-agent")];
    // target/release/burrow → target/<triple>/release/workspace-agent
    if let (Some(profile), Some(target)) = (directory.file_name(), directory.parent()) {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        candidates.insert(0, target.join(triple).join(profile).join("workspace-agent"));
    }
    first_file(path, candidates, "static agent", "--agent")
}

/// The identifier of this host in placements. It is created at the first start.
pub fn host_id(data: &Path) -> Result<String, DataDirectoryError> {
    let path = data.join("host");
    let unusable = |source| DataDirectoryError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(host) if !host.trim().is_empty() => return Ok(host.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let host = uuid::Uuid::new_v4().to_string();
    let new = path.with_extension("new");
    fs::write(&new, &host).and_then(|()| fs::rename(&new, &path)).map_err(unusable)?;
    Ok(host)
}

fn first_file(
    path: Option<&Path>,
    candidates: Vec<PathBuf>,
    what: &'static str,
    option: &'static str,
) -> Result<PathBuf, DataDirectoryError> {
    let searched = path.map_or(candidates, |path| vec![path.to_owned()]);
    let found = searched.iter().find(|path| path.is_file()).and_then(|path| path.canonicalize().ok());
    found.ok_or(DataDirectoryError::Missing { what, searched, option })
}

fn executable_directory() -> PathBuf {
    let executable = std::env::current_exe().and_then(|path| path.canonicalize()).unwrap_or_default();
    executable.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDirectory, DataDirectoryError> {
        DataDirectory::open(Some(path))
    }

    #[test]
    fn open_creates_private_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = open(&directory.path().join("a/b")).expect("made");
        let mode = fs::metadata(data.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o044, 0, "other users cannot list it");
    }

    #[test]
    fn open_refuses_long_paths() {
        let directory = tempfile::tempdir().expect("a directory");
        let refused = open(&directory.path().join("d".repeat(60))).expect_err("refused");
        assert!(matches!(refused, DataDirectoryError::PathTooLong { .. }), "{refused}");
    }

    #[test]
    fn open_refuses_files() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(open(file.path()), Err(DataDirectoryError::Io { .. })));
    }

    #[test]
    fn full_disk_error_has_numbers() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = open(directory.path()).expect("usable");
        data.check_free_space(1).expect("one byte is free");
        let text = data.check_free_space(1 << 60).expect_err("no disk is so large").to_string();
        assert!(text.contains("free") && text.contains("1048576 TiB"), "{text}");
    }

    #[test]
    fn missing_agent_error_names_option() {
        let refused = find_installed_agent(Some(Path::new("/nowhere/agent"))).expect_err("refused");
        assert!(refused.to_string().contains("/nowhere/agent") && refused.hint().contains("--agent"));
    }
}
