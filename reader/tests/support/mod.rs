//! Makes images with e2fsprogs, opens them, and compares them with directories on this host.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use burrow_reader::{ReadAt, ReaderCommand, ReaderError, SnapshotFiles};
use bytes::Bytes;
use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use protocol::files::{EntryKind, HomePath};

/// A disk in a file.
pub struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    pub fn new(file: File) -> Self {
        let size = file.metadata().expect("an image").len();
        Self { file, size }
    }
}

impl ReadAt for FileDisk {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        let read = self.file.read_exact_at(&mut bytes, offset).map(|()| bytes.into());
        std::future::ready(read).boxed()
    }

    fn size_bytes(&self) -> u64 {
        self.size
    }
}

/// A disk in memory.
pub struct MemoryDisk(pub Vec<u8>);

impl ReadAt for MemoryDisk {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        let range = offset as usize..(offset + length) as usize;
        let bytes = self.0.get(range).map(Bytes::copy_from_slice);
        std::future::ready(bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())).boxed()
    }

    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The reader process alone: the helper that the tests start instead of `burrow ext4-reader`.
pub fn reader_command() -> ReaderCommand {
    ReaderCommand { program: env!("CARGO_BIN_EXE_ext4-reader").into(), args: Vec::new() }
}

pub async fn open(disk: impl ReadAt + 'static) -> Result<SnapshotFiles, ReaderError> {
    SnapshotFiles::open(reader_command(), Arc::new(disk)).await
}

pub async fn open_image(image: &Path) -> Result<SnapshotFiles, ReaderError> {
    open(FileDisk::new(File::open(image).expect("an image"))).await
}

pub fn path(text: &str) -> HomePath {
    HomePath::parse(text).expect("a path")
}

/// Runs a program of e2fsprogs and asserts that its status is one of `allowed`.
pub fn run(program: &str, arguments: &[&str], allowed: &[i32]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let status = output.status.code().unwrap_or(-1);
    assert!(allowed.contains(&status), "{program} {arguments:?}: {status}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Formats a home of `size`, with the content of `directory`.
pub fn make_image(image: &Path, options: &[&str], directory: Option<&Path>, size: &str) {
    let image = image.to_str().expect("UTF-8");
    let mut arguments = vec!["-q", "-F"];
    arguments.extend(options);
    if let Some(directory) = directory {
        arguments.extend(["-d", directory.to_str().expect("UTF-8")]);
    }
    arguments.extend([image, size]);
    run("mkfs.ext4", &arguments, &[0]);
}

/// Runs debugfs commands in one writing session.
pub fn debugfs(image: &Path, commands: &str) {
    let script = image.with_extension("commands");
    fs::write(&script, commands).expect("writable");
    let (script, image) = (script.to_str().expect("UTF-8"), image.to_str().expect("UTF-8"));
    run("debugfs", &["-w", "-f", script, image], &[0]);
}

/// A file's attributes and content.
#[derive(Debug, PartialEq, Eq)]
pub struct FileState {
    pub kind: EntryKind,
    pub mode: u32,
    pub modified_s: i64,
    /// A file's content, or a link's target.
    pub content: Vec<u8>,
}

/// Files by path.
pub type Tree = BTreeMap<String, FileState>;

/// The files in a directory of this host.
pub fn tree_of(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    collect_files(directory, "", &mut tree);
    tree
}

fn collect_files(directory: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", String::from_utf8_lossy(entry.file_name().as_bytes()));
        let metadata = entry.path().symlink_metadata().expect("there");
        let (kind, content) = match metadata.file_type() {
            kind if kind.is_dir() => {
                collect_files(&entry.path(), &format!("{name}/"), tree);
                (EntryKind::Directory, Vec::new())
            }
            kind if kind.is_symlink() => {
                let target = fs::read_link(entry.path()).expect("a link");
                (EntryKind::Symlink, target.as_os_str().as_bytes().to_vec())
            }
            kind if kind.is_fifo() => (EntryKind::Other, Vec::new()),
            // Listed, but not addressable by a path.
            _ if entry.file_name().to_str().is_none() => (EntryKind::File, Vec::new()),
            _ => (EntryKind::File, fs::read(entry.path()).expect("readable")),
        };
        let (mode, modified_s) = (metadata.mode() & 0o7777, metadata.mtime());
        tree.insert(name, FileState { kind, mode, modified_s, content });
    }
}

/// The files of a home, without `lost+found`. Names that are not UTF-8 are listed but cannot be read.
pub async fn tree_in(home: &mut SnapshotFiles) -> Tree {
    let (mut tree, mut pending) = (Tree::new(), vec![HomePath::default()]);
    while let Some(directory) = pending.pop() {
        let listing = home.list(&directory).await.expect("a directory");
        assert!(!listing.truncated, "{directory}");
        for entry in listing.entries {
            let child = directory.child(&entry.name).expect("a name");
            if child.as_str() == "lost+found" {
                continue;
            }
            let content = match entry.kind {
                EntryKind::File if entry.utf8 => content(home, &child).await,
                EntryKind::Directory => {
                    pending.push(child.clone());
                    Vec::new()
                }
                _ => entry.target.clone().unwrap_or_default().into_bytes(),
            };
            let modified_s = entry.modified_ms.div_euclid(1000);
            let seen = FileState { kind: entry.kind, mode: entry.mode, modified_s, content };
            tree.insert(child.to_string(), seen);
        }
    }
    tree
}

pub async fn content(home: &mut SnapshotFiles, path: &HomePath) -> Vec<u8> {
    let (entry, pieces) = home.content(path).await.expect("a file");
    let pieces: Vec<Bytes> = pieces.try_collect().await.expect("readable");
    let content = pieces.concat();
    assert_eq!(content.len() as u64, entry.size, "{path}");
    content
}

/// Compares two trees path by path.
pub fn assert_same(found: &Tree, expected: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (path, expected) in expected {
        let found = &found[path];
        assert!(found.content == expected.content, "the content of {path}");
        let described = |seen: &FileState| (seen.kind, seen.mode, seen.modified_s);
        assert_eq!(described(found), described(expected), "{path}");
    }
}

/// Pseudo-random bytes.
pub fn filler(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes())
    });
    next.flatten().take(length).collect()
}
