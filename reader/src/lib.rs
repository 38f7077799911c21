//! Reads files out of a home at an instant, without a machine and without mounting in the host's kernel what a guest wrote.
//! Knows no store and no database: a disk is whatever implements [`ReadAt`].
//!
//! ```text
//! controller ─▶ Home (async) ◀── one socket: operations, blocks ──▶ child (`burrow ext4-reader`): Service ─▶ FileSystem
//!                 │ checks every answer                                has nothing: see `sandbox`
//!                 ▼
//!              ReadAt (a snapshot in the store)
//! ```
//!
//! The file system is made and written by a hostile guest, so the child is taken for lost: it can lie about the home that it
//! reads, and about nothing else. What it may ask for, for how long, and what it may answer is bounded here, outside of it.

mod changes;
pub mod child;
mod diff;
mod disk;
mod error;
mod ext4;
pub mod fuzzing;
mod home;
mod link;
mod node;
pub mod sandbox;
mod service;
mod wire;

pub use changes::{MAX_ENTRIES_VISITED, changes};
pub use diff::diff;
pub use disk::ReadAt;
pub use error::{ReaderError, Reason};
pub use home::{ChildCommand, Home};
pub use sandbox::Sandbox;
pub use wire::MAX_PIECE_BYTES;
