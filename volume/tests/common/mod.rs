//! What the long proofs share: their seed, and how much of them is run.

#![allow(dead_code, reason = "each test takes what it needs of it")]

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rand::{SeedableRng as _, rngs::StdRng};
use rustix::fs::{FlockOperation, flock};

/// From `BURROW_SEED`, to play a failure again; printed, so that there is one to play.
pub fn seeded() -> StdRng {
    let seed = from_environment("BURROW_SEED").unwrap_or_else(rand::random);
    println!("BURROW_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// The short share of a proof, or so much more of it as `BURROW_SOAK_FACTOR` says, up to its full figure.
pub fn share(short: u64, full: u64) -> u64 {
    short.saturating_mul(from_environment("BURROW_SOAK_FACTOR").unwrap_or(1)).min(full)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// In memory where the machine offers it: none of these proofs is about how fast a disk is.
pub fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory")
}

/// Waits until nobody holds the cache. A call to the disk that was under way when its volume was dropped holds it to its end.
pub async fn released(cache: &Path) {
    let Ok(lock) = File::open(cache.join("lock")) else { return };
    let waits = move || flock(&lock, FlockOperation::LockExclusive).expect("locks");
    tokio::task::spawn_blocking(waits).await.expect("waits");
}
