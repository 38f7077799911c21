//! What the objects in the store contain, byte by byte. Pure: no store, no clock, no file except
//! the master key's.
//!
//! - `key`: the tenant's data key, and the master key that encrypts it.
//! - `seal`: one frame, compressed and encrypted for its place in one object.
//! - `pack`: an object of frames.
//! - `block_map`: where each block lies.
//! - `manifest`: the object that stores such a map, or its changes.
//! - `chain`, `next_manifest`: how manifests build on each other.

pub mod block_map;
pub mod chain;
pub mod key;
pub mod manifest;
pub mod next_manifest;
pub mod pack;
pub mod seal;
