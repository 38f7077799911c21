//! Reads files out of a snapshot of a home, without a sandbox and without mounting what a guest
//! wrote in the host's kernel. Knows no store and no database: a disk is anything that implements
//! [`ReadAt`].
//!
//! The *reader* is a child process. It parses the ext4 file system, and may do nothing else:
//!
//! ```text
//! controller ─▶ SnapshotFiles ◀── one socket: requests, blocks ──▶ reader (`burrow ext4-reader`)
//!                 │ validates every reply                           RequestHandler ─▶ FileSystem
//!                 ▼                                                 no files, no network, no rights
//!              ReadAt (a snapshot in the store)
//! ```
//!
//! # What the reader may do
//!
//! A hostile guest wrote the file system, so we assume that it takes over the reader. The reader
//! can then return wrong files of the home that it reads, and nothing more:
//!
//! - It has one socket and standard error. It has its own user, no capabilities, an empty root
//!   directory, its own network namespace without interfaces, limits on memory and processor time,
//!   and a list of allowed system calls. See [`sandbox`].
//! - It asks for blocks of the disk over the socket. The parent serves only blocks of this disk,
//!   and only up to a bound per request.
//! - The parent decodes each reply within bounds, checks that it answers the request, and kills the
//!   reader at the first reply that does not, or when a reply takes too long. See
//!   [`SnapshotFiles`].
//!
//! # Example
//!
//! A user opens `notes.txt` of yesterday. The controller calls [`SnapshotFiles::open`] with the
//! snapshot as [`ReadAt`]; the reader enters its sandbox, reads the superblock and, if the file
//! system was not unmounted cleanly, its journal. Then [`SnapshotFiles::content`] finds the file
//! and streams it in pieces of [`MAX_PIECE_BYTES`]. Closing or dropping the value ends the reader.

mod changes;
pub mod child;
mod diff;
mod error;
mod ext4;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handler;
mod node;
mod process;
mod read_at;
pub mod sandbox;
mod snapshot_files;
mod wire;

pub use changes::{MAX_ENTRIES_VISITED, list_changes};
pub use diff::diff_file;
pub use error::{FaultReason, ReaderError};
pub use node::{FileDetails, FileTime, Node, Segment};
pub use process::ReaderCommand;
pub use read_at::ReadAt;
pub use sandbox::SandboxReport;
pub use snapshot_files::SnapshotFiles;
pub use wire::MAX_PIECE_BYTES;
