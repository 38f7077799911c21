//! A volume that is written by chunks from elsewhere, against a plain array, and moved from one store to another.

use std::collections::BTreeMap;

use protocol::api::import::ChunkHash;
use rand::{Rng as _, RngExt as _};

use super::*;
use crate::{
    CHUNK_BYTES, Part, Patched, Target, chunks_of, decode_parts,
    gc::reachable,
    manifest::{Content, MAX_CHAIN},
    objects::Objects,
    patch,
};

/// The last chunk is cut short by the volume's end.
const BLOCKS: u64 = 16 * 20 + 5;

impl World {
    fn target(&self) -> Target {
        let (store, key) = (self.store.clone(), self.key.clone());
        Target { store, key, tenant: self.tenant, volume: self.volume, size_bytes: self.size_bytes }
    }

    async fn is_whole(&self, id: ManifestId) -> bool {
        let objects = Objects::new(self.tenant, self.key.clone(), self.store.clone());
        matches!(objects.manifest(id).await.expect("a manifest").0.content, Content::Whole { .. })
    }
}

async fn all(reader: &Reader) -> Vec<u8> {
    reader.read(0, reader.size_bytes()).await.expect("reads").to_vec()
}

/// A chunk of noise, of zeros, or of both.
fn content(random: &mut StdRng, room: usize) -> Vec<u8> {
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

fn some_parts(random: &mut StdRng, size_bytes: u64) -> Vec<Part> {
    let chunks = chunks_of(size_bytes);
    let indexes: std::collections::BTreeSet<u32> =
        (0..random.random_range(1..6)).map(|_| random.random_range(0..chunks)).collect();
    let part = |index: u32| {
        let room = size_bytes as usize - index as usize * CHUNK_BYTES;
        let content = content(random, room);
        Part { index, content: if content.iter().all(|byte| *byte == 0) { vec![] } else { content } }
    };
    indexes.into_iter().map(part).collect()
}

fn write_to(model: &mut [u8], parts: &[Part]) {
    for Part { index, content } in parts {
        let at = *index as usize * CHUNK_BYTES;
        let room = CHUNK_BYTES.min(model.len() - at);
        match content.get(..room) {
            Some(bytes) => model[at..at + room].copy_from_slice(bytes),
            None => model[at..at + room].fill(0),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_patched_volume_is_the_array_that_was_patched() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::in_memory(seed, BLOCKS);
    let mut model = vec![0; world.size_bytes as usize];
    let mut head: Option<Patched> = None;
    let (mut whole, mut past) = (0, BTreeMap::new());
    for number in 0..3 * MAX_CHAIN as u64 * soak_factor() {
        let parts = some_parts(&mut random, world.size_bytes);
        if random.random_bool(0.1) {
            // A store that fails half-way leaves everything as it was.
            world.store.cut_off_after(random.random_range(0..2));
            let failed = patch(world.target(), head.as_ref().map(|head| &head.reader), parts.clone()).await;
            world.store.cut_off(false);
            assert!(failed.is_err() || parts.iter().all(|part| part.content.is_empty()));
        }
        if random.random_bool(0.02) {
            world.size_bytes += 7 * BLOCK_BYTES;
            model.resize(world.size_bytes as usize, 0);
        }
        write_to(&mut model, &parts);
        // From the last answer, or from the store as anyone would.
        let opened = match &head {
            Some(head) if random.random_bool(0.3) => Some(world.reader(head.manifest).await),
            _ => None,
        };
        let base = opened.as_ref().or(head.as_ref().map(|head| &head.reader));
        let patched = patch(world.target(), base, parts).await.expect("stored");
        whole += usize::from(world.is_whole(patched.manifest).await);
        assert_eq!(all(&patched.reader).await, model, "{number}");
        if random.random_bool(0.1) {
            past.insert(patched.manifest, model.clone());
        }
        head = Some(patched);
    }
    assert!(whole >= 3, "a chain is bounded: {whole}");
    let head = head.expect("patched").manifest;
    past.insert(head, model.clone());
    let kept: Vec<ManifestId> = past.keys().copied().collect();
    let (store, key) = (world.store.clone(), world.key.clone());
    reachable(store, key, world.tenant, kept).await.expect("followed");
    for (id, content) in past {
        assert_eq!(all(&world.reader(id).await).await, content);
    }
    // A machine goes on from it as from any other head.
    let volume = world.open("cache", Some(head)).await;
    assert_eq!(everything(&volume).await, model);
    write(&volume, 4096, vec![9; 4096]).await;
    model[4096..8192].fill(9);
    let next = volume.snapshot(|_| ()).await.expect("stored").manifest;
    assert_eq!(world.content_of(next).await, model);
}

async fn listed(reader: &Reader, random: &mut StdRng) -> BTreeMap<u32, ChunkHash> {
    let (mut listed, mut next) = (BTreeMap::new(), Some(0));
    while let Some(from) = next {
        let most = random.random_range(1..8);
        let page = reader.chunks(from, most).await.expect("listed");
        assert!(page.chunks.len() <= most);
        listed.extend(page.chunks);
        next = page.next;
    }
    listed
}

#[tokio::test]
async fn a_home_is_moved_by_what_is_lacking() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (here, there) = (World::in_memory(seed, BLOCKS), World::in_memory(seed + 1, BLOCKS));
    let volume = here.open("cache", None).await;
    let mut moved: Option<Patched> = None;
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
        volume.committed(manifest).await.expect("known");
        let source = here.reader(manifest).await;
        let wanted = listed(&source, &mut random).await;
        let known = match &moved {
            Some(moved) => listed(&moved.reader, &mut random).await,
            None => BTreeMap::new(),
        };
        let lacking: std::collections::BTreeSet<u32> = wanted
            .keys()
            .chain(known.keys())
            .filter(|index| wanted.get(index) != known.get(index))
            .copied()
            .collect();
        for indexes in lacking.into_iter().collect::<Vec<_>>().chunks(3) {
            let sent = source.parts(indexes).await.expect("read");
            let parts = decode_parts(&sent, chunks_of(there.size_bytes), 3).expect("as they were sent");
            let base = moved.as_ref().map(|moved| &moved.reader);
            moved = Some(patch(there.target(), base, parts).await.expect("stored"));
        }
        let Some(moved) = &moved else { continue };
        let arrived = there.reader(moved.manifest).await;
        assert_eq!(listed(&arrived, &mut random).await, wanted, "{round}");
        assert_eq!(all(&arrived).await, everything(&volume).await, "{round}");
    }
    let source = here.reader(volume.snapshot(|_| ()).await.expect("stored").manifest).await;
    let end = chunks_of(here.size_bytes);
    let zeros = source.parts(&[end]).await.expect("read");
    assert_eq!(decode_parts(&zeros, end + 1, 1), Ok(vec![Part { index: end, content: vec![] }]));
    let beyond = source.parts(&[chunks_of(crate::MAX_VOLUME_BYTES)]).await;
    assert!(matches!(beyond, Err(VolumeError::OutOfRange { .. })));
}
