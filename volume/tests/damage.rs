//! One bit of an object is flipped. Verification finds it, and no read returns it.

mod common;

use std::{path::Path, sync::Arc};

use burrow_volume::{
    BLOCK_BYTES, DataKey, ObjectStore as _, SnapshotView, Volume, VolumeError, VolumeOptions,
    store::DirectoryStore,
};
use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use common::{directory, rounds, seeded};

const BLOCKS: u64 = 96;
const SNAPSHOTS: usize = 8;

/// A volume with several snapshots, and the content of each.
struct StoredVolume {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<DirectoryStore>,
    snapshots: Vec<(ManifestId, Bytes)>,
}

impl StoredVolume {
    async fn new(random: &mut StdRng) -> Self {
        let directory = directory();
        let store = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        let (tenant, volume, key) = (TenantId::random(), VolumeId::random(), DataKey::random());
        let mut stored =
            Self { directory, tenant, volume, key, store: Arc::new(store), snapshots: Vec::new() };
        let live = Volume::open(stored.options("cache", None)).await.expect("opens");
        for _ in 0..SNAPSHOTS {
            for write in 0..random.random_range(1..20) {
                let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..12));
                let mut content = vec![0; (count.min(BLOCKS - at) * BLOCK_BYTES) as usize];
                // Noise, compressible bytes, and holes. The first write is no hole, so that each
                // snapshot has a pack.
                match random.random_range(0..if write == 0 { 2 } else { 3 }) {
                    0 => random.fill_bytes(&mut content),
                    1 => content.fill(random.random()),
                    _ => {}
                }
                live.write(at * BLOCK_BYTES, content.into()).await.expect("writes");
            }
            let manifest = live.snapshot(|_| ()).await.expect("stored").manifest;
            live.confirm_commit(manifest).await.expect("known");
            stored.snapshots.push((manifest, live.read(0, BLOCKS * BLOCK_BYTES).await.expect("reads")));
        }
        stored
    }

    fn options(&self, cache: &str, head: Option<ManifestId>) -> VolumeOptions {
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

    /// Whether opening or verifying the snapshot finds damage.
    async fn is_damaged(&self, manifest: ManifestId) -> bool {
        match SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await {
            Ok(view) => !view.verify().await.expect("the store answers").damaged.is_empty(),
            Err(error) => is_damage(&error),
        }
    }

    /// Reads the snapshot without a cache and with an empty one. Each returns the right content or
    /// reports damage.
    async fn assert_never_served(&self, manifest: ManifestId, content: &Bytes) {
        let whole = 0..BLOCKS * BLOCK_BYTES;
        let read = match SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await
        {
            Ok(view) => view.read(whole.start, whole.end).await,
            Err(error) => Err(error),
        };
        assert!(read.map_or_else(|error| is_damage(&error), |found| found == content), "a view");
        let read = match Volume::open(self.options("elsewhere", Some(manifest))).await {
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
async fn flipped_bits_are_found_and_never_served() {
    let mut random = seeded();
    let flips = rounds(100, 1000);
    let mut stored = StoredVolume::new(&mut random).await;
    for number in 1..=flips {
        if number % 100 == 0 {
            stored = StoredVolume::new(&mut random).await;
        }
        let objects = stored.store.list("", None).await.expect("lists");
        assert!(objects.len() >= 2 * SNAPSHOTS - 1, "packs and manifests: {objects:?}");
        let object = &objects[random.random_range(0..objects.len())];
        let path = stored.directory.path().join("objects").join(&object.name);
        let bit = random.random_range(0..object.bytes as usize * 8);
        flip(&path, bit);
        let mut found = 0;
        for (manifest, content) in &stored.snapshots {
            found += u32::from(stored.is_damaged(*manifest).await);
            if random.random_bool(0.3) {
                stored.assert_never_served(*manifest, content).await;
            }
        }
        // All snapshots are kept, so that each object is used.
        assert!(found > 0, "bit {bit} of {} was flipped, and no verification has found it", object.name);
        let (newest, content) = stored.snapshots.last().expect("a snapshot");
        stored.assert_never_served(*newest, content).await;
        flip(&path, bit);
    }
    for (manifest, content) in &stored.snapshots {
        assert!(!stored.is_damaged(*manifest).await, "every bit is restored");
        stored.assert_never_served(*manifest, content).await;
    }
    println!("{flips} bits flipped, all found, none served");
}
