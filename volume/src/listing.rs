//! A snapshot by its chunks, for whoever moves it: their hashes page by page, and the content of some. What is not in the store,
//! zeros, costs nothing.

use std::{collections::HashMap, ops::Range};

use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::api::import::ChunkHash;

use crate::{
    blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES, is_zero},
    chunk::{self, CHUNK_BLOCKS, CHUNK_BYTES, chunks_of},
    error::VolumeError,
    map::Frame,
    objects::{MAX_FETCHES, Opened, plan},
    reader::Reader,
    volume::blocking,
};

/// Chunks that are read and hashed together: a MiB.
const TOGETHER: usize = 16;
/// So many times at once, so that the store's latency does not count.
const AT_ONCE: usize = 4;

/// A page of a snapshot's chunks, those of zeros left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub chunks: Vec<(u32, ChunkHash)>,
    /// Where the next page begins, if there is one.
    pub next: Option<u32>,
}

impl Reader {
    /// The hashes of at most `most` chunks from one on.
    pub async fn chunks(&self, from: u32, most: usize) -> Result<Listing, VolumeError> {
        let mut stored = self.stored_chunks(from, most + 1);
        let next = if stored.len() > most { stored.pop() } else { None };
        let groups: Vec<Vec<u32>> = stored.chunks(TOGETHER).map(<[u32]>::to_vec).collect();
        let hashed: Vec<_> = futures_util::stream::iter(groups)
            .map(|group| self.hashes(group))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Listing { chunks: hashed.into_iter().flatten().collect(), next })
    }

    /// Chunks as they travel; in order, each once. Beyond the volume's end are zeros.
    pub async fn parts(&self, indexes: &[u32]) -> Result<Vec<u8>, VolumeError> {
        let beyond = indexes.iter().find(|index| **index >= chunks_of(MAX_VOLUME_BYTES));
        if let Some(index) = beyond {
            let offset = u64::from(*index) * CHUNK_BYTES as u64;
            return Err(VolumeError::OutOfRange { offset, length: CHUNK_BYTES as u64 });
        }
        let contents = self.contents(indexes).await?;
        let indexes = indexes.to_vec();
        blocking(move || Ok(chunk::encode(indexes.into_iter().zip(contents.iter().map(Vec::as_slice))))).await
    }

    /// The first chunks from one on of which any block is in the store.
    fn stored_chunks(&self, from: u32, most: usize) -> Vec<u32> {
        let mut chunks: Vec<u32> = Vec::new();
        let blocks = from.saturating_mul(CHUNK_BLOCKS)..self.blocks();
        for extent in self.map().within(blocks) {
            for chunk in extent.start / CHUNK_BLOCKS..=(extent.end() - 1) / CHUNK_BLOCKS {
                if chunks.last() == Some(&chunk) {
                    continue;
                }
                if chunks.len() == most {
                    return chunks;
                }
                chunks.push(chunk);
            }
        }
        chunks
    }

    async fn hashes(&self, indexes: Vec<u32>) -> Result<Vec<(u32, ChunkHash)>, VolumeError> {
        let contents = self.contents(&indexes).await?;
        blocking(move || {
            let full = indexes.into_iter().zip(contents).filter(|(_, content)| !is_zero(content));
            Ok(full.map(|(index, content)| (index, chunk::hash(&content))).collect())
        })
        .await
    }

    /// Whole chunks. Nothing is kept: each is asked for once.
    async fn contents(&self, indexes: &[u32]) -> Result<Vec<Vec<u8>>, VolumeError> {
        let fetches = plan(self.map(), indexes.iter().map(|index| self.blocks_of(*index)));
        let opened: Vec<Vec<Opened>> = futures_util::stream::iter(fetches)
            .map(|fetch| self.fetch(fetch))
            .buffer_unordered(MAX_FETCHES)
            .try_collect()
            .await?;
        let frames: HashMap<Frame, Opened> =
            opened.into_iter().flatten().map(|opened| (opened.frame, opened)).collect();
        indexes.iter().map(|index| self.content(*index, &frames)).collect()
    }

    fn content(&self, index: u32, frames: &HashMap<Frame, Opened>) -> Result<Vec<u8>, VolumeError> {
        let (range, mut content) = (self.blocks_of(index), vec![0; CHUNK_BYTES]);
        for extent in self.map().within(range.clone()) {
            let bytes = frames[&extent.frame].part(&extent);
            let bytes = bytes.map_err(|reason| self.damaged(&extent, reason))?;
            let at = (extent.start - range.start) as usize * BLOCK_BYTES as usize;
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Ok(content)
    }

    fn blocks_of(&self, index: u32) -> Range<u32> {
        let first = index * CHUNK_BLOCKS;
        first..self.blocks().min(first + CHUNK_BLOCKS)
    }
}
