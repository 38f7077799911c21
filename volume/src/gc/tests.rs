//! Everything that a kept snapshot needs is reachable, and everything else can be deleted.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{ManifestId, TenantId, VolumeId};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::find_reachable;
use crate::{BLOCK_BYTES, ObjectStore as _, Volume, VolumeOptions, testing::*};

const BLOCKS: u64 = 48;

#[tokio::test]
async fn kept_snapshots_survive_prune_fork_and_gc() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut world = World::new(BLOCKS).await;
    let mut kept: BTreeMap<ManifestId, Bytes> = BTreeMap::new();
    let first = world.volume;
    let mut volumes: Vec<(VolumeId, Option<ManifestId>, Option<VolumeId>)> = vec![(first, None, None)];
    for round in 0..60 {
        // One of the volumes runs for a while.
        let chosen = random.random_range(0..volumes.len());
        let (id, head, head_of) = volumes[chosen];
        world.epoch += 1;
        world.volume = id;
        let options = VolumeOptions { head_of, ..world.options(&id.to_string(), head) };
        let volume = Volume::open(options).await.expect("opens");
        for _ in 0..random.random_range(1..4) {
            let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..6));
            let count = count.min(BLOCKS - at);
            if random.random_bool(0.2) {
                volume.discard(at * BLOCK_BYTES, count * BLOCK_BYTES).await.expect("discards");
            } else {
                write(&volume, at * BLOCK_BYTES, noise(random.random(), count as usize * 4096)).await;
            }
            let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
            volume.confirm_commit(manifest).await.expect("known");
            kept.insert(manifest, read_all(&volume).await);
            // If nothing has changed, the head is still that of the other volume.
            if volumes[chosen].1 != Some(manifest) {
                volumes[chosen] = (id, Some(manifest), None);
            }
        }
        drop(volume);
        // Sometimes a snapshot is forked. Heads are kept, and some other snapshots are pruned.
        if random.random_bool(0.2) {
            let (base, _) = kept.iter().nth(random.random_range(0..kept.len())).expect("one is there");
            let of = world.view(*base).await.volume();
            volumes.push((VolumeId::random(), Some(*base), Some(of)));
        }
        let heads: Vec<ManifestId> = volumes.iter().filter_map(|(_, head, _)| *head).collect();
        kept.retain(|id, _| heads.contains(id) || random.random_bool(0.8));
        if round % 5 == 4 {
            delete_unreachable(&world, kept.keys().copied().collect()).await;
            for (id, content) in &kept {
                let view = world.view(*id).await;
                assert_eq!(view.read(0, view.size_bytes()).await.expect("reads"), content, "{id}");
            }
        }
    }
    // Without roots, nothing stays.
    delete_unreachable(&world, Vec::new()).await;
    assert_eq!((world.object_files("packs").len(), world.object_files("manifests").len()), (0, 0));
}

async fn delete_unreachable(world: &World, roots: Vec<ManifestId>) {
    let prefix = format!("{}/", world.tenant);
    let mut names = Vec::new();
    loop {
        let page = world.store.list(&prefix, names.last().map(String::as_str)).await.expect("lists");
        if page.is_empty() {
            break;
        }
        names.extend(page.into_iter().map(|listed| listed.name));
    }
    let found =
        find_reachable(world.store.clone(), world.key.clone(), world.tenant, roots).await.expect("marks");
    for name in names.iter().filter(|name| !found.contains(name)) {
        world.store.delete(name).await.expect("deletes");
    }
}

#[tokio::test]
async fn unreadable_root_is_an_error() {
    let world = World::new(BLOCKS).await;
    let roots = vec![ManifestId([7; 32])];
    assert!(find_reachable(world.store.clone(), world.key.clone(), world.tenant, roots).await.is_err());
}

#[tokio::test]
async fn foreign_objects_are_kept() {
    let world = World::new(BLOCKS).await;
    let found =
        find_reachable(world.store.clone(), world.key.clone(), world.tenant, vec![]).await.expect("marks");
    let (tenant, other) = (world.tenant, TenantId::random());
    for name in [
        format!("{tenant}/packs/notes.txt"),
        format!("{tenant}/packs/{}", "A".repeat(32)),
        format!("{tenant}/other/{}", "a".repeat(32)),
        format!("{other}/packs/{}", "a".repeat(32)),
        "probe/x".to_owned(),
    ] {
        assert!(found.contains(&name), "{name}");
    }
    assert!(!found.contains(&format!("{tenant}/packs/{}", "a".repeat(32))));
    assert!(!found.contains(&format!("{tenant}/manifests/{}", "a".repeat(64))));
}
