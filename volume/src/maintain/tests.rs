//! Damage in the store under an open volume: everything of which there is a copy is stored again,
//! and what is lost breaks nothing else.

use std::path::PathBuf;

use protocol::{ManifestId, TenantId};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{BLOCK_BYTES, ObjectStore as _, RepairReport, Volume, VolumeError, testing::*};

const BLOCKS: u64 = 600;

/// A volume of some packs, and its last manifest.
async fn filled_volume(random: &mut StdRng, world: &World, cache: &str) -> (Volume, ManifestId) {
    let volume = world.open(cache, None).await;
    let mut manifest = None;
    for _ in 0..random.random_range(2..8) {
        for _ in 0..random.random_range(1..10) {
            let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..40));
            let mut content = vec![0; (count.min(BLOCKS - at) * BLOCK_BYTES) as usize];
            random.fill(&mut content[..]);
            write(&volume, at * BLOCK_BYTES, content).await;
        }
        manifest = Some(commit_snapshot(&volume).await);
    }
    (volume, manifest.expect("one at least"))
}

impl World {
    async fn object_names(&self, kind: &str) -> Vec<String> {
        let listed = self.store.list(&format!("{}/{kind}/", self.tenant), None).await.expect("listed");
        listed.into_iter().map(|one| one.name).collect()
    }

    fn object_path(&self, name: &str) -> PathBuf {
        self.directory.path().join("objects").join(name)
    }

    /// Deletes the object, truncates it, or flips one bit.
    fn damage(&self, random: &mut StdRng, name: &str) {
        let mut bytes = std::fs::read(self.object_path(name)).expect("there");
        match random.random_range(0..3) {
            0 => return std::fs::remove_file(self.object_path(name)).expect("removed"),
            1 => bytes.truncate(random.random_range(0..bytes.len())),
            _ => {
                let bit = random.random_range(0..bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        std::fs::write(self.object_path(name), bytes).expect("written");
    }

    /// The objects that a verification of the snapshot names.
    async fn damaged_objects(&self, manifest: ManifestId) -> Vec<String> {
        match self.try_view(manifest).await {
            Ok(view) => view.verify().await.expect("the store answers").damaged,
            Err(VolumeError::Manifest { id, .. }) => vec![format!("{}/manifests/{id}", self.tenant)],
            Err(error) => vec![error.damaged_object().expect("damage, and no other error").to_owned()],
        }
    }
}

#[tokio::test]
async fn cached_content_is_stored_again() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..20 * soak_factor() {
        let world = World::new(BLOCKS).await;
        let (volume, before) = filled_volume(&mut random, &world, "cache").await;
        let content = read_all(&volume).await;
        for name in [world.object_names("packs").await, world.object_names("manifests").await].concat() {
            if random.random_bool(0.5) {
                world.damage(&mut random, &name);
            }
        }
        // As a scrub does it: a damaged manifest first, then the packs that the new manifest names.
        let (mut manifest, mut rounds) = (before, 0);
        loop {
            let damaged = world.damaged_objects(manifest).await;
            if damaged.is_empty() {
                break;
            }
            let repaired = volume.repair(&damaged).await.expect("repairs");
            assert_eq!((repaired.lost_bytes, repaired.lost.len()), (0, 0), "the cache has all of it");
            manifest = commit_snapshot(&volume).await;
            rounds += 1;
            assert!(rounds <= 2, "a manifest, then packs");
        }
        assert_eq!(world.content_of(manifest).await, content);
        assert_eq!(read_all(&volume).await, content);
    }
}

#[tokio::test]
async fn every_block_with_a_copy_is_saved() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..20 * soak_factor() {
        let world = World::new(BLOCKS).await;
        let (volume, manifest) = filled_volume(&mut random, &world, "cache").await;
        let content = read_all(&volume).await;
        let other = world.open("elsewhere", Some(manifest)).await;
        // The cache gets anything from nothing to nearly everything.
        for _ in 0..random.random_range(0..30) {
            let block = random.random_range(0..BLOCKS);
            other.read(block * BLOCK_BYTES, BLOCK_BYTES).await.expect("reads");
        }
        for name in world.object_names("packs").await {
            if random.random_bool(0.6) {
                world.damage(&mut random, &name);
            }
        }
        let damaged = world.damaged_objects(manifest).await;
        let cached = other.status().await.expect("a status").cached_bytes;
        let repaired = other.repair(&damaged).await.expect("lost blocks break nothing");
        let after = commit_snapshot(&other).await;
        let RepairReport { rewritten_bytes, lost_bytes, lost } = repaired;
        assert_eq!(lost_bytes, lost.iter().map(|run| run.end - run.start).sum::<u64>());
        assert!(rewritten_bytes <= content.len() as u64 && cached <= content.len() as u64);
        // Every block that is not reported as lost is intact, and the lost ones are not served.
        let view = world.view(after).await;
        assert_eq!(view.verify().await.expect("the store answers").damaged.is_empty(), lost.is_empty());
        for block in 0..BLOCKS {
            let at = block * BLOCK_BYTES;
            let read = view.read(at, BLOCK_BYTES).await;
            if lost.iter().any(|run| run.contains(&at)) {
                assert!(read.is_err(), "block {block} is lost");
            } else {
                let expected = &content[at as usize..(at + BLOCK_BYTES) as usize];
                assert_eq!(read.expect("saved"), expected, "block {block}");
            }
        }
    }
}

#[tokio::test]
async fn repeated_repair_does_no_more() {
    let world = World::new(BLOCKS).await;
    let mut random = StdRng::seed_from_u64(seed());
    let (volume, first) = filled_volume(&mut random, &world, "cache").await;
    let name = world.object_names("packs").await.pop().expect("a pack");
    std::fs::remove_file(world.object_path(&name)).expect("removed");
    let damaged = world.damaged_objects(first).await;
    let rewritten = volume.repair(&damaged).await.expect("repairs").rewritten_bytes;
    assert_eq!(volume.repair(&damaged).await.expect("again").rewritten_bytes, 0, "it is dirty already");
    let strange = ["nonsense".to_owned(), format!("{}/packs/00", TenantId::random())];
    assert_eq!(volume.repair(&strange).await.expect("ignored"), RepairReport::default());
    // The repair is still pending after a snapshot that fails.
    world.store.cut_off(true);
    volume.snapshot(|_| ()).await.expect_err("no store");
    world.store.cut_off(false);
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(second.changed_bytes, rewritten);
    volume.confirm_commit(second.manifest).await.expect("known");
    assert_eq!(world.damaged_objects(second.manifest).await, Vec::<String>::new());
    assert_eq!(commit_snapshot(&volume).await, second.manifest, "nothing is left to store");
    assert_eq!(
        volume.repair(&damaged).await.expect("later").rewritten_bytes,
        0,
        "nothing uses that object any more"
    );
}

#[tokio::test]
async fn damaged_manifest_is_replaced_by_a_whole_one() {
    let world = World::new(BLOCKS).await;
    let mut random = StdRng::seed_from_u64(seed());
    let (volume, first) = filled_volume(&mut random, &world, "cache").await;
    let content = read_all(&volume).await;
    for name in world.object_names("manifests").await {
        std::fs::remove_file(world.object_path(&name)).expect("removed");
    }
    let damaged = world.damaged_objects(first).await;
    assert_eq!(volume.repair(&damaged).await.expect("repairs"), RepairReport::default());
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!((second.changed_bytes, second.objects), (0, 1), "a manifest and no pack");
    volume.confirm_commit(second.manifest).await.expect("known");
    assert_eq!(world.content_of(second.manifest).await, content);
    // From here on it is a chain like any other.
    write(&volume, 0, [9; 100]).await;
    let third = commit_snapshot(&volume).await;
    assert_eq!(world.content_of(third).await, read_all(&volume).await);
}
