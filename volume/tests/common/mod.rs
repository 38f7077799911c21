//! What the long proofs share: their seed, their length, and a directory.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rand::{SeedableRng as _, rngs::StdRng};
use rustix::fs::{FlockOperation, flock};

/// A random generator with the seed in `BURROW_SEED`, to replay a failure, or with a random one.
/// The seed is printed.
pub fn seeded() -> StdRng {
    let seed = from_environment("BURROW_SEED").unwrap_or_else(rand::random);
    println!("BURROW_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// The number of rounds of a proof: `short`, multiplied by `BURROW_SOAK_FACTOR`, at most `full`.
pub fn rounds(short: u64, full: u64) -> u64 {
    short.saturating_mul(from_environment("BURROW_SOAK_FACTOR").unwrap_or(1)).min(full)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A temporary directory, in memory if the host offers that: none of these proofs depends on the
/// speed of a disk.
pub fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory")
}

/// Waits until the cache is unlocked. A call to the disk that runs while its volume is dropped
/// keeps the lock until it ends.
pub async fn wait_until_released(cache: &Path) {
    let Ok(lock) = File::open(cache.join("lock")) else { return };
    let waits = move || flock(&lock, FlockOperation::LockExclusive).expect("locks");
    tokio::task::spawn_blocking(waits).await.expect("waits");
}
