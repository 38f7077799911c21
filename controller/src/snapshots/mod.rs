//! Homes over time: committed snapshots, which of them are kept, what they hold, and what they need
//! in the object store. Knows no HTTP and no runner.
//!
//! A snapshot begins as a runner's report that all of its objects are in the store. [`commit`]
//! makes it a row and the head of its volume. From then on it can be found, named, browsed, forked
//! and restored. If it was taken automatically, the retention policy drops it some day ([`prune`]).
//! The next [`gc`] then deletes the objects that no other snapshot needs.

pub mod browser;
pub mod chunks;
mod commit;
pub mod gc;
pub mod imports;
pub mod prune;
mod query;
pub mod retention;
pub mod roots;
pub mod upload_allowance;
pub mod walk;

pub use commit::{ImportedSnapshot, SnapshotReport, VolumeHead, add_imported, commit};
pub use query::{SnapshotRecord, SnapshotRef, delete, find, find_locked, keep, list, rename, restore};
