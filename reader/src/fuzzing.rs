//! Entry points for fuzzers: every decoder of foreign bytes, that is both sides of the socket and
//! the file system itself. Each takes any bytes, and must not panic, run forever, or exceed its
//! bounds.

use protocol::files::EntryKind;

use crate::{
    error::Fault,
    ext4::{Device, FileSystem, Inode, ROOT, recover},
    node::MAX_SEGMENTS,
    wire::{Reply, Request},
};

/// Enough to visit every kind of file in a small image, and a bound for images with a wrong size.
const MAX_NODES: usize = 200;
const MAX_CONTENT_BYTES: usize = 64 << 10;

/// Decodes a reply of the reader.
pub fn reply(bytes: &[u8]) {
    if let Ok(reply) = Reply::decode(bytes) {
        assert_eq!(Reply::decode(&reply.encode()[4..]), Ok(reply), "encoding round-trips");
    }
}

/// Decodes a request of the parent.
pub fn request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()[4..]), Ok(request), "encoding round-trips");
    }
}

/// Walks through the file system of a disk. Beyond the given bytes the disk is blank.
pub fn image(bytes: &[u8]) {
    let Ok(mut file_system) = FileSystem::open(ImageBytes(bytes)) else { return };
    let mut pending: Vec<Inode> = file_system.inode(ROOT).into_iter().collect();
    let mut nodes = 0;
    while let Some(directory) = pending.pop() {
        let Ok((entries, _)) = file_system.entries(&directory) else { continue };
        for entry in entries {
            nodes += 1;
            if nodes > MAX_NODES {
                return;
            }
            let Ok(inode) = file_system.inode(entry.inode) else { continue };
            if inode.kind == EntryKind::Directory {
                pending.push(inode);
                continue;
            }
            let _ = file_system.node(&inode, entry.name);
            let _ = file_system.attributes(&inode);
            if let Ok(segments) = file_system.segments(&inode) {
                assert!(segments.len() <= MAX_SEGMENTS, "the bound holds");
            }
            for offset in [0, inode.size / 2, inode.size.saturating_sub(1)] {
                if let Ok(content) = file_system.content(&inode, offset, MAX_CONTENT_BYTES) {
                    assert!(content.len() <= MAX_CONTENT_BYTES, "the bound holds");
                }
            }
        }
    }
}

/// Replays a journal of small blocks. Beyond the given bytes it is blank.
pub fn journal(bytes: &[u8]) {
    let blocks: Vec<&[u8]> = bytes.chunks(JOURNAL_BLOCK_BYTES as usize).collect();
    let read = |at: u32| {
        let mut block = blocks.get(at as usize).copied().unwrap_or_default().to_vec();
        block.resize(JOURNAL_BLOCK_BYTES as usize, 0);
        Ok(block)
    };
    if let Ok(newer) = recover(JOURNAL_BLOCK_BYTES, read) {
        assert!(newer.len() <= bytes.len(), "each block needs a tag");
    }
}

const JOURNAL_BLOCK_BYTES: u32 = 1024;

struct ImageBytes<'a>(&'a [u8]);

/// Larger than any image in the corpus.
const IMAGE_BYTES: u64 = 64 << 20;

impl Device for ImageBytes<'_> {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > IMAGE_BYTES) {
            return Err(Fault::Disk);
        }
        let available =
            usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        into[length..].fill(0);
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        IMAGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn decoders_accept_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            reply(&bytes);
            request(&bytes);
            journal(&bytes);
            image(&bytes);
        }
    }
}
