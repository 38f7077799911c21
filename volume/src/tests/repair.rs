//! Damage in the store under an open volume: what a copy has is stored anew, and nothing else breaks by what none has.

use rand::{RngExt as _, rngs::StdRng};

use super::*;
use crate::Repaired;

const BLOCKS: u64 = 600;

/// A home of some packs, and the manifest that names them.
async fn filled(random: &mut StdRng, world: &World, cache: &str) -> (Volume, ManifestId) {
    let volume = world.open(cache, None).await;
    let mut manifest = None;
    for _ in 0..random.random_range(2..8) {
        for _ in 0..random.random_range(1..10) {
            let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..40));
            let mut content = vec![0; (count.min(BLOCKS - at) * BLOCK_BYTES) as usize];
            random.fill(&mut content[..]);
            write(&volume, at * BLOCK_BYTES, content).await;
        }
        manifest = Some(commit(&volume).await);
    }
    (volume, manifest.expect("one at least"))
}

async fn commit(volume: &Volume) -> ManifestId {
    let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.committed(manifest).await.expect("known");
    manifest
}

impl World {
    async fn names(&self, kind: &str) -> Vec<String> {
        let listed = self.store.list(&format!("{}/{kind}/", self.tenant), None).await.expect("listed");
        listed.into_iter().map(|one| one.name).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("objects").join(name)
    }

    /// Removes the object, cuts it short, or makes one bit another.
    fn damage(&self, random: &mut StdRng, name: &str) {
        let mut bytes = std::fs::read(self.path(name)).expect("there");
        match random.random_range(0..3) {
            0 => return std::fs::remove_file(self.path(name)).expect("removed"),
            1 => bytes.truncate(random.random_range(0..bytes.len())),
            _ => {
                let bit = random.random_range(0..bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// What a verification of a snapshot names.
    async fn damaged(&self, manifest: ManifestId) -> Vec<String> {
        match Reader::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await {
            Ok(reader) => reader.verify().await.expect("the store answers").damaged,
            Err(VolumeError::Manifest { id, .. }) => vec![format!("{}/manifests/{id}", self.tenant)],
            Err(error) => vec![error.damaged_object().expect("damage, and no other error").to_owned()],
        }
    }
}

#[tokio::test]
async fn what_the_cache_has_is_stored_anew() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..20 * soak_factor() {
        let world = World::new(BLOCKS).await;
        let (volume, before) = filled(&mut random, &world, "cache").await;
        let content = everything(&volume).await;
        for name in [world.names("packs").await, world.names("manifests").await].concat() {
            if random.random_bool(0.5) {
                world.damage(&mut random, &name);
            }
        }
        // As a check goes about it: a manifest first, and then what the new one says of the packs.
        let (mut manifest, mut rounds) = (before, 0);
        loop {
            let damaged = world.damaged(manifest).await;
            if damaged.is_empty() {
                break;
            }
            let repaired = volume.repair(&damaged).await.expect("repairs");
            assert_eq!((repaired.lost_bytes, repaired.lost.len()), (0, 0), "the cache has all of it");
            manifest = commit(&volume).await;
            rounds += 1;
            assert!(rounds <= 2, "a manifest, then packs");
        }
        assert_eq!(world.content_of(manifest).await, content);
        assert_eq!(everything(&volume).await, content);
    }
}

#[tokio::test]
async fn with_a_part_of_a_cache_all_is_saved_that_a_copy_has() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..20 * soak_factor() {
        let world = World::new(BLOCKS).await;
        let (volume, manifest) = filled(&mut random, &world, "cache").await;
        let content = everything(&volume).await;
        let other = world.open("elsewhere", Some(manifest)).await;
        // From nothing to nearly all of it.
        for _ in 0..random.random_range(0..30) {
            let block = random.random_range(0..BLOCKS);
            other.read(block * BLOCK_BYTES, BLOCK_BYTES).await.expect("reads");
        }
        for name in world.names("packs").await {
            if random.random_bool(0.6) {
                world.damage(&mut random, &name);
            }
        }
        let damaged = world.damaged(manifest).await;
        let cached = other.status().await.expect("a status").cached_bytes;
        let repaired = other.repair(&damaged).await.expect("what none has breaks nothing");
        let after = commit(&other).await;
        let Repaired { renewed_bytes, lost_bytes, lost } = repaired;
        assert_eq!(lost_bytes, lost.iter().map(|run| run.end - run.start).sum::<u64>());
        assert!(renewed_bytes <= content.len() as u64 && cached <= content.len() as u64);
        // A reader finds every block that is not named as lost, and those are not served.
        let reader = world.reader(after).await;
        assert_eq!(reader.verify().await.expect("the store answers").damaged.is_empty(), lost.is_empty());
        for block in 0..BLOCKS {
            let at = block * BLOCK_BYTES;
            let read = reader.read(at, BLOCK_BYTES).await;
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
async fn a_repair_is_done_once_however_often_it_is_asked_for() {
    let world = World::new(BLOCKS).await;
    let mut random = StdRng::seed_from_u64(seed());
    let (volume, first) = filled(&mut random, &world, "cache").await;
    let name = world.names("packs").await.pop().expect("a pack");
    std::fs::remove_file(world.path(&name)).expect("removed");
    let damaged = world.damaged(first).await;
    let renewed = volume.repair(&damaged).await.expect("repairs").renewed_bytes;
    assert_eq!(volume.repair(&damaged).await.expect("again").renewed_bytes, 0, "it is dirty already");
    let strange = ["nonsense".to_owned(), format!("{}/packs/00", TenantId::random())];
    assert_eq!(volume.repair(&strange).await.expect("passed over"), Repaired::default());
    // A snapshot that fails keeps the wish.
    world.store.cut_off(true);
    volume.snapshot(|_| ()).await.expect_err("no store");
    world.store.cut_off(false);
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(second.changed_bytes, renewed);
    volume.committed(second.manifest).await.expect("known");
    assert_eq!(world.damaged(second.manifest).await, Vec::<String>::new());
    assert_eq!(commit(&volume).await, second.manifest, "nothing is left to store");
    assert_eq!(volume.repair(&damaged).await.expect("later").renewed_bytes, 0, "nothing lies there any more");
}

#[tokio::test]
async fn of_a_damaged_manifest_a_whole_one_is_written() {
    let world = World::new(BLOCKS).await;
    let mut random = StdRng::seed_from_u64(seed());
    let (volume, first) = filled(&mut random, &world, "cache").await;
    let content = everything(&volume).await;
    for name in world.names("manifests").await {
        std::fs::remove_file(world.path(&name)).expect("removed");
    }
    let damaged = world.damaged(first).await;
    assert_eq!(volume.repair(&damaged).await.expect("repairs"), Repaired::default());
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!((second.changed_bytes, second.objects), (0, 1), "a manifest and no pack");
    volume.committed(second.manifest).await.expect("known");
    assert_eq!(world.content_of(second.manifest).await, content);
    // From here on it is a chain like any other.
    write(&volume, 0, [9; 100]).await;
    let third = commit(&volume).await;
    assert_eq!(world.content_of(third).await, everything(&volume).await);
}
