//! A block device whose snapshots live in object storage. Knows no machine and no controller.
//!
//! ```text
//! write ─▶ cache: sparse file + log of dirty blocks ─▶ flush: both are durable
//!                         │ snapshot: cut, pack, compress, encrypt
//!                         ▼
//!          packs (≤ 8 MiB, random names) ─▶ manifest (named by its hash, last) ─▶ committed by the controller
//! read  ─▶ cache, else the pack's range ─▶ opened, verified ─▶ cache
//! ```
//!
//! A volume that has no machine can be changed too, by chunks that come from another installation: `patch`, without a cache.
//!
//! Promises: after `flush`, what was written is on this disk, whatever is killed or loses power; after `snapshot`, it is in
//! the store, and a reader of that manifest gets exactly the volume as it was at the cut.

mod blocks;
mod cache;
mod chain;
mod chunk;
mod compact;
mod error;
mod fetch;
pub mod fuzzing;
pub mod gc;
mod key;
mod listing;
mod manifest;
mod map;
mod next;
mod objects;
mod order;
mod pace;
mod pack;
mod patch;
mod prefetch;
mod reader;
mod readers;
mod repair;
mod room;
mod seal;
pub mod simulation;
mod snapshot;
pub mod store;
mod volume;

#[cfg(test)]
mod tests;

pub use blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES};
pub use cache::LogError;
pub use chunk::{CHUNK_BYTES, Part, PartsError, Root, chunks_of, decode as decode_parts};
pub use error::VolumeError;
pub use key::{DataKey, KeyError, MasterKey};
pub use listing::Listing;
pub use manifest::ManifestError;
pub use patch::{Patched, Target, patch};
pub use reader::{Reader, Verified};
pub use repair::{MAX_LOST_RUNS, Repaired};
pub use snapshot::{Cut, Progress, Snapshot, Turn};
pub use store::{ObjectStore, StoreError};
pub use volume::{MAX_REQUEST_BYTES, Opening, Volume, VolumeStatus};
