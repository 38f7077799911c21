//! Chunks: the unit in which a home is compared and copied between installations, and how they are
//! encoded. Pure.
//!
//! ```text
//! index 4 │ BLAKE3 of the content 32 │ length 4 │ frame: kind of compression, body (none: zeros)
//! ```
//! Numbers are little-endian. Chunks come in order, each once. A chunk is always whole: beyond the
//! volume's end are zeros.

use protocol::api::import::ChunkHash;

use crate::{
    blocks::{BLOCK_BYTES, is_zero},
    format::{
        block_map::MAX_FRAME_BLOCKS,
        seal::{Compressor, decompress},
    },
};

/// Blocks of a chunk: those of one frame, so that a chunk is fetched and stored as one. The hashes
/// of 100 GiB without holes take 57 MiB.
pub const CHUNK_BLOCKS: u32 = MAX_FRAME_BLOCKS as u32;
/// Size of a chunk: 64 KiB.
pub const CHUNK_BYTES: usize = CHUNK_BLOCKS as usize * BLOCK_BYTES as usize;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

const HEAD_BYTES: usize = 4 + 32 + 4;

/// A chunk and its content. Empty content means zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its position in the volume, in chunks.
    pub index: u32,
    /// [`CHUNK_BYTES`] bytes, or none for a chunk of zeros.
    pub content: Vec<u8>,
}

/// Why bytes of another installation are refused as chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The bytes end in the middle of a chunk.
    #[error("the chunks end early")]
    Short,
    /// More chunks than one request may hold.
    #[error("there are more chunks than one request may hold")]
    TooMany,
    /// The index is not larger than the last.
    #[error("chunk {0} is out of order")]
    Order(u32),
    /// The index is beyond the volume.
    #[error("chunk {0} lies beyond the end of the home")]
    Beyond(u32),
    /// The frame does not decompress to exactly one chunk.
    #[error("chunk {0} does not decompress to a chunk")]
    Malformed(u32),
    /// The content does not have the hash that was sent with it.
    #[error("chunk {0} does not have the content that its hash names")]
    OtherContent(u32),
}

/// How many chunks a volume of this size has.
pub fn chunk_count(size_bytes: u64) -> u32 {
    size_bytes.div_ceil(CHUNK_BYTES as u64) as u32
}

/// The hash of a whole chunk.
pub fn hash(content: &[u8]) -> ChunkHash {
    debug_assert_eq!(content.len(), CHUNK_BYTES, "a chunk is whole");
    ChunkHash(*blake3::hash(content).as_bytes())
}

/// Computes the root hash of a home: a hash over the hashes of its chunks. Two homes with the same
/// root hash are equal.
#[derive(Clone, Default)]
pub struct RootHasher(blake3::Hasher);

impl RootHasher {
    /// Adds a chunk. Chunks come in order; those of zeros are left out.
    pub fn add(&mut self, index: u32, hash: &ChunkHash) {
        self.0.update(&index.to_le_bytes()).update(&hash.0);
    }

    /// The root hash of the chunks so far.
    pub fn finish(&self) -> ChunkHash {
        ChunkHash(*self.0.finalize().as_bytes())
    }
}

/// Encodes whole chunks, given as index and content.
pub fn encode<'a>(chunks: impl IntoIterator<Item = (u32, &'a [u8])>) -> Vec<u8> {
    let (mut bytes, mut compressor) = (Vec::new(), Compressor::new());
    for (index, content) in chunks {
        let frame = if is_zero(content) { Vec::new() } else { compressor.compress(content) };
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&hash(content).0);
        bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// Decodes at most `max_chunks` chunks of a volume that has `chunk_count`. Checks each against its
/// hash.
pub fn decode(mut bytes: &[u8], chunk_count: u32, max_chunks: usize) -> Result<Vec<Chunk>, ChunkError> {
    let mut chunks: Vec<Chunk> = Vec::new();
    while !bytes.is_empty() {
        let chunk = decode_one(&mut bytes)?;
        let index = chunk.index;
        if chunks.len() == max_chunks {
            return Err(ChunkError::TooMany);
        }
        if chunks.last().is_some_and(|last| last.index >= index) {
            return Err(ChunkError::Order(index));
        }
        if index >= chunk_count {
            return Err(ChunkError::Beyond(index));
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn decode_one(bytes: &mut &[u8]) -> Result<Chunk, ChunkError> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(ChunkError::Short)?;
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (index, length) = (number(0), number(HEAD_BYTES - 4) as usize);
    let (frame, rest) = rest.split_at_checked(length).ok_or(ChunkError::Short)?;
    *bytes = rest;
    let content = if frame.is_empty() {
        Vec::new()
    } else {
        let content = decompress(frame, CHUNK_BYTES).map_err(|_| ChunkError::Malformed(index))?;
        if content.len() != CHUNK_BYTES {
            return Err(ChunkError::Malformed(index));
        }
        content
    };
    let whole = if content.is_empty() { &ZEROS[..] } else { &content };
    if hash(whole).0 != head[4..4 + 32] {
        return Err(ChunkError::OtherContent(index));
    }
    Ok(Chunk { index, content })
}

#[cfg(test)]
mod tests {
    use protocol::api::import::{MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_BYTES};

    use super::*;

    fn noise(seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_BYTES];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn chunks_decode_as_encoded() {
        let (zeros, text, noise) = (vec![0; CHUNK_BYTES], vec![b'a'; CHUNK_BYTES], noise(1));
        let sent = encode([(0, &text[..]), (7, &zeros), (9, &noise)]);
        let chunk = |index, content: &[u8]| Chunk { index, content: content.to_vec() };
        let expected = [chunk(0, &text), chunk(7, &[]), chunk(9, &noise)];
        assert_eq!(decode(&sent, 10, 3).as_deref(), Ok(&expected[..]));
        assert!(sent.len() < CHUNK_BYTES + 1000, "text is sent compressed, and zeros are not sent");
        assert_eq!(decode(&[], 10, 3), Ok(vec![]));
    }

    #[test]
    fn largest_request_fits_the_body_limit() {
        let noise = noise(1);
        let sent = encode((0..MAX_CHUNKS_AT_ONCE as u32).map(|index| (index, &noise[..])));
        assert!(sent.len() <= MAX_CHUNKS_BYTES, "{}", sent.len());
    }

    #[test]
    fn invalid_chunks_are_refused() {
        let text = vec![b'a'; CHUNK_BYTES];
        let sent = encode([(3, &text[..]), (5, &text)]);
        assert_eq!(decode(&sent, 5, 9), Err(ChunkError::Beyond(5)));
        assert_eq!(decode(&sent, 6, 1), Err(ChunkError::TooMany));
        assert_eq!(decode(&sent[..sent.len() - 1], 6, 9), Err(ChunkError::Short));
        let twice = encode([(3, &text[..]), (3, &text)]);
        assert_eq!(decode(&twice, 6, 9), Err(ChunkError::Order(3)));
        let mut other = encode([(3, &noise(2)[..])]);
        *other.last_mut().expect("not empty") ^= 1;
        assert_eq!(decode(&other, 6, 9), Err(ChunkError::OtherContent(3)));
        let mut named = sent;
        named[4] ^= 1;
        assert_eq!(decode(&named, 6, 9), Err(ChunkError::OtherContent(3)));
    }

    #[test]
    fn decompression_is_bounded_to_a_chunk() {
        for bytes in [CHUNK_BYTES - 1, CHUNK_BYTES + 1, 64 << 20] {
            let frame = Compressor::new().compress(&vec![1; bytes]);
            let mut sent = [&3_u32.to_le_bytes()[..], &[0; 32], &(frame.len() as u32).to_le_bytes()].concat();
            sent.extend_from_slice(&frame);
            assert_eq!(decode(&sent, 6, 9), Err(ChunkError::Malformed(3)), "{bytes}");
        }
    }
}
