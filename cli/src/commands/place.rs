//! Where files of the past are brought back to: the home of a running machine, or a directory of this one. Knows no snapshot.

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
    failure::{Failure, Kind},
    output,
    server::Server,
};

/// Paths in one call of a program: far below what a kernel takes.
const PATHS_OF_ONE_CALL: usize = 200;
/// As much as is kept of what a program complains of.
const MAX_COMPLAINT_BYTES: usize = 4096;
/// One read of a file that is compared.
const PIECE_BYTES: usize = 64 * 1024;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    pub kind: EntryKind,
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Option<String>,
}

/// A tree of files that can be written to.
pub trait Place {
    type At: Clone;

    fn shown(&self, at: &Self::At) -> String;
    fn child(&self, directory: &Self::At, name: &str) -> Result<Self::At, Failure>;
    /// Most bytes of one file.
    fn size_max(&self) -> u64;
    /// What is in a directory; nothing, if it is not there.
    async fn entries(&self, directory: &Self::At) -> Result<HashMap<String, Present>, Failure>;
    async fn make_directory(&mut self, at: &Self::At, mode: u32) -> Result<(), Failure>;
    /// A directory and those above it, as far as they are not there.
    async fn make_all(&self, directory: &Self::At) -> Result<(), Failure>;
    async fn rename(&self, from: &Self::At, to: &Self::At) -> Result<(), Failure>;
    /// Whether the file there has this content.
    async fn holds(&self, at: &Self::At, content: Content) -> Result<bool, Failure>;
    /// Writes the file whole or not at all; in place of another only if it may.
    async fn write(
        &mut self,
        at: &Self::At,
        content: Content,
        mode: u32,
        may_replace: bool,
    ) -> Result<(), Failure>;
    async fn link(&mut self, at: &Self::At, target: &str) -> Result<(), Failure>;
    /// What is left to do at the end.
    async fn finish(&mut self) -> Result<(), Failure>;
}

/// The home of a running machine, through its agent.
pub struct Home<'a> {
    server: &'a Server,
    workspace: WorkspaceId,
    /// Permissions that the agent did not give by itself.
    modes: HashMap<u32, Vec<HomePath>>,
}

impl<'a> Home<'a> {
    pub fn new(server: &'a Server, workspace: WorkspaceId) -> Self {
        Self { server, workspace, modes: HashMap::new() }
    }

    fn want_mode(&mut self, at: &HomePath, wanted: u32, given: u32) {
        let wanted = wanted & PERMISSIONS;
        if wanted != given & PERMISSIONS {
            self.modes.entry(wanted).or_default().push(at.clone());
        }
    }

    /// Runs a program of the machine, in the home.
    async fn run(&self, argv: Vec<String>) -> Result<(), Failure> {
        let program = argv[0].clone();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        let (_sender, mut receiver) = self.server.exec(self.workspace, &request).await?.split();
        let mut complaint = Vec::new();
        let status = loop {
            match receiver.next().await? {
                ExecEvent::Stdout(_) => {}
                ExecEvent::Stderr(bytes) => {
                    let room = MAX_COMPLAINT_BYTES - complaint.len();
                    complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                ExecEvent::End(ExecEnd::Exited(exit)) => break exit.status(),
                ExecEvent::End(ExecEnd::NotStarted { status, message }) => {
                    complaint = message.into_bytes();
                    break status;
                }
            }
        };
        if status == 0 {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        Err(Failure::error(format!("{program} failed in the machine")).why(output::printable(&complaint)))
    }
}

/// Who may read, write and run; who set them is not brought back.
const PERMISSIONS: u32 = 0o777;

impl Place for Home<'_> {
    type At = HomePath;

    fn shown(&self, at: &HomePath) -> String {
        at.as_str().to_owned()
    }

    fn child(&self, directory: &HomePath, name: &str) -> Result<HomePath, Failure> {
        child(directory, name)
    }

    fn size_max(&self) -> u64 {
        MAX_UPLOAD_BYTES
    }

    async fn entries(&self, directory: &HomePath) -> Result<HashMap<String, Present>, Failure> {
        let listing = match self.server.files(self.workspace, directory).await {
            Err(error) if error.is(Code::NotFound) => return Ok(HashMap::new()),
            listing => listing?,
        };
        let present =
            listing.entries.into_iter().filter(|entry| entry.utf8).map(|entry| {
                (entry.name, Present { kind: entry.kind, size: entry.size, target: entry.target })
            });
        Ok(present.collect())
    }

    async fn make_directory(&mut self, at: &HomePath, mode: u32) -> Result<(), Failure> {
        let request = NewDirectory { path: at.as_str().to_owned(), parents: true };
        let made = self.server.create_directory(self.workspace, &request).await?;
        self.want_mode(at, mode | 0o700, made.mode);
        Ok(())
    }

    async fn make_all(&self, directory: &HomePath) -> Result<(), Failure> {
        let request = NewDirectory { path: directory.as_str().to_owned(), parents: true };
        if directory.is_home() {
            return Ok(());
        }
        match self.server.create_directory(self.workspace, &request).await {
            Err(error) if error.is(Code::Conflict) || error.is(Code::NameTaken) => Ok(()),
            made => Ok(made.map(drop)?),
        }
    }

    async fn rename(&self, from: &HomePath, to: &HomePath) -> Result<(), Failure> {
        let request =
            RenameRequest { from: from.as_str().to_owned(), to: to.as_str().to_owned(), overwrite: false };
        self.server.rename_file(self.workspace, &request).await?;
        Ok(())
    }

    async fn holds(&self, at: &HomePath, mut content: Content) -> Result<bool, Failure> {
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
    ) -> Result<(), Failure> {
        let written = self.server.put_file(self.workspace, at, content, !may_replace).await?;
        self.want_mode(at, mode, written.mode);
        Ok(())
    }

    async fn link(&mut self, at: &HomePath, target: &str) -> Result<(), Failure> {
        // The agent makes no links: a page in a browser has no use for them.
        self.run(["ln", "-s", "-n", "--", target, at.as_str()].map(str::to_owned).to_vec()).await
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        for (mode, paths) in std::mem::take(&mut self.modes) {
            for some in paths.chunks(PATHS_OF_ONE_CALL) {
                let mut argv = vec!["chmod".to_owned(), format!("{mode:o}"), "--".to_owned()];
                argv.extend(some.iter().map(|path| path.as_str().to_owned()));
                self.run(argv).await?;
            }
        }
        Ok(())
    }
}

/// The path of a name that came from elsewhere, and must be one name.
pub fn child(directory: &HomePath, name: &str) -> Result<HomePath, Failure> {
    let child = directory.child(name).ok().filter(|child| child.name() == Some(name));
    child.ok_or_else(|| Failure::error(format!("`{}` is no name of a file", output::printable(name))))
}

/// A directory of this machine. Links that were brought back are never followed: a home's owner made them.
#[derive(Default)]
pub struct Disk {
    made: u32,
}

impl Disk {
    fn failure(words: &str, at: &Path, error: &io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => Kind::Conflict,
            _ => Kind::Error,
        };
        Failure::new(kind, format!("{} cannot be {words}", at.display())).because(error)
    }
}

impl Place for Disk {
    type At = PathBuf;

    fn shown(&self, at: &PathBuf) -> String {
        at.display().to_string()
    }

    fn child(&self, directory: &PathBuf, name: &str) -> Result<PathBuf, Failure> {
        let mut components = Path::new(name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(only)), None) if only == name => Ok(directory.join(name)),
            _ => Err(Failure::error(format!("`{}` is no name of a file", output::printable(name)))),
        }
    }

    fn size_max(&self) -> u64 {
        u64::MAX
    }

    async fn entries(&self, directory: &PathBuf) -> Result<HashMap<String, Present>, Failure> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match read_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
            entries => entries.map_err(|error| Self::failure("read", directory, &error)),
        }
    }

    async fn make_directory(&mut self, at: &PathBuf, mode: u32) -> Result<(), Failure> {
        let made = DirBuilder::new().mode((mode & PERMISSIONS) | 0o700).create(at);
        made.map_err(|error| Self::failure("made", at, &error))
    }

    async fn make_all(&self, directory: &PathBuf) -> Result<(), Failure> {
        if directory.as_os_str().is_empty() {
            return Ok(());
        }
        fs::create_dir_all(directory).map_err(|error| Self::failure("made", directory, &error))
    }

    async fn rename(&self, from: &PathBuf, to: &PathBuf) -> Result<(), Failure> {
        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
            .map_err(|error| Self::failure("renamed", from, &error.into()))
    }

    async fn holds(&self, at: &PathBuf, mut content: Content) -> Result<bool, Failure> {
        let unreadable = |error: io::Error| Self::failure("read", at, &error);
        let mut file = File::open(at).map_err(unreadable)?;
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(piece) = content.next().await? {
            for part in piece.chunks(PIECE_BYTES) {
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
    ) -> Result<(), Failure> {
        let unwritable = |error: io::Error| Self::failure("written", at, &error);
        self.made += 1;
        let name = format!(".burrow-restore-{}-{}", std::process::id(), self.made);
        let mut aside = Aside::create(at.with_file_name(name), mode & PERMISSIONS).map_err(unwritable)?;
        while let Some(piece) = content.next().await? {
            aside.file.write_all(&piece).map_err(unwritable)?;
        }
        aside.place(at, may_replace).map_err(unwritable)
    }

    async fn link(&mut self, at: &PathBuf, target: &str) -> Result<(), Failure> {
        std::os::unix::fs::symlink(target, at).map_err(|error| Self::failure("linked", at, &error))
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a directory holds, links as links.
fn read_directory(directory: &Path) -> io::Result<HashMap<String, Present>> {
    let mut entries = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.insert(name, present(&entry.path())?);
    }
    Ok(entries)
}

fn present(path: &Path) -> io::Result<Present> {
    let facts = fs::symlink_metadata(path)?;
    let kind = match facts.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Directory,
        kind if kind.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let target = match kind {
        EntryKind::Symlink => Some(fs::read_link(path)?.to_string_lossy().into_owned()),
        _ => None,
    };
    Ok(Present { kind, size: facts.len(), target })
}

/// A file being written beside its place. Dropped before it is placed, it leaves nothing behind.
struct Aside {
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Aside {
    fn create(path: PathBuf, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { path, file, placed: false })
    }

    fn place(mut self, at: &Path, may_replace: bool) -> io::Result<()> {
        let flags = if may_replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &self.path, CWD, at, flags)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name() {
        let directory = PathBuf::from("/rescued");
        let at = |name: &str| Disk::default().child(&directory, name).ok();
        assert_eq!(at("a b"), Some(directory.join("a b")));
        for name in ["", ".", "..", "a/b", "/etc", "a/", "./a"] {
            assert_eq!(at(name), None, "{name}");
            assert!(child(&HomePath::default(), name).is_err(), "{name}");
        }
    }
}
