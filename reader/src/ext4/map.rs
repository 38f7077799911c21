//! Where the blocks of a file lie: a tree of extents, or the older map of pointers. Pure: blocks of the tree come from a
//! function.

use super::{
    checksum::crc32c,
    fields::{Fields, halves},
    inode::Inode,
};
use crate::error::{Fault, FaultReason};

const EXTENT_MAGIC: u16 = 0xf30a;
/// Both the header of a node and its entries.
const EXTENT_BYTES: usize = 12;
/// Deeper trees are not made: five levels address every block there is.
const MAX_EXTENT_DEPTH: u16 = 5;
/// An extent that is longer is one whose blocks were set aside and never written: it reads as zeros.
const MAX_EXTENT_BLOCKS: u16 = 32768;

const DIRECT: u32 = 12;
const POINTER_BYTES: u32 = 4;

const WRONG: Fault = Fault::Damaged(FaultReason::Map);

/// Blocks of a file that lie one after the other, or are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// None: they read as zeros.
    pub start: Option<u64>,
    /// At least one.
    pub blocks: u64,
}

/// The run that begins with the file's block `wanted`.
pub fn run_at(
    inode: &Inode,
    wanted: u32,
    block_bytes: u32,
    read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    if inode.has_extents {
        by_extents(inode, wanted, read)
    } else {
        by_pointers(inode, wanted, block_bytes, read)
    }
}

fn by_extents(
    inode: &Inode,
    wanted: u32,
    mut read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    let mut node = inode.map.to_vec();
    let mut depth = depth_of(&node)?;
    // What is not found here begins there at the earliest.
    let mut bound = u64::from(u32::MAX) + 1;
    loop {
        let (found, next) = find(&node, wanted)?;
        bound = next.map_or(bound, |next| bound.min(u64::from(next)));
        let hole = BlockRun { start: None, blocks: bound - u64::from(wanted) };
        let Some(entry) = found else { return Ok(hole) };
        if depth == 0 {
            return Ok(within_extent(entry, wanted).unwrap_or(hole));
        }
        let fields = Fields(entry);
        node = read(halves(fields.u32(4), u32::from(fields.u16(8))))?;
        check_node(inode, &node)?;
        depth -= 1;
        if depth_of(&node)? != depth {
            return Err(WRONG);
        }
    }
}

fn depth_of(node: &[u8]) -> Result<u16, Fault> {
    let fields = Fields(node);
    let depth = fields.u16(6);
    if fields.u16(0) == EXTENT_MAGIC && depth <= MAX_EXTENT_DEPTH { Ok(depth) } else { Err(WRONG) }
}

/// The last entry that begins at or before `wanted`, and where the one behind it begins.
fn find(node: &[u8], wanted: u32) -> Result<(Option<&[u8]>, Option<u32>), Fault> {
    let count = usize::from(Fields(node).u16(2));
    let entries = node.get(EXTENT_BYTES..EXTENT_BYTES * (count + 1)).ok_or(WRONG)?;
    let mut found = None;
    for entry in entries.chunks_exact(EXTENT_BYTES) {
        let first = Fields(entry).u32(0);
        if first > wanted {
            return Ok((found, Some(first)));
        }
        found = Some(entry);
    }
    Ok((found, None))
}

fn within_extent(entry: &[u8], wanted: u32) -> Option<BlockRun> {
    let fields = Fields(entry);
    let skip = u64::from(wanted.checked_sub(fields.u32(0))?);
    let (blocks, is_written) = match fields.u16(4) {
        blocks if blocks > MAX_EXTENT_BLOCKS => (blocks - MAX_EXTENT_BLOCKS, false),
        blocks => (blocks, true),
    };
    let blocks = u64::from(blocks).checked_sub(skip).filter(|blocks| *blocks > 0)?;
    let start = halves(fields.u32(8), u32::from(fields.u16(6))) + skip;
    Some(BlockRun { start: is_written.then_some(start), blocks })
}

/// The checksum lies behind the last entry that there is room for.
fn check_node(inode: &Inode, node: &[u8]) -> Result<(), Fault> {
    let Some(seed) = inode.checksum_seed else { return Ok(()) };
    let end = EXTENT_BYTES * (usize::from(Fields(node).u16(4)) + 1);
    let covered = node.get(..end).ok_or(WRONG)?;
    if crc32c(seed, covered) == Fields(node).u32(end) { Ok(()) } else { Err(WRONG) }
}

fn by_pointers(
    inode: &Inode,
    wanted: u32,
    block_bytes: u32,
    mut read: impl FnMut(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BlockRun, Fault> {
    let root = |slot: u32| Fields(&inode.map).u32((slot * POINTER_BYTES) as usize);
    if wanted < DIRECT {
        return Ok(one(root(wanted)));
    }
    let fan = u64::from(block_bytes / POINTER_BYTES);
    let mut rest = u64::from(wanted - DIRECT);
    for depth in 1..=3 {
        let mut span = fan.pow(depth);
        if rest >= span {
            rest -= span;
            continue;
        }
        let mut pointer = root(DIRECT + depth - 1);
        while span > 1 {
            if pointer == 0 {
                return Ok(BlockRun { start: None, blocks: span - rest });
            }
            span /= fan;
            let slot = (rest / span) as usize;
            rest %= span;
            pointer = Fields(&read(u64::from(pointer))?).u32(slot * POINTER_BYTES as usize);
        }
        return Ok(one(pointer));
    }
    Err(WRONG)
}

fn one(pointer: u32) -> BlockRun {
    BlockRun { start: (pointer != 0).then_some(u64::from(pointer)), blocks: 1 }
}
