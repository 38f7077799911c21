//! Chunks: what a home is told apart in when it is moved, and the form in which they travel. Pure.
//!
//! ```text
//! index 4 │ BLAKE3 of the content 32 │ length 4 │ frame of that length: kind of compression, body; none: zeros
//! ```
//! Numbers are little-endian; chunks come in order, each once. A chunk is always whole: beyond the volume's end are zeros.

use protocol::api::import::ChunkHash;

use crate::{
    blocks::{BLOCK_BYTES, is_zero},
    map::MAX_FRAME_BLOCKS,
    seal::{Compressor, decompress},
};

/// Blocks of one frame: a chunk is read by fetching one, and stored as one. A home of 100 dense GiB is told in 57 MiB of hashes.
pub const CHUNK_BLOCKS: u32 = MAX_FRAME_BLOCKS as u32;
pub const CHUNK_BYTES: usize = CHUNK_BLOCKS as usize * BLOCK_BYTES as usize;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

const HEAD_BYTES: usize = 4 + 32 + 4;

/// A chunk and what it holds; no bytes: zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub index: u32,
    pub content: Vec<u8>,
}

/// Why foreign bytes are no chunks of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    #[error("they end early")]
    Short,
    #[error("they are more than may be sent at once")]
    TooMany,
    #[error("chunk {0} is out of order")]
    Order(u32),
    #[error("chunk {0} lies beyond the end of the home")]
    Beyond(u32),
    #[error("chunk {0} does not unpack to a chunk")]
    Malformed(u32),
    #[error("chunk {0} does not have the content that its hash names")]
    OtherContent(u32),
}

/// How many chunks cover a volume.
pub fn chunks_of(size_bytes: u64) -> u32 {
    size_bytes.div_ceil(CHUNK_BYTES as u64) as u32
}

/// Of a whole chunk.
pub fn hash(content: &[u8]) -> ChunkHash {
    debug_assert_eq!(content.len(), CHUNK_BYTES, "a chunk is whole");
    ChunkHash(*blake3::hash(content).as_bytes())
}

/// The hash of all hashes: two homes that have the same are the same.
#[derive(Clone, Default)]
pub struct Root(blake3::Hasher);

impl Root {
    /// Chunks come in order; those of zeros are left out.
    pub fn add(&mut self, index: u32, hash: &ChunkHash) {
        self.0.update(&index.to_le_bytes()).update(&hash.0);
    }

    pub fn finish(&self) -> ChunkHash {
        ChunkHash(*self.0.finalize().as_bytes())
    }
}

/// Whole chunks as they travel.
pub fn encode<'a>(parts: impl IntoIterator<Item = (u32, &'a [u8])>) -> Vec<u8> {
    let (mut bytes, mut compressor) = (Vec::new(), Compressor::new());
    for (index, content) in parts {
        let frame = if is_zero(content) { Vec::new() } else { compressor.compress(content) };
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&hash(content).0);
        bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// At most `most` chunks of a volume of `chunks`, each checked against its hash.
pub fn decode(mut bytes: &[u8], chunks: u32, most: usize) -> Result<Vec<Part>, PartsError> {
    let mut parts: Vec<Part> = Vec::new();
    while !bytes.is_empty() {
        let part = decode_one(&mut bytes)?;
        let index = part.index;
        if parts.len() == most {
            return Err(PartsError::TooMany);
        }
        if parts.last().is_some_and(|last| last.index >= index) {
            return Err(PartsError::Order(index));
        }
        if index >= chunks {
            return Err(PartsError::Beyond(index));
        }
        parts.push(part);
    }
    Ok(parts)
}

fn decode_one(bytes: &mut &[u8]) -> Result<Part, PartsError> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(PartsError::Short)?;
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (index, length) = (number(0), number(HEAD_BYTES - 4) as usize);
    let (frame, rest) = rest.split_at_checked(length).ok_or(PartsError::Short)?;
    *bytes = rest;
    let content = if frame.is_empty() {
        Vec::new()
    } else {
        let content = decompress(frame, CHUNK_BYTES).map_err(|_| PartsError::Malformed(index))?;
        if content.len() != CHUNK_BYTES {
            return Err(PartsError::Malformed(index));
        }
        content
    };
    let whole = if content.is_empty() { &ZEROS[..] } else { &content };
    if hash(whole).0 != head[4..4 + 32] {
        return Err(PartsError::OtherContent(index));
    }
    Ok(Part { index, content })
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
    fn chunks_arrive_as_they_were_sent() {
        let (zeros, text, noise) = (vec![0; CHUNK_BYTES], vec![b'a'; CHUNK_BYTES], noise(1));
        let sent = encode([(0, &text[..]), (7, &zeros), (9, &noise)]);
        let part = |index, content: &[u8]| Part { index, content: content.to_vec() };
        let expected = [part(0, &text), part(7, &[]), part(9, &noise)];
        assert_eq!(decode(&sent, 10, 3).as_deref(), Ok(&expected[..]));
        assert!(sent.len() < CHUNK_BYTES + 1000, "what compresses is sent compressed, zeros not at all");
        assert_eq!(decode(&[], 10, 3), Ok(vec![]));
    }

    #[test]
    fn as_many_as_may_be_sent_at_once_fit_into_a_body() {
        let noise = noise(1);
        let sent = encode((0..MAX_CHUNKS_AT_ONCE as u32).map(|index| (index, &noise[..])));
        assert!(sent.len() <= MAX_CHUNKS_BYTES, "{}", sent.len());
    }

    #[test]
    fn what_is_no_chunk_of_the_volume_is_refused() {
        let text = vec![b'a'; CHUNK_BYTES];
        let sent = encode([(3, &text[..]), (5, &text)]);
        assert_eq!(decode(&sent, 5, 9), Err(PartsError::Beyond(5)));
        assert_eq!(decode(&sent, 6, 1), Err(PartsError::TooMany));
        assert_eq!(decode(&sent[..sent.len() - 1], 6, 9), Err(PartsError::Short));
        let twice = encode([(3, &text[..]), (3, &text)]);
        assert_eq!(decode(&twice, 6, 9), Err(PartsError::Order(3)));
        let mut other = encode([(3, &noise(2)[..])]);
        *other.last_mut().expect("not empty") ^= 1;
        assert_eq!(decode(&other, 6, 9), Err(PartsError::OtherContent(3)));
        let mut named = sent;
        named[4] ^= 1;
        assert_eq!(decode(&named, 6, 9), Err(PartsError::OtherContent(3)));
    }

    #[test]
    fn no_more_than_a_chunk_is_unpacked() {
        for bytes in [CHUNK_BYTES - 1, CHUNK_BYTES + 1, 64 << 20] {
            let frame = Compressor::new().compress(&vec![1; bytes]);
            let mut sent = [&3_u32.to_le_bytes()[..], &[0; 32], &(frame.len() as u32).to_le_bytes()].concat();
            sent.extend_from_slice(&frame);
            assert_eq!(decode(&sent, 6, 9), Err(PartsError::Malformed(3)), "{bytes}");
        }
    }
}
