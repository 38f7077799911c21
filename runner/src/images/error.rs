//! Errors of image builds, as users see them: what failed, why, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why an image or an initramfs cannot be built or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Cannot read the image definition {}: {reason}", .path.display())]
    Definition { path: PathBuf, reason: String },
    #[error(
        "Cannot build the image: it needs root. Run burrow as root, or copy the images directory \
         from a host where it was built"
    )]
    NotRoot,
    #[error("Cannot build the image: {program} is not installed. Run `apt-get install {package}`")]
    MissingTool { program: &'static str, package: &'static str },
    #[error(
        "Cannot download Debian's packages: {detail}. Check the network connection; behind a proxy, \
         set http_proxy"
    )]
    NoNetwork { detail: String },
    #[error(
        "Cannot build the image: {} has less than {} MiB free. Free disk space and start again",
        .directory.display(),
        .needed >> 20
    )]
    DiskFull { directory: PathBuf, needed: u64 },
    #[error("Cannot build the image: {program} failed ({status}): {output}")]
    Tool { program: &'static str, status: String, output: String },
    #[error(
        "Cannot build the image: {program} did not finish within {minutes} minutes. Start again on \
         a faster host or network"
    )]
    Timeout { program: &'static str, minutes: u64 },
    #[error(
        "Cannot build the image: another process has held {} for {minutes} minutes. End it and start again",
        .directory.display()
    )]
    Busy { directory: PathBuf, minutes: u64 },
    #[error("Cannot use the image's kernel: {0}")]
    Kernel(String),
    #[error("Cannot boot the agent {}: it is not statically linked", .path.display())]
    Agent { path: PathBuf },
    #[error("Cannot {doing} {}: {source}", .path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Names the file in an I/O error. A full disk becomes [`Error::DiskFull`] whichever operation
/// found it.
pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path),
        _ => Error::File { doing, path: path.to_owned(), source },
    }
}

/// The error of a full disk that holds `path`.
pub fn full(path: &Path) -> Error {
    Error::DiskFull { directory: path.to_owned(), needed: super::MIN_FREE_BYTES }
}
