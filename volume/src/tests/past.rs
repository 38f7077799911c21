//! Chains of snapshots, forks, growth, and what a volume does in the background.

use std::{collections::HashSet, time::Duration};

use super::*;
use crate::{
    manifest::{Content, MAX_CHAIN, Manifest},
    objects::Objects,
};

async fn taken(volume: &Volume) -> ManifestId {
    let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.committed(manifest).await.expect("known");
    manifest
}

impl World {
    async fn manifest(&self, id: ManifestId) -> Manifest {
        let objects = Objects::new(self.tenant, self.key.clone(), self.store.clone());
        objects.manifest(id).await.expect("a manifest").0
    }
}

#[tokio::test]
async fn a_long_past_is_deltas_with_a_whole_one_now_and_then_and_each_of_them_reads() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    let (mut past, mut whole, mut parent) = (Vec::new(), 0, None);
    for number in 0..2 * MAX_CHAIN as u64 + 10 {
        let at = number * 7 % 64;
        if number % 5 == 4 {
            let written = (number - 1) * 7 % 64;
            volume.discard(written * BLOCK_BYTES, BLOCK_BYTES).await.expect("discards");
        } else {
            write(&volume, at * BLOCK_BYTES, vec![number as u8 + 1; 4096]).await;
        }
        let id = volume.snapshot(|_| ()).await.expect("stored").manifest;
        volume.committed(id).await.expect("known");
        let manifest = world.manifest(id).await;
        whole += usize::from(matches!(manifest.content, Content::Whole { .. }));
        assert_eq!(manifest.parent(), parent);
        parent = Some(id);
        past.push((id, everything(&volume).await));
    }
    assert_eq!(whole, 3, "the first, and one each time that the chain is full");
    for (id, content) in past {
        let reader = world.reader(id).await;
        assert_eq!(reader.read(0, reader.size_bytes()).await.expect("reads"), content);
    }
}

#[tokio::test]
async fn a_chain_goes_on_after_the_cache_is_lost() {
    let mut world = World::new(64).await;
    let mut head = None;
    for number in 0..20_u8 {
        let volume = world.open(&format!("cache-{number}"), head).await;
        write(&volume, u64::from(number) * BLOCK_BYTES, vec![number + 1; 4096]).await;
        head = Some(taken(&volume).await);
        world.epoch += 1;
    }
    let content = world.content_of(head.expect("taken")).await;
    for number in 0..20_u8 {
        assert_eq!(content[usize::from(number) * 4096], number + 1);
    }
}

#[tokio::test]
async fn a_fork_goes_on_from_anothers_past_and_both_live_their_own_lives() {
    let world = World::new(16).await;
    let origin = world.open("origin", None).await;
    write(&origin, 0, vec![1; 8 * 4096]).await;
    let base = taken(&origin).await;
    write(&origin, 0, vec![2; 4096]).await;
    let other = VolumeId::random();
    let opening = |head, head_of| Opening { volume: other, head_of, ..world.opening("fork", Some(head)) };
    assert!(matches!(Volume::open(opening(base, None)).await, Err(VolumeError::OtherVolume { .. })));
    let stranger = Some(VolumeId::random());
    assert!(matches!(Volume::open(opening(base, stranger)).await, Err(VolumeError::OtherVolume { .. })));

    let fork = Volume::open(opening(base, Some(world.volume))).await.expect("opens");
    assert_eq!(everything(&fork).await[..8 * 4096], vec![1; 8 * 4096]);
    write(&fork, 4096, vec![3; 4096]).await;
    let (own, theirs) = (taken(&fork).await, taken(&origin).await);
    let (world, expected) = (&world, |blocks: [u8; 3]| blocks.map(|fill| [fill; 4096]).concat());
    let read = |id| async move { world.reader(id).await.read(0, 3 * 4096).await.expect("reads") };
    assert_eq!(read(own).await, expected([1, 3, 1]));
    assert_eq!(read(theirs).await, expected([2, 1, 1]));
    drop(fork);
    // Its own past needs no leave.
    let again = Volume::open(opening(own, None)).await.expect("opens");
    assert_eq!(again.read(4096, 4096).await.expect("reads"), vec![3; 4096]);
}

#[tokio::test]
async fn a_volume_that_is_put_back_is_what_it_was_whatever_the_cache_holds() {
    let mut world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let first = taken(&volume).await;
    write(&volume, 0, vec![2; 4096]).await;
    let second = taken(&volume).await;
    volume.close().await.expect("closes");
    let lineage = |world: &World, head, lineage| Opening { lineage, ..world.opening("cache", Some(head)) };
    let read = |volume: Volume| async move {
        let superseded = volume.status().await.expect("open").superseded.is_some();
        (volume.read(0, 4096).await.expect("reads")[0], superseded, volume)
    };
    world.epoch += 1;
    let (found, superseded, volume) =
        read(Volume::open(lineage(&world, first, 1)).await.expect("opens")).await;
    assert_eq!((found, superseded), (1, true), "and what the cache held is kept aside");
    // Killed, it goes on from what it wrote in this lineage.
    write(&volume, 0, vec![3; 4096]).await;
    drop(volume);
    let (found, _, volume) = read(Volume::open(lineage(&world, first, 1)).await.expect("opens")).await;
    assert_eq!(found, 3);
    drop(volume);
    // And back again: what no snapshot holds is kept aside for people.
    let (found, superseded, volume) =
        read(Volume::open(lineage(&world, second, 2)).await.expect("opens")).await;
    assert_eq!((found, superseded), (2, true));
    drop(volume);
    assert!(matches!(Volume::open(lineage(&world, first, 1)).await, Err(VolumeError::Fenced { .. })));
}

#[tokio::test]
async fn a_volume_grows_while_it_is_used_and_while_it_is_stored() {
    let mut world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let turn = volume.turn().await;
    let cut = turn.cut().await.expect("cut");
    volume.grow(100 * BLOCK_BYTES).await.expect("grows");
    volume.grow(100 * BLOCK_BYTES).await.expect("has that size");
    assert!(matches!(volume.grow(99 * BLOCK_BYTES).await, Err(VolumeError::Shrunk { .. })));
    write(&volume, 99 * BLOCK_BYTES, vec![9; 4096]).await;
    write(&volume, 0, vec![2; 4096]).await;
    let before = cut.store(|_| ()).await.expect("stored").manifest;
    volume.committed(before).await.expect("known");
    let reader = world.reader(before).await;
    assert_eq!(reader.size_bytes(), 16 * BLOCK_BYTES, "the cut was before");
    assert_eq!(reader.read(0, 4096).await.expect("reads"), vec![1; 4096]);
    let after = taken(&volume).await;
    let reader = world.reader(after).await;
    assert_eq!(reader.size_bytes(), 100 * BLOCK_BYTES);
    assert_eq!(reader.read(99 * BLOCK_BYTES, 4096).await.expect("reads"), vec![9; 4096]);
    // Killed: the next opening is told the new size.
    write(&volume, 98 * BLOCK_BYTES, vec![8; 4096]).await;
    drop(volume);
    world.size_bytes = 100 * BLOCK_BYTES;
    let volume = world.open("cache", Some(after)).await;
    assert_eq!(volume.read(98 * BLOCK_BYTES, 4096).await.expect("reads"), vec![8; 4096]);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_what_is_unsafe_is_known_until_it_is_committed() {
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
    volume.committed(first).await.expect("known");
    let left = age().await.expect("the second write");
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&left), "{left:?}");
    taken(&volume).await;
    assert_eq!(age().await, None);
}

#[tokio::test]
async fn a_cut_that_is_given_up_is_as_old_as_it_was() {
    let world = World::new(16).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 4096]).await;
    let since = volume.shared.on_cache(|_, cache| Ok(cache()?.unreplicated_since())).await.expect("open");
    drop(volume.turn().await.cut().await.expect("cut"));
    let now = volume.shared.on_cache(|_, cache| Ok(cache()?.unreplicated_since())).await.expect("open");
    assert!(since.is_some() && since == now);
}

#[tokio::test]
async fn what_lies_in_sparse_packs_is_stored_anew_and_read_as_before() {
    let world = World::new(4000).await;
    let volume = world.open("cache", None).await;
    let noise = |seed: u32| blake3_noise(seed, 4096);
    for block in 0..1000_u32 {
        write(&volume, u64::from(block) * BLOCK_BYTES, noise(block)).await;
    }
    taken(&volume).await;
    assert_eq!(volume.compact().await.expect("looks"), 0, "nothing is sparse");
    // Four fifths are overwritten: the first pack keeps every fifth block.
    for block in (0..1000_u32).filter(|block| block % 5 != 0) {
        write(&volume, u64::from(block) * BLOCK_BYTES, noise(block + 5000)).await;
    }
    let before = taken(&volume).await;
    let packs =
        |map: &crate::map::BlockMap| map.packs().map(|(_, used)| used.pack.id).collect::<HashSet<_>>();
    let old = packs(&world.loaded(before).await);
    drop(volume);
    // On an empty cache, so that the blocks have to be fetched first.
    let volume = world.open("elsewhere", Some(before)).await;
    assert_eq!(volume.compact().await.expect("compacts"), 200);
    let after = taken(&volume).await;
    let new = packs(&world.loaded(after).await);
    assert_eq!((old.len(), new.len(), old.intersection(&new).count()), (2, 2, 1));
    assert_eq!(world.content_of(after).await, world.content_of(before).await);
    assert_eq!(volume.compact().await.expect("looks"), 0);
}

#[tokio::test]
async fn what_is_evicted_is_fetched_again_and_what_is_dirty_stays() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, blake3_noise(1, 64 * 4096)).await;
    let head = taken(&volume).await;
    write(&volume, 5 * BLOCK_BYTES, vec![5; 4096]).await;
    let expected = everything(&volume).await;
    let evict =
        |from| volume.shared.on_cache(move |_, cache| Ok(cache()?.evict(from, 1000).expect("evicts")));
    assert_eq!(evict(0).await.expect("open"), 0);
    assert_eq!(volume.status().await.expect("open").cached_bytes, BLOCK_BYTES);
    assert_eq!(everything(&volume).await, expected);
    // Also after a kill.
    evict(0).await.expect("open");
    drop(volume);
    let volume = world.open("cache", Some(head)).await;
    assert_eq!(volume.status().await.expect("open").cached_bytes, BLOCK_BYTES);
    assert_eq!(everything(&volume).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_start_read_is_fetched_first_by_the_next() {
    let world = World::new(4000).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, blake3_noise(2, 4000 * 4096)).await;
    let first = taken(&volume).await;
    assert_eq!(world.manifest(first).await.order, None);
    for block in [3000_u64, 17, 18, 2000] {
        volume.read(block * BLOCK_BYTES, 4096).await.expect("reads");
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    write(&volume, 0, vec![1; 4096]).await;
    let head = taken(&volume).await;
    let order = world.manifest(head).await.order.expect("recorded");
    assert_eq!(order, [3000..3001, 17..19, 2000..2001]);

    let elsewhere = world.open("elsewhere", Some(head)).await;
    // The four blocks lie in four frames, far apart: with as many requests they are here.
    world.store.cut_off_after(4);
    assert!(elsewhere.prefetch().await.is_err());
    world.store.cut_off(true);
    for block in [3000_u64, 17, 18, 2000] {
        elsewhere.read(block * BLOCK_BYTES, 4096).await.expect("is here");
    }
    assert!(elsewhere.read(1000 * BLOCK_BYTES, 4096).await.is_err(), "and others are not");
    world.store.cut_off(false);
    elsewhere.prefetch().await.expect("fetches");
    assert_eq!(elsewhere.status().await.expect("open").cached_bytes, 4000 * BLOCK_BYTES);
    world.store.cut_off(true);
    assert_eq!(everything(&elsewhere).await[4096..], everything(&volume).await[4096..]);
}

#[tokio::test]
async fn snapshots_tell_where_they_may_differ() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, blake3_noise(3, 20 * 4096)).await;
    let before = world.reader(taken(&volume).await).await;
    write(&volume, 3 * BLOCK_BYTES, vec![1; 2 * 4096]).await;
    volume.discard(10 * BLOCK_BYTES, BLOCK_BYTES).await.expect("discards");
    write(&volume, 40 * BLOCK_BYTES, vec![1; 4096]).await;
    let after = world.reader(taken(&volume).await).await;
    assert_eq!(before.differing(&after), [3..5, 10..11, 40..41]);
    assert_eq!(after.differing(&before), [3..5, 10..11, 40..41]);
    assert_eq!(before.differing(&before), []);
}

#[tokio::test]
async fn a_verification_names_what_is_damaged() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, blake3_noise(4, 20 * 4096)).await;
    let reader = world.reader(taken(&volume).await).await;
    let verified = reader.verify().await.expect("reads");
    assert_eq!((verified.objects, verified.bytes, verified.damaged.len()), (1, 20 * BLOCK_BYTES, 0));
    let pack = world.objects("packs").pop().expect("one");
    let mut bytes = std::fs::read(&pack).expect("reads");
    bytes[100] ^= 1;
    std::fs::write(&pack, bytes).expect("written");
    assert_eq!(reader.verify().await.expect("reads").damaged.len(), 1);
    std::fs::remove_file(&pack).expect("removed");
    assert_eq!(reader.verify().await.expect("reads").damaged.len(), 1);
}

impl World {
    async fn loaded(&self, id: ManifestId) -> crate::map::BlockMap {
        let objects = Objects::new(self.tenant, self.key.clone(), self.store.clone());
        objects.load(id).await.expect("loads").map
    }

    /// Files of the store's objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let directory = self.directory.path().join("objects").join(self.tenant.to_string()).join(kind);
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.expect("listed").path()).collect()
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn blake3_noise(seed: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
