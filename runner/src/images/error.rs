//! What can go wrong with an image, in words that say what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} is not an image's definition: {reason}", .path.display())]
    Definition { path: PathBuf, reason: String },
    #[error(
        "building an image needs root: run burrow as root, or bring the images directory from a machine where it was built"
    )]
    NotRoot,
    #[error("{program} is needed to build images and is not installed: apt install {package}")]
    MissingTool { program: &'static str, package: &'static str },
    #[error(
        "cannot fetch Debian's packages: {detail}. Building an image needs the network once; if it is behind a proxy, set http_proxy"
    )]
    NoNetwork { detail: String },
    #[error("{} has too little room: an image needs {} MiB while it is built. Free some and start again", .directory.display(), .needed >> 20)]
    DiskFull { directory: PathBuf, needed: u64 },
    #[error("{program} failed ({status}): {words}")]
    Tool { program: &'static str, status: String, words: String },
    #[error(
        "{program} did not end within {minutes} minutes: the network or this machine is too slow; start again to try again"
    )]
    Deadline { program: &'static str, minutes: u64 },
    #[error("another process has been building in {} for more than {minutes} minutes: end it and start again", .directory.display())]
    Busy { directory: PathBuf, minutes: u64 },
    #[error("the kernel of this image cannot be used: {0}")]
    Kernel(String),
    #[error("{} cannot be the machine's first program: it is not linked statically", .path.display())]
    Agent { path: PathBuf },
    #[error("cannot {doing} {}: {source}", .path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Names the file of an error of the file system; a full disk is a full disk, whoever met it.
pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path),
        _ => Error::File { doing, path: path.to_owned(), source },
    }
}

/// The disk of `path` is full.
pub fn full(path: &Path) -> Error {
    Error::DiskFull { directory: path.to_owned(), needed: super::ROOM_NEEDED }
}
