//! One bit of any object is another: found by whoever verifies, never served to whoever reads.

mod common;

use std::{path::Path, sync::Arc};

use burrow_volume::{
    BLOCK_BYTES, DataKey, ObjectStore as _, SnapshotView, Volume, VolumeError, VolumeOptions,
    store::DirectoryStore,
};
use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use common::{directory, seeded, share};

const BLOCKS: u64 = 96;
const SNAPSHOTS: usize = 8;

/// A home with a past, and each snapshot's content.
struct Home {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<DirectoryStore>,
    past: Vec<(ManifestId, Bytes)>,
}

impl Home {
    async fn new(random: &mut StdRng) -> Self {
        let directory = directory();
        let store = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        let (tenant, volume, key) = (TenantId::random(), VolumeId::random(), DataKey::random());
        let mut home = Self { directory, tenant, volume, key, store: Arc::new(store), past: Vec::new() };
        let live = Volume::open(home.opening("cache", None)).await.expect("opens");
        for _ in 0..SNAPSHOTS {
            for write in 0..random.random_range(1..20) {
                let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..12));
                let mut content = vec![0; (count.min(BLOCKS - at) * BLOCK_BYTES) as usize];
                // Compressible, not, and holes; of holes alone there would be no pack.
                match random.random_range(0..if write == 0 { 2 } else { 3 }) {
                    0 => random.fill_bytes(&mut content),
                    1 => content.fill(random.random()),
                    _ => {}
                }
                live.write(at * BLOCK_BYTES, content.into()).await.expect("writes");
            }
            let manifest = live.snapshot(|_| ()).await.expect("stored").manifest;
            live.confirm_commit(manifest).await.expect("known");
            home.past.push((manifest, live.read(0, BLOCKS * BLOCK_BYTES).await.expect("reads")));
        }
        home
    }

    fn opening(&self, cache: &str, head: Option<ManifestId>) -> VolumeOptions {
        VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: BLOCKS * BLOCK_BYTES,
            epoch: Epoch(1),
            head,
            head_of: None,
            lineage: 0,
            cache: self.directory.path().join(cache),
            key: self.key.clone(),
            store: self.store.clone(),
        }
    }

    /// Whether opening or verifying the snapshot finds something.
    async fn is_found_in(&self, manifest: ManifestId) -> bool {
        match SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await {
            Ok(reader) => !reader.verify().await.expect("the store answers").damaged.is_empty(),
            Err(error) => is_damage(&error),
        }
    }

    /// Reads the snapshot without a cache and with an empty one: what it was, or damage and nothing else.
    async fn serves_nothing_else(&self, manifest: ManifestId, content: &Bytes) {
        let whole = 0..BLOCKS * BLOCK_BYTES;
        let read = match SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await
        {
            Ok(reader) => reader.read(whole.start, whole.end).await,
            Err(error) => Err(error),
        };
        assert!(read.map_or_else(|error| is_damage(&error), |found| found == content), "a reader");
        let read = match Volume::open(self.opening("elsewhere", Some(manifest))).await {
            Ok(volume) => volume.read(whole.start, whole.end).await,
            Err(error) => Err(error),
        };
        assert!(read.map_or_else(|error| is_damage(&error), |found| found == content), "a volume");
        let _ = std::fs::remove_dir_all(self.directory.path().join("elsewhere"));
    }
}

fn is_damage(error: &VolumeError) -> bool {
    matches!(error, VolumeError::Damaged { .. } | VolumeError::Manifest { .. })
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = std::fs::read(path).expect("readable");
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn every_flipped_bit_is_found_and_none_is_served() {
    let mut random = seeded();
    let flips = share(100, 1000);
    let mut home = Home::new(&mut random).await;
    for number in 1..=flips {
        if number % 100 == 0 {
            home = Home::new(&mut random).await;
        }
        let objects = home.store.list("", None).await.expect("lists");
        assert!(objects.len() >= 2 * SNAPSHOTS - 1, "packs and manifests: {objects:?}");
        let object = &objects[random.random_range(0..objects.len())];
        let path = home.directory.path().join("objects").join(&object.name);
        let bit = random.random_range(0..object.bytes as usize * 8);
        flip(&path, bit);
        let mut found = 0;
        for (manifest, content) in &home.past {
            found += u32::from(home.is_found_in(*manifest).await);
            if random.random_bool(0.3) {
                home.serves_nothing_else(*manifest, content).await;
            }
        }
        // What no snapshot names any more cannot be: all are kept.
        assert!(found > 0, "bit {bit} of {} is another, and nobody has noticed", object.name);
        let (newest, content) = home.past.last().expect("a past");
        home.serves_nothing_else(*newest, content).await;
        flip(&path, bit);
    }
    for (manifest, content) in &home.past {
        assert!(!home.is_found_in(*manifest).await, "all is healed");
        home.serves_nothing_else(*manifest, content).await;
    }
    println!("{flips} bits flipped, all found, none served");
}
