//! What the mark keeps is all that every kept snapshot needs, and what it leaves can go.

use std::collections::BTreeMap;

use rand::RngExt as _;

use super::{past::blake3_noise, *};
use crate::gc::reachable;

const BLOCKS: u64 = 48;

#[tokio::test]
async fn random_pasts_are_thinned_forked_and_collected_and_what_is_kept_reads() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut world = World::new(BLOCKS).await;
    let mut kept: BTreeMap<ManifestId, Bytes> = BTreeMap::new();
    let first = world.volume;
    let mut volumes: Vec<(VolumeId, Option<ManifestId>, Option<VolumeId>)> = vec![(first, None, None)];
    for round in 0..60 {
        // One volume lives a little.
        let chosen = random.random_range(0..volumes.len());
        let (id, head, head_of) = volumes[chosen];
        world.epoch += 1;
        world.volume = id;
        let opening = Opening { head_of, ..world.opening(&id.to_string(), head) };
        let volume = Volume::open(opening).await.expect("opens");
        for _ in 0..random.random_range(1..4) {
            let (at, count) = (random.random_range(0..BLOCKS), random.random_range(1..6));
            let count = count.min(BLOCKS - at);
            if random.random_bool(0.2) {
                volume.discard(at * BLOCK_BYTES, count * BLOCK_BYTES).await.expect("discards");
            } else {
                write(&volume, at * BLOCK_BYTES, blake3_noise(random.random(), count as usize * 4096)).await;
            }
            let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
            volume.committed(manifest).await.expect("known");
            kept.insert(manifest, everything(&volume).await);
            // Where nothing has changed, it is the other volume's still.
            if volumes[chosen].1 != Some(manifest) {
                volumes[chosen] = (id, Some(manifest), None);
            }
        }
        drop(volume);
        // Somebody forks any of the past, heads go on living, others are forgotten.
        if random.random_bool(0.2) {
            let (base, _) = kept.iter().nth(random.random_range(0..kept.len())).expect("one is there");
            let of = world.reader(*base).await.volume();
            volumes.push((VolumeId::random(), Some(*base), Some(of)));
        }
        let heads: Vec<ManifestId> = volumes.iter().filter_map(|(_, head, _)| *head).collect();
        kept.retain(|id, _| heads.contains(id) || random.random_bool(0.8));
        if round % 5 == 4 {
            collect(&world, kept.keys().copied().collect()).await;
            for (id, content) in &kept {
                let reader = world.reader(*id).await;
                assert_eq!(reader.read(0, reader.size_bytes()).await.expect("reads"), content, "{id}");
            }
        }
    }
    // With nothing kept, nothing stays.
    collect(&world, Vec::new()).await;
    assert_eq!((world.objects("packs").len(), world.objects("manifests").len()), (0, 0));
}

async fn collect(world: &World, roots: Vec<ManifestId>) {
    let prefix = format!("{}/", world.tenant);
    let mut names = Vec::new();
    loop {
        let page = world.store.list(&prefix, names.last().map(String::as_str)).await.expect("lists");
        if page.is_empty() {
            break;
        }
        names.extend(page.into_iter().map(|listed| listed.name));
    }
    let found = reachable(world.store.clone(), world.key.clone(), world.tenant, roots).await.expect("marks");
    for name in names.iter().filter(|name| !found.contains(name)) {
        world.store.delete(name).await.expect("deletes");
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_read_lets_nothing_be_garbage() {
    let world = World::new(BLOCKS).await;
    let roots = vec![ManifestId([7; 32])];
    assert!(reachable(world.store.clone(), world.key.clone(), world.tenant, roots).await.is_err());
}

#[tokio::test]
async fn what_is_none_of_ours_stays() {
    let world = World::new(BLOCKS).await;
    let found = reachable(world.store.clone(), world.key.clone(), world.tenant, vec![]).await.expect("marks");
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
