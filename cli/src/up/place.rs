//! Where things are: the data directory and its parts, and what lies beside the executable or in the checkout.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;

use super::postgres::MAX_SOCKET_PATH_BYTES;

/// Longest name of a socket below the run directory: `<workspace id>/<name>.sock`, with room.
const MAX_SOCKET_NAME_BYTES: usize = 60;

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("no home directory is known")]
    NoHome,
    #[error("{} cannot be used as data directory", path.display())]
    DataDirectory { path: PathBuf, source: io::Error },
    #[error("{} belongs to another user (uid {uid})", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("the path {} is too long for the sockets below it", path.display())]
    Long { path: PathBuf },
    #[error("the {what} was not found; looked at {}", looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Missing { what: &'static str, looked_at: Vec<PathBuf>, option: &'static str },
    #[error("{} has {} free, and {} are needed", path.display(), crate::output::size(*free), crate::output::size(*needed))]
    Full { path: PathBuf, free: u64, needed: u64 },
}

impl PlaceError {
    pub fn next(&self) -> String {
        match self {
            Self::NoHome | Self::DataDirectory { .. } | Self::Foreign { .. } | Self::Long { .. } => {
                "choose another place with --data-dir".to_owned()
            }
            Self::Missing { option, .. } => format!("say where it is with {option}, or run `cargo xtask up`"),
            Self::Full { .. } => "free some space, or choose another disk with --data-dir".to_owned(),
        }
    }
}

/// The data directory, made if it was not there, and the places in it.
#[derive(Clone, Debug)]
pub struct DataDirectory(PathBuf);

impl DataDirectory {
    /// `$XDG_DATA_HOME/burrow`, or `/var/lib/burrow` for root.
    pub fn default_path() -> Result<PathBuf, PlaceError> {
        if rustix::process::geteuid().is_root() {
            return Ok("/var/lib/burrow".into());
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| PlaceError::NoHome)?;
        Ok(strategy.data_dir().join("burrow"))
    }

    pub fn open(wanted: Option<&Path>) -> Result<Self, PlaceError> {
        let path = wanted.map_or_else(Self::default_path, |path| Ok(path.to_owned()))?;
        let unusable = |source| PlaceError::DataDirectory { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o711).create(&path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let about = fs::metadata(&path).map_err(unusable)?;
        let uid = rustix::process::geteuid();
        if about.uid() != uid.as_raw() {
            return Err(PlaceError::Foreign { path, uid: about.uid() });
        }
        if path.join("run").as_os_str().len() + MAX_SOCKET_NAME_BYTES > MAX_SOCKET_PATH_BYTES {
            return Err(PlaceError::Long { path });
        }
        // Root's parts run as other users: they pass through, and may list nothing. Everyone else's parts run as themselves.
        let mode = if uid.is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(unusable)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn master_key(&self) -> PathBuf {
        self.0.join("master.key")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("burrow.log")
    }

    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    pub fn objects_url(&self) -> String {
        format!("file://{}", self.0.join("objects").display())
    }

    /// One clear word before anything is half written.
    pub fn check_space(&self, needed: u64) -> Result<(), PlaceError> {
        let disk = rustix::fs::statvfs(&self.0)
            .map_err(|errno| PlaceError::DataDirectory { path: self.0.clone(), source: errno.into() })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed { Err(PlaceError::Full { path: self.0.clone(), free, needed }) } else { Ok(()) }
    }
}

/// The static agent for guests: as said, else beside the executable, else as a package or a checkout has it.
pub fn agent(said: Option<&Path>) -> Result<PathBuf, PlaceError> {
    let beside = beside_executable();
    let mut candidates = vec![beside.join("workspace-agent"), beside.join("../lib/burrow/workspace-agent")];
    // target/release/burrow → target/<triple>/release/workspace-agent
    if let (Some(profile), Some(target)) = (beside.file_name(), beside.parent()) {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        candidates.insert(0, target.join(triple).join(profile).join("workspace-agent"));
    }
    first(said, candidates, "static agent", "--agent", Path::is_file)
}

/// The name under which the controller of this data directory places machines; made at the first start.
pub fn host(data: &Path) -> Result<String, PlaceError> {
    let path = data.join("host");
    let unusable = |source| PlaceError::DataDirectory { path: path.clone(), source };
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

fn first(
    said: Option<&Path>,
    candidates: Vec<PathBuf>,
    what: &'static str,
    option: &'static str,
    is_it: fn(&Path) -> bool,
) -> Result<PathBuf, PlaceError> {
    let looked_at = said.map_or(candidates, |path| vec![path.to_owned()]);
    let found = looked_at.iter().find(|path| is_it(path)).and_then(|path| path.canonicalize().ok());
    found.ok_or(PlaceError::Missing { what, looked_at, option })
}

fn beside_executable() -> PathBuf {
    let executable = std::env::current_exe().and_then(|path| path.canonicalize()).unwrap_or_default();
    executable.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDirectory, PlaceError> {
        DataDirectory::open(Some(path))
    }

    #[test]
    fn it_is_made_and_closed_to_curious_eyes() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = open(&directory.path().join("a/b")).expect("made");
        let mode = fs::metadata(data.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o044, 0, "nobody else may list it");
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let refused = open(&directory.path().join("d".repeat(60))).expect_err("refused");
        assert!(matches!(refused, PlaceError::Long { .. }), "{refused}");
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(open(file.path()), Err(PlaceError::DataDirectory { .. })));
    }

    #[test]
    fn a_full_disk_is_named_with_its_numbers() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = open(directory.path()).expect("usable");
        data.check_space(1).expect("one byte is free");
        let text = data.check_space(1 << 60).expect_err("no disk is so large").to_string();
        assert!(text.contains("free") && text.contains("1048576 TiB"), "{text}");
    }

    #[test]
    fn what_is_missing_is_named_with_its_option() {
        let refused = agent(Some(Path::new("/nowhere/agent"))).expect_err("refused");
        assert!(refused.to_string().contains("/nowhere/agent") && refused.next().contains("--agent"));
    }
}
