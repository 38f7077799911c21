//! Files that are written before they take their place.
//!
//! They are in a directory of their own, so that no program sees them: not `git status`, and not one
//! that watches the directory of the target. If the home is full, a file can continue outside of it.

use std::{
    fs::File,
    io::{self, Seek as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use protocol::files::HomePath;
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{home_directory::HomeFiles, target::TargetFile};

/// Where files are staged, in the home. Programs may delete it at any time.
const STAGING_DIRECTORY: &str = ".cache/burrow";
/// Mode of the staging directory and its parent.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of a staged file until it takes its place.
const STAGED_MODE: u32 = 0o600;
/// How the name of a file starts that is staged beside its target.
const NAME_PREFIX: &str = ".burrow-";

/// A staged file. It is deleted when it is dropped, unless it has taken its place.
pub struct StagedFile {
    file: File,
    /// Directory and name. `None`: the file has no name and is outside of the home.
    place: Option<(OwnedFd, String)>,
}

impl StagedFile {
    /// Creates a file for `target`: in the staging directory, or beside the target if that directory is
    /// on another file system or cannot be used.
    pub fn create(files: &HomeFiles<'_>, target: &TargetFile) -> io::Result<Self> {
        let staging = open_staging_directory(files).ok().filter(|staging| {
            let device = |directory| rustix::fs::fstat(directory).map(|stat| stat.st_dev).ok();
            device(staging.as_fd()) == device(target.directory())
        });
        if let Some(directory) = staging
            && let Ok(staged) = Self::create_in(directory)
        {
            return Ok(staged);
        }
        Self::create_in(target.directory().try_clone_to_owned()?)
    }

    fn create_in(directory: OwnedFd) -> io::Result<Self> {
        let name = format!("{NAME_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &name, flags, Mode::from_raw_mode(STAGED_MODE))?;
        Ok(Self { file: file.into(), place: Some((directory, name)) })
    }

    /// Creates a file outside of the home, for a home without room.
    pub fn create_outside() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(STAGED_MODE);
        let file = rustix::fs::open(std::env::temp_dir(), flags, mode)?;
        Ok(Self { file: file.into(), place: None })
    }

    /// Continues outside of the home, with what was written so far.
    pub fn move_outside(&mut self) -> io::Result<()> {
        let mut outside = Self::create_outside()?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut outside.file)?;
        *self = outside;
        Ok(())
    }

    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The directory and name of the file. `None` if it is outside of the home.
    pub fn place(&self) -> Option<(BorrowedFd<'_>, &str)> {
        self.place.as_ref().map(|(directory, name)| (directory.as_fd(), name.as_str()))
    }

    /// Ends the staging without deleting anything: the file has another name now.
    pub fn keep(&mut self) {
        self.place = None;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some((directory, name)) = &self.place {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// Deletes files that an agent that was killed has left.
pub fn delete_leftovers(files: &HomeFiles<'_>) -> io::Result<()> {
    let Ok(path) = HomePath::parse(STAGING_DIRECTORY) else { return Ok(()) };
    let directory = files.open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)?.flatten() {
        if entry.file_name().to_bytes().starts_with(NAME_PREFIX.as_bytes()) {
            let _ = rustix::fs::unlinkat(&directory, entry.file_name(), AtFlags::empty());
        }
    }
    Ok(())
}

fn open_staging_directory(files: &HomeFiles<'_>) -> io::Result<OwnedFd> {
    let path = HomePath::parse(STAGING_DIRECTORY).map_err(io::Error::other)?;
    let open = || files.open(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    for path in path.parent().into_iter().chain([path.clone()]) {
        let (parent, name) = files.open_parent(&path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    open()
}
