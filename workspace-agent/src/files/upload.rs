//! An upload: the content of a file, which arrives in pieces and takes its place when it is complete.

use std::{io, os::fd::AsFd as _, os::unix::fs::FileExt as _};

use protocol::files::HomePath;
use rustix::{fs::Stat, io::Errno};

use super::{
    home_directory::HomeFiles,
    overwrite::overwrite_with_file,
    replacement::replace,
    staging::StagedFile,
    target::{ExistingFile, TargetFile, WriteMethod},
    writers::{FileWriters, find_writers},
};

/// How often the upload tries to take its place if other programs change the target.
const MAX_ATTEMPTS: usize = 8;

/// An upload that has begun. Dropped before [`Upload::commit`], it changes nothing.
pub struct Upload {
    target: TargetFile,
    staged: StagedFile,
    length: u64,
}

impl Upload {
    /// Begins an upload to `path`, which must come from [`HomeFiles::resolve`].
    pub fn begin(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<Self> {
        let target = TargetFile::open(files, path)?;
        if let Some(existing) = target.open_existing()?
            && target.is_protected(&existing)
        {
            return Err(Errno::ACCESS.into());
        }
        let staged = match StagedFile::create(files, &target) {
            Err(error) if is_out_of_room(&error) => StagedFile::create_outside()?,
            result => result?,
        };
        Ok(Self { target, staged, length: 0 })
    }

    /// Status of the file at the target. `None` if it does not exist.
    pub fn current(&self) -> io::Result<Option<Stat>> {
        self.target.stat()
    }

    /// Adds bytes. If the home has no room for them, the upload continues outside of it, because its
    /// content may still fit in place of the old.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.staged.file().write_all_at(bytes, self.length) {
            Err(error) if is_out_of_room(&error) && self.staged.place().is_some() => {
                self.staged.file().set_len(self.length)?;
                self.staged.move_outside()?;
                self.staged.file().write_all_at(bytes, self.length)?;
            }
            result => result?,
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts the content in its place, if `condition` accepts the file that is there. Returns whether the
    /// file is new.
    pub fn commit<E: From<io::Error>>(
        mut self,
        files: &HomeFiles<'_>,
        condition: impl Fn(Option<&Stat>) -> Result<(), E>,
    ) -> Result<bool, E> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.target.open_existing()?;
            condition(existing.as_ref().map(|existing| &existing.stat))?;
            let is_new = existing.is_none();
            if self.place(files, existing).map_err(|error| files.explain(error))? {
                return Ok(is_new);
            }
        }
        Err(E::from(Errno::BUSY.into()))
    }

    /// Returns false if another program has changed the target.
    fn place(&mut self, files: &HomeFiles<'_>, existing: Option<ExistingFile>) -> io::Result<bool> {
        if let Some(existing) = &existing
            && self.must_be_in_place(files, existing)
        {
            let file = self.target.open_for_writing()?;
            overwrite_with_file(&file, &mut self.staged.file().try_clone()?)?;
            return Ok(true);
        }
        Ok(replace(&self.target, existing, &mut self.staged)?.is_some())
    }

    fn must_be_in_place(&self, files: &HomeFiles<'_>, existing: &ExistingFile) -> bool {
        self.staged.place().is_none()
            || existing.write_method(files.owner()) == WriteMethod::InPlace
            || existing
                .file
                .as_ref()
                .is_some_and(|file| find_writers(files, file.as_fd(), &existing.stat) != FileWriters::None)
    }
}

/// Whether an error means that the file system has no free blocks or inodes.
pub fn is_out_of_room(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
