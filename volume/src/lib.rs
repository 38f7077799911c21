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
//! Promises: after `flush`, what was written is on this disk, whatever is killed or loses power; after `snapshot`, it is in
//! the store, and a reader of that manifest gets exactly the volume as it was at the cut.

mod key;
mod seal;
pub mod store;

pub use key::{DataKey, KeyError, MasterKey};
