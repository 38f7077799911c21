//! What can go wrong with a volume. The variants differ in what a caller can do about them.

use std::{io, path::PathBuf};

use protocol::{Epoch, ManifestId, VolumeId};

use crate::{format::manifest::ManifestError, store::StoreError};

/// An error of a volume, a snapshot view or an import.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another process, or another `Volume` in this one, holds the cache directory.
    #[error("Cannot open the cache {0}: another process uses it. End that process first")]
    InUse(PathBuf),
    /// The cache or the head was written by a later placement. This one must end.
    #[error("Cannot open the volume as placement {wanted}: the later placement {found} has it")]
    Fenced {
        /// Epoch of the placement that wrote last.
        found: Epoch,
        /// Epoch of this placement.
        wanted: Epoch,
    },
    /// The data key differs from the one that the volume was written with.
    #[error("Cannot decrypt the volume: it was written with another data key")]
    WrongKey,
    /// The cache or the head belongs to another volume.
    #[error("Cannot open volume {wanted}: its cache or its head belongs to volume {found}")]
    OtherVolume {
        /// The volume that wrote the cache or the head.
        found: VolumeId,
        /// The volume that was to be opened.
        wanted: VolumeId,
    },
    /// A volume grows and never shrinks.
    #[error("Cannot shrink the volume from {found} to {wanted} bytes: a volume only grows")]
    Shrunk {
        /// Present size in bytes.
        found: u64,
        /// Requested size in bytes.
        wanted: u64,
    },
    /// Not a positive multiple of 4096 up to [`MAX_VOLUME_BYTES`](crate::MAX_VOLUME_BYTES).
    #[error("Cannot use {0} bytes as the size of a volume: use a multiple of 4096, up to 4 TiB")]
    Size(u64),
    /// A request beyond the volume's end, or larger than one request may be.
    #[error("Cannot access {length} bytes at {offset}: they are not within the volume")]
    OutOfRange {
        /// First byte of the request.
        offset: u64,
        /// Bytes of the request.
        length: u64,
    },
    /// A call to a file of the cache failed.
    #[error("Cannot {what}: {source}")]
    Cache {
        /// What was attempted. Completes "Cannot …".
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The cache's files contradict each other. Nothing of it is used.
    #[error("Cannot use the cache {cache}: {source}. Move it away to continue from the last snapshot")]
    CacheDamaged {
        /// Directory of the cache.
        cache: PathBuf,
        /// What is wrong with its log.
        source: LogError,
    },
    /// The host's disk has no space left.
    #[error("Cannot write to the cache: its disk is full")]
    Full,
    /// A sync failed, so that nothing can be said about what the files hold. The volume refuses
    /// everything from then on.
    #[error("Cannot use the cache: its disk has failed, and only what was flushed before is safe: {0}")]
    Failed(String),
    /// The store failed; the call was retried where that could help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pack's content does not decrypt.
    #[error("Cannot read the object {object}: it is damaged in the store: {reason}")]
    Damaged {
        /// Name of the pack in the store.
        object: String,
        /// What is wrong with its content.
        reason: String,
    },
    /// A manifest is damaged, or its chain does not fit together.
    #[error("Cannot use the manifest {id}: {source}")]
    Manifest {
        /// The manifest that was read, or the one whose chain was followed.
        id: ManifestId,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A commit was reported of a manifest that this volume has not stored.
    #[error("Cannot confirm the commit of manifest {0}: this volume has not stored it")]
    UnknownManifest(ManifestId),
    /// Too many snapshots wait for their commit; no more are taken until then.
    #[error(
        "Cannot take a snapshot: {0} snapshots wait for their commit, and the controller does not answer"
    )]
    TooManyUncommitted(usize),
    /// The cut was abandoned while it was being stored.
    #[error("Cannot store the snapshot: it was abandoned")]
    SnapshotAbandoned,
    /// The volume was closed.
    #[error("Cannot use the volume: it is closed")]
    Closed,
}

/// Why a cache's log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The header does not have its checksum, or the file is no log.
    #[error("the header of its log is damaged")]
    Header,
    /// The record at this slot is damaged although a flush had covered it.
    #[error("the record at slot {0} of its log is damaged")]
    Damaged(u32),
}

impl VolumeError {
    /// The name of the object that is missing or altered in the store, if that is the error: a
    /// retry does not help.
    pub fn damaged_object(&self) -> Option<&str> {
        match self {
            Self::Damaged { object, .. }
            | Self::Store(StoreError::NotFound(object) | StoreError::Malformed(object)) => Some(object),
            _ => None,
        }
    }

    /// For `map_err`: a failure of a cache file during a read, a write or a cut. `what` completes
    /// "Cannot …".
    pub(crate) fn cache_io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Cache { what, source },
        }
    }
}
