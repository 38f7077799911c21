//! Room on the disk that the caches share: clean blocks are let go of before it is full, and writes wait before it is.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::VolumeError,
    volume::{Volume, io_of},
};

/// How often the disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Below this share of the disk, or this much, whichever is less, clean blocks go.
const LOW_PER_CENT: u64 = 5;
const LOW_BYTES: u64 = 2 << 30;
/// Below a quarter of that, writes wait.
const FULL_PART: u64 = 4;
/// Blocks that go under one hold of the lock.
const EVICT_BLOCKS: u32 = 1024;

/// What a disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Plenty,
    Low,
    Full,
}

impl Volume {
    /// Keeps room, for as long as it is polled. It returns when the volume does not work any more.
    pub async fn keep_room(&self) -> VolumeError {
        let mut hand = 0;
        loop {
            match self.look_for_room(&mut hand).await {
                Ok(()) => tokio::time::sleep(LOOK_INTERVAL).await,
                Err(error) => return error,
            }
        }
    }

    async fn look_for_room(&self, hand: &mut u32) -> Result<(), VolumeError> {
        let shared = &self.shared;
        let directory: PathBuf = shared.on_cache(|_, cache| Ok(cache()?.directory())).await?;
        let found = crate::volume::blocking(move || room(&directory)).await?;
        shared.pace.set_full(found == Room::Full);
        if found == Room::Plenty {
            return Ok(());
        }
        let from = *hand;
        // Letting go may rewrite the log, and a flush counts on the log that it began with.
        let gate = shared.flush_gate.clone().lock_owned().await;
        *hand = shared
            .on_cache(move |_, cache| {
                let _gate = gate;
                cache()?.evict(from, EVICT_BLOCKS).map_err(io_of("make room"))
            })
            .await?;
        Ok(())
    }
}

fn room(directory: &std::path::Path) -> Result<Room, VolumeError> {
    let found = rustix::fs::statvfs(directory)
        .map_err(|errno| VolumeError::Cache { what: "look at the disk", source: errno.into() })?;
    Ok(room_of(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}

fn room_of(free: u64, all: u64) -> Room {
    let low = (all / 100 * LOW_PER_CENT).min(LOW_BYTES);
    match free {
        free if free < low / FULL_PART => Room::Full,
        free if free < low => Room::Low,
        _ => Room::Plenty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_before_it_is_full() {
        const GIB: u64 = 1 << 30;
        assert_eq!(room_of(6 * GIB, 100 * GIB), Room::Plenty);
        assert_eq!(room_of(GIB, 100 * GIB), Room::Low);
        assert_eq!(room_of(GIB / 4, 100 * GIB), Room::Full);
        assert_eq!(room_of(6 << 20, 100 << 20), Room::Plenty);
        assert_eq!(room_of(4 << 20, 100 << 20), Room::Low);
        assert_eq!(room_of(1 << 20, 100 << 20), Room::Full);
    }
}
