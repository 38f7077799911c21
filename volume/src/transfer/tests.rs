//! Imports against a plain array, and transfers from one store to another.

use std::collections::BTreeMap;

use protocol::{ManifestId, api::import::ChunkHash};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    BLOCK_BYTES, CHUNK_BYTES, Chunk, ImportTarget, ImportedSnapshot, SnapshotView, VolumeError, chunk_count,
    decode_chunks,
    format::manifest::{Content, MAX_CHAIN},
    gc::find_reachable,
    import_chunks,
    testing::*,
};

/// The last chunk is cut short by the volume's end.
const BLOCKS: u64 = 16 * 20 + 5;

impl World {
    fn target(&self) -> ImportTarget {
        let (store, key) = (self.store.clone(), self.key.clone());
        ImportTarget { store, key, tenant: self.tenant, volume: self.volume, size_bytes: self.size_bytes }
    }

    async fn is_whole(&self, id: ManifestId) -> bool {
        matches!(
            self.objects().fetch_manifest(id).await.expect("a manifest").0.content,
            Content::Whole { .. }
        )
    }
}

async fn view_content(view: &SnapshotView) -> Vec<u8> {
    view.read(0, view.size_bytes()).await.expect("reads").to_vec()
}

/// The content of a chunk: noise, zeros, or both.
fn random_content(random: &mut StdRng, room: usize) -> Vec<u8> {
    let mut content = vec![0; CHUNK_BYTES];
    let noisy: Vec<usize> = match random.random_range(0..4) {
        0 => vec![],
        1 => (0..16).collect(),
        _ => (0..16).filter(|_| random.random_bool(0.4)).collect(),
    };
    for block in noisy {
        random.fill_bytes(&mut content[block * 4096..block * 4096 + 64]);
    }
    content[room.min(CHUNK_BYTES)..].fill(0);
    content
}

fn random_chunks(random: &mut StdRng, size_bytes: u64) -> Vec<Chunk> {
    let chunks = chunk_count(size_bytes);
    let indexes: std::collections::BTreeSet<u32> =
        (0..random.random_range(1..6)).map(|_| random.random_range(0..chunks)).collect();
    let chunk = |index: u32| {
        let room = size_bytes as usize - index as usize * CHUNK_BYTES;
        let content = random_content(random, room);
        Chunk { index, content: if content.iter().all(|byte| *byte == 0) { vec![] } else { content } }
    };
    indexes.into_iter().map(chunk).collect()
}

fn write_to(model: &mut [u8], chunks: &[Chunk]) {
    for Chunk { index, content } in chunks {
        let at = *index as usize * CHUNK_BYTES;
        let room = CHUNK_BYTES.min(model.len() - at);
        match content.get(..room) {
            Some(bytes) => model[at..at + room].copy_from_slice(bytes),
            None => model[at..at + room].fill(0),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn imported_volume_matches_an_array() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::in_memory(seed, BLOCKS);
    let mut model = vec![0; world.size_bytes as usize];
    let mut head: Option<ImportedSnapshot> = None;
    let (mut whole, mut history) = (0, BTreeMap::new());
    for number in 0..3 * MAX_CHAIN as u64 * soak_factor() {
        let chunks = random_chunks(&mut random, world.size_bytes);
        if random.random_bool(0.1) {
            // A store that fails halfway leaves everything unchanged.
            world.store.cut_off_after(random.random_range(0..2));
            let failed =
                import_chunks(world.target(), head.as_ref().map(|head| &head.view), chunks.clone()).await;
            world.store.cut_off(false);
            assert!(failed.is_err() || chunks.iter().all(|chunk| chunk.content.is_empty()));
        }
        if random.random_bool(0.02) {
            world.size_bytes += 7 * BLOCK_BYTES;
            model.resize(world.size_bytes as usize, 0);
        }
        write_to(&mut model, &chunks);
        // On the view of the last import, or on one that is opened from the store.
        let opened = match &head {
            Some(head) if random.random_bool(0.3) => Some(world.view(head.manifest).await),
            _ => None,
        };
        let base = opened.as_ref().or(head.as_ref().map(|head| &head.view));
        let imported = import_chunks(world.target(), base, chunks).await.expect("stored");
        whole += usize::from(world.is_whole(imported.manifest).await);
        assert_eq!(view_content(&imported.view).await, model, "{number}");
        if random.random_bool(0.1) {
            history.insert(imported.manifest, model.clone());
        }
        head = Some(imported);
    }
    assert!(whole >= 3, "a chain is bounded: {whole}");
    let head = head.expect("imported").manifest;
    history.insert(head, model.clone());
    let kept: Vec<ManifestId> = history.keys().copied().collect();
    let (store, key) = (world.store.clone(), world.key.clone());
    find_reachable(store, key, world.tenant, kept).await.expect("followed");
    for (id, content) in history {
        assert_eq!(view_content(&world.view(id).await).await, content);
    }
    // A volume continues from it as from any other head.
    let volume = world.open("cache", Some(head)).await;
    assert_eq!(read_all(&volume).await, model);
    write(&volume, 4096, vec![9; 4096]).await;
    model[4096..8192].fill(9);
    let next = volume.snapshot(|_| ()).await.expect("stored").manifest;
    assert_eq!(world.content_of(next).await, model);
}

async fn list_all(view: &SnapshotView, random: &mut StdRng) -> BTreeMap<u32, ChunkHash> {
    let (mut listed, mut next) = (BTreeMap::new(), Some(0));
    while let Some(from) = next {
        let max_chunks = random.random_range(1..8);
        let page = view.list_chunks(from, max_chunks).await.expect("listed");
        assert!(page.chunks.len() <= max_chunks);
        listed.extend(page.chunks);
        next = page.next;
    }
    listed
}

#[tokio::test]
async fn transfer_sends_only_missing_chunks() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (here, there) = (World::in_memory(seed, BLOCKS), World::in_memory(seed + 1, BLOCKS));
    let volume = here.open("cache", None).await;
    let mut copied: Option<ImportedSnapshot> = None;
    for round in 0..6 * soak_factor() {
        for _ in 0..random.random_range(1..8) {
            let (block, count) = (random.random_range(0..BLOCKS), random.random_range(1..40));
            let count = count.min(BLOCKS - block);
            if random.random_bool(0.3) {
                volume.discard(block * BLOCK_BYTES, count * BLOCK_BYTES).await.expect("discards");
            } else {
                let bytes = vec![random.random(); (count * BLOCK_BYTES) as usize];
                write(&volume, block * BLOCK_BYTES, bytes).await;
            }
        }
        let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
        volume.confirm_commit(manifest).await.expect("known");
        let source = here.view(manifest).await;
        let wanted = list_all(&source, &mut random).await;
        let known = match &copied {
            Some(copied) => list_all(&copied.view, &mut random).await,
            None => BTreeMap::new(),
        };
        let missing: std::collections::BTreeSet<u32> = wanted
            .keys()
            .chain(known.keys())
            .filter(|index| wanted.get(index) != known.get(index))
            .copied()
            .collect();
        for indexes in missing.into_iter().collect::<Vec<_>>().chunks(3) {
            let sent = source.read_chunks(indexes).await.expect("read");
            let chunks = decode_chunks(&sent, chunk_count(there.size_bytes), 3).expect("valid chunks");
            let base = copied.as_ref().map(|copied| &copied.view);
            copied = Some(import_chunks(there.target(), base, chunks).await.expect("stored"));
        }
        let Some(copied) = &copied else { continue };
        let arrived = there.view(copied.manifest).await;
        assert_eq!(list_all(&arrived, &mut random).await, wanted, "{round}");
        assert_eq!(view_content(&arrived).await, read_all(&volume).await, "{round}");
    }
    let source = here.view(volume.snapshot(|_| ()).await.expect("stored").manifest).await;
    let end = chunk_count(here.size_bytes);
    let zeros = source.read_chunks(&[end]).await.expect("read");
    assert_eq!(decode_chunks(&zeros, end + 1, 1), Ok(vec![Chunk { index: end, content: vec![] }]));
    let beyond = source.read_chunks(&[chunk_count(crate::MAX_VOLUME_BYTES)]).await;
    assert!(matches!(beyond, Err(VolumeError::OutOfRange { .. })));
}
