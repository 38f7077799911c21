//! Chains of snapshots, forks, growth, and background work.

use std::{collections::HashSet, time::Duration};

use protocol::{ManifestId, VolumeId};

use crate::{
    BLOCK_BYTES, Volume, VolumeError, VolumeOptions,
    format::{
        block_map::BlockMap,
        manifest::{Content, MAX_CHAIN, Manifest},
    },
    testing::*,
};

impl World {
    async fn manifest(&self, id: ManifestId) -> Manifest {
        self.objects().fetch_manifest(id).await.expect("a manifest").0
    }
}

#[tokio::test]
async fn long_history_mixes_deltas_and_whole_manifests() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    let (mut history, mut whole, mut parent) = (Vec::new(), 0, None);
    for number in 0..2 * MAX_CHAIN as u64 + 10 {
        let at = number * 7 % 64;
        if number % 5 == 4 {
            let written = (number - 1) * 7 % 64;
            volume.discard(written * BLOCK_BYTES, BLOCK_BYTES).await.expect("discards");
        } else {
            write(&volume, at * BLOCK_BYTES, vec![number as u8 + 1; 4096]).await;
        }
        let id = volume.snapshot(|_| ()).await.expect("stored").manifest;
        volume.confirm_commit(id).await.expect("known");
        let manifest = world.manifest(id).await;
        whole += usize::from(matches!(manifest.content, Content::Whole { .. }));
        assert_eq!(manifest.parent(), parent);
        parent = Some(id);
        history.push((id, read_all(&volume).await));
    }
    assert_eq!(whole, 3, "the first, and one each time that the chain is full");
    for (id, content) in history {
        let view = world.view(id).await;
        assert_eq!(view.read(0, view.size_bytes()).await.expect("reads"), content);
    }
}

#[tokio::test]
async fn chain_continues_after_cache_loss() {
    let mut world = World::new(64).await;
    let mut head = None;
    for number in 0..20_u8 {
        let volume = world.open(&format!("cache-{number}"), head).await;
        write(&volume, u64::from(number) * BLOCK_BYTES, vec![number + 1; 4096]).await;
        head = Some(commit_snapshot(&volume).await);
        world.epoch += 1;
    }
    let content = world.content_of(head.expect("taken")).await;
    for number in 0..20_u8 {
        assert_eq!(content[usize::from(number) * 4096], number + 1);
    }
}

#[tokio::test]
async fn fork_and_origin_are_independent() {
    let world = World::new(16).await;
    let origin = world.open("origin", None).await;
    write(&origin, 0, vec![1; 8 * 4096]).await;
    let base = commit_snapshot(&origin).await;
    write(&origin, 0, vec![2; 4096]).await;
    let other = VolumeId::random();
    let options =
        |head, head_of| VolumeOptions { volume: other, head_of, ..world.options("fork", Some(head)) };
    assert!(matches!(Volume::open(options(base, None)).await, Err(VolumeError::OtherVolume { .. })));
    let stranger = Some(VolumeId::random());
    assert!(matches!(Volume::open(options(base, stranger)).await, Err(VolumeError::OtherVolume { .. })));

    let fork = Volume::open(options(base, Some(world.volume))).await.expect("opens");
    assert_eq!(read_all(&fork).await[..8 * 4096], vec![1; 8 * 4096]);
    write(&fork, 4096, vec![3; 4096]).await;
    let (own, theirs) = (commit_snapshot(&fork).await, commit_snapshot(&origin).await);
    let (world, expected) = (&world, |blocks: [u8; 3]| blocks.map(|fill| [fill; 4096]).concat());
    let read = |id| async move { world.view(id).await.read(0, 3 * 4096).await.expect("reads") };
    assert_eq!(read(own).await, expected([1, 3, 1]));
    assert_eq!(read(theirs).await, expected([2, 1, 1]));
    drop(fork);
    // Its own snapshot needs no permission.
    let again = Volume::open(options(own, None)).await.expect("opens");
    assert_eq!(again.read(4096, 4096).await.expect("reads"), vec![3; 4096]);
}

#[tokio::test]
async fn restored_volume_ignores_an_older_lineage() {
    let mut world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let first = commit_snapshot(&volume).await;
    write(&volume, 0, vec![2; 4096]).await;
    let second = commit_snapshot(&volume).await;
    volume.close().await.expect("closes");
    let lineage =
        |world: &World, head, lineage| VolumeOptions { lineage, ..world.options("cache", Some(head)) };
    let read = |volume: Volume| async move {
        let superseded = volume.status().await.expect("open").superseded.is_some();
        (volume.read(0, 4096).await.expect("reads")[0], superseded, volume)
    };
    world.epoch += 1;
    let (found, superseded, volume) =
        read(Volume::open(lineage(&world, first, 1)).await.expect("opens")).await;
    assert_eq!((found, superseded), (1, true), "what the cache held is moved aside");
    // After a kill it continues from what it wrote in this lineage.
    write(&volume, 0, vec![3; 4096]).await;
    drop(volume);
    let (found, _, volume) = read(Volume::open(lineage(&world, first, 1)).await.expect("opens")).await;
    assert_eq!(found, 3);
    drop(volume);
    // Restored again: changes that no snapshot holds are moved aside.
    let (found, superseded, volume) =
        read(Volume::open(lineage(&world, second, 2)).await.expect("opens")).await;
    assert_eq!((found, superseded), (2, true));
    drop(volume);
    assert!(matches!(Volume::open(lineage(&world, first, 1)).await, Err(VolumeError::Fenced { .. })));
}

#[tokio::test]
async fn volume_grows_during_use_and_snapshot() {
    let mut world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let turn = volume.wait_for_turn().await;
    let cut = turn.cut().await.expect("cut");
    volume.grow(100 * BLOCK_BYTES).await.expect("grows");
    volume.grow(100 * BLOCK_BYTES).await.expect("has that size");
    assert!(matches!(volume.grow(99 * BLOCK_BYTES).await, Err(VolumeError::Shrunk { .. })));
    write(&volume, 99 * BLOCK_BYTES, vec![9; 4096]).await;
    write(&volume, 0, vec![2; 4096]).await;
    let before = cut.store(|_| ()).await.expect("stored").manifest;
    volume.confirm_commit(before).await.expect("known");
    let view = world.view(before).await;
    assert_eq!(view.size_bytes(), 16 * BLOCK_BYTES, "the cut was before");
    assert_eq!(view.read(0, 4096).await.expect("reads"), vec![1; 4096]);
    let after = commit_snapshot(&volume).await;
    let view = world.view(after).await;
    assert_eq!(view.size_bytes(), 100 * BLOCK_BYTES);
    assert_eq!(view.read(99 * BLOCK_BYTES, 4096).await.expect("reads"), vec![9; 4096]);
    // After a kill, the volume is opened with the new size.
    write(&volume, 98 * BLOCK_BYTES, vec![8; 4096]).await;
    drop(volume);
    world.size_bytes = 100 * BLOCK_BYTES;
    let volume = world.open("cache", Some(after)).await;
    assert_eq!(volume.read(98 * BLOCK_BYTES, 4096).await.expect("reads"), vec![8; 4096]);
}

#[tokio::test(start_paused = true)]
async fn unreplicated_age_ends_with_the_commit() {
    let world = World::new(16).await;
    let volume = world.open("cache", None).await;
    let age = || async { volume.status().await.expect("open").unreplicated };
    assert_eq!(age().await, None);
    write(&volume, 0, vec![1; 4096]).await;
    tokio::time::advance(Duration::from_secs(7)).await;
    let first = volume.snapshot(|_| ()).await.expect("stored").manifest;
    assert!(age().await.expect("not committed") >= Duration::from_secs(7));
    write(&volume, 0, vec![2; 4096]).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    volume.confirm_commit(first).await.expect("known");
    let left = age().await.expect("the second write");
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&left), "{left:?}");
    commit_snapshot(&volume).await;
    assert_eq!(age().await, None);
}

#[tokio::test]
async fn abandoned_cut_keeps_its_age() {
    let world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let since =
        volume.inner.with_cache(|_, cache| Ok(cache.lock()?.unreplicated_since())).await.expect("open");
    drop(volume.wait_for_turn().await.cut().await.expect("cut"));
    let now = volume.inner.with_cache(|_, cache| Ok(cache.lock()?.unreplicated_since())).await.expect("open");
    assert!(since.is_some() && since == now);
}

#[tokio::test]
async fn sparse_packs_are_compacted() {
    let world = World::new(4000).await;
    let volume = world.open("cache", None).await;
    let block_of_noise = |seed: u32| noise(seed, 4096);
    for block in 0..1000_u32 {
        write(&volume, u64::from(block) * BLOCK_BYTES, block_of_noise(block)).await;
    }
    commit_snapshot(&volume).await;
    assert_eq!(volume.compact().await.expect("compacts"), 0, "nothing is sparse");
    // Four fifths are overwritten: the first pack keeps every fifth block.
    for block in (0..1000_u32).filter(|block| block % 5 != 0) {
        write(&volume, u64::from(block) * BLOCK_BYTES, block_of_noise(block + 5000)).await;
    }
    let before = commit_snapshot(&volume).await;
    let packs = |map: &BlockMap| map.packs().map(|(_, used)| used.pack.id).collect::<HashSet<_>>();
    let old = packs(&world.map_of(before).await);
    drop(volume);
    // On an empty cache, so that the blocks have to be fetched first.
    let volume = world.open("elsewhere", Some(before)).await;
    assert_eq!(volume.compact().await.expect("compacts"), 200);
    let after = commit_snapshot(&volume).await;
    let new = packs(&world.map_of(after).await);
    assert_eq!((old.len(), new.len(), old.intersection(&new).count()), (2, 2, 1));
    assert_eq!(world.content_of(after).await, world.content_of(before).await);
    assert_eq!(volume.compact().await.expect("compacts"), 0);
}

#[tokio::test]
async fn evicted_blocks_are_fetched_again() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, noise(1, 64 * 4096)).await;
    let head = commit_snapshot(&volume).await;
    write(&volume, 5 * BLOCK_BYTES, vec![5; 4096]).await;
    let expected = read_all(&volume).await;
    let evict =
        |from| volume.inner.with_cache(move |_, cache| Ok(cache.lock()?.evict(from, 1000).expect("evicts")));
    assert_eq!(evict(0).await.expect("open"), 0);
    assert_eq!(volume.status().await.expect("open").cached_bytes, BLOCK_BYTES);
    assert_eq!(read_all(&volume).await, expected);
    // Also after a kill.
    evict(0).await.expect("open");
    drop(volume);
    let volume = world.open("cache", Some(head)).await;
    assert_eq!(volume.status().await.expect("open").cached_bytes, BLOCK_BYTES);
    assert_eq!(read_all(&volume).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_during_eviction_return_the_content() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, noise(5, 64 * 4096)).await;
    commit_snapshot(&volume).await;
    let expected = read_all(&volume).await;
    for _ in 0..200 {
        let reading = volume.clone();
        let read = tokio::spawn(async move { read_all(&reading).await });
        let evict = volume.inner.with_cache(|volume, cache| {
            let mut cache = cache.lock()?;
            volume.begin_eviction();
            Ok(cache.evict(0, 1000).expect("evicts"))
        });
        evict.await.expect("open");
        assert!(read.await.expect("no panic") == expected, "no block reads as zeros");
    }
}

#[tokio::test(start_paused = true)]
async fn boot_order_is_prefetched_first() {
    let world = World::new(4000).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, noise(2, 4000 * 4096)).await;
    let first = commit_snapshot(&volume).await;
    assert_eq!(world.manifest(first).await.boot_order, None);
    for block in [3000_u64, 17, 18, 2000] {
        volume.read(block * BLOCK_BYTES, 4096).await.expect("reads");
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    write(&volume, 0, vec![1; 4096]).await;
    let head = commit_snapshot(&volume).await;
    let order = world.manifest(head).await.boot_order.expect("recorded");
    assert_eq!(order, [3000..3001, 17..19, 2000..2001]);

    let elsewhere = world.open("elsewhere", Some(head)).await;
    // The four blocks lie in four frames, far apart. So four requests fetch them.
    world.store.cut_off_after(4);
    assert!(elsewhere.prefetch().await.is_err());
    world.store.cut_off(true);
    for block in [3000_u64, 17, 18, 2000] {
        elsewhere.read(block * BLOCK_BYTES, 4096).await.expect("is cached");
    }
    assert!(elsewhere.read(1000 * BLOCK_BYTES, 4096).await.is_err(), "and others are not");
    world.store.cut_off(false);
    elsewhere.prefetch().await.expect("fetches");
    assert_eq!(elsewhere.status().await.expect("open").cached_bytes, 4000 * BLOCK_BYTES);
    world.store.cut_off(true);
    assert_eq!(read_all(&elsewhere).await[4096..], read_all(&volume).await[4096..]);
}

#[tokio::test]
async fn changed_blocks_are_found() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, noise(3, 20 * 4096)).await;
    let before = world.view(commit_snapshot(&volume).await).await;
    write(&volume, 3 * BLOCK_BYTES, vec![1; 2 * 4096]).await;
    volume.discard(10 * BLOCK_BYTES, BLOCK_BYTES).await.expect("discards");
    write(&volume, 40 * BLOCK_BYTES, vec![1; 4096]).await;
    let after = world.view(commit_snapshot(&volume).await).await;
    assert_eq!(before.changed_blocks(&after), [3..5, 10..11, 40..41]);
    assert_eq!(after.changed_blocks(&before), [3..5, 10..11, 40..41]);
    assert_eq!(before.changed_blocks(&before), []);
}

#[tokio::test]
async fn verification_counts_damaged_objects() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, noise(4, 20 * 4096)).await;
    let view = world.view(commit_snapshot(&volume).await).await;
    let verified = view.verify().await.expect("reads");
    assert_eq!((verified.objects, verified.bytes, verified.damaged.len()), (1, 20 * BLOCK_BYTES, 0));
    let pack = world.object_files("packs").pop().expect("one");
    let mut bytes = std::fs::read(&pack).expect("reads");
    bytes[100] ^= 1;
    std::fs::write(&pack, bytes).expect("written");
    assert_eq!(view.verify().await.expect("reads").damaged.len(), 1);
    std::fs::remove_file(&pack).expect("removed");
    assert_eq!(view.verify().await.expect("reads").damaged.len(), 1);
}

impl World {
    async fn map_of(&self, id: ManifestId) -> BlockMap {
        self.objects().load(id).await.expect("loads").map
    }
}
