//! Errors of image builds, as users see them: what failed, why, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why an image or an initramfs cannot be built or found.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `image.toml` is invalid.
    #[error("Cannot read the image definition {}: {reason}", .path.display())]
    Definition {
        /// The file, or a name for the built-in definition.
        path: PathBuf,
        /// What is wrong, as a clause.
        reason: String,
    },
    /// A build was requested without root.
    #[error(
        "Cannot build the image: it needs root. Run burrow as root, or copy the images directory \
         from a host where it was built"
    )]
    NotRoot,
    /// A program that a build needs is not installed.
    #[error("Cannot build the image: {program} is not installed. Run `apt-get install {package}`")]
    MissingTool {
        /// The program's name.
        program: &'static str,
        /// The Debian package that contains it.
        package: &'static str,
    },
    /// Debian's mirrors cannot be reached.
    #[error(
        "Cannot download Debian's packages: {detail}. Check the network connection; behind a proxy, \
         set http_proxy"
    )]
    NoNetwork {
        /// The message of apt.
        detail: String,
    },
    /// The disk is full, or has too little space to start.
    #[error(
        "Cannot build the image: {} has less than {} MiB free. Free disk space and start again",
        .directory.display(),
        .needed >> 20
    )]
    DiskFull {
        /// A directory on the disk.
        directory: PathBuf,
        /// Free bytes that a build needs.
        needed: u64,
    },
    /// A program failed for another reason.
    #[error("Cannot build the image: {program} failed ({status}): {output}")]
    Tool {
        /// The program's name.
        program: &'static str,
        /// Its exit status.
        status: String,
        /// Its last lines on standard error.
        output: String,
    },
    /// A program took too long, and was killed.
    #[error(
        "Cannot build the image: {program} did not finish within {minutes} minutes. Start again on \
         a faster host or network"
    )]
    Timeout {
        /// The program's name.
        program: &'static str,
        /// How long it may take.
        minutes: u64,
    },
    /// Another builder holds the lock for too long.
    #[error(
        "Cannot build the image: another process has held {} for {minutes} minutes. End it and start again",
        .directory.display()
    )]
    Busy {
        /// The locked cache directory.
        directory: PathBuf,
        /// How long we waited.
        minutes: u64,
    },
    /// The kernel package has an unexpected content.
    #[error("Cannot use the image's kernel: {0}")]
    Kernel(String),
    /// The agent cannot be the guest's first process.
    #[error("Cannot boot the agent {}: it is not statically linked", .path.display())]
    Agent {
        /// The agent's executable.
        path: PathBuf,
    },
    /// An operation on a file failed.
    #[error("Cannot {action} {}: {source}", .path.display())]
    File {
        /// The verb, such as "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Names the file in an I/O error. A full disk becomes [`ImageError::DiskFull`] whichever operation
/// found it.
pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path),
        _ => ImageError::File { action, path: path.to_owned(), source },
    }
}

/// The error of a full disk that holds `path`.
pub fn full(path: &Path) -> ImageError {
    ImageError::DiskFull { directory: path.to_owned(), needed: super::MIN_FREE_BYTES }
}
