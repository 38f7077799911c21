//! A block device whose snapshots live in object storage.
//!
//! # What a volume is
//!
//! A [`Volume`] is an array of blocks of 4 KiB that stores one home. It knows blocks, not files; it
//! knows no sandbox and no controller. Its content is spread over two places: a *cache* on this
//! host's disk, and a *store* that all hosts share. The cache holds what the store does not have
//! yet, and copies of what was read. It may be empty, and it may be lost.
//!
//! ```text
//! write ─▶ cache: sparse file + log of dirty blocks ─▶ flush: both are durable
//!                         │ snapshot: cut, pack, compress, encrypt
//!                         ▼
//!          packs (≤ 8 MiB, random names) ─▶ manifest (named by its hash, last) ─▶ commit (controller)
//! read  ─▶ cache, else a range of a pack ─▶ decrypted, verified ─▶ cache
//! ```
//!
//! # How a write travels
//!
//! 1. [`Volume::write`] puts the bytes into the cache's data file and, where the blocks were clean,
//!    a record into its log. The blocks are now *dirty*: no snapshot has them.
//! 2. [`Volume::flush`] syncs both files. From then on the write survives a kill and a power loss
//!    of this host.
//! 3. A *cut* ([`SnapshotTurn::cut`]) freezes the dirty blocks as the content of one instant, in
//!    milliseconds. The guest keeps writing; before it overwrites a block of the cut, the old
//!    content is copied aside.
//! 4. [`Cut::store`] compresses and encrypts those blocks into *packs*, uploads the packs, and then
//!    uploads one *manifest* that says where each block lies. Now the snapshot is complete in the
//!    store.
//! 5. The controller *commits* it: it records the manifest as the volume's *head*.
//!    [`Volume::confirm_commit`] tells the volume, which from then on may drop its copies of those
//!    blocks.
//!
//! # Packs, manifests, chains
//!
//! A *pack* is an object of *frames*; a frame is up to 16 blocks that were compressed and encrypted
//! together. A *manifest* is either *whole*, and then maps every block, or a *delta*, and then maps
//! the blocks that changed since its parent. A delta lists its *chain*: the whole manifest that it
//! builds on and the deltas since. The chain is bounded, so that opening a volume takes one round
//! of requests. Objects are written once and never changed; what no kept snapshot needs, [`gc`]
//! finds.
//!
//! # Promises
//!
//! - After `flush` returns, everything written before it was called is on this host's disk,
//!   whatever is killed or loses power.
//! - After a snapshot is stored, it is in the store, and anyone who opens its manifest gets exactly
//!   the volume at the cut.
//! - An altered or missing object is detected and never served.
//! - Of two placements that use one volume, the one with the older epoch is refused
//!   ([`VolumeError::Fenced`]).
//!
//! # Parts
//!
//! | module | what it does | builds on |
//! |---|---|---|
//! | `store` | where objects live: a directory, S3 | format (names) |
//! | `format` | what objects contain: keys, packs, manifests, chains. Pure | – |
//! | `objects` | a tenant's objects, fetched, retried and verified | store, format |
//! | `cache` | the volume on this host: data file, log, cut, flush | format |
//! | `open` | the state that all parts of an open volume share | cache, objects |
//! | `read` | fetches missing blocks, on demand and ahead | open |
//! | `volume` | [`Volume`], the interface | read, open |
//! | `snapshot` | cut, pack, upload, manifest | volume |
//! | `maintain` | compaction, repair, disk space | volume, read |
//! | `view` | [`SnapshotView`]: a snapshot read without a cache | objects |
//! | `transfer` | homes as chunks, to and from other installations | view |
//! | `gc` | which objects are still needed | objects |

mod blocking;
mod blocks;
mod cache;
mod error;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gc;
mod maintain;
mod objects;
mod open;
mod read;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod snapshot;
pub mod store;
mod transfer;
mod view;
mod volume;

#[cfg(test)]
mod testing;

pub use blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES};
pub use cache::{IdleCache, finish_removals, give_cache};
pub use error::{LogError, VolumeError};
pub use format::{
    key::{DataKey, KeyError, MasterKey},
    manifest::{MAX_MANIFEST_BYTES, ManifestError},
    pack::MAX_PACK_BYTES,
};
pub use maintain::disk_space::FreeSpace;
pub use maintain::repair::{MAX_LOST_RUNS, RepairReport};
pub use objects::fetch_plan::MAX_FETCH_BYTES;
pub use snapshot::{Cut, Progress, Snapshot, SnapshotTurn};
pub use store::{ObjectStore, StoreError};
pub use transfer::{
    chunk::{CHUNK_BYTES, Chunk, ChunkError, RootHasher, chunk_count, decode as decode_chunks},
    export::ChunkPage,
    import::{ImportTarget, ImportedSnapshot, import_chunks},
};
pub use view::{SnapshotView, Verification};
pub use volume::{MAX_REQUEST_BYTES, Volume, VolumeOptions, VolumeStatus};
