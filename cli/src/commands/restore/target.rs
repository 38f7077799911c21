//! Where files are restored to: the home of a running workspace, or this computer. This module
//! knows nothing of snapshots.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use client::{Content, socket::ExecEvent};
use protocol::{
    Code, WorkspaceId,
    agent::MAX_UPLOAD_BYTES,
    exec::{ExecEnd, ExecRequest},
    files::{EntryKind, HomePath, NewDirectory, RenameRequest},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    output::{self, CommandError, ErrorKind},
    server::Server,
};

/// Paths in the arguments of one program: far fewer than a kernel allows.
const MAX_PATHS_PER_EXEC: usize = 200;
/// Bytes of standard error that are kept for an error message.
const MAX_STDERR_BYTES: usize = 4096;
/// Bytes of one read of a file that is compared.
const READ_BYTES: usize = 64 * 1024;

/// An entry that exists at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingEntry {
    pub kind: EntryKind,
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Option<String>,
}

/// A directory tree that files are restored to.
pub trait RestoreTarget {
    /// A path at the target.
    type At: Clone;

    /// The path as users read it.
    fn display(&self, at: &Self::At) -> String;
    /// The path of `name` in a directory. Fails if `name` is not one name.
    fn child(&self, directory: &Self::At, name: &str) -> Result<Self::At, CommandError>;
    /// Largest file that can be written.
    fn max_file_bytes(&self) -> u64;
    /// The entries of a directory, by name. Empty if it does not exist.
    async fn entries(&self, directory: &Self::At) -> Result<HashMap<String, ExistingEntry>, CommandError>;
    /// Creates a directory.
    async fn create_directory(&mut self, at: &Self::At, mode: u32) -> Result<(), CommandError>;
    /// Creates a directory and its parents, as far as they do not exist.
    async fn create_directories(&self, directory: &Self::At) -> Result<(), CommandError>;
    /// Renames an entry, and never replaces another.
    async fn rename(&self, from: &Self::At, to: &Self::At) -> Result<(), CommandError>;
    /// Whether the file has this content.
    async fn has_content(&self, at: &Self::At, content: Content) -> Result<bool, CommandError>;
    /// Writes a file completely or not at all. Replaces an existing one only if `may_replace`.
    async fn write(
        &mut self,
        at: &Self::At,
        content: Content,
        mode: u32,
        may_replace: bool,
    ) -> Result<(), CommandError>;
    /// Creates a symbolic link.
    async fn create_symlink(&mut self, at: &Self::At, target: &str) -> Result<(), CommandError>;
    /// Does what has to wait until all entries are written.
    async fn finish(&mut self) -> Result<(), CommandError>;
}

/// The home of a running workspace, through its agent.
pub struct WorkspaceTarget<'a> {
    server: &'a Server,
    workspace: WorkspaceId,
    /// Paths whose permissions the agent did not set, by the mode that they should have.
    modes: HashMap<u32, Vec<HomePath>>,
}

impl<'a> WorkspaceTarget<'a> {
    /// The home of this workspace.
    pub fn new(server: &'a Server, workspace: WorkspaceId) -> Self {
        Self { server, workspace, modes: HashMap::new() }
    }

    fn record_mode(&mut self, at: &HomePath, wanted: u32, given: u32) {
        let wanted = wanted & PERMISSIONS;
        if wanted != given & PERMISSIONS {
            self.modes.entry(wanted).or_default().push(at.clone());
        }
    }

    /// Runs a program in the home.
    async fn run(&self, argv: Vec<String>) -> Result<(), CommandError> {
        let program = argv[0].clone();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        let (_sender, mut receiver) = self.server.exec(self.workspace, &request).await?.split();
        let mut stderr = Vec::new();
        let status = loop {
            match receiver.next().await? {
                ExecEvent::Stdout(_) => {}
                ExecEvent::Stderr(bytes) => {
                    let room = MAX_STDERR_BYTES - stderr.len();
                    stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                ExecEvent::End(ExecEnd::Exited(exit)) => break exit.status(),
                ExecEvent::End(ExecEnd::NotStarted { status, message }) => {
                    stderr = message.into_bytes();
                    break status;
                }
            }
        };
        if status == 0 {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        Err(CommandError::error(format!("Cannot run {program} in the workspace"))
            .cause(output::printable(&stderr)))
    }
}

/// The permission bits that are restored. Set-user-ID and the like are not.
const PERMISSIONS: u32 = 0o777;

impl RestoreTarget for WorkspaceTarget<'_> {
    type At = HomePath;

    fn display(&self, at: &HomePath) -> String {
        at.as_str().to_owned()
    }

    fn child(&self, directory: &HomePath, name: &str) -> Result<HomePath, CommandError> {
        child(directory, name)
    }

    fn max_file_bytes(&self) -> u64 {
        MAX_UPLOAD_BYTES
    }

    async fn entries(&self, directory: &HomePath) -> Result<HashMap<String, ExistingEntry>, CommandError> {
        let listing = match self.server.files(self.workspace, directory).await {
            Err(error) if error.is(Code::NotFound) => return Ok(HashMap::new()),
            listing => listing?,
        };
        let present = listing.entries.into_iter().filter(|entry| entry.utf8).map(|entry| {
            (entry.name, ExistingEntry { kind: entry.kind, size: entry.size, target: entry.target })
        });
        Ok(present.collect())
    }

    async fn create_directory(&mut self, at: &HomePath, mode: u32) -> Result<(), CommandError> {
        let request = NewDirectory { path: at.as_str().to_owned(), parents: true };
        let made = self.server.create_directory(self.workspace, &request).await?;
        self.record_mode(at, mode | 0o700, made.mode);
        Ok(())
    }

    async fn create_directories(&self, directory: &HomePath) -> Result<(), CommandError> {
        let request = NewDirectory { path: directory.as_str().to_owned(), parents: true };
        if directory.is_home() {
            return Ok(());
        }
        match self.server.create_directory(self.workspace, &request).await {
            Err(error) if error.is(Code::Conflict) || error.is(Code::NameTaken) => Ok(()),
            made => Ok(made.map(drop)?),
        }
    }

    async fn rename(&self, from: &HomePath, to: &HomePath) -> Result<(), CommandError> {
        let request =
            RenameRequest { from: from.as_str().to_owned(), to: to.as_str().to_owned(), overwrite: false };
        self.server.rename_file(self.workspace, &request).await?;
        Ok(())
    }

    async fn has_content(&self, at: &HomePath, mut content: Content) -> Result<bool, CommandError> {
        let mut present = self.server.file_content(self.workspace, at).await?;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        loop {
            if left.is_empty() {
                left = content.next().await?.unwrap_or_default().to_vec();
            }
            if right.is_empty() {
                right = present.next().await?.unwrap_or_default().to_vec();
            }
            let common = left.len().min(right.len());
            if common == 0 || left[..common] != right[..common] {
                return Ok(left.is_empty() && right.is_empty());
            }
            left.drain(..common);
            right.drain(..common);
        }
    }

    async fn write(
        &mut self,
        at: &HomePath,
        content: Content,
        mode: u32,
        may_replace: bool,
    ) -> Result<(), CommandError> {
        let written = self.server.put_file(self.workspace, at, content, !may_replace).await?;
        self.record_mode(at, mode, written.mode);
        Ok(())
    }

    async fn create_symlink(&mut self, at: &HomePath, target: &str) -> Result<(), CommandError> {
        // The agent has no route that creates links.
        self.run(["ln", "-s", "-n", "--", target, at.as_str()].map(str::to_owned).to_vec()).await
    }

    async fn finish(&mut self) -> Result<(), CommandError> {
        for (mode, paths) in std::mem::take(&mut self.modes) {
            for some in paths.chunks(MAX_PATHS_PER_EXEC) {
                let mut argv = vec!["chmod".to_owned(), format!("{mode:o}"), "--".to_owned()];
                argv.extend(some.iter().map(|path| path.as_str().to_owned()));
                self.run(argv).await?;
            }
        }
        Ok(())
    }
}

/// The path of `name` in a directory of the home. The name comes from a guest and must be a single
/// name.
pub fn child(directory: &HomePath, name: &str) -> Result<HomePath, CommandError> {
    let child = directory.child(name).ok().filter(|child| child.name() == Some(name));
    child
        .ok_or_else(|| CommandError::error(format!("`{}` is not a valid file name", output::printable(name))))
}

/// A directory on this computer. Restored links are never followed, because the owner of the home
/// controls them.
#[derive(Default)]
pub struct LocalTarget {
    /// Temporary files so far, for their names.
    temporary_files: u32,
}

impl LocalTarget {
    fn error(verb: &str, at: &Path, error: &io::Error) -> CommandError {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
            _ => ErrorKind::Error,
        };
        CommandError::new(kind, format!("Cannot {verb} {}", at.display())).because(error)
    }
}

impl RestoreTarget for LocalTarget {
    type At = PathBuf;

    fn display(&self, at: &PathBuf) -> String {
        at.display().to_string()
    }

    fn child(&self, directory: &PathBuf, name: &str) -> Result<PathBuf, CommandError> {
        let mut components = Path::new(name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(only)), None) if only == name => Ok(directory.join(name)),
            _ => Err(CommandError::error(format!("`{}` is not a valid file name", output::printable(name)))),
        }
    }

    fn max_file_bytes(&self) -> u64 {
        u64::MAX
    }

    async fn entries(&self, directory: &PathBuf) -> Result<HashMap<String, ExistingEntry>, CommandError> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match read_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
            entries => entries.map_err(|error| Self::error("read", directory, &error)),
        }
    }

    async fn create_directory(&mut self, at: &PathBuf, mode: u32) -> Result<(), CommandError> {
        let made = DirBuilder::new().mode((mode & PERMISSIONS) | 0o700).create(at);
        made.map_err(|error| Self::error("create", at, &error))
    }

    async fn create_directories(&self, directory: &PathBuf) -> Result<(), CommandError> {
        if directory.as_os_str().is_empty() {
            return Ok(());
        }
        fs::create_dir_all(directory).map_err(|error| Self::error("create", directory, &error))
    }

    async fn rename(&self, from: &PathBuf, to: &PathBuf) -> Result<(), CommandError> {
        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
            .map_err(|error| Self::error("rename", from, &error.into()))
    }

    async fn has_content(&self, at: &PathBuf, mut content: Content) -> Result<bool, CommandError> {
        let unreadable = |error: io::Error| Self::error("read", at, &error);
        let mut file = File::open(at).map_err(unreadable)?;
        let mut buffer = vec![0; READ_BYTES];
        while let Some(piece) = content.next().await? {
            for part in piece.chunks(READ_BYTES) {
                let present = &mut buffer[..part.len()];
                match file.read_exact(present) {
                    Ok(()) if present == part => {}
                    Ok(()) => return Ok(false),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    Err(error) => return Err(unreadable(error)),
                }
            }
        }
        Ok(file.read(&mut buffer[..1]).map_err(unreadable)? == 0)
    }

    async fn write(
        &mut self,
        at: &PathBuf,
        mut content: Content,
        mode: u32,
        may_replace: bool,
    ) -> Result<(), CommandError> {
        let unwritable = |error: io::Error| Self::error("write", at, &error);
        self.temporary_files += 1;
        let name = format!(".burrow-restore-{}-{}", std::process::id(), self.temporary_files);
        let mut temporary =
            TemporaryFile::create(at.with_file_name(name), mode & PERMISSIONS).map_err(unwritable)?;
        while let Some(piece) = content.next().await? {
            temporary.file.write_all(&piece).map_err(unwritable)?;
        }
        temporary.rename_to(at, may_replace).map_err(unwritable)
    }

    async fn create_symlink(&mut self, at: &PathBuf, target: &str) -> Result<(), CommandError> {
        std::os::unix::fs::symlink(target, at).map_err(|error| Self::error("create link", at, &error))
    }

    async fn finish(&mut self) -> Result<(), CommandError> {
        Ok(())
    }
}

/// The entries of a directory. Links are not followed.
fn read_directory(directory: &Path) -> io::Result<HashMap<String, ExistingEntry>> {
    let mut entries = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.insert(name, existing_entry(&entry.path())?);
    }
    Ok(entries)
}

fn existing_entry(path: &Path) -> io::Result<ExistingEntry> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = match metadata.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Directory,
        kind if kind.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let target = match kind {
        EntryKind::Symlink => Some(fs::read_link(path)?.to_string_lossy().into_owned()),
        _ => None,
    };
    Ok(ExistingEntry { kind, size: metadata.len(), target })
}

/// A file that is written under a temporary name. It is deleted if it is dropped before it is
/// renamed.
struct TemporaryFile {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl TemporaryFile {
    fn create(path: PathBuf, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { path, file, is_renamed: false })
    }

    fn rename_to(mut self, at: &Path, may_replace: bool) -> io::Result<()> {
        let flags = if may_replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &self.path, CWD, at, flags)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_takes_single_names() {
        let directory = PathBuf::from("/rescued");
        let at = |name: &str| LocalTarget::default().child(&directory, name).ok();
        assert_eq!(at("a b"), Some(directory.join("a b")));
        for name in ["", ".", "..", "a/b", "/etc", "a/", "./a"] {
            assert_eq!(at(name), None, "{name}");
            assert!(child(&HomePath::default(), name).is_err(), "{name}");
        }
    }
}
