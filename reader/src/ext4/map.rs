//! Block maps: where the blocks of a file lie on the disk. A map is a tree of extents, or an older
//! tree of pointers. Pure: a function reads the blocks of the tree.

use super::{
    checksum::crc32c,
    fields::{Fields, join_halves},
    inode::Inode,
};
use crate::error::{Fault, FaultReason};

const EXTENT_MAGIC: u16 = 0xf30a;
/// Size of a node's header, and of each entry.
const EXTENT_BYTES: usize = 12;
/// Deepest valid tree: five levels address every possible block.
const MAX_EXTENT_DEPTH: u16 = 5;
/// A larger length marks an extent that was preallocated and never written. It reads as zeros.
const MAX_EXTENT_BLOCKS: u16 = 32768;

/// Pointers to blocks in the inode itself.
const DIRECT_POINTERS: u32 = 12;
const POINTER_BYTES: u32 = 4;

const INVALID: Fault = Fault::Damaged(FaultReason::Map);

/// Consecutive blocks of a file that are also consecutive on the disk, or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// The first block on the disk; `None`: a hole, which reads as zeros.
    pub start: Option<u64>,
    /// At least one.
    pub blocks: u64,
}

/// Finds the run that starts with the file's block `target`.
pub fn find_run(
    inode: &Inode,
    target: u32,
    block_bytes: u32,
    read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    if inode.has_extents {
        find_in_extents(inode, target, read)
    } else {
        find_in_pointers(inode, target, block_bytes, read)
    }
}

fn find_in_extents(
    inode: &Inode,
    target: u32,
    mut read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    let mut node = inode.map.to_vec();
    let mut depth = read_depth(&node)?;
    // The first block after `target` that may be mapped: the end of a hole.
    let mut bound = u64::from(u32::MAX) + 1;
    loop {
        let (found, next) = find_entry(&node, target)?;
        bound = next.map_or(bound, |next| bound.min(u64::from(next)));
        let hole = BlockRun { start: None, blocks: bound - u64::from(target) };
        let Some(entry) = found else { return Ok(hole) };
        if depth == 0 {
            return Ok(run_in_extent(entry, target).unwrap_or(hole));
        }
        let fields = Fields(entry);
        node = read(join_halves(fields.u32(4), u32::from(fields.u16(8))))?;
        check_node(inode, &node)?;
        depth -= 1;
        if read_depth(&node)? != depth {
            return Err(INVALID);
        }
    }
}

fn read_depth(node: &[u8]) -> Result<u16, Fault> {
    let fields = Fields(node);
    let depth = fields.u16(6);
    if fields.u16(0) == EXTENT_MAGIC && depth <= MAX_EXTENT_DEPTH { Ok(depth) } else { Err(INVALID) }
}

/// The last entry that starts at or before `target`, and the start of the next entry.
fn find_entry(node: &[u8], target: u32) -> Result<(Option<&[u8]>, Option<u32>), Fault> {
    let count = usize::from(Fields(node).u16(2));
    let entries = node.get(EXTENT_BYTES..EXTENT_BYTES * (count + 1)).ok_or(INVALID)?;
    let mut found = None;
    for entry in entries.chunks_exact(EXTENT_BYTES) {
        let first = Fields(entry).u32(0);
        if first > target {
            return Ok((found, Some(first)));
        }
        found = Some(entry);
    }
    Ok((found, None))
}

fn run_in_extent(entry: &[u8], target: u32) -> Option<BlockRun> {
    let fields = Fields(entry);
    let skip = u64::from(target.checked_sub(fields.u32(0))?);
    let (blocks, is_written) = match fields.u16(4) {
        blocks if blocks > MAX_EXTENT_BLOCKS => (blocks - MAX_EXTENT_BLOCKS, false),
        blocks => (blocks, true),
    };
    let blocks = u64::from(blocks).checked_sub(skip).filter(|blocks| *blocks > 0)?;
    let start = join_halves(fields.u32(8), u32::from(fields.u16(6))) + skip;
    Some(BlockRun { start: is_written.then_some(start), blocks })
}

/// Checks a node's checksum, which follows the space for its last entry.
fn check_node(inode: &Inode, node: &[u8]) -> Result<(), Fault> {
    let Some(seed) = inode.checksum_seed else { return Ok(()) };
    let end = EXTENT_BYTES * (usize::from(Fields(node).u16(4)) + 1);
    let covered = node.get(..end).ok_or(INVALID)?;
    if crc32c(seed, covered) == Fields(node).u32(end) { Ok(()) } else { Err(INVALID) }
}

fn find_in_pointers(
    inode: &Inode,
    target: u32,
    block_bytes: u32,
    mut read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    let root = |slot: u32| Fields(&inode.map).u32((slot * POINTER_BYTES) as usize);
    if target < DIRECT_POINTERS {
        return Ok(single_block(root(target)));
    }
    let fan = u64::from(block_bytes / POINTER_BYTES);
    let mut rest = u64::from(target - DIRECT_POINTERS);
    for depth in 1..=3 {
        let mut span = fan.pow(depth);
        if rest >= span {
            rest -= span;
            continue;
        }
        let mut pointer = root(DIRECT_POINTERS + depth - 1);
        while span > 1 {
            if pointer == 0 {
                return Ok(BlockRun { start: None, blocks: span - rest });
            }
            span /= fan;
            let slot = (rest / span) as usize;
            rest %= span;
            pointer = Fields(&read(u64::from(pointer))?).u32(slot * POINTER_BYTES as usize);
        }
        return Ok(single_block(pointer));
    }
    Err(INVALID)
}

fn single_block(pointer: u32) -> BlockRun {
    BlockRun { start: (pointer != 0).then_some(u64::from(pointer)), blocks: 1 }
}
