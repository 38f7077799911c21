//! Writes entries of a snapshot into a directory: the home of a running workspace, or a directory of
//! this computer. Knows no snapshot, no HTTP and no async runtime.
//!
//! Entries arrive as a tar archive ([`archive`]), which the controller makes. There are three steps,
//! and the same code does them in the agent and in the CLI:
//!
//! 1. [`compare`] finds out which entries differ. It changes nothing.
//! 2. [`Writer`] writes entries. Each is complete under a temporary name in the directory of the
//!    restore, and then takes its place in one step: by a rename, or by an exchange with what was there.
//!    What was there is then in the directory of the restore.
//! 3. [`undo`] exchanges them again.
//!
//! Paths come from a snapshot that a guest wrote. They are resolved beneath the directory, and no
//! symbolic link is followed, so an entry cannot be written elsewhere.

pub mod archive;
mod compare;
pub mod directory;
mod record;
mod undo;
mod writer;

pub use compare::compare;
pub use record::RestoreError;
pub use undo::undo;
pub use writer::{Existing, Writer};
