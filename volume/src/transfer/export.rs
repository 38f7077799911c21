//! The sending side of a transfer: a snapshot's chunks, as hashes page by page, and the content of
//! some of them. Chunks of zeros are not in the store and cost nothing.

use std::{collections::HashMap, ops::Range};

use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::api::import::ChunkHash;

use super::chunk::{self, CHUNK_BLOCKS, CHUNK_BYTES, chunk_count};
use crate::{
    blocking::run_blocking,
    blocks::{MAX_VOLUME_BYTES, byte_offset, is_zero},
    error::VolumeError,
    format::block_map::Frame,
    objects::{MAX_FETCHES, OpenedFrame, fetch_plan::plan_fetches},
    view::SnapshotView,
};

/// Chunks that are read and hashed together: 1 MiB.
const GROUP_CHUNKS: usize = 16;
/// Groups that are read at once, so that the store's latency does not count.
const GROUP_CONCURRENCY: usize = 4;

/// A page of a snapshot's chunks, without those of zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPage {
    /// Index and hash of each chunk, in order.
    pub chunks: Vec<(u32, ChunkHash)>,
    /// The index at which the next page begins, if there is one.
    pub next: Option<u32>,
}

impl SnapshotView {
    /// Hashes at most `max_chunks` chunks, from index `from` on.
    pub async fn list_chunks(&self, from: u32, max_chunks: usize) -> Result<ChunkPage, VolumeError> {
        let mut stored = self.stored_chunks(from, max_chunks + 1);
        let next = if stored.len() > max_chunks { stored.pop() } else { None };
        let groups: Vec<Vec<u32>> = stored.chunks(GROUP_CHUNKS).map(<[u32]>::to_vec).collect();
        let hashed: Vec<_> = futures_util::stream::iter(groups)
            .map(|group| self.hash_chunks(group))
            .buffered(GROUP_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(ChunkPage { chunks: hashed.into_iter().flatten().collect(), next })
    }

    /// Reads chunks and encodes them for the transfer. The indexes are in order, each once. Beyond
    /// the volume's end are zeros.
    pub async fn read_chunks(&self, indexes: &[u32]) -> Result<Vec<u8>, VolumeError> {
        let beyond = indexes.iter().find(|index| **index >= chunk_count(MAX_VOLUME_BYTES));
        if let Some(index) = beyond {
            let offset = u64::from(*index) * CHUNK_BYTES as u64;
            return Err(VolumeError::OutOfRange { offset, length: CHUNK_BYTES as u64 });
        }
        let contents = self.chunk_contents(indexes).await?;
        let indexes = indexes.to_vec();
        run_blocking(move || Ok(chunk::encode(indexes.into_iter().zip(contents.iter().map(Vec::as_slice)))))
            .await
    }

    /// The first chunks from `from` on of which at least one block is in the store.
    fn stored_chunks(&self, from: u32, max_chunks: usize) -> Vec<u32> {
        let mut chunks: Vec<u32> = Vec::new();
        let blocks = from.saturating_mul(CHUNK_BLOCKS)..self.blocks();
        for extent in self.map().within(blocks) {
            for chunk in extent.start / CHUNK_BLOCKS..=(extent.end() - 1) / CHUNK_BLOCKS {
                if chunks.last() == Some(&chunk) {
                    continue;
                }
                if chunks.len() == max_chunks {
                    return chunks;
                }
                chunks.push(chunk);
            }
        }
        chunks
    }

    async fn hash_chunks(&self, indexes: Vec<u32>) -> Result<Vec<(u32, ChunkHash)>, VolumeError> {
        let contents = self.chunk_contents(&indexes).await?;
        run_blocking(move || {
            let full = indexes.into_iter().zip(contents).filter(|(_, content)| !is_zero(content));
            Ok(full.map(|(index, content)| (index, chunk::hash(&content))).collect())
        })
        .await
    }

    /// The content of whole chunks. Nothing is kept in memory, because each chunk is read once.
    async fn chunk_contents(&self, indexes: &[u32]) -> Result<Vec<Vec<u8>>, VolumeError> {
        let fetches = plan_fetches(self.map(), indexes.iter().map(|index| self.blocks_of_chunk(*index)));
        let opened: Vec<Vec<OpenedFrame>> = futures_util::stream::iter(fetches)
            .map(|fetch| self.fetch(fetch))
            .buffer_unordered(MAX_FETCHES)
            .try_collect()
            .await?;
        let frames: HashMap<Frame, OpenedFrame> =
            opened.into_iter().flatten().map(|opened| (opened.frame, opened)).collect();
        indexes.iter().map(|index| self.assemble_chunk(*index, &frames)).collect()
    }

    fn assemble_chunk(
        &self,
        index: u32,
        frames: &HashMap<Frame, OpenedFrame>,
    ) -> Result<Vec<u8>, VolumeError> {
        let (range, mut content) = (self.blocks_of_chunk(index), vec![0; CHUNK_BYTES]);
        for extent in self.map().within(range.clone()) {
            let bytes = frames[&extent.frame].blocks_of(&extent);
            let bytes = bytes.map_err(|reason| self.damaged(&extent, reason))?;
            let at = byte_offset(extent.start - range.start) as usize;
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Ok(content)
    }

    fn blocks_of_chunk(&self, index: u32) -> Range<u32> {
        let first = index * CHUNK_BLOCKS;
        first..self.blocks().min(first + CHUNK_BLOCKS)
    }
}
